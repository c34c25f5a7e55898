"""What this machine has: memory that is free, room on a disk, speed, instructions."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")


def on_gpu(args: Any = None) -> bool:
    import torch

    return torch.cuda.is_available() and not (args is not None and args.use_cpu)


def free_memory(gpu: bool) -> int:
    """Bytes that a process may still take: of the GPU, or of the machine within its control group's limit."""
    if gpu:
        import torch

        return int(torch.cuda.mem_get_info()[0])
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024
    room = _cgroup_room()
    return free if room is None else min(free, room)


def _cgroup_room() -> int | None:
    """What a container's limit leaves (cgroup v2); file pages that can be dropped count as free."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None


def free_disk(path: Path) -> int:
    """Bytes free where the path is, or will be."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def multiplications_per_second(gpu: bool, size: int = 768) -> float:
    """Floating-point operations per second of an fp32 matrix product: the best of a few, a few milliseconds in all."""
    import torch

    device = "cuda" if gpu else "cpu"
    left, right = torch.ones(size, size, device=device), torch.ones(size, size, device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        product = left @ right
        product[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return float(2 * size**3 / best)


def cpu_knows_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX-512 BF16, AMX, or Arm's bf16)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = {flag for line in text.splitlines() if line.startswith(("flags", "Features")) for flag in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def readable(size: float) -> str:
    """Bytes in the largest unit that leaves a figure of one or more."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"

"""Ten thousand programs through one sandbox: neither memory nor descriptors nor processes grow."""

import os
from pathlib import Path

import pytest

from evalkit.records import Verdict
from evalkit.sandbox import Job, Sandbox
from evalkit.sandbox.contract.check import descendants

COUNT, WARM = 10_000, 1_000


def facts() -> tuple[int, int, int]:
    """Kilobytes of this process and all below it, its descriptors, and how many processes there are."""
    pids = [os.getpid(), *descendants()]
    memory = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                memory += int(line.split()[1])
    return memory, len(os.listdir("/proc/self/fd")), len(pids)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ten_thousand_programs_leave_nothing_behind() -> None:
    def jobs(count: int):
        for i in range(count):
            body = f"    return [a + b, '{'x' * (i % 50)}'][0]" if i % 7 else "    return a - b"
            yield Job(id=str(i), program=f"def f(a, b):\n{body}\n", entry_point="f", tests=("assert f(2, 3) == 5",))

    with Sandbox(2) as sandbox:
        for _ in sandbox.run_many(jobs(WARM)):
            pass
        before = facts()
        passed = sum(isinstance(v, Verdict) and v.passed for _, v in sandbox.run_many(jobs(COUNT)))
        after = facts()
    assert passed == COUNT - len(range(0, COUNT, 7))
    assert after[1:] == before[1:]
    assert after[0] - before[0] < 12_000, f"{before[0]} kB before, {after[0]} kB after"

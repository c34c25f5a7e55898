"""A disk that fills up in the middle of a run: one clear line, exit 2, and the same command finishes once there is room.

The disk is a small tmpfs in a namespace of its own.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """\
set -u
mount -t tmpfs -o size={small} none {disk}
run() {{ {python} -c "from {name}.cli import main; main()" {arguments}; }}
run; echo "first $?"
run; echo "second $?"
mount -o remount,size=200m {disk}
run; echo "third $?"
ls {disk}/run/summary.json
"""


def possible() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not possible(), reason="no user namespace may be made here, so no small disk can be mounted")
@pytest.mark.parametrize(
    ("name", "small", "recipe"),
    [
        ("synth", "120k", "output: {disk}/run\ntasks: 90\nsplits: {{heldout: 5, validation: 5}}\n"),
        (
            "distill",
            "900k",
            "method: sft\noutput: {disk}/run\ndata: {{folder: {data}}}\ntokenizer: {{vocab_size: 300}}\n"
            "student: {{layers: 2, hidden: 64, heads: 2}}\neval: {{samples: 0}}\n"
            "training: {{max_steps: 12, per_device_train_batch_size: 4, save_steps: 4}}\n",
        ),
    ],
)
def test_a_run_survives_a_full_disk(name: str, small: str, recipe: str, tmp_path: Path) -> None:
    disk, data = tmp_path / "disk", tmp_path / "data"
    disk.mkdir()
    if name == "distill":
        made = tmp_path / "data.yaml"
        made.write_text(f"output: {data}\ntasks: 60\nsplits: {{heldout: 5, validation: 5}}\n")
        generate = [sys.executable, "-c", "from synth.cli import main; main()", "generate", str(made)]
        subprocess.run(generate, check=True, capture_output=True)
    (tmp_path / "recipe.yaml").write_text(recipe.format(disk=disk, data=data))
    verb = "generate" if name == "synth" else "train"
    arguments = f"{verb} {tmp_path}/recipe.yaml"
    script = SCRIPT.format(small=small, disk=disk, python=sys.executable, name=name, arguments=arguments)
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert "first 2" in said, said
    assert "second 2" in said, said
    assert "cannot write" in said, said
    assert "free some space" in said, said
    assert "third 0" in said, said
    assert done.returncode == 0, said

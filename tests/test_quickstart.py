"""The main job, start to end, at a twentieth of its size; killed in the middle and run again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, str(ROOT / "recipes/quickstart.py"), "--quick"]
RUNS = ("data", "teacher", "kd", "sft", "base", "lora")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_loop_survives_a_kill(tmp_path: Path) -> None:
    runs = tmp_path / "runs/quickstart"
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        while not (runs / "teacher/manifest.json").exists():
            assert first.poll() is None, (tmp_path / "first.log").read_text()
            time.sleep(0.2)
        time.sleep(3)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    data = (runs / "data/summary.json").stat().st_mtime_ns
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (runs / "data/summary.json").stat().st_mtime_ns == data, "finished work is not redone"
    summaries = {name: json.loads((runs / name / "summary.json").read_text()) for name in RUNS}
    assert summaries["kd"]["steps"] == summaries["sft"]["steps"] == 30
    for name in ("untrained", "retrieval", "SFT", "KD", "LoRA", "teacher"):
        assert f"\n{name} " in done.stdout
    assert "LoRA on three categories" in done.stdout
    page = (runs / "report.html").read_text()
    assert "<svg" in page or "plotly" in page

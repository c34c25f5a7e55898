"""The benches keep up with what they measure: a step of each of our own variants."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["kd", "kd_epochs", "cached", "sft", "kernel", "bare_ce", "plain_kd"])
def test_a_variant_of_the_training_bench_runs(variant: str):
    command = [sys.executable, "bench/workers/training.py", variant, "--vocab", "512", "--steps", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert json.loads(ran.stdout.splitlines()[-1])["seconds"] > 0

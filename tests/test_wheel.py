"""The wheel: three packages and nothing else at the top, prompts and data inside, usable from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def run(site: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    name, *arguments = command
    code = f"import {name}; assert {name}.__file__.startswith({str(site)!r}), {name}.__file__\nfrom {name}.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


@pytest.mark.slow
def test_only_our_packages_stand_at_the_top(unpacked: Path) -> None:
    tops = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"evalkit", "synth", "distill"}
    assert (unpacked / "synth/_prompts/task.j2").exists()
    assert (unpacked / "evalkit/_data/mini_humaneval.jsonl").exists()
    assert all((unpacked / top / "py.typed").exists() for top in tops)


@pytest.mark.slow
def test_it_works_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    assert run(unpacked, tmp_path, "synth", "--help").returncode == 0
    suites = run(unpacked, tmp_path, "evalkit", "suites")
    assert "mini-humaneval" in suites.stdout, suites.stderr
    verified = run(unpacked, tmp_path, "evalkit", "verify", "mini-humaneval")
    assert verified.returncode == 0, verified.stderr
    recipe = tmp_path / "r.yaml"
    recipe.write_text("output: data\ntasks: 60\nsplits: {heldout: 5, validation: 5}\n")
    made = run(unpacked, tmp_path, "synth", "generate", "r.yaml")
    assert made.returncode == 0, made.stderr
    rows = str(tmp_path / "data/train.jsonl")
    asked = run(unpacked, tmp_path, "evalkit", "run", "mini-humaneval", "--retrieval", rows, "--out", "run")
    assert asked.returncode == 0, asked.stderr
    assert (tmp_path / "run/summary.json").exists()

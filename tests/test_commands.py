"""The command line as a user meets it: quick help, no torch, one-line errors."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distill.jobs.cache import CacheRecipe
from distill.recipe import TrainRecipe
from evalkit.recipes import load_recipe
from synth.recipe import GenerateRecipe

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("**/*.yaml"))


def command(name: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = f"from {name}.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.parametrize("name", ["synth", "distill", "evalkit"])
def test_help_is_quick_and_loads_no_torch(name: str) -> None:
    code = (
        f"import sys; from {name}.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'datasets', 'openai'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("[]")
    assert min(_cpu_seconds(name) for _ in range(3)) < 0.5  # CPU time: what a quiet machine would take, or less


def _cpu_seconds(name: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert command(name, "--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    keys = path.read_text()
    kind = GenerateRecipe if "tasks:" in keys else TrainRecipe if "method:" in keys else CacheRecipe
    load_recipe(kind, path)


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 6


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("evalkit", ("run", "humaneval", "--model", "none", "--out", "o", "--file", "none.gz"), "none.gz"),
        ("evalkit", ("run", "mini-humanevl", "--model", "none", "--out", "o"), "mini-humaneval"),
        ("evalkit", ("run", "mini-humaneval", "--model", "empty", "--out", "o"), "empty"),
        ("distill", ("train", "typo.yaml"), "did you mean"),
    ],
)
def test_bad_input_is_one_line(name: str, arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "typo.yaml").write_text("metod: sft\n")
    before = sorted(tmp_path.iterdir())
    result = command(name, *arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_the_listing_of_the_tree_is_current() -> None:
    names: dict[str, object] = {"__file__": str(ROOT / "docs/tree.py"), "__name__": "tree"}
    exec((ROOT / "docs/tree.py").read_text(), names)
    said = names["tree"]()  # type: ignore[operator]
    assert (ROOT / "docs/tree.md").read_text() == said, "run python docs/tree.py"
    assert "(no docstring)" not in said


def test_an_interrupt_says_how_to_go_on() -> None:
    """Typer takes KeyboardInterrupt for itself; the line must come all the same. What runs in a shell's background
    ignores interrupts, and so would its children: the program heeds them again."""
    program = (
        "import signal, time, typer\nfrom evalkit.console import run_cli\napp = typer.Typer()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@app.command()\ndef go() -> None:\n    print('up', flush=True)\n    time.sleep(60)\nrun_cli(app)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"run the same command again" in said

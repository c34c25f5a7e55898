"""The jobs and their commands, end to end, on a model that answers from a table."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalkit.cli import app
from evalkit.errors import ConfigError, DataError
from evalkit.jobs import run as run_job
from evalkit.jobs.compare import compare
from evalkit.jobs.exec import exec as exec_job
from evalkit.jobs.gate import Decision, gate
from evalkit.jobs.report import report
from evalkit.jobs.run import RunRecipe, read_rows, run
from evalkit.jobs.verify import verify
from evalkit.models import Generated
from evalkit.prompting import PROMPTING
from evalkit.runs import append_jsonl
from evalkit.suites import load_suite

PROBLEMS = load_suite("mini-humaneval")
SOLUTIONS = [(PROMPTING.render(p), PROMPTING.split_solution(p)[1]) for p in PROBLEMS]


class Table:
    """Stands in for LocalModel: solves the first `skill` problems, counts what it is asked."""

    prompting = PROMPTING
    loaded = ()
    name = "table"

    def __init__(self, skill):
        self.known, self.asked = dict(SOLUTIONS[:skill]), 0

    def complete(self, prompts, *, n=1, **_):
        self.asked += len(prompts)
        text = [self.known.get(prompt, "\n    return '<b>&'") for prompt in prompts]
        return [[Generated(text=t, finish_reason="stop", tokens=4, seconds=0.0)] * n for t in text]


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Scores a table of a skill into a folder; returns folder and model."""

    def score(skill, name=None, **facts):
        model, weights = Table(skill), tmp_path / f"weights{skill}"
        weights.mkdir(exist_ok=True)
        (weights / "config.json").write_text(str(skill))
        monkeypatch.setattr(run_job, "LocalModel", lambda path: model)
        out = tmp_path / (name or f"run{skill}")
        run(RunRecipe(suite="mini-humaneval", model=str(weights), **facts), out)
        return out, model

    return score


def test_a_run_keeps_rows_and_summary_and_is_done_once(scored):
    out, model = scored(12)
    assert model.asked == 20
    assert len(read_rows(out)) == 20
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["passed"], summary["scored"], summary["suite"]) == (12, 20, "mini-humaneval")
    _, again = scored(12)
    assert again.asked == 0


def test_a_killed_run_goes_on_without_doubling_rows(scored):
    out, _ = scored(12)
    whole = (out / "rows.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    (out / "summary.json").unlink()
    (out / "rows.jsonl").write_text("".join(lines[:7]) + lines[7][:40])
    _, model = scored(12)
    assert model.asked == 13
    assert [row.problem_id for row in read_rows(out)] == [p.id for p in PROBLEMS]


def test_errors_are_asked_again_on_resume(scored):
    out, _ = scored(12)
    rows = read_rows(out)
    (out / "rows.jsonl").unlink()
    (out / "summary.json").unlink()
    append_jsonl(out / "rows.jsonl", [rows[0].model_copy(update={"verdict": None, "error": "gone"}), *rows[1:]])
    _, model = scored(12)
    assert model.asked == 1
    assert json.loads((out / "summary.json").read_text())["errored"] == 0


def test_another_recipe_or_other_weights_are_refused(scored, tmp_path):
    scored(3, "run")
    with pytest.raises(ConfigError, match="seed"):
        scored(3, "run", seed=1)
    (tmp_path / "weights3" / "config.json").write_text("other")
    with pytest.raises(ConfigError, match=r"model|weights"):
        scored(4, "run")


def test_retrieval_is_a_floor_that_can_be_run(tmp_path):
    rows = tmp_path / "train.jsonl"
    append_jsonl(rows, PROBLEMS[:5])
    summary = run(RunRecipe(suite="mini-humaneval", retrieval=str(rows)), tmp_path / "out")
    assert summary["model"] == "retrieval"
    assert 5 <= summary["passed"] < 12


def test_recipes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="same sample"):
        RunRecipe(suite="x", model="m", n=2)
    with pytest.raises(ValueError, match="either"):
        RunRecipe(suite="x")


def test_compare_counts_gains_and_losses(scored):
    weak, strong = scored(4)[0], scored(16)[0]
    (result,) = compare(weak, [strong])
    assert (len(result["gained"]), len(result["lost"]), result["shared"]) == (12, 0, 20)
    assert result["difference"]["estimate"] == pytest.approx(0.6)
    assert result["p_value"] == pytest.approx(2 / 2**12)
    (same,) = compare(weak, [weak])
    assert same["p_value"] == 1.0


def test_gate_passes_fails_and_cannot_tell(scored):
    weak, strong = scored(4)[0], scored(18)[0]
    assert gate(strong, min_pass=0.5)[0] is Decision.PASSED
    assert gate(weak, min_pass=0.5)[0] is Decision.FAILED
    assert gate(strong, min_pass=0.9)[0] is Decision.UNDECIDED
    assert gate(strong, baseline=weak)[0] is Decision.PASSED
    assert gate(weak, baseline=strong)[0] is Decision.FAILED
    assert gate(weak, baseline=weak)[0] is Decision.UNDECIDED
    assert gate(weak, max_collapse=0.5)[0] is Decision.FAILED
    with pytest.raises(ConfigError, match="no condition"):
        gate(weak)
    codes = [
        CliRunner().invoke(app, ["gate", str(run), "--min-pass", bound]).exit_code
        for run, bound in ((strong, "0.5"), (weak, "0.5"), (strong, "0.9"))
    ]
    assert codes == [0, 1, 4]


def test_an_unfinished_run_is_no_evidence(scored):
    out, _ = scored(4)
    (out / "summary.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        gate(out, min_pass=0.1)


def test_the_report_stands_alone_and_escapes(scored, tmp_path):
    scored(4)
    training = tmp_path / "train <run>"
    training.mkdir()
    (training / "manifest.json").write_text('{"schema": 1, "kind": "train"}')
    (training / "log.jsonl").write_text("".join(f'{{"step": {i}, "loss": {9 / i}, "x": 1}}\n' for i in range(1, 2000)))
    score = {"suite": "v<b>", "attempted": 9, "scored": 9, "extra": None}
    (training / "evaluations.jsonl").write_text(
        "".join(json.dumps({"step": i * 100, "passed": i, **score}) + "\n" for i in range(9))
    )
    page = report([tmp_path], tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "train &lt;run&gt;, v&lt;b&gt;" in page
    assert "return &#x27;&lt;b&gt;&amp;&#x27;" in page
    assert "<b>&" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert "20.0%" in page
    with pytest.raises(DataError, match="no training run"):
        report([training / "nothing"], tmp_path / "no.html")


def test_verify_names_what_is_unsound(tmp_path):
    wrong = PROBLEMS[0].model_copy(update={"tests": ("assert add_numbers(1, 1) == 3",)})
    empty = PROBLEMS[1].model_copy(update={"tests": ("assert sum_of_list([1]) != 3",)})
    bare = PROBLEMS[2].model_copy(update={"solution": None})
    file = tmp_path / "p.jsonl"
    append_jsonl(file, [wrong, empty, bare, PROBLEMS[3]])
    result = verify("heldout", file)
    assert (result["attempted"], result["without_solution"], result["passed"], result["unsound"]) == (4, 1, 2, 2)
    assert {c["id"] for c in result["complaints"]} == {"mini/0", "mini/1"}
    assert CliRunner().invoke(app, ["verify", "heldout", "--file", str(file)]).exit_code == 1


def test_exec_judges_and_resumes(tmp_path):
    jobs = [
        {"id": "good", "program": "def f():\n    return 1", "entry_point": "f", "tests": ["assert f() == 1"]},
        {"id": "bad", "program": "def f():\n    return 2", "entry_point": "f", "tests": ["assert f() == 1"]},
    ]
    file, out = tmp_path / "jobs.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    assert exec_job(file, out) == {"attempted": 2, "passed": 1, "errored": 0}
    first = out.read_text()
    out.write_text(first.splitlines(keepends=True)[0] + "{")
    assert exec_job(file, out) == {"attempted": 2, "passed": 1, "errored": 0}
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["good", "bad"]
    file.write_text('{"id": "x"}\n')
    with pytest.raises(DataError, match="line 1"):
        exec_job(file, tmp_path / "other.jsonl")


def test_exec_takes_completions_of_a_suite(tmp_path):
    file, out = tmp_path / "samples.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"task_id": "mini/0", "completion": "    return a + b"},
        {"task_id": "mini/3", "completion": "    return 1"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert exec_job(file, out, suite="mini-humaneval") == {"attempted": 2, "passed": 1, "errored": 0}


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter(); import evalkit.cli;"
        "print(time.perf_counter() - start, [m for m in ('torch', 'transformers', 'openai', 'numpy') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip().endswith("[]"), said
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "evalkit.cli", "--help"], capture_output=True, check=True)
    assert time.perf_counter() - start < 2  # half a second alone; tests share their cores


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "humanevl", "--model", "/none", "--out", "OUT"], 2, "did you mean 'humaneval'"),
        (["run", "mini-humaneval", "--model", "/none", "--out", "OUT"], 2, "no such model folder"),
        (
            ["run", "mini-humaneval", "--model", "m", "--endpoint", "http://127.0.0.1:9/v1", "--out", "OUT"],
            2,
            "127.0.0.1:9",
        ),
        (["report", "/none"], 2, "no training run"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(arguments, code, said, tmp_path):
    arguments = [str(tmp_path / "out") if a == "OUT" else a for a in arguments]
    ran = subprocess.run(
        [sys.executable, "-m", "evalkit.cli", *arguments], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert ran.returncode == code
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr

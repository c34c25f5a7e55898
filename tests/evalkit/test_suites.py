"""Suites: what ships loads, what does not ship is asked for by name, and bad lines are named by number."""

import ast
import gzip
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import benchmark

from evalkit.errors import ConfigError, DataError, ToolchainMissing
from evalkit.jobs.verify import verify
from evalkit.prompting import PROMPTING
from evalkit.records import Language
from evalkit.sandbox import Job, Sandbox
from evalkit.suites import FOLDER, SUITES, load_suite


def test_mini_humaneval_ships_and_is_whole():
    problems = load_suite("mini-humaneval")
    assert [p.id for p in problems] == [f"mini/{n}" for n in range(20)]
    for problem in problems:
        prompt, completion = PROMPTING.split_solution(problem)
        assert not prompt.endswith("\n")
        assert PROMPTING.program(problem, completion) == problem.solution
        assert len(problem.tests) >= 5
        assert not any(test in problem.prompt for test in problem.tests)


def test_mini_solutions_pass_and_stubs_fail():
    problems = load_suite("mini-humaneval")
    with Sandbox(2) as sandbox:
        for problem in problems:
            assert problem.solution
            assert sandbox.run(Job.of(problem, problem.solution)).passed, problem.id
            assert not sandbox.run(Job.of(problem, problem.prompt + "\n    pass\n")).passed, problem.id


def test_a_missing_benchmark_names_flag_and_variable(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(DataError, match=rf"--file.*{FOLDER}"):
        load_suite("humaneval")
    monkeypatch.setenv(FOLDER, "/nowhere")
    with pytest.raises(DataError, match=rf"/nowhere/mbpp.jsonl.gz.*--file.*{FOLDER}"):
        load_suite("mbpp")


def test_an_unknown_suite_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'humaneval'"):
        load_suite("humanevl")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "malformed line"),
        ("[]", "not a JSON object"),
        ('{"task_id": "HumanEval/1"}', "'prompt' is missing"),
        (
            json.dumps(
                {
                    "task_id": "a",
                    "prompt": "def f(:\n",
                    "canonical_solution": "",
                    "entry_point": "f",
                    "test": "",
                }
            ),
            "malformed line",
        ),
    ],
)
def test_a_malformed_line_is_named_by_number(tmp_path, line, complaint):
    good = {
        "task_id": "x/0",
        "prompt": "def f():\n",
        "canonical_solution": "    return 1\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    file = tmp_path / "h.jsonl.gz"
    file.write_bytes(gzip.compress(f"{json.dumps(good)}\n{line}\n".encode()))
    with pytest.raises(DataError, match="line 2") as caught:
        SUITES["humaneval"].load("humaneval", file)
    assert complaint in str(caught.value)


def test_truncated_compression_and_duplicate_ids_are_refused(tmp_path):
    row = load_suite("mini-humaneval")[0].model_dump_json() + "\n"
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(row.encode() * 50)[:-12])
    with pytest.raises(DataError, match="cannot read"):
        load_suite("heldout", cut)
    twice = tmp_path / "twice.jsonl"
    twice.write_text(row * 2)
    with pytest.raises(DataError, match="occurs twice"):
        load_suite("heldout", twice)


def test_heldout_reads_problems_and_samples(tmp_path):
    problem = load_suite("mini-humaneval")[0]
    file = tmp_path / "rows.jsonl"
    sample = {"id": "s", "problem": problem.model_copy(update={"id": "other"}).model_dump(mode="json"), "evidence": {}}
    file.write_text(problem.model_dump_json() + "\n" + json.dumps(sample) + "\n")
    assert [p.id for p in load_suite("heldout", file)] == ["mini/0", "other"]
    file.write_text(problem.model_copy(update={"tests": ()}).model_dump_json())
    with pytest.raises(DataError, match=r"line 1.*exactly one"):
        load_suite("heldout", file)


@pytest.mark.filterwarnings("ignore:invalid escape")
@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("humaneval", "HumanEval.jsonl.gz", 164),
        ("humaneval-rust", "humaneval_rust.jsonl.gz", 164),
        ("mbpp", "mbpp.jsonl.gz", 974),
        ("mbpp-test", "mbpp.jsonl.gz", 500),
    ],
)
def test_published_files_load_whole(name, file, count):
    problems = load_suite(name, benchmark(file))
    assert len(problems) == count
    for problem in problems:
        if problem.language is Language.PYTHON:
            ast.parse(problem.prompt + "\n    pass")
        assert not problem.prompt.endswith("\n")


@pytest.mark.slow
def test_rust_solutions_pass_but_for_those_that_need_crates():
    from evalkit.sandbox.languages import LANGUAGES
    from evalkit.suites.humaneval_rust import needed_crates

    file = benchmark("humaneval_rust.jsonl.gz")
    try:
        LANGUAGES["rust"].find()
    except ToolchainMissing as error:
        pytest.skip(f"skipped: {error.what}")
    needing = {p.id: needed_crates(p) for p in load_suite("humaneval-rust", file) if needed_crates(p)}
    found = verify("humaneval-rust", file)
    assert (found["attempted"], found["passed"], found["errored"]) == (164, 158, 0)
    assert {complaint["id"] for complaint in found["complaints"]} == set(needing)
    assert all("E0432" in complaint["what"] for complaint in found["complaints"])

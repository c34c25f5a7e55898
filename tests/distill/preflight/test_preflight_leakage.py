"""What of a benchmark stands in the rows: word for word, nearly, by solution; in rows and in documents."""

import json
import sys
import time
from pathlib import Path

import pytest
from looking import by_name, dataset, looked_at, toy_problem, toy_recipe, toys

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import benchmark

from distill.preflight import Standing, leakage
from distill.preflight.ngrams import index, pieces, skeleton
from evalkit.normal_form import normal_form
from evalkit.records import Problem
from evalkit.suites import load_suite

pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence")

SUITE = "mini-humaneval"


def found(tmp_path: Path, rows: list[Problem], **sections: object):
    made = toy_recipe(dataset(tmp_path / "data", rows), tmp_path / "run", **sections)
    return by_name(leakage.check(looked_at(made, tmp_path)))[SUITE]


def leaked() -> Problem:
    """A task of the suite whose solution is more than a line."""
    return load_suite(SUITE)[2]


def test_toys_leak_nothing(tmp_path: Path):
    assert found(tmp_path, toys(40)).standing is Standing.OK


def test_a_task_word_for_word_is_refused(tmp_path: Path):
    rows = [*toys(40), leaked().model_copy(update={"id": "stolen/1"})]
    finding = found(tmp_path, rows)
    assert finding.standing is Standing.REFUSAL
    assert finding.facts["verbatim"] == 1
    assert "stolen/1" in finding.what
    assert leaked().id in finding.what


def test_layout_and_another_signature_do_not_hide_it(tmp_path: Path):
    task = leaked()
    head, doc = task.prompt.split("\n", 1)
    prompt = f"{head[: head.index('(')]}(*anything):\n\n{doc.replace('. ', '.   ')}"
    stolen = task.model_copy(update={"id": "stolen/1", "prompt": prompt, "solution": f"{prompt}\n    return None\n"})
    assert found(tmp_path, [*toys(40), stolen]).standing is Standing.REFUSAL


def test_a_reworded_end_is_near(tmp_path: Path):
    task = max(load_suite(SUITE), key=lambda t: len(t.prompt))
    prompt = f'def other(a):\n    """So: {" ".join(task.prompt.split()[4:])}'
    stolen = task.model_copy(
        update={"id": "stolen/1", "prompt": prompt, "entry_point": "other", "solution": f"{prompt}\n    return 1\n"}
    )
    finding = found(tmp_path, [*toys(40), stolen])
    assert finding.standing is Standing.WARNING
    assert finding.facts["near"] == 1


def test_a_solution_under_other_names_is_a_warning(tmp_path: Path):
    task = leaked()
    body = (task.solution or "").replace(task.entry_point, "renamed")
    stripped = body.replace(task.prompt.split('"""')[1], "Something else.")
    prompt = stripped[: stripped.index('"""', stripped.index('"""') + 3) + 3]
    stolen = task.model_copy(
        update={"id": "stolen/1", "prompt": prompt, "entry_point": "renamed", "solution": stripped}
    )
    finding = found(tmp_path, [*toys(40), stolen])
    assert finding.standing is Standing.WARNING
    assert finding.facts["same_solution"] == 1
    assert finding.facts["verbatim"] == 0


def test_in_a_corpus_too(tmp_path: Path):
    task = leaked()
    (tmp_path / "a.py").write_text("import os\n\n\nclass A:\n    x = 1\n\n\n" + (task.solution or "") + "\n\nx = 2\n")
    (tmp_path / "b.py").write_text("y = 2\n")
    part = {"corpus": [str(tmp_path / "a.py"), str(tmp_path / "b.py")], "held_out": 0.0}
    made = toy_recipe(tmp_path, tmp_path / "run", method="pretrain", data=part)
    finding = by_name(leakage.check(looked_at(made, tmp_path)))[SUITE]
    assert finding.standing is Standing.REFUSAL
    assert "document 1" in finding.what


def test_validation_among_the_rows_is_a_warning(tmp_path: Path):
    data = dataset(tmp_path / "data", toys(40), validation=[toy_problem(3), toy_problem(900)])
    made = toy_recipe(data, tmp_path / "run", eval={"samples": 5})
    finding = by_name(leakage.check(looked_at(made, tmp_path)))["validation"]
    assert finding.standing is Standing.WARNING
    assert finding.facts["verbatim"] == 1


def test_a_file_in_our_own_format(tmp_path: Path):
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps(toy_problem(7).model_dump(mode="json")) + "\n")
    made = toy_recipe(dataset(tmp_path / "data", toys(40)), tmp_path / "run")
    assert by_name(leakage.check(looked_at(made, tmp_path, against=[str(file)])))[str(file)].facts["verbatim"] == 1


def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path):
    (tmp_path / "own.jsonl").write_text("nothing\n")
    made = toy_recipe(dataset(tmp_path / "data", toys(40)), tmp_path / "run")
    for name in ("own.jsonl", "missing.jsonl"):
        subject = looked_at(made, tmp_path, against=[str(tmp_path / name)])
        assert by_name(leakage.check(subject))["against"].standing is Standing.REFUSAL


@pytest.mark.parametrize(
    ("file", "tasks"), [("HumanEval.jsonl.gz", 164), ("mbpp.jsonl.gz", 974), ("humaneval_rust.jsonl.gz", 164)]
)
def test_published_files_find_their_own_tasks(file: str, tasks: int):
    problems = leakage.read_benchmark(benchmark(file))
    assert len(problems) == tasks
    made = index({"it": problems})
    for number, problem in enumerate(problems):
        text = problem.solution or ""
        whole = text if problem.prompt.strip() in text else f"{problem.prompt}\n{text}"
        assert (number, "verbatim") in {(task, how) for task, how, _ in made.quoted(whole)}, problem.id


def test_humaneval_and_mbpp_do_not_accuse_each_other():
    """164 x 974 pairs of tasks that were written apart: no false alarm above an equal one-line solution."""
    ours = index({"mbpp": leakage.read_benchmark(benchmark("mbpp.jsonl.gz"))})
    hits = [
        hit for p in leakage.read_benchmark(benchmark("HumanEval.jsonl.gz")) for hit in ours.quoted(p.solution or "")
    ]
    assert {how for _, how, _ in hits} <= {"solution"}
    assert len(hits) < 5


def test_the_skeleton_never_hides_an_equal_form():
    """What is compared first must be equal wherever the normal form is."""
    program = "def f(a):\n    if a:\n        return 1\n    elif not a:\n        return 22\n    return a"
    same = 'def g(b: int) -> int:\n    """Return if not 7."""\n    # while\n    if b:\n        return 1\n    else:\n        if not b:\n            return 22\n    return b'
    assert normal_form(program) == normal_form(same)
    assert skeleton(program) == skeleton(same)
    assert pieces(program) == [program]


def test_a_hundred_thousand_rows_in_seconds():
    made = index({"he": leakage.read_benchmark(benchmark("HumanEval.jsonl.gz"))})
    texts = [toy_problem(i).solution or "" for i in range(5000)]
    start = time.process_time()
    for text in texts:
        list(made.quoted(text))
    assert (time.process_time() - start) * 20 < 30

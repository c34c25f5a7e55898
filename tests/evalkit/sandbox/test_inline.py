"""What cannot be split is judged in the program's own process, marked as weak, and counts nowhere."""

import pytest

from evalkit.records import Method, Outcome
from evalkit.sandbox import Job, Sandbox

ASKS = """
def f():
    return int(input()) + 1
"""
PATCHES = """
import builtins
old = builtins.input
builtins.input = lambda *_: "41"
try:
    assert f() == 42
finally:
    builtins.input = old
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(1) as sandbox:
        yield sandbox


def judge(sandbox, program, test, reference=None):
    return sandbox.run(Job(id="x", program=program, entry_point="f", test_program=test, reference=reference))


def test_it_is_taken_where_the_reference_needs_it(sandbox):
    verdict = judge(sandbox, ASKS, PATCHES, ASKS)
    assert (verdict.outcome, verdict.method) == (Outcome.PASSED, Method.INLINE)
    assert (verdict.assertions_held, verdict.assertions_total) == (1, 1)
    wrong = judge(sandbox, ASKS.replace("+ 1", "+ 2"), PATCHES, ASKS)
    assert (wrong.outcome, wrong.method) == (Outcome.WRONG, Method.INLINE)
    assert "42" in wrong.failed_assertion
    for program, outcome in (
        ("def f(:", Outcome.SYNTAX_ERROR),
        ("def f(): raise KeyError(1)", Outcome.EXCEPTION),
        ("def f():\n    while True: pass", Outcome.CPU_TIMEOUT),
        ("import os\nos._exit(0)", Outcome.EARLY_EXIT),
    ):
        assert judge(sandbox, program, PATCHES, ASKS).outcome is outcome


def test_it_is_never_taken_without_a_reference_or_where_splitting_works(sandbox):
    assert judge(sandbox, ASKS, PATCHES).method is Method.SPLIT
    plain = "x = f()\nassert x == 1"
    assert judge(sandbox, "def f(): return 2", plain, "def f(): return 1").method is Method.SPLIT
    nowhere = "def f(): return 3"  # a reference that passes neither way decides nothing
    assert judge(sandbox, nowhere, plain, nowhere).method is Method.SPLIT


def test_a_forged_pass_is_a_weak_one(sandbox):
    """The program can cheat here; that is why nothing counts it."""
    forger = "class Any:\n    def __eq__(self, other): return True\ndef f(): return Any()"
    verdict = judge(sandbox, forger, PATCHES, ASKS)
    assert verdict.passed
    assert verdict.method is Method.INLINE


def test_no_score_and_no_dataset_counts_it():
    from evalkit.evaluation import Row
    from evalkit.records import Completion, Tier, Verdict
    from synth.proof import Proof, proven

    weak = Verdict(outcome=Outcome.PASSED, method=Method.INLINE, tier=Tier.NAMESPACES)
    said = Completion(problem_id="x", sample_index=0, text="", program="", finish_reason="stop", tokens=0, seconds=0.0)
    row = Row(problem_id="x", completion=said, verdict=weak)
    assert not row.scored
    assert not row.passed
    failed = weak.model_copy(update={"outcome": Outcome.WRONG, "method": Method.SPLIT})
    assert not proven(Proof(id="x", problem_digest="d", solution=weak, stub=failed))
    strong = weak.model_copy(update={"method": Method.SPLIT})
    assert proven(Proof(id="x", problem_digest="d", solution=strong, stub=failed))

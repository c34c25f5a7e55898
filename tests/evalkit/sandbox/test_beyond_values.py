"""Tests that look beyond return values: what is printed, files that are read and written."""

import pytest

from evalkit.records import Method, Outcome
from evalkit.sandbox import Job, Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(1) as sandbox:
        yield sandbox


def judge(sandbox, program, test, **more):
    return sandbox.run(Job(id="x", program=program, entry_point="f", test_program=test, **more))


GREETS = """
def f(name):
    print("hello", name)
    return len(name)
"""
CAPTURES = """
import io
from contextlib import redirect_stdout
for name in ("ann", "bob"):
    out = io.StringIO()
    with redirect_stdout(out):
        assert f(name) == 3
    assert out.getvalue() == f"hello {name}\\n"
"""


def test_what_is_printed_can_be_asserted_on(sandbox):
    for _ in range(2):  # by a new tester and by the one that stayed
        verdict = judge(sandbox, GREETS, CAPTURES)
        assert (verdict.outcome, verdict.method) == (Outcome.PASSED, Method.SPLIT)
        assert judge(sandbox, GREETS.replace("hello", "Hello"), CAPTURES).outcome is Outcome.WRONG
    assert judge(sandbox, "import os\ndef f(n): os.write(1, f'hello {n}\\n'.encode()); return 3", CAPTURES).passed
    assert judge(sandbox, f"print('noise')\n{GREETS}", CAPTURES).passed  # what loading prints is no call's
    swapped = "import io, sys\nsys.stdout = io.StringIO()\n" + GREETS
    assert judge(sandbox, swapped, CAPTURES).outcome is Outcome.WRONG


def test_printing_that_nobody_asks_for_fills_nothing(sandbox):
    floods = "def f(x):\n    print('x' * 100_000)\n    return x"
    test = "total = 0\nfor i in range(100):\n    total += f(i)\nassert total == 4950"
    for _ in range(3):
        assert judge(sandbox, floods, test).passed


WRITES = """
def f(name, words):
    with open(name, "w") as file:
        file.write("\\n".join(words))
"""


@pytest.mark.parametrize(
    "test",
    [
        "f('out.txt', ['a', 'b'])\nwith open('out.txt') as file:\n    assert file.read() == 'a\\nb'",
        "f('out.txt', ['a', 'é'])\nassert open('out.txt', 'rb').read() == 'a\\né'.encode()",
        "f('out.txt', ['a', 'b'])\nassert [line.strip() for line in open('out.txt')] == ['a', 'b']",
        "import os\nassert not os.path.exists('out.txt')\nf('out.txt', ['a'])\nassert os.path.isfile('out.txt')\n"
        "os.remove('out.txt')\nassert not os.path.exists('out.txt')",
        "from pathlib import Path\nf('out.txt', ['a', 'b'])\nassert Path('out.txt').read_text() == 'a\\nb'",
    ],
)
def test_files_that_a_program_writes_are_read_back(sandbox, test):
    verdict = judge(sandbox, WRITES, test)
    assert (verdict.outcome, verdict.method, verdict.detail) == (Outcome.PASSED, Method.SPLIT, "")
    assert not judge(sandbox, "def f(name, words): pass", test).passed


def test_files_that_a_test_writes_are_there(sandbox):
    counts = "def f(name):\n    with open(name) as file:\n        return len(file.read().split())"
    test = "with open('in.txt', 'w') as file:\n    file.write('one two')\n    print(' three', file=file)\nassert f('in.txt') == 3\n"
    test += "with open('in.txt', 'a') as file:\n    file.write('four')\nassert f('in.txt') == 4"
    assert judge(sandbox, counts, test).passed
    assert judge(sandbox, counts.replace("len(", "1 + len("), test).outcome is Outcome.WRONG
    missing = "try:\n    open('none.txt')\nexcept FileNotFoundError:\n    pass\nelse:\n    assert False\nassert f('a.txt') == 1"
    assert judge(sandbox, counts, missing, files={"a.txt": "x"}).passed


def test_the_next_program_finds_no_file_of_the_last(sandbox):
    assert judge(sandbox, WRITES, "f('left.txt', ['x'])\nassert open('left.txt').read() == 'x'").passed
    probe = "import os\ndef f(): return os.listdir('.')"
    assert judge(sandbox, probe, "found = f()\nassert found == []").passed


def test_a_resident_tester_keeps_nothing_between_candidates(sandbox):
    """Counters of the test, drawn numbers and in-place changes start anew for each."""
    test = "import random\nseen = []\nseen.append(f(random.random()))\nassert len(seen) == 1\nassert seen[0] == f(0)"
    first = "def f(x, _seen=[]):\n    _seen.append(x)\n    return 1"
    verdicts = [judge(sandbox, first, test) for _ in range(5)]
    assert all(verdict.passed for verdict in verdicts)
    draws = "import random\nvalue = f(random.random())\nassert value == 0"
    drawn = {judge(sandbox, "def f(x): raise ValueError(x)", draws).detail for _ in range(5)}
    assert len(drawn) == 1

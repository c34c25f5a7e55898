"""Honest programs get honest verdicts, by either method."""

import subprocess
import sys

import pytest

from evalkit.records import Method, Outcome
from evalkit.sandbox import Job, Limits, Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(2) as sandbox:
        yield sandbox


def judge(sandbox, program, tests, entry_point="f", **more):
    kind = {"tests": (tests,) if isinstance(tests, str) else tests} if not isinstance(tests, dict) else tests
    return sandbox.run(Job(id="x", program=program, entry_point=entry_point, **kind, **more))


CALLS = {
    "assert f(2) == 3": "def f(x): return x + 1",
    "assert f(2) is True": "def f(x): return x > 1",
    "assert f(2) is None": "def f(x): pass",
    "assert f([1])": "def f(x): return x",
    "assert not f([1])": "def f(x): return []",
    "assert f(1) != 2": "def f(x): return 1",
    "assert abs(f(1) - 0.1) < 1e-6": "def f(x): return x / 10",
    "assert abs(0.1 - f(1)) <= 1e-6": "def f(x): return x / 10",
    "assert math.isclose(f(1), 0.3, rel_tol=1e-9)": "def f(x): return 0.1 + 0.2",
    "assert f(x=1, y=[2]) == (1, [2])": "def f(x, y): return x, y",
    "assert f(3) == {1: {2}, (1,): b'x'}": "def f(x): return {1: {2}, (1,): b'x'}",
    "assert f(1) == 1.5": "from decimal import Decimal\ndef f(x): return Decimal('1.5')",
}


@pytest.mark.parametrize("test", CALLS)
def test_recorded_calls(sandbox, test):
    verdict = judge(sandbox, CALLS[test], test)
    assert (verdict.outcome, verdict.method) == (Outcome.PASSED, Method.CALLS)
    wrong = judge(sandbox, "def f(*args, **kwargs): return [[]]" if "not" not in test else "def f(x): return 1", test)
    assert wrong.passed == (test in ("assert f([1])", "assert f(1) != 2"))


STACK = """
class Stack:
    limit = 5
    def __init__(self, items=()): self.items = list(items)
    @classmethod
    def of(cls, *items): return cls(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        if not self.items: raise Empty("empty")
        return self.items.pop()
    @property
    def top(self): return self.items[-1]
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __eq__(self, other): return self.items == other.items
    def __getitem__(self, n): return self.items[n]
class Empty(Exception): pass
"""
SPLIT = {
    "methods": ("s = Stack()\ns.push(1).push(2)\nassert s.pop() == 2 and len(s) == 1 and s.top == 1", STACK),
    "iteration": ("assert list(Stack.of(1, 2)) == [1, 2] and 2 in Stack([2]) and Stack([7])[0] == 7", STACK),
    "class attribute": ("assert Stack.limit == 5", STACK),
    "equality of objects": ("assert Stack([1]) == Stack([1]) and Stack([1]) != Stack([2])", STACK),
    "isinstance": ("assert isinstance(Stack(), Stack) and not isinstance(3, Stack)", STACK),
    "own exception": (
        "try:\n    Stack().pop()\n    assert False\nexcept Empty as e:\n    assert str(e) == 'empty'\nassert Stack([1])",
        STACK,
    ),
    "setting": ("s = Stack()\ns.items = [4]\nassert s.pop() == 4", STACK),
    "lazy generator": (
        "g = f()\nassert next(g) == 0 and next(g) == 1\nassert [x for x, _ in zip(g, 'ab')] == [2, 3]",
        "def f():\n    i = 0\n    while True:\n        yield i\n        i += 1",
    ),
    "callback": ("assert f(lambda x: x * 2, 3) == [0, 2, 4]", "def f(g, n): return [g(i) for i in range(n)]"),
    "returned function": ("assert f(lambda x: x + 1)(3) == 5", "def f(g): return lambda x: g(g(x))"),
    "callback that raises": (
        "def h(x):\n    raise KeyError(x)\ntry:\n    f(h)\n    assert False\nexcept KeyError:\n    ok = True\nassert ok",
        "def f(g): return g(1)",
    ),
    "change in place": ("x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]", "def f(x): x.sort()"),
    "loop": ("for n in range(3):\n    assert f(n) == n", "def f(n): return n"),
}


@pytest.mark.parametrize("name", SPLIT)
def test_split(sandbox, name):
    test, program = SPLIT[name]
    verdict = judge(sandbox, program, test, entry_point="Stack" if program is STACK else "f")
    assert (verdict.outcome, verdict.method) == (Outcome.PASSED, Method.SPLIT), verdict


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("def test_it():\n    assert f(1) == 1", "a test that is never called"),
        ("for x in f(1):\n    assert x == 1", "a loop that never turns"),
        ("f(1)", "no assertion at all"),
        ("x = [1]\nf(x)\nassert x == [2]", "a change that did not happen"),
        ("try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass\nassert True", "an error that was not raised"),
    ],
)
def test_a_test_that_shows_nothing_is_no_pass(sandbox, test, why):
    assert judge(sandbox, "def f(x): return []", test).outcome is Outcome.WRONG, why


@pytest.mark.parametrize(
    "program",
    [
        "import threading\ndef f(x):\n    r = []\n    t = threading.Thread(target=lambda: r.append(x))\n    t.start(); t.join()\n    return r[0]",
        "import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))",
        "import tempfile\ndef f(x):\n    with tempfile.TemporaryFile('w+') as t:\n        t.write(str(x)); t.seek(0)\n        return int(t.read())",
        "import sqlite3\ndef f(x): return sqlite3.connect(':memory:').execute('select ?', (x,)).fetchone()[0]",
        "from dataclasses import dataclass\nimport pickle\n@dataclass\nclass P:\n    x: int\ndef f(x): return pickle.loads(pickle.dumps(P(x))).x",
        "import sys\ndef g(n): return n if n == 0 else 1 + g(n - 1)\ndef f(x): return g(900) - 900 + x",
        "def f(x):\n    print('chatter' * 1000)\n    return x",
        "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n    with ThreadPoolExecutor(2) as p: return list(p.map(int, [x]))[0]",
    ],
)
@pytest.mark.parametrize("tests", ["assert f(5) == 5", {"test_program": "def check(c):\n    assert c(5) == 5\n"}])
def test_what_programs_need_works_inside(sandbox, program, tests):
    assert judge(sandbox, program, tests).passed


def test_fixtures_are_there_and_gone_afterwards(sandbox):
    program = "import os\ndef f(): return open('data/a.txt').read() if os.path.exists('data/a.txt') else None"
    assert judge(sandbox, program, "assert f() == 'héé'", files={"data/a.txt": "héé"}).passed
    for _ in range(2):
        assert judge(sandbox, program, "assert f() is None").passed


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", ""])
def test_fixtures_stay_inside(name):
    with pytest.raises(ValueError, match="fixture"):
        Job(id="x", program="", entry_point="f", tests=("assert f()",), files={name: ""})


def test_set_order_is_that_of_hash_seed_0(sandbox):
    program = "def f(): return [*{'a', 'b', 'c', 'd', 'e', 'f'}]"
    command = [sys.executable, "-c", program + "\nprint(f())"]
    order = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True).stdout
    for _ in range(3):
        assert judge(sandbox, program, f"assert f() == {order.strip()}").passed


def test_cpu_limit_comes_from_the_reference(sandbox):
    loop = judge(sandbox, "def f(x):\n    while True: pass", "assert f(1) == 1", reference="def f(x): return x")
    assert loop.outcome is Outcome.CPU_TIMEOUT
    assert loop.cpu < 0.5
    slow = judge(sandbox, "def f(x): return sum(range(10**12))", "assert f(1) == 1", limits=Limits(cpu=0.2))
    assert slow.outcome is Outcome.CPU_TIMEOUT


def test_the_failing_assertion_is_named(sandbox):
    tests = ("assert f(1) == 1", "assert f(2) == 5")
    verdict = judge(sandbox, "def f(x): return x", tests)
    assert (verdict.assertions_held, verdict.assertions_total, verdict.failed_assertion) == (1, 2, tests[1])
    verdict = judge(sandbox, "def f(x): return x", {"test_program": "\n".join(tests) + "\nassert len([1]) == 1"})
    assert (verdict.assertions_held, verdict.assertions_total, verdict.failed_assertion) == (1, 3, tests[1])

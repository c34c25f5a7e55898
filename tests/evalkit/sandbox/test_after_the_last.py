"""What one program leaves must not reach the next, whatever it made of its folder, its answers or its tester."""

import pytest

from evalkit.records import Outcome, Tier
from evalkit.sandbox import Job, Limits, Sandbox

T = ("assert f(1) == 2",)
HONEST = "def f(x): return x + 1"


@pytest.fixture(scope="module", params=[Tier.NAMESPACES, Tier.LANDLOCK])
def sandbox(request):
    with Sandbox(1, tier=request.param) as sandbox:
        yield sandbox


def judge(sandbox, program, entry_point="f", **more):
    tests = {} if "test_program" in more or "stdio" in more else {"tests": T}
    return sandbox.run(Job(id="x", program=program, entry_point=entry_point, **tests, **more))


@pytest.mark.parametrize(
    "mess",
    [
        "import os\nos.mkdir('d', 0o300)\nopen('d/x', 'w').write('hello')",
        "import os\nos.umask(0o777)\nos.mkdir('d')\nopen('x', 'w').write('hello')",
        "import os\nfor i in range(150):\n    os.mkdir('d')\n    os.chdir('d')\nopen('x', 'w').write('hello')",
        "import os\nfor i in range(70):\n    os.mkdir('d', 0o300)\n    os.chdir('d')",
        "import os\nfor i in range(900):\n    open(f'f{i}', 'w').close()",
        "import os\nos.symlink('/etc/passwd', 'a')\nos.symlink('.', 'b')\nos.mkdir('c')\nos.symlink('..', 'c/up')",
        "import os\nos.mkdir('d', 0o300)\nfor i in range(40):\n    try: open(f'd/{i}', 'w').write('x' * (1 << 20))\n    except OSError: break",
        "import os\nfor fd in range(3): os.close(fd)\nos.mkdir('d', 0o300)\ntry:\n    for i in range(5000): open(f'd/{i}', 'w').close()\nexcept OSError: pass",
    ],
)
def test_the_folder_is_empty_for_the_next(sandbox, mess):
    judge(sandbox, f"{mess}\n{HONEST}")
    look = "import os\ndef f(x): return os.listdir('.')"
    found = sandbox.run(Job(id="y", program=look, entry_point="f", tests=("assert f(1) == []",)))
    assert found.passed, found
    assert judge(sandbox, HONEST, files={"big.txt": "x" * 100_000}).passed


LOOK = """
import sys

def f(x):
    frame, found = sys._getframe(), []
    while frame := frame.f_back:
        held = frame.f_locals.get("self")
        found += [(name, bytes(kept)) for name, kept in vars(held or f).items() if type(kept) is bytearray]
    kept = {name: held[48 * (name == "_listing"):] for name, held in found if name in NAMES}  # 48: its `.` and `..`
    return {name: held.hex() for name, held in kept.items() if any(held)}, len(kept)
"""


def test_how_a_program_ended_and_what_it_wrote_are_forgotten(sandbox):
    """Walking up its stack a program finds the jail's own memory; there is nothing of its predecessor in it."""
    judge(sandbox, "import os\ndef f(x):\n    open('hello', 'w').close()\n    os._exit(77)")
    judge(sandbox, "import os\ndef f(x):\n    while True: pass", limits=Limits(cpu=0.1))
    look = "NAMES = 'answer', 'spare', 'clock', '_listing'\n" + LOOK
    found = sandbox.run(Job(id="y", program=look, entry_point="f", tests=("assert f(1) == ({}, 4)",)))
    assert found.passed, found


def test_a_hidden_folder_is_no_way_round_the_disk_limit():
    with Sandbox(1, tier=Tier.LANDLOCK) as sandbox:
        for hide in ("os.mkdir('d', 0o300); os.chdir('d')", "[(os.mkdir('d'), os.chdir('d')) for _ in range(100)]"):
            fill = f"import os, time\n{hide}\nfor i in range(6):\n    open(f'{{i}}', 'wb').write(bytes(15 << 20))\n"
            verdict = judge(sandbox, f"{fill}time.sleep(0.5)\n{HONEST}")
            assert verdict.outcome is Outcome.OUTPUT_LIMIT
            assert judge(sandbox, HONEST).passed


@pytest.mark.parametrize(
    "value",
    [
        "__import__('decimal').Decimal('NaN')",
        "__import__('decimal').Decimal('sNaN')",
        "__import__('decimal').Decimal('9.99E999999999999999999')",
        "__import__('decimal').Decimal('Infinity')",
        "float('nan')",
        "10 ** 5000",
        "1j",
    ],
)
def test_no_answer_breaks_the_driver(sandbox, value):
    for test in (*T, "assert abs(f(1) - 2) < 1e-6", "assert f(1) != 2 and f(1) == 2"):
        assert not sandbox.run(Job(id="x", program=f"def f(x): return {value}", entry_point="f", tests=(test,))).passed
    assert judge(sandbox, HONEST).passed


FORGED = """
import json, os, struct
def frame(data):
    body = json.dumps(data).encode()
    return struct.pack("<I", len(body)) + body
for fd in range(3, 12):
    try: os.write(fd, frame(FRAME))
    except OSError: pass
os._exit(0)
"""


@pytest.mark.parametrize(
    "said",
    [
        '[["ok", {"!F": "1/0"}]]',
        '[["ok", {"!D": "abc"}]]',
        '[["raise", "X\\ud800", "Y\\udfff", []]]',
        '["loaded", ["raise", "X\\ud800", "Y"], {}, []]',
        '[["ok", {"!@": 0}]]',
        '["ok", 2, None, ""]',
        '["raise", "E", "t", ["ValueError"], [[{"!t": 1}], 5], None, ""]',
        '["callback", -1, [], {}, ""]',
    ],
)
def test_forged_frames_give_a_verdict_that_can_be_stored(sandbox, said):
    program = FORGED.replace("FRAME", said)
    split = "def check(candidate):\n    y = candidate(1)\n    assert y == 2"
    for more in ({}, {"test_program": split}):
        verdict = judge(sandbox, program, **more)
        assert not verdict.passed
        verdict.model_dump_json().encode()
        assert judge(sandbox, HONEST, **more).passed
        assert not judge(sandbox, "def f(x): return 3", **more).passed


@pytest.mark.slow
def test_a_resident_tester_lets_go_of_large_answers(sandbox):
    test = "out = []\ndef check(candidate):\n    for i in range(1, 2):\n        out.append(candidate(i))\n    assert len(out[0]) == 300_000"
    large = "def f(x): return [0.5] * 600_000"
    for _ in range(12):
        assert judge(sandbox, large, test_program=test).outcome is Outcome.WRONG
    assert judge(sandbox, "def f(x): return list(range(300_000))", test_program=test).passed


def test_what_an_earlier_run_left_open_does_not_write_for_the_next(sandbox):
    test = (
        "def helper(): return 1\nassert f(1) == 1\ntext = open('r.txt').read()\njunk = [[i] for i in range(30000)]\n"
        "assert text == open('r.txt').read()\nfile = open('r.txt', 'w')\nfile.write('replaced')\nassert f(2) == 2\nfile.close()"
    )
    honest = "def f(x):\n    open('r.txt', 'w').write(f'report {x}')\n    return x"
    wrong = honest.replace("return x", "return 1")
    for _ in range(3):
        assert judge(sandbox, honest, test_program=test).passed
        assert judge(sandbox, wrong, test_program=test).outcome is Outcome.WRONG


SHARES = "def f(x): return x"


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(items): items.append(1)", "l = [1]\nf(items=l)\nassert l == [1, 1]"),
        ("def f(pair): pair[0].append(2)", "l = [1]\nf((l, 2))\nassert l == [1, 2]"),
        ("def f(rows): rows[0].append(9)", "r = [1]\nrows = [r]\nf(rows)\nassert r == [1, 9]\nassert rows[0] is r"),
        (
            "def f(l):\n    l.append(1)\n    raise ValueError('no')",
            "l = []\ntry:\n    f(l)\nexcept ValueError:\n    pass\nassert l == [1]",
        ),
        ("def f():\n    def g(l): l.sort()\n    return g", "l = [3, 1]\ng = f()\ng(l)\nassert l == [1, 3]"),
        ("def f(d): d['b'] = d.pop('a')", "d = {'a': [1]}\nf(d)\nassert d == {'b': [1]}"),
        ("def f(l): l.append(l)", "l = []\nf(l)\nassert l[0] is l"),
        ("def f(b): b[0] = 65", "b = bytearray(b'xy')\nf(b)\nassert b == b'Ay'"),
        (
            "def f(k): raise KeyError('missing')",
            "try:\n    f(1)\nexcept KeyError as e:\n    assert e.args[0] == 'missing'\nelse:\n    assert 0",
        ),
        (
            "class Bad(Exception):\n    def __init__(self, n):\n        super().__init__('bad')\n        self.n = n\n    def __str__(self): return f'very bad {self.n}'\ndef f(n): raise Bad(n)",
            "try:\n    f(5)\nexcept Bad as e:\n    assert e.n == 5\n    assert str(e) == 'very bad 5'\nelse:\n    assert 0",
        ),
        (
            "def f(n): return open(n).read()",
            "try:\n    f('none')\nexcept FileNotFoundError as e:\n    assert e.errno == 2\nelse:\n    assert 0",
        ),
        (
            "def f(g):\n    print('before')\n    g()\n    print('after')",
            "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    f(lambda: print('hello'))\nassert out.getvalue() == 'before\\nhello\\nafter\\n'",
        ),
        (
            "import sys\ndef f(x):\n    print('warning', file=sys.stderr)\n    print(x)",
            "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    f(5)\nassert out.getvalue() == '5\\n'",
        ),
        (
            "def f(n):\n    rows = [[i] for i in range(n)]\n    return rows + rows",
            "r = f(15000)\nassert r[0] is r[15000]\nassert len(r) == 30000",
        ),
    ],
)
def test_what_plain_python_shows_is_shown(sandbox, program, test):
    verdict = judge(sandbox, program, test_program=test, limits=Limits(cpu=2.0))
    assert verdict.passed, verdict
    if "print" not in program and "raise" not in program and "open" not in program:
        idle = "def f(*args, **kwargs): return lambda *_: None"
        assert not judge(sandbox, idle, test_program=test).passed


LRU = """
from collections import OrderedDict
class LRUCache(OrderedDict):
    def __init__(self, size):
        super().__init__()
        self.size = size
    def put(self, key, value):
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.size: self.popitem(last=False)
"""


@pytest.mark.parametrize(
    ("program", "name", "test"),
    [
        (
            LRU,
            "LRUCache",
            "c = LRUCache(2)\nfor k in 'abc':\n    c.put(k, 1)\nassert list(c) == ['b', 'c']\nassert c == {'b': 1, 'c': 1}\nassert len(c) == 2",
        ),
        (
            "class Stack(list):\n    def peek(self): return self[-1]",
            "Stack",
            "s = Stack([1])\ns.append(2)\nassert s.peek() == 2\nassert s == [1, 2]\ndel s[0]\nassert s != [1, 2]\nassert s == [2]",
        ),
        (
            "class Q:\n    def __init__(self): self.items = [1, 2]\n    def __iter__(self):\n        while self.items: yield self.items.pop(0)\n    def __len__(self): return len(self.items)",
            "Q",
            "q = Q()\nfor x in q:\n    break\nassert x == 1\nassert len(q) == 1",
        ),
        (
            "class N:\n    def __init__(self, v): self.v = v\n    def __eq__(self, o): return self.v == o.v\n    __hash__ = None",
            "N",
            "import copy\nn = N(1)\nold = copy.deepcopy(n)\nn.v = 2\nassert old.v == 1\nassert n != old",
        ),
        (
            "class C:\n    def __enter__(self):\n        self.on = True\n        return self\n    def __exit__(self, *e): self.on = False",
            "C",
            "c = C()\nwith c as d:\n    assert d.on\nassert not c.on",
        ),
    ],
)
def test_instances_keep_their_methods(sandbox, program, name, test):
    verdict = judge(sandbox, program, name, test_program=test)
    assert verdict.passed, verdict


def test_an_instance_that_claims_to_equal_data_does_not(sandbox):
    liar = "class f:\n    def __init__(self, *a): pass\n    def __eq__(self, other): return True\n    __hash__ = None"
    for test in (
        "y = f(1)\nassert y == 2",
        "y = f(1)\nassert 2 == y",
        "y = f(1)\nassert y in [2]",
        "y = f(1)\nassert not y != 2",
    ):
        assert judge(sandbox, liar, test_program=test).outcome is Outcome.WRONG


def test_a_message_that_raises_is_a_wrong_answer(sandbox):
    program = "class Odd:\n    def __str__(self): raise ValueError\n    __repr__ = __str__\ndef f(x): return Odd()"
    verdict = judge(sandbox, program, test_program="for i in (1, 2):\n    assert f(i) == i, f(i)")
    assert verdict.outcome is Outcome.WRONG

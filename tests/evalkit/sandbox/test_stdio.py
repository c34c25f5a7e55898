"""Programs that are judged by what they print: honest ones, wrong ones, and ones that look for the expected output."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from evalkit.records import Method, Outcome, Tier
from evalkit.sandbox import Job, Sandbox

CASES = (("2 3\n", "5\n"), ("-1 1\n", "0"))
HONEST = "a, b = map(int, input().split())\nprint(a + b)\n"


@pytest.fixture(scope="module", params=[Tier.NAMESPACES, Tier.LANDLOCK])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(1, tier=request.param) as made:
        yield made


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        (HONEST, Outcome.PASSED),
        (HONEST + "import sys\nsys.exit(0)\n", Outcome.PASSED),
        (HONEST + "print('  ')\n", Outcome.PASSED),
        ("import os\nx = os.read(0, 99).split()\nos.write(1, b'%d' % (int(x[0]) + int(x[1])))\n", Outcome.PASSED),
        ("import sys\nprint(sum(int(x) for line in sys.stdin for x in line.split()))\n", Outcome.PASSED),
        ("print(5)\n", Outcome.WRONG),
        ("pass\n", Outcome.WRONG),
        (HONEST + "print(1)\n", Outcome.WRONG),
        (HONEST + "raise SystemExit(3)\n", Outcome.EARLY_EXIT),
        (HONEST + "1 / 0\n", Outcome.EXCEPTION),
        ("print(\n", Outcome.SYNTAX_ERROR),
        ("input()\ninput()\n", Outcome.EXCEPTION),
        ("while True: pass\n", Outcome.CPU_TIMEOUT),
        ("while True: print('x' * 10000)\n", Outcome.OUTPUT_LIMIT),
        (HONEST + "import os\nos._exit(0)\n", Outcome.EARLY_EXIT),
        (
            'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'\\x20\\0\\0\\0["out", "5", null]          \')\n    except OSError: pass\n',
            Outcome.PROTOCOL_VIOLATION,
        ),
        (
            "import gc\nfound = [o for o in gc.get_objects() if isinstance(o, dict) and 'stdio' in o]\nprint(found[0]['stdio'][0][1])\n",
            Outcome.EXCEPTION,
        ),
    ],
)
def test_verdicts(sandbox: Sandbox, program: str, outcome: Outcome) -> None:
    limits = {"cpu": 0.5, "wall": 20.0}
    job = Job.model_validate({"id": "1", "program": program, "stdio": CASES, "limits": limits})
    verdict = sandbox.run(job)
    assert verdict.outcome is outcome, verdict
    assert verdict.method is Method.STDIO
    after = sandbox.run(job.model_copy(update={"program": HONEST}))
    assert after.passed
    assert after.assertions_held == after.assertions_total == 2


def test_the_first_wrong_line_is_shown(sandbox: Sandbox) -> None:
    job = Job(id="1", program="print('a')\nprint('b')\n", stdio=(("", "a\nc\n"),))
    verdict = sandbox.run(job)
    assert verdict.detail == "line 2: 'b', expected 'c'"
    assert verdict.failed_assertion == "case 1"


def test_exactly_one_kind_of_test() -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        Job(id="1", program="x", entry_point="f", tests=("assert f() == 1",), stdio=CASES)
    with pytest.raises(ValidationError, match="exactly one"):
        Job(id="1", program="x", entry_point="f")
    with pytest.raises(ValidationError, match="entry_point"):
        Job(id="1", program="x", tests=("assert f() == 1",))

"""Reads the hostile programs: `### name = expected outcome|another` and the program's lines, one file per theme."""

from dataclasses import dataclass
from pathlib import Path

from evalkit.records import Outcome

FOLDER = Path(__file__).parent / "attacks"


@dataclass(frozen=True)
class Attack:
    """A program that must not pass, and the outcomes it may have."""

    theme: str
    name: str
    expected: frozenset[Outcome]
    program: str


def read_attacks(canary: str = "/canary", port: int = 9) -> list[Attack]:
    """All attacks. `canary` is a file of the host and `port` a listening port of it: what must stay untouched."""
    written = {
        "NULL\n": "x = 1\0\n",
        "PARENTHESES\n": "x = " + "(" * 100_000 + ")" * 100_000 + "\n",
        "HUGE\n": "x = 1\n" * 8_000_000,
    }
    found = []
    for file in sorted(FOLDER.glob("*.txt")):
        _, *sections = file.read_text(encoding="utf-8").split("\n### ")
        for section in sections:
            head, _, body = section.partition("\n")
            name, _, outcomes = head.rpartition(" = ")
            body = body.strip() + "\n"
            program = written.get(body, body).replace("(CANARY", f"({canary!r}").replace("PORT)", f"{port})")
            expected = frozenset(Outcome(outcome) for outcome in outcomes.split("|"))
            found.append(Attack(file.stem.partition("_")[2], name, expected, program))
    return found

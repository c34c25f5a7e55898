"""What an untrusted answer, a tester's word or a program's end means as an outcome. All that is read is capped data."""

import signal
from typing import Any

from evalkit.records import Outcome
from evalkit.sandbox.calls import Call
from evalkit.sandbox.inside.codec import decode
from evalkit.sandbox.jails import Ended

HOSTILE = (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError, MemoryError, AttributeError)
"""What reading an untrusted answer can raise."""


def compare(answers: list[Any], calls: tuple[Call, ...]) -> dict[str, Any]:
    """Outcome of recorded calls: every one answered, and every answer right."""
    for held, call in enumerate(calls):
        facts: dict[str, Any] = {"assertions_held": held, "failed_assertion": call.source}
        try:
            answer = answers[held]
            if answer[0] == "ok":
                value = decode(answer[1])
            elif answer[0] == "object":
                return facts | {"outcome": Outcome.WRONG, "detail": f"the answer is no plain data: {answer[1]}"[:300]}
            else:
                return facts | failed(answer)
        except IndexError:
            return facts | {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": "an answer is missing"}
        except HOSTILE as error:
            return facts | {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": f"no readable answer: {error!r}"[:300]}
        try:
            right = call.holds(value)
        except HOSTILE as error:  # `abs([] - 1) < 0.1`: in plain Python this raises, too
            return facts | {"outcome": Outcome.WRONG, "detail": f"the answer does not compare: {error!r}"[:300]}
        if not right:
            return facts | {"outcome": Outcome.WRONG}
    return {"assertions_held": len(calls), "outcome": Outcome.PASSED}


def compare_output(answer: list[Any], expected: str) -> dict[str, Any] | None:
    """What is wrong with what a program printed; None where its lines are the expected ones."""
    if len(answer) != 3 or answer[0] != "out" or type(answer[1]) is not str:
        return {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": "an answer of unknown form"}
    if answer[2]:
        return failed(answer[2]) if type(answer[2]) is list else {"outcome": Outcome.PROTOCOL_VIOLATION}
    got, wanted = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (answer[1], expected))
    if got == wanted:
        return None
    at = next(
        (i for i, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), min(len(got), len(wanted))
    )
    said = [lines[at] if at < len(lines) else "(no such line)" for lines in (got, wanted)]
    return {"outcome": Outcome.WRONG, "detail": f"line {at + 1}: {said[0][:100]!r}, expected {said[1][:100]!r}"}


def compare_any(answers: list[Any], calls: tuple[Call, ...]) -> dict[str, Any]:
    """Outcome of a probe: `passed` where at least one assertion holds."""
    held = []
    for index, (answer, call) in enumerate(zip(answers, calls, strict=False)):
        try:
            if answer[0] == "ok" and call.holds(decode(answer[1])):
                held.append(index)
        except HOSTILE:
            continue
    outcome = Outcome.PASSED if held else Outcome.WRONG
    return {"assertions_held": len(held), "held": tuple(held), "outcome": outcome}


def failed(answer: list[Any]) -> dict[str, Any]:
    """Outcome of a failure that the program's side reports."""
    if answer[0] == "syntax":
        return {"outcome": Outcome.SYNTAX_ERROR, "exception": str(answer[1])[:100], "detail": str(answer[2])[:300]}
    if answer[0] == "missing":
        return {"outcome": Outcome.NO_ENTRY_POINT}
    if answer[0] != "raise":
        return {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": "an answer of unknown form"}
    name, text = str(answer[1])[:100], str(answer[2])[:300]
    outcome = Outcome.EXCEPTION
    if name in ("SystemExit", "KeyboardInterrupt"):
        outcome = Outcome.EARLY_EXIT
    elif name == "MemoryError":
        outcome = Outcome.OUT_OF_MEMORY
    elif name == "PermissionError" and "[Errno 1]" in text:
        outcome = Outcome.FORBIDDEN
    return {"outcome": outcome, "exception": name, "detail": text}


def how_it_ended(ended: Ended, late: str | None) -> dict[str, Any]:
    """Outcome of a program that gave no answer."""
    if ended.why == "cpu":
        return {"outcome": Outcome.CPU_TIMEOUT}
    if ended.why == "disk":
        return {"outcome": Outcome.OUTPUT_LIMIT, "detail": "it wrote too much"}
    if late == "wall":
        return {"outcome": Outcome.WALL_TIMEOUT}
    if late == "flood":
        return {"outcome": Outcome.OUTPUT_LIMIT, "detail": "the answer is too long"}
    if late == "junk" or ended.why == "killed":
        return {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": "it broke off the exchange"}
    number = ended.signal
    if number is None:
        return {"outcome": Outcome.EARLY_EXIT, "detail": f"wait status {ended.status}"}
    if number == signal.SIGXCPU:
        return {"outcome": Outcome.CPU_TIMEOUT}
    if number == signal.SIGXFSZ:
        return {"outcome": Outcome.OUTPUT_LIMIT, "detail": "it printed or wrote too much"}
    if number == signal.SIGSYS:
        return {"outcome": Outcome.FORBIDDEN, "detail": "a system call of another architecture"}
    if number == signal.SIGKILL:
        return {"outcome": Outcome.OUT_OF_MEMORY, "detail": "killed from outside the jail"}
    return {"outcome": Outcome.SIGNAL, "detail": signal.Signals(number).name}


def no_verdict(ended: Ended, test_ended: Ended | None, late: str | None) -> dict[str, Any]:
    if ended.why in ("cpu", "disk") or late == "wall" or test_ended is None:
        return how_it_ended(ended, late)
    return how_it_ended(test_ended, late) | {"detail": "the test ended without a verdict"}


def read_verdict(answer: list[Any], loaded: list[Any] | None, ended: Ended) -> dict[str, Any]:
    """Outcome of a tester's verdict; the tester is no candidate, but its form is checked all the same."""
    try:
        what, held, total, assertion, name, text = answer
        facts: dict[str, Any] = {"assertions_held": int(held), "assertions_total": int(total)}
    except HOSTILE:
        return {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": "a verdict of unknown form"}
    if what == "passed":
        return facts | {"outcome": Outcome.PASSED}
    facts["failed_assertion"] = None if assertion is None else str(assertion)[:300]
    if what == "unreached":
        return facts | {"outcome": Outcome.WRONG, "detail": f"{held} of {total} assertions ran"}
    if what == "unloaded":
        try:
            return facts | failed(loaded[1]) if loaded else facts | how_it_ended(ended, "junk")
        except HOSTILE:
            return facts | how_it_ended(ended, "junk")
    if what == "broken":
        if name != "Broken":  # SystemExit and its like, that no test may catch
            return facts | failed(["raise", name, text])
        return facts | how_it_ended(ended, None)
    if name == "AssertionError":
        return facts | {"outcome": Outcome.WRONG, "detail": str(text)[:300]}
    return facts | failed(["raise", name, text])

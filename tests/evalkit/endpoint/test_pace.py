"""The pace: windows never see more than they may, refusals cut once, headers are heeded, waiting holds no slot."""

import asyncio
from collections.abc import Coroutine
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from endpoint_server import Server
from hypothesis import given
from hypothesis import strategies as st
from test_client import endpoint, requests, server  # noqa: F401  (a fixture)

from evalkit.endpoint import Answer, Journal, ask_many
from evalkit.endpoint.pace import Pace, Window, duration, retry_after

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 20))


@given(st.integers(1, 20), st.lists(st.tuples(st.floats(0, 3), st.integers(1, 8)), max_size=60))
def test_no_window_ever_sees_more_than_it_may(limit: int, steps: list[tuple[float, int]]) -> None:
    window, now, taken = Window(limit, 1.0), 0.0, []
    for pause, amount in steps:
        now += pause
        while (wait := window.wait(now, amount)) > 0:
            now += wait
        window.take(now, amount)
        taken.append((now, amount))
    for start, _ in taken:
        inside = [amount for at, amount in taken if start <= at < start + 1.0 - 1e-9]
        assert sum(inside) <= max(limit, max(inside))  # what is greater than the window goes alone
        assert sum(inside) <= limit or len(inside) == 1


def test_requests_a_minute_hold_and_do_not_starve() -> None:
    async def main() -> list[float]:
        pace = Pace(64, requests=10, minute=0.5)
        at = []

        async def one() -> None:
            slot = await pace.enter(1)
            at.append(slot.at)
            pace.leave(slot, answered=True)

        await asyncio.gather(*(one() for _ in range(35)))
        return at

    at = run(main())
    assert all(sum(start <= t < start + 0.5 - 1e-9 for t in at) <= 10 for start in at)
    assert max(at) - min(at) < 2.0  # four windows, and hardly more


def test_tokens_are_settled_at_what_they_were() -> None:
    async def main() -> float:
        pace = Pace(8, tokens=1000, minute=30.0)
        slot = await pace.enter(1000)
        pace.leave(slot, answered=True, tokens=100)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await pace.enter(900)
        return loop.time() - start

    assert run(main()) < 0.5


def test_a_burst_of_refusals_cuts_once_and_waits() -> None:
    async def main() -> None:
        pace = Pace(100)
        for _ in range(40):
            slot = await pace.enter()
            pace.leave(slot, answered=True)
        before = pace.allowed
        slots = [await pace.enter() for _ in range(10)]
        for slot in slots:
            pace.refused(slot, 0.2)
            pace.leave(slot, answered=False)
        assert before * 0.98 < pace.allowed < before  # the other nine were under way already
        loop = asyncio.get_running_loop()
        start = loop.time()
        slot = await pace.enter()
        assert loop.time() - start >= 0.15
        assert "429" in pace.why
        pace.leave(slot, answered=False)
        for _ in range(60):  # everything refused: down to one
            slot = await pace.enter()
            pace.refused(slot, 0.0001)
            pace.leave(slot, answered=False)
            await asyncio.sleep(0.0005)
        assert pace.allowed < 2

    run(main())


def test_who_is_cancelled_while_waiting_gives_nothing_away() -> None:
    async def main() -> None:
        pace = Pace(1)
        held = await pace.enter()
        waiting = asyncio.create_task(pace.enter())
        await asyncio.sleep(0.01)
        waiting.cancel()
        pace.leave(held, answered=True)
        slot = await asyncio.wait_for(pace.enter(), 1)
        assert pace.under_way == 1
        pace.leave(slot, answered=True)

    run(main())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("7", 7),
        ("", None),
        ("soon", None),
        ("1s?", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert 8 < retry_after({"retry-after": formatdate(usegmt=True, timeval=__import__("time").time() + 10)}) <= 10
    assert retry_after({"retry-after": "soon"}) == 1.0
    assert retry_after({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}) == 360
    assert retry_after({}) == 1.0


def test_headers_that_say_nothing_remains_are_heeded(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "150ms"}
    with Journal(tmp_path / "j.sqlite") as journal:
        answers = ask_many(endpoint(server, max_concurrency=1), journal, requests(6))
    assert all(isinstance(answer, Answer) for answer in answers.values())
    assert all(later - sooner > 0.14 for sooner, later in pairwise(server.arrivals))

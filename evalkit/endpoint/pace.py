"""How fast an endpoint is asked: more per round of answers, less by the share of it that was refused for its rate, and
never more than its windows allow. Who waits holds no slot."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

LONGEST = 86_400.0
"""Seconds that an endpoint may ask to wait."""
START = 8
"""Requests under way at first."""
CUT, GROWTH, MEMORY = 0.5, 0.1, 32
"""While everything is refused each round halves the concurrency, while a tenth is it takes a twentieth; a round of
answers gives back a tenth, and one request at least. So a few refusals among many answers cost little, and a limit that
is met is kept below."""


@dataclass(slots=True)
class Entry:
    """Something that a window counts until it is `seconds` old."""

    at: float
    amount: int


@dataclass(slots=True)
class Slot:
    """A request under way: when it was let in, and the tokens that it may cost."""

    at: float
    tokens: Entry | None = None


class Window:
    """At most `limit` in any `seconds`: a sliding sum, so no minute ever sees more than it may, wherever it begins."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self.entries: deque[Entry] = deque()
        self.sum = 0

    def wait(self, now: float, amount: int) -> float:
        """Seconds until `amount` fits. What is greater than the window itself goes when the window is empty."""
        while self.entries and self.entries[0].at <= now - self.seconds:
            old = self.entries.popleft()
            self.sum -= old.amount
            old.amount = 0
        over = self.sum + amount - self.limit
        if over <= 0 or not self.entries:
            return 0.0
        for entry in self.entries:
            over -= entry.amount
            if over <= 0:
                return entry.at + self.seconds - now
        return self.entries[-1].at + self.seconds - now

    def take(self, now: float, amount: int) -> Entry:
        entry = Entry(now, amount)
        self.entries.append(entry)
        self.sum += amount
        return entry

    def settle(self, entry: Entry, amount: int) -> None:
        """It took less than it might have."""
        if entry.amount:
            self.sum += amount - entry.amount
            entry.amount = amount


class Pace:
    """An adaptive semaphore with windows; first come, first served.

    `minute` is the windows' length in seconds: 60, and less in tests.
    """

    def __init__(
        self, limit: int, *, requests: int | None = None, tokens: int | None = None, minute: float = 60.0
    ) -> None:
        self.limit = limit
        self.allowed: float = min(START, limit)
        self.under_way = 0
        self.resume_at = 0.0
        """Event-loop time before which nothing is sent: the endpoint said so."""
        self.why = "starting"
        """What holds the concurrency where it is, in words."""
        self._requests = Window(requests, minute) if requests else None
        self._tokens = Window(tokens, minute) if tokens else None
        self._waiting: deque[tuple[asyncio.Future[Slot], int]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed: Exception | None = None
        self._cut_at = -1.0
        self.refusals = 0.0
        """Share of late replies that were refusals, the last thirty or so counting most."""

    async def enter(self, tokens: int = 0) -> Slot:
        """Wait for a slot, for the windows, and out of any pause that the endpoint asked for."""
        if self._closed is not None:
            raise self._closed
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, tokens))
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(future.result(), answered=False)
            raise

    def leave(self, slot: Slot, *, answered: bool, tokens: int | None = None) -> None:
        """Give the slot back, with the tokens that it took. Every answer allows a little more: twice as many requests
        after each round of answers until the first refusal, from then on a tenth."""
        self.under_way -= 1
        if self._tokens and slot.tokens and tokens is not None:
            self._tokens.settle(slot.tokens, tokens)
        if answered:
            self.refusals -= self.refusals / MEMORY
            if self.allowed < self.limit:
                step = 1.0 if self._cut_at < 0 else max(GROWTH, 1 / max(1, int(self.allowed)))
                self.allowed = min(self.limit, self.allowed + step)
                self.why = "growing while it answers"
            else:
                self.why = f"at its limit of {self.limit}"
        self._admit()

    def refused(self, slot: Slot, retry_after: float) -> None:
        """A 429: send nothing before `retry_after` seconds are over, and less from then on.

        Requests that were let in before the last cut say nothing new: a burst of refusals cuts once.
        """
        now = asyncio.get_running_loop().time()
        self.refusals += (1 - self.refusals) / MEMORY
        if slot.at > self._cut_at:
            self.allowed = max(1.0, self.allowed * (1 - CUT * self.refusals))
            self._cut_at = now
        self._pause(now + retry_after, f"429: paused for {retry_after:.3g} s")

    def close(self, reason: Exception) -> None:
        """Nothing is sent any more: who waits, and whoever comes, hears the reason."""
        self._closed = reason
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(reason)

    def away(self, seconds: float) -> None:
        """Nobody there: wait a while, all of us."""
        self._pause(asyncio.get_running_loop().time() + seconds, f"nobody there: waiting {seconds:.3g} s")

    def heard(self, headers: Mapping[str, str]) -> None:
        """Rate-limit headers: where nothing remains, nothing is sent before the reset."""
        now = asyncio.get_running_loop().time()
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                reset = duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
                if reset:
                    self._pause(now + min(reset, 3600.0), f"no {kind} remain for {reset:.3g} s")

    def _pause(self, until: float, why: str) -> None:
        if until > self.resume_at:
            self.resume_at, self.why = until, why

    def _admit(self) -> None:
        """Let in who may go; where time is what is waited for, come again by then."""
        loop = asyncio.get_running_loop()
        while self._waiting and self.under_way < int(self.allowed):
            future, tokens = self._waiting[0]
            if future.done():
                self._waiting.popleft()
                continue
            now = loop.time()
            if (wait := self._wait(now, tokens)) > 0:
                if self._alarm is None:
                    self._alarm = loop.call_later(wait, self._ring)
                return
            self._waiting.popleft()
            if self._requests:
                self._requests.take(now, 1)
            self.under_way += 1
            future.set_result(Slot(now, self._tokens.take(now, tokens) if self._tokens else None))

    def _wait(self, now: float, tokens: int) -> float:
        wait = self.resume_at - now
        for window, amount, name in ((self._requests, 1, "requests"), (self._tokens, tokens, "tokens")):
            if window and (found := window.wait(now, amount)) > max(wait, 0.0):
                wait, self.why = found, f"{window.limit} {name} a minute"
        return wait

    def _ring(self) -> None:
        self._alarm = None
        self._admit()


def retry_after(headers: Mapping[str, str], default: float = 1.0) -> float:
    """Seconds that a 429 asks to wait, from `retry-after-ms`, `retry-after` (seconds or a date), or the resets."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
            return min(max(0.0, seconds), LONGEST) if seconds == seconds else default
        except KeyError:
            continue
        except ValueError:
            try:
                return min(max(0.0, parsedate_to_datetime(headers[name]).timestamp() - time.time()), LONGEST)
            except (ValueError, TypeError):
                continue
    resets = [
        duration(headers.get(f"x-ratelimit-reset-{kind}", "")) or 0.0
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0"
    ]
    return max(resets, default=default) or default


def duration(text: str) -> float | None:
    """Seconds of `6m0s`, `1h2m3.5s`, `20ms` or a plain number; None where it is none of these."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        return None
    return sum(float(number) * {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}[unit] for number, unit in parts)

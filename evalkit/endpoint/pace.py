"""How many requests are under way: one more after a run of answers, half after a 429. Waiting frees the slot."""

import asyncio


class Pace:
    """An adaptive semaphore. Starts at the lesser of 8 and the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.allowed: float = min(8, limit)
        self.under_way = 0
        self.resume_at = 0.0
        """Event-loop time before which nothing is sent: an endpoint said Retry-After."""
        self._changed = asyncio.Condition()

    async def enter(self) -> None:
        """Wait for a slot, and out of any pause that the endpoint asked for."""
        loop = asyncio.get_running_loop()
        while True:
            while (pause := self.resume_at - loop.time()) > 0:
                await asyncio.sleep(pause)
            async with self._changed:
                await self._changed.wait_for(lambda: self.under_way < int(self.allowed))
                if self.resume_at <= loop.time():
                    self.under_way += 1
                    return

    async def leave(self, *, answered: bool) -> None:
        """Give the slot back. Every answer allows a little more: one request more per round of answers."""
        async with self._changed:
            self.under_way -= 1
            if answered:
                self.allowed = min(self.limit, self.allowed + 1 / max(1, int(self.allowed)))
            self._changed.notify_all()

    def refused(self, retry_after: float) -> None:
        """A 429: halve what is allowed (once per pause), and send nothing before `retry_after` seconds are over."""
        now = asyncio.get_running_loop().time()
        if now >= self.resume_at:
            self.allowed = max(1.0, self.allowed / 2)
        self.resume_at = max(self.resume_at, now + retry_after)

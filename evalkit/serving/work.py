"""What passes between the event loop and the model's thread: jobs one way, deltas the other."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from evalkit.models.scoring import Scores
from evalkit.serving.continuation import Continuation, Delta
from evalkit.serving.prompts import Prompt
from evalkit.serving.refusals import Refusal


class Ticket:
    """A request that waits for its answer. Belongs to the event loop; the model's thread only looks at `cancelled`."""

    def __init__(self, *, stream: bool) -> None:
        self.stream = stream
        """Whether it wants each token as it comes, or each continuation when it is whole."""
        self.cancelled = False
        """Nobody waits any more: its rows are dropped."""
        self.news: asyncio.Queue[Delta | Refusal] = asyncio.Queue()

    def cancel(self) -> None:
        self.cancelled = True

    async def next(self) -> Delta:
        """What came next. Raises Refusal where the model's thread gave the request up."""
        news = await self.news.get()
        if isinstance(news, Refusal):
            raise news
        return news


@dataclass
class Job:
    """A prompt, and the continuations of it that were not begun."""

    ticket: Ticket
    prompt: Prompt
    waiting: deque[Continuation]
    scored: int | None = None
    """How many of the likeliest tokens are kept for each place of the prompt; None where it is not scored."""
    scores: Scores | None = field(default=None, repr=False)
    """Filled by the model's thread before its first delta."""

    @property
    def to_score(self) -> bool:
        return self.scored is not None and self.scores is None


@dataclass
class Row:
    """A continuation in the batch."""

    job: Job
    continuation: Continuation

    @property
    def length(self) -> int:
        """Tokens that it has, the prompt's with it."""
        return len(self.job.prompt.ids) + self.continuation.out

    @property
    def over(self) -> bool:
        return self.continuation.finish is not None or self.job.ticket.cancelled

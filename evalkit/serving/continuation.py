"""One continuation under way: its tokens, its text, where it stops, and what of it may be given out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalkit.models.generation import stream
from evalkit.models.protocol import cut_at_stop
from evalkit.models.sampling import Draw
from evalkit.models.vocabulary import Text
from evalkit.serving.parameters import Sampling


class Token(NamedTuple):
    """A token that was drawn, as its logprobs are told."""

    id: int
    logprob: float
    top: list[tuple[int, float]]
    """Ids and logprobs of the likeliest, likeliest first."""
    offset: int
    """Where in the continuation's text it begins."""


@dataclass(frozen=True)
class Delta:
    """What a continuation has given since the last one. The last of all says how it ended."""

    index: int
    """The choice it belongs to."""
    text: str
    tokens: list[Token]
    finish: str | None = None
    """`stop` (end-of-text or a stop string) or `length`."""
    count: int = 0
    """Tokens generated, told with the end."""


@dataclass
class Continuation:
    """The `index`-th choice of a request: sample `sample` of one of its prompts."""

    index: int
    sample: int
    source: str | tuple[int, ...]
    sampling: Sampling
    seed: int
    limit: int
    """Tokens at most, by the request and by what the context leaves."""
    text: Text
    out: int = 0
    finish: str | None = None
    _tokens: list[Token] = field(default_factory=list)
    _given: int = 0
    """Characters given out."""
    _end: int = 0
    """Characters of the text up to the stop string, where one ended it."""
    _random: Any = None

    def draw(self) -> Draw:
        """How its next token is picked."""
        sampling = self.sampling
        if sampling.temperature == 0:
            return Draw(0.0)
        if self._random is None:
            source = self.source if isinstance(self.source, str) else list(self.source)
            self._random = stream(self.seed, source, self.sample)
        return Draw(sampling.temperature, sampling.top_p, float(self._random.random()))

    def take(self, token: int, *, ends: bool, told: tuple[float, list[tuple[int, float]]] | None = None) -> None:
        """One token more. `ends`: it is an end of text, and no part of the answer. `told`: its logprob and the
        likeliest ones."""
        if ends:
            self._close("stop")
            return
        self.out += 1
        if told is not None:
            self._tokens.append(Token(token, *told, offset=len(self.text.text)))
        self._look(self.text.add(token))
        if self.finish is None and self.out >= self.limit:
            self._close("length")

    def close(self) -> None:
        """Nothing is drawn for it."""
        self._close("length")

    def delta(self) -> Delta | None:
        """What may be given out and was not; None where that is nothing. Text that may yet become a stop string is
        held back."""
        text = self.text.text
        until = self._end if self.finish else len(text) - _held(text, self.sampling.stop)
        if self.finish is None and until <= self._given:
            return None
        piece = text[self._given : until]
        whole = self.finish is not None and until == len(text)
        ready = [token for token in self._tokens if whole or token.offset < until]
        self._tokens = self._tokens[len(ready) :]
        self._given = until
        return Delta(self.index, piece, ready, self.finish, self.out if self.finish else 0)

    def _close(self, finish: str) -> None:
        self._look(self.text.end())
        if self.finish is None:
            self.finish, self._end = finish, len(self.text.text)

    def _look(self, piece: str) -> None:
        """Ends at the first stop string that the new piece completes."""
        stops = self.sampling.stop
        if not piece or not stops:
            return
        start = max(0, len(self.text.text) - len(piece) - max(map(len, stops)) + 1)
        kept, found = cut_at_stop(self.text.text[start:], stops)
        if found:
            self.finish, self._end = "stop", start + len(kept)


def _held(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of the text that begins a stop string."""
    return max((_overlap(text, stop) for stop in stops), default=0)


def _overlap(text: str, stop: str) -> int:
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at = text.find(stop[0], at + 1)
    return 0

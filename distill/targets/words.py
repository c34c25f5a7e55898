"""Targets from an API that says the log-probabilities of its own words, and of none that it is given.

Its answer becomes a row, and each token of the row that the API cut alike carries what the API thought there: the
likeliest words by their spelling as our ids, and the rest. A token that it cut otherwise (where the answer was cut off,
or the end-of-text, which APIs do not show) carries the word itself with probability one, which is cross-entropy.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.align import vocabulary_size
from distill.data import IGNORE, Tokens
from distill.targets.drawing import Top
from distill.targets.served import LEAST_REST
from evalkit.endpoint import TokenLogprobs
from evalkit.models.vocabulary import Vocabulary

Said = tuple[bytes, tuple[tuple[int, float], ...]]
BROKEN = "\ufffd"
MOST = 1.05
"""What probabilities may sum to, rounded as APIs round them; beyond it they are none."""
_ESCAPED = re.compile(r"(?:bytes:)?((?:\\x[0-9a-f]{2})+)")


@dataclass(frozen=True)
class Place:
    """What the API thought at one token: our ids with their log-probabilities, likeliest first. Empty: it was not
    asked at this token, which is the word alone."""

    id: int
    likely: tuple[tuple[int, float], ...] = ()
    inner: bool = False
    """Whether it is neither the prompt's nor at an end of the answer: there the same tokenizer cuts alike, but for
    words that were drawn in an unusual cut."""


class Reader:
    """Lays answers beside rows, for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.vocabulary = Vocabulary(tokenizer)
        self.tokenizer, self.valid = tokenizer, vocabulary_size(tokenizer)
        self._ids: dict[bytes, int] = {}
        for id in sorted(self.vocabulary.real):
            self._ids.setdefault(self.vocabulary.spelling(id), id)

    def places(self, text: str, said: TokenLogprobs, completion: str, row: Tokens) -> list[Place]:
        """One for each learned token of the row, whose last tokens are those of `completion` and the end-of-text.
        `text` is the answer that the words of `said` make up."""
        learned = [label for label in row.labels[1:] if label != IGNORE]
        ids = [*self.tokenizer(completion, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
        before = [Place(id) for id in learned[: len(learned) - len(ids)]]
        spans, places = self._spans(text, said, completion), []
        joined = b"".join(map(self.vocabulary.spelling, ids[:-1]))
        start = len(completion.encode()) - len(joined)  # some tokenizers put a space of their own before a text
        for number, id in enumerate(ids):
            spelled = self.vocabulary.spelling(id)
            word, likely = spans.get((start, start + len(spelled)), (b"", ()))
            places.append(Place(id, likely if word == spelled else (), 0 < number < len(ids) - 2))
            start += len(spelled)
        return [*before, *places]

    def _spans(self, text: str, said: TokenLogprobs, completion: str) -> dict[tuple[int, int], Said]:
        """From the bytes of the completion that a token covers, to the word and what the API thought there. Of several
        places where it stands in the answer the last counts, as the last code block does."""
        spelled = self._spelled(text, said)
        whole, wanted = b"".join(spelled), completion.encode()
        at = whole.rfind(wanted)
        if at < 0:  # an answer that begins without the line break that the prompting contract puts before it
            at = whole.rfind(wanted.removeprefix(b"\n")) - (len(wanted) - len(wanted.removeprefix(b"\n")))
            if at < -1 or not wanted.strip():
                return {}
        spans, start = {}, -at
        for i, token in enumerate(spelled):
            end = start + len(token)
            if start >= 0 and i < len(said.top):
                spans[start, end] = (token, self._likely(said.top[i]))
            start = end
        return spans

    def _spelled(self, text: str, said: TokenLogprobs) -> list[bytes]:
        """The words as bytes. Where an API shows parts of characters as replacement signs, its text says which."""
        spelled = [spelling(token) for token in said.tokens]
        if not any(BROKEN in token for token in said.tokens):
            return spelled
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        ours = [self.vocabulary.spelling(id) for id in ids]
        alike = len(ours) == len(spelled) and all(
            own == word or BROKEN in token for own, word, token in zip(ours, spelled, said.tokens, strict=True)
        )
        return ours if alike else spelled

    def _likely(self, top: tuple[tuple[str, float], ...]) -> tuple[tuple[int, float], ...]:
        """Our ids of the words that the API names; a word that is no token here is left to the rest."""
        found: dict[int, float] = {}
        for word, log_prob in sorted(top, key=lambda pair: -pair[1]):
            id = self._ids.get(spelling(word))
            if id is not None:
                found.setdefault(id, min(log_prob, 0.0))
        whole = sum(math.exp(log_prob) for log_prob in found.values())
        return tuple(found.items()) if whole < MOST else ()


def spelling(word: str) -> bytes:
    """The bytes of a word as an API shows it: part of a character comes as `\\xe2\\x9c`, also behind `bytes:`."""
    if (escaped := _ESCAPED.fullmatch(word)) is not None:
        raw = bytes.fromhex(escaped[1].replace("\\x", ""))
        if word.startswith("bytes:") or not _is_text(raw):
            return raw
    return word.encode(errors="replace")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def as_top(places: list[Place], k: int, valid: int) -> Top:
    """The places in the form of a cache of the k likeliest. Where fewer are known, other ids with probability zero fill
    the list."""
    n = len(places)
    ids, log_probs, rest = np.zeros((n, k), np.int64), np.full((n, k), -np.inf, np.float32), np.full(n, -np.inf)
    for i, place in enumerate(places):
        known = place.likely[:k] or ((place.id, 0.0),)
        listed = [id for id, _ in known]
        others = (id for id in range(valid) if id not in listed)
        ids[i] = [*listed, *(next(others) for _ in range(k - len(listed)))]
        log_probs[i, : len(listed)] = [log_prob for _, log_prob in known]
        if place.likely and k < valid:
            rest[i] = np.log(max(1 - float(np.exp(log_probs[i]).sum()), LEAST_REST))
    return Top(ids, log_probs, rest.astype(np.float32))

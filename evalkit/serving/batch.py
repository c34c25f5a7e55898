"""The rows that are generated together. Prompts join between two token steps, rows leave as soon as they end.

1. start    feeds new prompts in one pass, each once, however many continuations it has; scores those that ask for it
2. advance  picks a token for every row, keeps the rows that go on
3. join     the rows that go on stand beside those under way, in one cache
4. step     feeds the tokens picked last, and advances
"""

from collections.abc import Callable, Sequence
from typing import Any

from evalkit.endpoint.reading import LEAST_LOGPROB
from evalkit.models.cached import CachedRows, full_cache, joinable, padding_id
from evalkit.models.generation import end_ids
from evalkit.models.sampling import pick
from evalkit.models.scoring import likeliest, score
from evalkit.models.vocabulary import Vocabulary
from evalkit.serving.refusals import Refusal
from evalkit.serving.work import Job, Row

Fail = Callable[[Job, Refusal], None]
NOT_FINITE = Refusal(500, "the model's logits are not finite: its weights are broken")


class Batch:
    """Rows of one model under way. Only the model's thread touches it, in inference mode."""

    def __init__(self, model: Any, tokenizer: Any, vocabulary: Vocabulary, fail: Fail) -> None:
        self.model, self.vocabulary, self.fail = model, vocabulary, fail
        self.ends, self.pad = end_ids(model, tokenizer), padding_id(tokenizer)
        self.joinable = joinable(model)
        """Whether prompts may join half-way; otherwise a batch is started once the one before has ended."""
        self.rows: list[Row] = []
        self.cached: CachedRows | None = None
        self.torn = False
        """Whether joining failed half-way: rows and cache do not belong together any more."""

    def start(self, rows: Sequence[Row]) -> None:
        """Feeds the prompts of new rows, which are all scored or all not, and gives each row its first token."""
        jobs = list({id(row.job): row.job for row in rows}.values())
        cached = CachedRows(
            self.model, [job.prompt.ids for job in jobs], self.pad, full_cache() if self.joinable else None
        )
        logits = self._score(cached, jobs) if jobs[0].to_score else self.vocabulary.masked(cached.forward())
        for row in rows:
            if row.continuation.limit == 0:
                row.continuation.close()
        place = {id(job): i for i, job in enumerate(jobs)}
        alive = [row for row in rows if not row.over]
        if not alive:
            return
        places = [place[id(row.job)] for row in alive]
        kept = self._advance(cached, logits[places], alive, places)
        if not kept:
            return
        if self.cached is None:
            self.cached = cached
        else:
            self.torn = True
            self.cached.join(cached)
            self.torn = False
        self.rows += kept

    def step(self) -> None:
        """One token more for every row."""
        self.drop()
        if self.cached is None:
            return
        logits = self.vocabulary.masked(self.cached.forward())
        self.rows = self._advance(self.cached, logits, self.rows, list(range(len(self.rows))))
        self._tidy()

    def drop(self) -> None:
        """Frees the rows of requests that nobody waits for any more."""
        keep = [i for i, row in enumerate(self.rows) if not row.over]
        if self.cached is not None and 0 < len(keep) < len(self.rows):
            self.cached.select(keep)
        self.rows = [self.rows[i] for i in keep]
        self._tidy()

    def clear(self) -> list[Row]:
        """Empties the batch; returns what was in it."""
        rows, self.rows, self.cached, self.torn = self.rows, [], None, False
        return rows

    def _tidy(self) -> None:
        if not self.rows:
            self.cached = None
        elif self.cached is not None and self.joinable:
            self.cached.trim(max(row.length for row in self.rows))

    def _advance(self, cached: CachedRows, logits: Any, rows: list[Row], places: list[int]) -> list[Row]:
        """Gives row i, which stands at `places[i]` in the cache, its next token; returns the rows that go on, and
        leaves the cache with those."""
        logits = self._sound(logits, rows)
        tokens = pick(logits, [row.continuation.draw() for row in rows])
        told = self._told(logits, tokens, rows)
        for row, token, told_of in zip(rows, tokens, told, strict=True):
            if not row.over:
                row.continuation.take(token, ends=token in self.ends, told=told_of)
        keep = [i for i, row in enumerate(rows) if not row.over]
        if keep:
            selected = [places[i] for i in keep]
            if selected != list(range(len(cached))):
                cached.select(selected)
            cached.append([tokens[i] for i in keep])
        return [rows[i] for i in keep]

    def _sound(self, logits: Any, rows: list[Row]) -> Any:
        """The logits, with zeros in rows where they are not finite; those rows are refused."""
        import torch

        sound = torch.isfinite(logits.amax(-1))
        for row, healthy in zip(rows, sound.tolist(), strict=True):
            if not healthy:
                self.fail(row.job, NOT_FINITE)
        return logits if bool(sound.all()) else logits.where(sound.unsqueeze(-1), 0.0)

    def _told(self, logits: Any, tokens: list[int], rows: list[Row]) -> list[Any]:
        """For each row that asked for logprobs: its token's, and ids and logprobs of the likeliest; otherwise None."""
        told: list[Any] = [None] * len(rows)
        asked = [i for i, row in enumerate(rows) if row.continuation.sampling.logprobs is not None]
        if asked:
            tops = [rows[i].continuation.sampling.logprobs or 0 for i in asked]
            most = min(max(tops), len(self.vocabulary.real))
            found = likeliest(logits[asked], [tokens[i] for i in asked], most)
            for i, top, logprob, ids, values in zip(asked, tops, *found, strict=True):
                pairs = [(id, max(value, LEAST_LOGPROB)) for id, value in zip(ids[:top], values[:top], strict=True)]
                told[i] = (max(logprob, LEAST_LOGPROB), pairs)
        return told

    def _score(self, cached: CachedRows, jobs: list[Job]) -> Any:
        """Scores the prompts; returns the logits of their last positions."""
        import numpy as np

        size = len(self.vocabulary.real)
        tops = [size if job.scored == -1 else min(job.scored or 0, size) for job in jobs]
        lengths = [len(job.prompt.ids) for job in jobs]
        scores, logits = score(cached, lengths, tops, self.vocabulary, whole=not self.joinable)
        for job, found in zip(jobs, scores, strict=True):
            if np.isnan(found.logprobs).any():
                self.fail(job, NOT_FINITE)
            job.scores = found
        return logits

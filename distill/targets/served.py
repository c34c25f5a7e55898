"""Scores rows with a teacher behind a server that scores given text: vLLM's `prompt_logprobs`, or `evalkit serve`.

The server is sent token ids and says the k likeliest ids at each place, at temperature 1; the rest is one minus their
sum, which is all that it tells. Each answer is in the journal before it is used: a killed run asks for nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from distill.data import IGNORE, Tokens
from distill.recipe import ServedPart
from distill.targets.codec import Form, encode_top
from distill.targets.drawing import Top
from evalkit.endpoint import Answer, Endpoint, Journal, Request, ask_many
from evalkit.errors import ConfigError, EndpointError, ModelError

LEAST_REST = 1e-7
"""One minus a sum of 32-bit numbers is not known better than this."""

PROBE = "def add(a, b):\n    return a + b  # 3.14 ≈ π\n"
"""A text that both tokenizers must cut alike."""


@dataclass(frozen=True)
class ServedTeacher:
    endpoint: Endpoint
    tokenizer: Any
    form: Form
    journal: Path

    @classmethod
    def connect(cls, part: ServedPart, tokenizer: Any, form: Form, journal: Path) -> "ServedTeacher":
        """Raises EndpointError where the server does not score text, ModelError where it reads it otherwise."""
        try:
            endpoint = Endpoint(
                base_url=part.base_url,
                model=part.model,
                api_key_env=part.api_key_env,
                route="completions",
                max_concurrency=part.concurrency,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(first["msg"], where=f"served.{'.'.join(map(str, first['loc']))}") from error
        teacher = cls(endpoint, tokenizer, form, journal)
        teacher._probe()
        return teacher

    def score(self, rows: Sequence[Tokens]) -> list[bytes]:
        """One record per row, in their order."""
        answers = self._ask([tuple(row.input_ids) for row in rows])
        return [encode_top(self._top(row, answer), self.form) for row, answer in zip(rows, answers, strict=True)]

    def _ask(self, prompts: Sequence[str | tuple[int, ...]]) -> list[Answer]:
        params = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": self.form.k}
        requests = [Request(id=str(i), prompt=prompt, params=params) for i, prompt in enumerate(prompts)]
        with Journal(self.journal) as journal:
            answers = ask_many(self.endpoint, journal, requests)
        found = []
        for answer in answers.values():
            if isinstance(answer, EndpointError):
                raise answer
            if not answer.scored:
                raise EndpointError(
                    "the server answered, but did not score the prompt (it ignores prompt_logprobs)",
                    where=self.endpoint.base_url,
                    fix="use vLLM or `evalkit serve`; with other servers train on their words (method sft)",
                )
            found.append(answer)
        return found

    def _probe(self) -> None:
        """Is the server's tokenizer ours? It cuts a text, and we look for our ids at each place."""
        ids = self.tokenizer(PROBE)["input_ids"]
        scored = self._ask([PROBE])[0].scored
        if len(scored) + 1 != len(ids):
            raise ModelError(
                f"the server cuts a text into {len(scored) + 1} tokens, the tokenizer here into {len(ids)}",
                where=self.endpoint.base_url,
                fix="give the served model's own tokenizer",
            )
        for place, token in enumerate(ids[1:]):
            if token not in {i for i, _ in scored[place]}:
                raise ModelError(
                    f"the server reads token {place + 1} of a text otherwise than the tokenizer here (id {token})",
                    where=self.endpoint.base_url,
                    fix="give the served model's own tokenizer",
                )

    def _top(self, row: Tokens, answer: Answer) -> Top:
        if len(answer.scored) + 1 != len(row.input_ids):
            raise EndpointError(
                f"scored {len(answer.scored) + 1} tokens of {len(row.input_ids)}", where=self.endpoint.base_url
            )
        places = [answer.scored[t] for t, label in enumerate(row.labels[1:]) if label != IGNORE]
        if any(len(place) < self.form.k for place in places):
            raise EndpointError(f"said fewer than the {self.form.k} ids asked for", where=self.endpoint.base_url)
        if any(i >= self.form.valid for place in places for i, _ in place[: self.form.k]):
            raise ModelError("said ids that the tokenizer here does not have", where=self.endpoint.base_url)
        ids = np.array([[i for i, _ in place[: self.form.k]] for place in places], np.int64)
        log_probs = np.array([[p for _, p in place[: self.form.k]] for place in places])
        rest = 1 - np.exp(log_probs).sum(1)
        whole = self.form.k == self.form.valid
        rest = np.full(len(places), -np.inf) if whole else np.log(np.maximum(rest, LEAST_REST))
        return Top(ids, log_probs.astype(np.float32), rest.astype(np.float32))

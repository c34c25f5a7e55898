"""What a request asks for, made ready for the model's thread: one job per prompt, one continuation per choice."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.models.vocabulary import Text
from evalkit.serving.continuation import Continuation
from evalkit.serving.engine import Engine
from evalkit.serving.parameters import (
    MOST_CHOICES,
    Sampling,
    fresh_seed,
    read_model,
    read_sampling,
    streamed,
)
from evalkit.serving.prompts import Prompt, Reader
from evalkit.serving.refusals import Refusal, invalid, too_long
from evalkit.serving.work import Job, Ticket

MOST_LOGPROBS = 1 << 22
"""Logprobs that one answer may hold: as JSON they take some 70 bytes each."""
LONG = 1024
"""Tokens of an answer by a model that does not say how many positions it has."""


@dataclass
class Plan:
    """A request under way. Choice i continues prompt `i // n`."""

    chat: bool
    sampling: Sampling
    usage: bool
    """Whether a stream tells its usage at the end."""
    ticket: Ticket
    jobs: list[Job]

    @property
    def choices(self) -> int:
        return len(self.jobs) * self.sampling.n

    @property
    def prompt_tokens(self) -> int:
        return sum(len(job.prompt.ids) for job in self.jobs)

    def job(self, choice: int) -> Job:
        return self.jobs[choice // self.sampling.n]

    def submit(self, engine: Engine) -> None:
        """Gives the jobs to the model's thread; what asks for nothing of the model is answered here."""
        idle = [job for job in self.jobs if not job.to_score and all(c.limit == 0 for c in job.waiting)]
        for continuation in (continuation for job in idle for continuation in job.waiting):
            continuation.close()
            if delta := continuation.delta():
                self.ticket.news.put_nowait(delta)
        engine.submit([job for job in self.jobs if job not in idle])


def plan(body: Any, engine: Engine, name: str, *, chat: bool) -> Plan:
    """Reads the body of a request to one of the two routes. Raises Refusal."""
    body = read_model(body, name)
    sampling = read_sampling(body, chat=chat)
    stream, usage = streamed(body)
    if stream and sampling.prompt_logprobs is not None:
        raise invalid("prompt_logprobs", "cannot be streamed")
    prompts = _prompts(body, engine, chat)
    if len(prompts) * sampling.n > MOST_CHOICES:
        raise invalid("n", f"{len(prompts) * sampling.n} choices in one request; {MOST_CHOICES} at most")
    limits = [_limit(prompt, sampling, engine.room) for prompt in prompts]
    _check_size(prompts, limits, sampling, len(engine.vocabulary.real))
    ticket = Ticket(stream=stream)
    jobs = []
    for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        seed = fresh_seed() if sampling.seed is None else sampling.seed
        continuations = [
            Continuation(i * sampling.n + k, k, prompt.source, sampling, seed, limit, Text(engine.tokenizer))
            for k in range(sampling.n)
        ]
        jobs.append(Job(ticket, prompt, deque(continuations), sampling.scored))
    return Plan(chat, sampling, usage, ticket, jobs)


def _prompts(body: Mapping[str, Any], engine: Engine, chat: bool) -> list[Prompt]:
    needed = "messages" if chat else "prompt"
    if body.get(needed) is None:
        raise invalid(needed, "is missing")
    reader = Reader(engine.tokenizer, engine.vocabulary, engine.room)
    return [reader.messages(body["messages"])] if chat else reader.prompts(body["prompt"])


def _limit(prompt: Prompt, sampling: Sampling, room: int | None) -> int:
    """Tokens that may be generated. Raises Refusal where the prompt leaves no room for one that is asked for."""
    asked, length = sampling.max_tokens, len(prompt.ids)
    if room is None:
        return LONG if asked is None else asked
    if length > room or (length == room and asked != 0):
        raise too_long(f"{length} tokens", room)
    return room - length if asked is None else min(asked, room - length)


def _check_size(prompts: list[Prompt], limits: list[int], sampling: Sampling, vocabulary: int) -> None:
    def entries(k: int | None, tokens: int) -> int:
        return 0 if k is None else tokens * (vocabulary if k == -1 else min(k, vocabulary))

    told = entries(sampling.scored, sum(len(prompt.ids) for prompt in prompts))
    told += entries(sampling.logprobs, sampling.n * sum(limits))
    if told > MOST_LOGPROBS:
        said = f"up to {told} logprobs in one answer, {MOST_LOGPROBS} at most: ask for fewer prompts, tokens or places"
        raise Refusal(400, said, param="logprobs" if sampling.prompt_logprobs is None else "prompt_logprobs")

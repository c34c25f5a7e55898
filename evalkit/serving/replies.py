"""Answers in OpenAI's forms: completions and chat, whole or in chunks, with vLLM's scored prompts."""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from evalkit.endpoint.reading import LEAST_LOGPROB
from evalkit.models.scoring import Scores
from evalkit.models.vocabulary import Vocabulary
from evalkit.serving.continuation import Delta, Token
from evalkit.serving.plan import Plan


class Replies:
    """The answer to one request."""

    def __init__(self, plan: Plan, name: str, vocabulary: Vocabulary) -> None:
        self.plan, self.vocabulary = plan, vocabulary
        kind = {(True, False): "chat.completion", (True, True): "chat.completion.chunk"}
        form = kind.get((plan.chat, plan.ticket.stream), "text_completion")
        id = f"{'chatcmpl' if plan.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._echoed: dict[int, tuple[str, list[int]]] = {}
        self.head = {"id": id, "object": form, "created": int(time.time()), "model": name}

    def whole(self, deltas: Sequence[Delta]) -> bytes:
        """The body of an answer that is not streamed, of the one delta of each choice."""
        choices = []
        for delta in sorted(deltas, key=lambda delta: delta.index):
            text = json.dumps(self.choice(delta))
            if self.plan.sampling.prompt_logprobs is not None:
                scores, ids = self.plan.job(delta.index).scores, self.plan.job(delta.index).prompt.ids
                assert scores is not None
                places = scored_prompt(scores, ids, self.plan.sampling.prompt_logprobs, self.vocabulary)
                text = f'{text[:-1]}, "prompt_logprobs": {places}}}'
            choices.append(text)
        head = json.dumps({**self.head, "usage": self.usage(sum(delta.count for delta in deltas))})
        return f'{head[:-1]}, "choices": [{", ".join(choices)}]}}'.encode()

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
        """One event of a stream."""
        told = {"usage": usage} if self.plan.usage else {}
        return f"data: {json.dumps({**self.head, 'choices': choices, **told})}\n\n"

    def usage(self, completion: int) -> dict[str, int]:
        prompt = self.plan.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def choice(self, delta: Delta, *, first: bool = True) -> dict[str, Any]:
        """A choice, or what is new of it. `first`: an echoed prompt belongs before it."""
        sampling, found = self.plan.sampling, {"index": delta.index, "finish_reason": delta.finish}
        if self.plan.chat:
            told = None if sampling.logprobs is None else {"content": self._content(delta.tokens), "refusal": None}
            said = {"content": delta.text}
            message = {"delta": said} if self.plan.ticket.stream else {"message": {"role": "assistant", **said}}
            return {**found, **message, "logprobs": told}
        prompt, offsets = self._prompt(delta.index)
        lists: dict[str, Any] | None = None
        if sampling.logprobs is not None:
            lists = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
            if sampling.echo and first:
                self._echo(lists, delta.index, offsets)
            for token in delta.tokens:
                self._list(lists, token.id, token.logprob, token.top, len(prompt) + token.offset)
            if sampling.logprobs == 0:
                lists["top_logprobs"] = None
        return {**found, "text": prompt + delta.text if first else delta.text, "logprobs": lists}

    def _prompt(self, index: int) -> tuple[str, list[int]]:
        """The echoed prompt of a choice and where its tokens begin; nothing where no echo was asked for."""
        if not self.plan.sampling.echo:
            return "", []
        job = self.plan.job(index)
        if id(job) not in self._echoed:
            self._echoed[id(job)] = job.prompt.echoed(self.vocabulary.tokenizer)
        return self._echoed[id(job)]

    def _content(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        """The chat form of logprobs."""

        def entry(id: int, logprob: float) -> dict[str, Any]:
            return {"token": self.vocabulary.text(id), "logprob": logprob, "bytes": list(self.vocabulary.spelling(id))}

        return [
            {**entry(token.id, token.logprob), "top_logprobs": [entry(*pair) for pair in token.top]} for token in tokens
        ]

    def _echo(self, lists: dict[str, Any], index: int, offsets: Sequence[int]) -> None:
        """The prompt's part of the lists; nothing stands before its first token, which has no logprob."""
        job, k = self.plan.job(index), self.plan.sampling.logprobs or 0
        assert job.scores is not None
        values, ids, tops = (
            part.tolist() for part in (job.scores.logprobs, job.scores.top_ids, job.scores.top_logprobs)
        )
        self._list(lists, job.prompt.ids[0], None, (), offsets[0])
        for i, id in enumerate(job.prompt.ids[1:]):
            pairs = list(zip(ids[i][:k], map(_finite, tops[i][:k]), strict=True))
            self._list(lists, id, _finite(values[i]), pairs, offsets[i + 1])

    def _list(
        self,
        lists: dict[str, Any],
        id: int,
        logprob: float | None,
        top: Sequence[tuple[int, float]],
        offset: int,
    ) -> None:
        """One token more, in the completions form. The token itself is always among the top ones."""
        text = self.vocabulary.text(id)
        lists["tokens"].append(text)
        lists["token_logprobs"].append(logprob)
        named: dict[str, float] | None = None
        if logprob is not None:
            named = {
                self.vocabulary.text(other): value for other, value in reversed(top)
            }  # of equal texts the likelier
            named = dict(reversed(named.items())) | {text: logprob}
        lists["top_logprobs"].append(named)
        lists["text_offset"].append(offset)


def scored_prompt(scores: Scores, ids: Sequence[int], k: int, vocabulary: Vocabulary) -> str:
    """vLLM's `prompt_logprobs` as JSON: null, then for each token an object of the k likeliest and the actual one.

    Written without objects in between: over a whole vocabulary they would take a gigabyte.
    """
    names: dict[int, str] = {}

    def entry(id: int, logprob: float, rank: int) -> str:
        if (name := names.get(id)) is None:
            name = names[id] = json.dumps(vocabulary.text(id))
        return f'"{id}": {{"logprob": {_finite(logprob)!r}, "rank": {rank}, "decoded_token": {name}}}'

    places = ["null"]
    top = scores.top_ids.shape[1] if k == -1 else k
    for i, actual in enumerate(ids[1:]):
        likeliest = scores.top_ids[i, :top].tolist()
        found = zip(likeliest, scores.top_logprobs[i, :top].tolist(), strict=True)
        entries = [entry(id, logprob, rank) for rank, (id, logprob) in enumerate(found, start=1)]
        if actual not in likeliest:
            entries.append(entry(actual, float(scores.logprobs[i]), int(scores.ranks[i])))
        places.append("{" + ", ".join(entries) + "}")
    return f"[{', '.join(places)}]"


def _finite(logprob: float) -> float:
    """JSON has no infinity: what cannot be is as good as impossible."""
    return max(logprob, LEAST_LOGPROB)

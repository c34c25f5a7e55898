"""A model behind an OpenAI-compatible endpoint, asked through the journal: nothing is paid for twice."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evalkit.endpoint import Answer, Endpoint, Journal, Request, Status, ask_many
from evalkit.errors import EndpointError
from evalkit.models.protocol import Generated, cut_at_stop

MOST_STOPS = 4
"""Stop strings that the OpenAI API takes; the rest is cut here."""


class EndpointModel:
    """Continues prompts through `/completions` or `/chat/completions`.

    By the chat route the prompt is the user's message, and the answer may be a whole program in a fence: no stop string
    is sent or applied, and whoever makes the program of it looks at `chat`. `journal` is a file that keeps the answers;
    without one they are kept for this object's life only. `transport` replaces the network.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        journal: str | Path | None = None,
        *,
        max_usd: float | None = None,
        instruction: str = "",
        transport: Any = None,
    ) -> None:
        self.endpoint, self.max_usd, self.transport = endpoint, max_usd, transport
        self.instruction = instruction
        """A system message before the prompt, chat only."""
        self.name = endpoint.name or endpoint.model
        self.chat = endpoint.route == "chat"
        self.cost_usd: float | None = 0.0
        """Dollars of what was answered; None as soon as one price is unknown."""
        if journal is None:
            self._folder = TemporaryDirectory(prefix="journal-")
            journal = Path(self._folder.name, "journal.sqlite")
        self.journal = Path(journal)
        self.notes: list[str] = []
        """What a reader of the scores must know: parameters that the endpoint did not take."""
        self._answered = False

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Generated]]:
        """`n` answers per prompt; one that could not be had carries its error. Raises EndpointError where the very
        first cannot be had: then the server is down, and asking on would only wait."""
        answers = self.answers(
            prompts, n=n, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, stop=stop
        )
        return [[self._read(answer, stop) for answer in group] for group in answers]

    def answers(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Answer | EndpointError]]:
        """What `complete` reads: the answers as the journal has them, with their log-probabilities where the endpoint's
        parameters ask for them."""
        params: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if not self.chat and stop:
            params["stop"] = list(stop[:MOST_STOPS])
        requests = [
            self._request(f"{i}/{sample}", prompt, sample, {**params, "seed": seed + sample})
            for i, prompt in enumerate(prompts)
            for sample in range(n)
        ]
        with Journal(self.journal) as journal:
            if requests and not self._answered:
                self._raise_if_down(self._ask(journal, requests[:1]))
            answers = self._ask(journal, requests)
        return [[answers[f"{i}/{sample}"] for sample in range(n)] for i in range(len(prompts))]

    def _request(self, id: str, prompt: str, sample: int, params: dict[str, Any]) -> Request:
        if not self.chat:
            return Request(id=id, prompt=prompt, sample_index=sample, params=params)
        system = ({"role": "system", "content": self.instruction},) if self.instruction else ()
        messages = (*system, {"role": "user", "content": prompt})
        return Request(id=id, messages=messages, sample_index=sample, params=params)

    def _ask(self, journal: Journal, requests: Sequence[Request]) -> dict[str, Answer | EndpointError]:
        status = Status(notes=self.notes)
        asked = {"transport": self.transport, "max_usd": self.max_usd, "status": status}
        return ask_many(self.endpoint, journal, requests, **asked)

    def _raise_if_down(self, answers: dict[str, Answer | EndpointError]) -> None:
        for answer in answers.values():
            if isinstance(answer, EndpointError):
                raise answer
        self._answered = True

    def _read(self, answer: Answer | EndpointError, stop: Sequence[str]) -> Generated:
        if isinstance(answer, EndpointError):
            return Generated(text="", finish_reason="error", tokens=0, seconds=0.0, error=str(answer))
        self.cost_usd = None if self.cost_usd is None or answer.cost_usd is None else self.cost_usd + answer.cost_usd
        text, cut = (answer.text, False) if self.chat else cut_at_stop(answer.text, stop)
        return Generated(
            text=text,
            finish_reason="stop" if cut else answer.finish_reason,
            tokens=answer.usage.completion_tokens if answer.usage else None,
            seconds=answer.latency,
            error="" if answer.finish_reason in ("stop", "length") else f"ended by {answer.finish_reason!r}",
        )

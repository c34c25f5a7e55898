"""From the answers of an API to what would be learned of them, or the reason why there is nothing to learn."""

from collections import Counter
from dataclasses import dataclass

from distill.data import Row, Tokens, encode
from distill.recipe import DataPart
from distill.targets.words import Place, Reader
from evalkit.endpoint import Answer, Endpoint
from evalkit.errors import EndpointError, ModelError, OverBudget
from evalkit.prompting import PROMPTING
from evalkit.records import Problem

LEAST_ALIGNED = 0.95
"""Share of the tokens inside of answers that the API must cut as the tokenizer here does: below it, it is another."""
MOST_UNANSWERED = 0.2
"""Share of the questions that may stay without an answer."""


@dataclass(frozen=True)
class Candidate:
    """An answer as it would be learned: the task with that solution, and what the API thought of its tokens."""

    problem: Problem
    weight: float
    tokens: Tokens
    places: list[Place]


class Answers:
    """Collects the answers to the tasks of `part`."""

    def __init__(self, api: Endpoint, part: DataPart, reader: Reader) -> None:
        self.api, self.part, self.reader = api, part, reader
        self.candidates: list[Candidate] = []
        self.rejected: Counter[str] = Counter()
        self.count = 0
        """Of all answers that came."""
        self.heard = False
        """Whether any answer came with log-probabilities."""
        self.unanswered: list[EndpointError] = []
        self.cost_usd: float | None = 0.0

    def take(self, row: Row, sample: int, answer: Answer | EndpointError) -> None:
        """Add what would be learned of an answer. Raises EndpointError where the first ones come without
        log-probabilities."""
        if isinstance(answer, EndpointError):
            self.unanswered.append(answer)
            return
        self.count += 1
        known = self.cost_usd is not None and answer.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (answer.cost_usd or 0.0) if known else None
        if answer.logprobs is None or not any(answer.logprobs.top):
            if answer.text and not self.heard:
                raise EndpointError(
                    "the API answered, but did not say what it thought of its words (it ignores or refuses logprobs)",
                    where=self.api.base_url,
                    fix="lower k, or use its answers as data alone (synth generate, then method sft)",
                )
            self.rejected["no_logprobs" if answer.text else "empty"] += 1
            return
        self.heard = True
        found = self._candidate(row, sample, answer)
        if isinstance(found, str):
            self.rejected[found] += 1
        else:
            self.candidates.append(found)

    def _candidate(self, row: Row, sample: int, answer: Answer) -> Candidate | str:
        """What would be learned, or the reason why not."""
        assert answer.logprobs is not None  # `take` saw to it
        program, cut = self._program(row.problem, answer)
        if cut:
            return "cut_off"
        try:
            prompt, completion = PROMPTING.split_solution(row.problem.model_copy(update={"solution": program}))
        except ValueError:
            return "not_a_continuation"
        if completion.strip() not in answer.text:  # it stood in a list, say, indented as a whole
            return "not_verbatim"
        learned = {"solution": f"{prompt}{completion}\n", "source": self.api.label}
        problem = row.problem.model_copy(update={"id": f"{row.problem.id}~{sample}", **learned})
        weighted = Row(problem=problem, weight=row.weight)
        tokens = encode(weighted, self.reader.tokenizer, PROMPTING, self.part.prompt_weight)
        if len(tokens.input_ids) > self.part.max_length:
            return "too_long"
        places = self.reader.places(answer.text, answer.logprobs, completion, tokens)
        return Candidate(problem, row.weight, tokens, places)

    def _program(self, problem: Problem, answer: Answer) -> tuple[str, bool]:
        """The program of an answer, and whether its end was cut off."""
        from evalkit.evaluation import chat_program

        full = answer.finish_reason != "length"
        if self.api.route == "chat":
            fences = answer.text.count("```")
            return chat_program(problem, answer.text, PROMPTING), not full and (fences == 0 or fences % 2 == 1)
        return PROMPTING.program(problem, answer.text), not full and not PROMPTING.truncate(answer.text)[1]

    def check_answered(self) -> None:
        """Raises EndpointError where too many questions have no answer. What is missing for want of money is never left
        out; of what failed, a fifth at most."""
        missing, asked = len(self.unanswered), len(self.unanswered) + self.count
        budget = any(isinstance(error, OverBudget) for error in self.unanswered)
        if budget or missing > MOST_UNANSWERED * asked:
            last = self.unanswered[-1]
            fix = "run the same command again: it asks only for those" + (" (with a higher max_usd)" if budget else "")
            raise EndpointError(
                f"{missing} of {asked} questions have no answer yet; the last one: {last.what}",
                where=last.where,
                fix=fix,
            )

    def check_aligned(self, candidates: list[Candidate], tokenizer: str) -> None:
        """Raises ModelError where the API cuts its words otherwise than the tokenizer here."""
        inner = [place for candidate in candidates for place in candidate.places if place.inner]
        other = [place for place in inner if not place.likely]
        said = any(place.likely for candidate in candidates for place in candidate.places)
        if candidates and (not said or len(other) > len(inner) * (1 - LEAST_ALIGNED)):
            text = self.reader.vocabulary.text
            first = f"; the first is {text(other[0].id)!r} (id {other[0].id})" if other else ""
            raise ModelError(
                f"the API cuts its words otherwise than this tokenizer: {len(other)} of {len(inner)} tokens inside of "
                f"its answers{first}",
                where=tokenizer,
                fix="give the tokenizer of the API's model; with another one train on the words alone (method sft)",
            )

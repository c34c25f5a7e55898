"""What the student can do now: evalkit's evaluation on the live weights, as one record per suite and step."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from evalkit.prompting import Prompting
from evalkit.records import Problem, Record

VALIDATION = "validation"
"""Name under which the dataset's own validation split is scored. Only this chooses checkpoints."""


class Score(Record):
    """One suite at one step. Rates have `attempted` as their denominator; None is "not measured", never zero."""

    step: int
    suite: str
    attempted: int
    scored: int
    passed: int
    pass_at_1: float | None
    syntax_valid: float | None
    collapsed: float | None
    seconds: float
    samples: tuple[str, ...] = ()
    """The programs of the first few problems, for the report."""


Scorer = Callable[[Any, int], list[Score]]
"""Scores a live model at a step."""


def scorer(
    suites: Mapping[str, Sequence[Problem]],
    tokenizer: Any,
    sandbox: Any,
    prompting: Prompting,
    max_new_tokens: int,
    shown: int = 3,
) -> Scorer:
    """Greedy, one completion per problem. The random state and the mode of the model are left as they were."""
    from evalkit.evaluation import evaluate
    from evalkit.models import LocalModel

    def score(model: Any, step: int) -> list[Score]:
        scores = []
        with undisturbed(model):
            for name, problems in suites.items():
                local = LocalModel((model, tokenizer))
                result = evaluate(problems, local, sandbox, prompting=prompting, max_new_tokens=max_new_tokens)
                scores.append(_score(name, step, result, shown))
        return scores

    return score


def _score(name: str, step: int, result: Any, shown: int) -> Score:
    raise NotImplementedError


@contextmanager
def undisturbed(model: Any) -> Any:
    """Evaluation mode inside; mode and random state as before afterwards, so that evaluating changes no training."""
    import torch

    training = model.training
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        model.eval()
        try:
            yield
        finally:
            model.train(training)

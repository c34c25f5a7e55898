"""What the student can do now: evalkit's evaluation on the live weights, as one record per suite and step."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from distill.guard import collapsed_share
from evalkit.prompting import Prompting
from evalkit.records import Problem, Record

VALIDATION = "validation"
"""Name under which the dataset's own validation split is scored. Only this chooses checkpoints."""


class Score(Record):
    """One suite at one step. pass@1 is over `scored`, the other rates over `attempted`; None is "not measured"."""

    step: int
    suite: str
    attempted: int
    scored: int
    passed: int
    pass_at_1: float | None
    interval: tuple[float, float] | None
    """95% interval of pass@1."""
    syntax_valid: float | None
    mode_collapse: float | None
    """Share of the problems that get the most common answer."""
    collapsed: float | None
    """Share of completions that the guard calls collapsed."""
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
                start, local = time.perf_counter(), LocalModel((model, tokenizer))
                result = evaluate(problems, local, sandbox, prompting=prompting, max_new_tokens=max_new_tokens)
                scores.append(_score(name, step, result, time.perf_counter() - start, shown))
        return scores

    return score


def _score(name: str, step: int, evaluation: Any, seconds: float, shown: int) -> Score:
    summary, completions = evaluation.summary, [row.completion for row in evaluation.rows]
    interval = summary["pass_at_1_interval"]
    return Score(
        step=step,
        suite=name,
        attempted=summary["attempted"],
        scored=summary["scored"],
        passed=summary["passed"],
        pass_at_1=summary["pass_at_1"],
        interval=(interval["low"], interval["high"]) if interval else None,
        syntax_valid=summary["syntax_valid"],
        mode_collapse=summary["mode_collapse"],
        collapsed=collapsed_share([completion.text for completion in completions]),
        seconds=round(seconds, 2),
        samples=tuple(completion.program for completion in completions[:shown]),
    )


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

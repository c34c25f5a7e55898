"""What the student can do now: evalkit's evaluation on the live weights, as one record per suite and step."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import Field

from distill.guard import collapsed_share
from distill.recipe import EvalPart
from evalkit.prompting import Prompting
from evalkit.records import Problem, Record

VALIDATION = "validation"
"""Name under which the dataset's own validation split is scored. Only this chooses checkpoints."""


HELD_OUT = "held_out"
"""Name under which the loss on a corpus's held-out documents stands."""

AT_ONCE = 20
"""Problems between two looks at the clock, where a time limit is set."""


class Score(Record):
    """One suite at one step. pass@1 is over `scored`, the other rates over `attempted`; None is "not measured"."""

    step: int
    suite: str
    attempted: int
    scored: int
    passed: int | None
    pass_at_1: float | None
    interval: tuple[float, float] | None
    """95% interval of pass@1."""
    pass_at_k: dict[str, float] = Field(default_factory=dict)
    syntax_valid: float | None
    mode_collapse: float | None
    """Share of the problems that get the most common answer."""
    collapsed: float | None
    """Share of completions that the guard calls collapsed."""
    loss: float | None = None
    """Mean cross-entropy in nats per token, on a corpus's held-out documents."""
    seconds: float
    samples: tuple[str, ...] = ()
    """The programs of the first few problems, for the report."""
    note: str = ""
    """Why nothing was measured."""


Scorer = Callable[[Any, int], list[Score]]
"""Scores a live model at a step."""


def scorer(
    suites: Mapping[str, Sequence[Problem]],
    tokenizer: Any,
    sandbox: Any,
    prompting: Prompting,
    part: EvalPart,
    held_out: Callable[[Any, int], Score] | None = None,
    shown: int = 3,
) -> Scorer:
    """All suites, and the held-out loss where there is one. Random state and mode of the model are left as they were.

    The work is fixed. Where the recipe sets a time limit and it strikes, the suite is not measured: no part of it is
    reported, because a part would be another score.
    """
    from evalkit.models import LocalModel

    def score(model: Any, step: int) -> list[Score]:
        scores = []
        with undisturbed(model):
            if held_out is not None:
                scores.append(held_out(model, step))
            for name, problems in suites.items():
                start = time.perf_counter()
                found = _evaluate(problems, LocalModel((model, tokenizer)), sandbox, prompting, part)
                seconds = time.perf_counter() - start
                if found is None:
                    scores.append(_not_measured(name, step, seconds, f"the limit of {part.time_limit:g} s struck"))
                else:
                    scores.append(_score(name, step, found, seconds, shown))
        return scores

    return score


def _evaluate(problems: Sequence[Problem], model: Any, sandbox: Any, prompting: Prompting, part: EvalPart) -> Any:
    """The evaluation, or None where its time is over before its work is done."""
    from evalkit.evaluation import Evaluation, answer, summarise

    end = None if part.time_limit is None else time.perf_counter() + part.time_limit
    rows: list[Any] = []
    step = len(problems) if end is None else AT_ONCE
    for start in range(0, len(problems), step):
        rows += answer(
            problems[start : start + step],
            model,
            sandbox,
            prompting=prompting,
            n=part.n,
            temperature=part.temperature,
            max_new_tokens=part.max_new_tokens,
            seed=0,
        )
        if end is not None and time.perf_counter() > end:
            return None
    return Evaluation(rows, summarise(rows))


def held_out_loss(batches: Any, valid: int, size: int) -> Callable[[Any, int], Score]:
    """Scores the mean cross-entropy over all rows of a collator, `size` at a time."""

    def score(model: Any, step: int) -> Score:
        import torch

        from distill.losses import LossSpec, tiled_loss
        from distill.trainer import head_of, hidden_states, labelled, targets

        start, total, tokens = time.perf_counter(), 0.0, 0
        rows, device = range(len(batches.rows)), next(model.parameters()).device
        with torch.no_grad():
            for first in rows[::size]:
                batch = batches([{"members": [i]} for i in rows[first : first + size]])
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                where, labels, weights = targets(batch["labels"], None)
                hidden = labelled(hidden_states(model, batch), where)
                spec = LossSpec(valid, alpha=1.0)
                total += tiled_loss(hidden, head_of(model), labels, weights, spec).loss.item()
                tokens += len(labels)
        seconds = time.perf_counter() - start
        return _blank(HELD_OUT, step, seconds).model_copy(
            update={"attempted": len(rows), "scored": len(rows), "loss": total / tokens}
        )

    return score


def _blank(name: str, step: int, seconds: float) -> Score:
    return Score(
        step=step,
        suite=name,
        attempted=0,
        scored=0,
        passed=None,
        pass_at_1=None,
        interval=None,
        syntax_valid=None,
        mode_collapse=None,
        collapsed=None,
        seconds=round(seconds, 2),
    )


def _not_measured(name: str, step: int, seconds: float, note: str) -> Score:
    return _blank(name, step, seconds).model_copy(update={"note": note})


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
        pass_at_k={k: value for k, value in summary["pass_at_k"].items() if k != "1"},
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

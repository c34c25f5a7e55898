"""What happens between steps: evaluation on live weights, the best weights kept, the guard, the progress line."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from distill.checkpoint import save_folder
from distill.guard import Guard
from distill.recipe import GuardPart, Metric
from distill.scoring import HELD_OUT, VALIDATION, Score, Scorer
from evalkit.console import Tick, console
from evalkit.errors import TrainingError
from evalkit.runs import append_jsonl, read_jsonl, write_jsonl

SCORES = "scores.jsonl"
"""In the folder of the best weights: what was measured of these very weights."""


class History:
    """`evaluations.jsonl` of a run. On resume, what lies behind the resumed step is cut off and measured again.

    `best` is the folder of the best weights. It may be of a step behind the resumed one: those weights stay the best,
    with the scores that they had, until a measurement is as good. (Where a machine does not repeat itself, the same
    step may come out otherwise.) Weights that the guard calls collapsed are never the best.
    """

    def __init__(
        self,
        path: Path,
        resumed_step: int,
        metric: Metric,
        best: Path,
        guard: Guard,
    ) -> None:
        self.path, self.metric, self.guard = path, metric, guard
        found = read_jsonl(best / SCORES, Score) if (best / SCORES).exists() else []
        self.ahead = [score for score in found if score.step > resumed_step]
        """Scores of the kept weights where they are of a later step than this run has come to again."""
        self.scores = (
            [s for s in read_jsonl(path, Score, torn_tail=True) if s.step <= resumed_step] if path.exists() else []
        )
        if path.exists():
            write_jsonl(path, self.scores)

    def add(self, scores: list[Score]) -> None:
        append_jsonl(self.path, scores)
        self.scores += scores

    def at(self, step: int) -> list[Score]:
        return [s for s in self.scores if s.step == step]

    def of_best(self) -> list[Score]:
        """All that was measured of the best weights."""
        best = self.best
        if best is None:
            return []
        return self.ahead if any(best is score for score in self.ahead) else self.at(best.step)

    def judged(self, scores: list[Score]) -> list[Score]:
        """The scores that choose: of the validation split, or of what a corpus holds out, where they were measured."""
        suite = HELD_OUT if self.metric == "loss" else VALIDATION
        return [s for s in scores if s.suite == suite and getattr(s, self.metric) is not None]

    @property
    def best(self) -> Score | None:
        """Highest value of the metric (lowest of the loss) among the healthy; of equals the latest. None: there is
        none."""
        sign = -1 if self.metric == "loss" else 1
        healthy = [s for s in self.scores if not self.guard.is_sick(s.step, _collapsed(self.at(s.step)))]
        candidates = self.judged([*healthy, *self.ahead])
        return max(candidates, key=lambda s: (sign * getattr(s, self.metric), s.step), default=None)


class Evaluate(TrainerCallback):
    """Scores at intervals and at the end; keeps the best weights by the metric; early stop and guard."""

    def __init__(
        self,
        score: Scorer,
        history: History,
        guard: Guard,
        *,
        every: int,
        patience: int | None,
        keep: Callable[[Any, Path], None],
        best: Path,
        report: Callable[[dict[str, float]], None],
    ) -> None:
        self.score, self.history, self.guard, self.report = score, history, guard, report
        self.every, self.patience, self.keep, self.best = every, patience, keep, best
        self.seen = {s.step for s in history.scores}
        for step in sorted(self.seen):  # of a run that goes on
            guard.count(step, _collapsed(history.at(step)))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        due = (self.every > 0 and step % self.every == 0) or step >= state.max_steps
        if due:
            self.now(step, kwargs["model"], state, control)

    def now(self, step: int, model: Any, state: Any, control: Any) -> None:
        """Score these weights, unless that has been done. Of several processes the first does; all of them stop."""
        if step in self.seen:
            return
        self.seen.add(step)
        if state.is_world_process_zero:
            self._measure(step, model)
        if _said_by_the_first(self.over):
            control.should_training_stop = True

    def _measure(self, step: int, model: Any) -> None:
        scores = self.score(model, step)
        self.history.add(scores)
        for score in scores:
            console.print(_line(score), markup=False, soft_wrap=True)
        self.report(figures(scores))
        warning = self.guard.judge(step, _collapsed(scores), kept=self.history.best is not None)
        if warning:
            console.print(f"warning: {warning}", markup=False, soft_wrap=True)
        if any(self.history.best is score for score in scores):
            save_folder(lambda folder: self._keep(model, folder, scores), self.best)
            self.history.ahead = []

    def _keep(self, model: Any, folder: Path, scores: list[Score]) -> None:
        self.keep(model, folder)
        write_jsonl(folder / SCORES, scores)

    @property
    def over(self) -> bool:
        """Whether so many evaluations were no better than the best before them that training ends here."""
        best = self.history.best
        if not self.patience or best is None:
            return False
        return sum(s.step > best.step for s in self.history.judged(self.history.scores)) >= self.patience


def figures(scores: list[Score]) -> dict[str, float]:
    """What was measured, named as transformers' reports name evaluations; what was not measured is left out."""
    names = ("pass_at_1", "syntax_valid", "mode_collapse", "collapsed", "loss")
    found = {f"eval_{s.suite}_{name}": getattr(s, name) for s in scores for name in names}
    found |= {f"eval_{s.suite}_pass_at_{k}": value for s in scores for k, value in s.pass_at_k.items()}
    return {name: value for name, value in found.items() if value is not None}


def _said_by_the_first(value: bool) -> bool:
    """What process 0 says, in every process."""
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized():
        return value
    said = [value]
    distributed.broadcast_object_list(said, src=0)
    return said[0]


def _collapsed(scores: list[Score]) -> float | None:
    """Of the suites of one evaluation the largest share of collapsed completions; None where none was measured."""
    return max((s.collapsed for s in scores if s.collapsed is not None), default=None)


class Alarm(TrainerCallback):
    """A cross-entropy near zero is rarely good news. The first one is said aloud, and the student must show at once
    what it can do."""

    def __init__(self, part: GuardPart, evaluate: Evaluate) -> None:
        self.floor, self.evaluate = part.loss_floor if part.enabled else 0.0, evaluate

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        entropy = cross_entropy(logs)
        low = entropy is not None and entropy < self.floor
        before = (cross_entropy(entry) for entry in state.log_history[:-1] if "loss" in entry)
        if low and not any(value is not None and value < self.floor for value in before):
            console.print(
                f"warning: the cross-entropy is {entropy:.4f} nats a token at step {state.global_step}; on text that "
                "is worth learning it does not get there. Can the labels be read off the input, or is it one row over "
                "and over?",
                markup=False,
                soft_wrap=True,
            )
            self.evaluate.now(state.global_step, kwargs["model"], state, control)


def cross_entropy(logs: dict[str, float]) -> float | None:
    """Of a log entry: `ce` where the loss is more than that (distillation); None where it was not computed."""
    value = logs.get("ce", logs.get("loss") if "divergence" not in logs else None)
    return value if value is not None and math.isfinite(value) else None


class Show(TrainerCallback):
    """The progress line: steps, loss, learning rate. A loss that is no number stops the run."""

    def __init__(self, tick: Tick) -> None:
        self.tick, self.facts = tick, {}  # type: ignore[var-annotated]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tick(1, **self.facts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss is {logs['loss']} at step {state.global_step}",
                fix="lower training.learning_rate, or set training.max_grad_norm",
            )
        self.facts = {k: v for k, v in logs.items() if k in ("loss", "ce", "divergence", "learning_rate")}


def _line(score: Score) -> str:
    def rate(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.1%}"

    if score.note:
        return f"step {score.step}  {score.suite}: not measured: {score.note}"
    if score.loss is not None:
        return f"step {score.step}  {score.suite}: loss {score.loss:.4f} nats a token, {score.seconds:.1f} s"
    more = "".join(f", pass@{k} {rate(value)}" for k, value in score.pass_at_k.items())
    return (
        f"step {score.step}  {score.suite}: pass@1 {rate(score.pass_at_1)} ({score.passed}/{score.attempted}){more}, "
        f"syntax {rate(score.syntax_valid)}, collapsed {rate(score.collapsed)}, {score.seconds:.1f} s"
    )

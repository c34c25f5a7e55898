"""What happens between steps: evaluation on live weights, the best weights kept, the guard, the progress line."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from distill.checkpoint import save_folder
from distill.guard import Guard
from distill.scoring import VALIDATION, Score, Scorer
from evalkit.console import Tick, console
from evalkit.errors import TrainingError
from evalkit.runs import append_jsonl, read_jsonl, write_jsonl


class History:
    """`evaluations.jsonl` of a run. On resume, what lies behind the resumed step is cut off and measured again."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        self.path = path
        self.scores = (
            [s for s in read_jsonl(path, Score, torn_tail=True) if s.step <= resumed_step] if path.exists() else []
        )
        if path.exists():
            write_jsonl(path, self.scores)

    def add(self, scores: list[Score]) -> None:
        append_jsonl(self.path, scores)
        self.scores += scores

    @property
    def validation(self) -> list[Score]:
        return [s for s in self.scores if s.suite == VALIDATION and s.pass_at_1 is not None]

    @property
    def best(self) -> Score | None:
        """Highest validation pass@1; of equals the latest."""
        return max(self.validation, key=lambda s: (s.pass_at_1 or 0.0, s.step), default=None)


class Evaluate(TrainerCallback):
    """Scores at intervals and at the end; keeps the best weights by validation pass@1; early stop and guard."""

    def __init__(
        self,
        score: Scorer,
        history: History,
        guard: Guard,
        *,
        every: int | None,
        patience: int | None,
        keep: Callable[[Any, Path], None],
        best: Path,
    ) -> None:
        self.score, self.history, self.guard = score, history, guard
        self.every, self.patience, self.keep, self.best = every, patience, keep, best

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        due = (self.every is not None and step % self.every == 0) or step >= state.max_steps
        if not due or not state.is_world_process_zero or any(s.step == step for s in self.history.scores):
            return
        model = kwargs["model"]
        scores = self.score(model, step)
        self.history.add(scores)
        for score in scores:
            console.print(_line(score), markup=False, soft_wrap=True)
        shares = [s.collapsed for s in scores if s.collapsed is not None]
        warning = self.guard.judge(step, max(shares, default=None))
        if warning:
            console.print(f"warning: {warning}", markup=False, soft_wrap=True)
        best = self.history.best
        if best is not None and best.step == step:
            save_folder(lambda folder: self.keep(model, folder), self.best)
        if self.patience and best is not None:
            since = sum(s.step > best.step for s in self.history.validation)
            if since >= self.patience:
                control.should_training_stop = True


class Show(TrainerCallback):
    """The progress line: steps, loss, learning rate. A loss that is no number stops the run."""

    def __init__(self, tick: Tick) -> None:
        self.tick, self.facts = tick, {}  # type: ignore[var-annotated]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tick(1, **self.facts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            raise TrainingError(
                f"the loss is {logs['loss']} at step {state.global_step}",
                fix="lower training.learning_rate, or set training.max_grad_norm",
            )
        self.facts = {k: v for k, v in (logs or {}).items() if k in ("loss", "ce", "divergence", "learning_rate")}


def _line(score: Score) -> str:
    def rate(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.1%}"

    return (
        f"step {score.step}  {score.suite}: pass@1 {rate(score.pass_at_1)} ({score.passed}/{score.attempted}), "
        f"syntax {rate(score.syntax_valid)}, collapsed {rate(score.collapsed)}, {score.seconds:.1f} s"
    )

"""Where the rows went: counts with their denominators, cost per kept row, and the recall on planted flaws."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from synth.ask import Answered
from synth.records import Reject, Sample, Split


def funnel(answers: Sequence[Answered], samples: Sequence[Sample], rejects: Sequence[Reject]) -> dict[str, Any]:
    """The summary of a run. Unknown cost is None, never zero."""
    asked = Counter(answered.question.category for answered in answers)
    kept = Counter(sample.problem.category for sample in samples)
    stages = Counter(reject.stage.value for reject in rejects)
    costs = [answered.answer.cost_usd for answered in answers if answered.answer]
    cost = None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)
    tokens = sum(answered.answer.usage.completion_tokens for answered in answers if answered.answer)
    splits = Counter(sample.evidence.split for sample in samples)
    return {
        "asked": len(answers),
        "kept": len(samples),
        "rejected": dict(stages.most_common()),
        "splits": {split.value: splits[split] for split in Split},
        "solutions": len({sample.evidence.normal_form for sample in samples}),
        "categories": {name: {"asked": asked[name], "kept": kept[name]} for name in asked},
        "usd": cost,
        "usd_per_kept": None if cost is None or not samples else cost / len(samples),
        "completion_tokens_per_kept": tokens / len(samples) if samples else None,
        "planted": planted(answers, rejects),
    }


def planted(answers: Sequence[Answered], rejects: Sequence[Reject]) -> dict[str, dict[str, Any]]:
    """Flaws the built-in teacher planted, by kind: how many, how many were rejected and at which stages.

    `none` are the answers without a flaw: what was rejected of them was rejected for another reason (a task that came
    up twice, or one too near to a suite). Prose around the code is repaired by the parser, not rejected.
    """
    stage_of = {reject.id: reject.stage.value for reject in rejects}
    kinds: dict[str, list[str]] = defaultdict(list)
    for answered in answers:
        if answered.flaw is not None:
            kinds[answered.flaw].append(answered.question.id)
    return {
        kind: {
            "planted": len(ids),
            "rejected": sum(id in stage_of for id in ids),
            "at": dict(Counter(stage_of[id] for id in ids if id in stage_of).most_common()),
        }
        for kind, ids in sorted(kinds.items())
    }

"""Where the rows went: counts with their denominators, cost per kept row, and the recall on planted flaws."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from evalkit.endpoint import Spending, Status
from synth.ask import Answered
from synth.records import Reject, Sample, Split


def funnel(
    answers: Sequence[Answered],
    samples: Sequence[Sample],
    rejects: Sequence[Reject],
    spending: Spending,
    status: Status,
) -> dict[str, Any]:
    """The summary of a run. Unknown cost is None, never zero. `spending` is the whole journal's, earlier runs and
    answers that were sent back included."""
    stages = Counter(reject.stage.value for reject in rejects)
    splits = Counter(sample.evidence.split for sample in samples)
    usd = None if spending.unpriced else spending.paid
    return {
        "asked": len(answers),
        "kept": len(samples),
        "rejected": dict(stages.most_common()),
        "splits": {split.value: splits[split] for split in Split},
        "solutions": len({sample.evidence.normal_form for sample in samples}),
        "categories": yields(answers, samples, lambda answered: answered.question.category),
        "teachers": yields(answers, samples, lambda answered: answered.source or "no answer"),
        "unanswered": sum(answered.failure is not None for answered in answers),
        "corrected": sum(bool(answered.before) for answered in answers),
        "usd": usd,
        "usd_at_worst": None if spending.unpriced else spending.worst,
        "unknown_attempts": spending.open,
        "usd_per_kept": None if usd is None or not samples else usd / len(samples),
        "requests": dict(status.stats.most_common()),
        "notes": status.notes,
        "planted": planted(answers, rejects),
    }


def yields(
    answers: Sequence[Answered], samples: Sequence[Sample], group: Callable[[Answered], str]
) -> dict[str, dict[str, Any]]:
    """By group: asked, kept, and what a kept row cost in dollars and tokens, the rejected ones' share included."""
    kept_ids = {sample.id for sample in samples}
    groups: dict[str, list[Answered]] = defaultdict(list)
    for answered in answers:
        groups[group(answered)].append(answered)
    table = {}
    for name, members in groups.items():
        kept = sum(answered.question.id in kept_ids for answered in members)
        costs = [answered.cost_usd for answered in members]
        usages = [answered.usage for answered in members if answered.answers]
        known = None not in costs
        table[name] = {
            "asked": len(members),
            "kept": kept,
            "usd": sum(cost for cost in costs if cost is not None) if known else None,
            "usd_per_kept": sum(cost for cost in costs if cost is not None) / kept if known and kept else None,
            "tokens_per_kept": sum(u["prompt_tokens"] + u["completion_tokens"] for u in usages) / kept
            if kept and all(usages)
            else None,
        }
    return table


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

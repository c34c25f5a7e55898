"""The rows: which they are, how many are left, how long they are, how they fill the batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distill.data import fingerprint
from distill.preflight.findings import Finding, counted, ok, warn
from distill.preflight.subject import Subject
from distill.preparation import data_facts

TOPIC = "data"

FEW = 100
DROPPED, MANY_DROPPED = 0.01, 0.10
REPEATED = 0.01
PADDED = 0.30


def check(subject: Subject) -> Iterator[Finding]:
    yield _fingerprints(subject)
    yield _kept(subject)
    rows = len(subject.material.encoded.rows)
    if rows < FEW:
        why = "so few are learned by heart; scores will not tell luck from learning."
        yield warn(TOPIC, "few", f"{counted(rows, 'row')} to train on", why=why, fix=f"at least {FEW}", rows=rows)
    yield _repeated(subject)
    yield _lengths(subject)
    yield _filling(subject)


def _fingerprints(subject: Subject) -> Finding:
    recipe = subject.recipe
    facts = {"data": str(data_facts(recipe, subject.material)["data_fingerprint"])}
    folder = Path(recipe.data.folder) if recipe.data.folder is not None else None
    if folder is not None and (folder / "validation.jsonl").exists():
        facts["validation"] = fingerprint(folder / "validation.jsonl")
    if subject.parts is not None and "teacher_fingerprint" in subject.parts.facts:
        facts["teacher"] = str(subject.parts.facts["teacher_fingerprint"])
    return ok(TOPIC, "fingerprints", ", ".join(f"{name} {value}" for name, value in facts.items()), **facts)


def _kept(subject: Subject) -> Finding:
    """How many rows are left, and why the others are not."""
    found, documents = subject.material.encoded, subject.material.documents
    rows = len(found.rows)
    if documents is not None:
        what = f"{counted(len(documents.learned), 'document')} in {counted(rows, 'row')}"
        what += f", {len(documents.held_out):,} held out, {documents.repeated:,} repeated and left out"
        return ok(TOPIC, "kept", what, rows=rows, documents=len(documents.learned), repeated=documents.repeated)
    total = rows + found.too_long + found.not_a_continuation
    dropped = found.too_long + found.not_a_continuation
    facts = {
        "rows": rows,
        "too_long": found.too_long,
        "not_a_continuation": found.not_a_continuation,
        "dropped_share": round(dropped / total, 4),
    }
    longest = subject.recipe.data.max_length
    parts = [
        f"{number:,} ({number / total:.1%}) {reason}"
        for number, reason in (
            (found.too_long, f"longer than max_length {longest}"),
            (found.not_a_continuation, "whose solution does not continue its prompt"),
        )
        if number
    ]
    if not parts:
        return ok(TOPIC, "kept", f"all {counted(rows, 'row')} are learned", **facts)
    what = f"{rows:,} of {total:,} rows are learned; left out: {' and '.join(parts)}"
    if dropped / total <= DROPPED:
        return ok(TOPIC, "kept", what, **facts)
    strongly = dropped / total > MANY_DROPPED
    why = "the longest and hardest rows go first: what is learned is not what the dataset is."
    if strongly:
        why = "this is a large part of what was made and paid for; " + why
    needed = _needed(subject) if found.too_long else 0
    advice = [f"data.max_length={needed} keeps all lengths"] if needed else []
    advice += ["mend the solutions that do not continue their prompts"] if found.not_a_continuation else []
    return warn(TOPIC, "kept", what, why=why, fix="; ".join(advice), strongly=strongly, **facts)


def _needed(subject: Subject) -> int:
    """The max_length that leaves out none: solutions are tokenized whole, which is near enough."""
    texts = [row.problem.solution or "" for row in subject.material.rows]
    return max(len(ids) for ids in subject.material.tokenizer(texts)["input_ids"]) + 8


def _repeated(subject: Subject) -> Finding:
    rows = subject.material.encoded.rows
    times = len(rows) - len({tuple(row.input_ids) for row in rows})
    share = times / len(rows)
    what = f"{counted(times, 'row')} ({share:.1%}) {'repeats' if times == 1 else 'repeat'} another, token by token"
    if share <= REPEATED:
        return ok(TOPIC, "repeated", what if times else "no row repeats another", repeated=times)
    why = "what is repeated is learned first and weighs more than the rest."
    return warn(TOPIC, "repeated", what, why=why, fix="take the copies out of the dataset", repeated=times)


def _lengths(subject: Subject) -> Finding:
    longest = subject.recipe.data.max_length
    p50, p90, p99 = (int(x) for x in np.percentile(subject.lengths, [50, 90, 99]))
    top, total = max(subject.lengths), sum(subject.lengths)
    what = f"tokens per row: median {p50}, 90% {p90}, 99% {p99}, longest {top} of {longest}; {total:,} in all"
    return ok(TOPIC, "lengths", what, p50=p50, p90=p90, p99=p99, max=top, max_length=longest, tokens=total)


def _filling(subject: Subject) -> Finding:
    """Padding is computed like text, and for nothing."""
    planned, packed = subject.planned, subject.recipe.data.packed
    share = 1 - planned.real / planned.padded
    times = f"{planned.epochs:.2g}" if planned.epochs < 10 else f"{planned.epochs:,.0f}"
    how = "packed" if packed else "by length"
    what = f"{share:.1%} of the positions are padding ({how}); every row is read {times} times"
    facts = {"padding_share": round(share, 4), "packed": packed, "epochs": round(planned.epochs, 3)}
    if share <= PADDED:
        return ok(TOPIC, "padding", what, **facts)
    why = f"{share:.0%} of the time is spent on nothing."
    return warn(TOPIC, "padding", what, why=why, fix="data.packing=true, or a smaller batch", **facts)

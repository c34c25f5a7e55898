"""Splits by what a solution does, not by how its task is worded: rows of one normalised solution never part."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from synth.records import Split


def split_by_solution(rows: Iterable[tuple[str, str]], *, heldout: int, validation: int, seed: int) -> dict[str, Split]:
    """Split rows `(id, normal form)`; returns id -> split.

    Whole groups of one normal form are dealt in an order fixed by the seed and the form itself, so that adding rows
    does not move others. A group that would overfill a split goes to training instead; the counts asked for are met as
    closely as whole groups allow, never exceeded.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for id, form in rows:
        groups[form].append(id)
    room = {Split.HELDOUT: heldout, Split.VALIDATION: validation}
    splits: dict[str, Split] = {}
    for form in sorted(groups, key=lambda form: hashlib.sha256(f"{seed}:{form}".encode()).digest()):
        ids = groups[form]
        chosen = next((split for split, left in room.items() if len(ids) <= left), Split.TRAIN)
        if chosen in room:
            room[chosen] -= len(ids)
        splits |= dict.fromkeys(ids, chosen)
    return splits

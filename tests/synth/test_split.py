"""Rows of one solution never part, asked counts are never exceeded, and adding rows moves no other."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from synth.records import Split
from synth.split import split_by_solution

ROWS = st.lists(st.integers(0, 40), max_size=200).map(lambda forms: [(str(i), f"form{f}") for i, f in enumerate(forms)])


@given(ROWS, st.integers(0, 50), st.integers(0, 20), st.integers(0, 3))
def test_groups_stay_together_and_counts_hold(
    rows: list[tuple[str, str]], heldout: int, validation: int, seed: int
) -> None:
    splits = split_by_solution(rows, heldout=heldout, validation=validation, seed=seed)
    assert set(splits) == {id for id, _ in rows}
    by_form: dict[str, set[Split]] = {}
    for id, form in rows:
        by_form.setdefault(form, set()).add(splits[id])
    assert all(len(found) == 1 for found in by_form.values())
    counts = Counter(splits.values())
    assert counts[Split.HELDOUT] <= heldout
    assert counts[Split.VALIDATION] <= validation


def test_single_rows_fill_the_split_exactly() -> None:
    rows = [(str(i), str(i)) for i in range(100)]
    counts = Counter(split_by_solution(rows, heldout=30, validation=10, seed=0).values())
    assert counts == {Split.HELDOUT: 30, Split.VALIDATION: 10, Split.TRAIN: 60}
    assert split_by_solution(rows, heldout=30, validation=10, seed=0) == split_by_solution(
        reversed(rows), heldout=30, validation=10, seed=0
    )

"""Statistics against brute force, published values and scipy."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evalkit.statistics import (
    clustered_mean,
    holm,
    mcnemar,
    minimum_detectable_effect,
    paired_difference,
    pass_at_k,
    wilson,
)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(counts):
    n, c, k = counts
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_drops_what_it_cannot_know():
    assert pass_at_k(5, 5, 6) is None
    assert pass_at_k(0, 0, 1) is None
    assert pass_at_k(200, 3, 100) == pytest.approx(1 - math.comb(197, 100) / math.comb(200, 100))
    with pytest.raises(ValueError, match="no such counts"):
        pass_at_k(3, 4, 1)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy_and_holds_its_estimate(counts):
    successes, n = counts
    ours = wilson(successes, n)
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= ours.low <= ours.estimate <= ours.high <= 1


def test_no_trials_no_rate():
    assert wilson(0, 0) is None
    assert clustered_mean([]) is None
    assert clustered_mean([1.0]) is None
    assert paired_difference([1.0], [0.0]) is None


def test_twenty_tasks_at_thirty_percent():
    interval = wilson(6, 20)
    assert interval is not None
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.145, 0.519)


def test_clustered_interval_covers_the_truth_as_often_as_it_says():
    rng = random.Random(7)
    held = 0
    for _ in range(400):
        tasks = [rng.betavariate(2, 3) for _ in range(60)]
        means = [sum(rng.random() < p for _ in range(5)) / 5 for p in tasks]
        interval = clustered_mean(means)
        assert interval is not None
        held += interval.low <= 0.4 <= interval.high
    assert 0.92 <= held / 400 <= 0.98


def test_equal_values_leave_doubt():
    interval = clustered_mean([1.0] * 20)
    assert interval is not None
    assert interval.high == 1.0
    assert interval.low < 0.9
    difference = paired_difference([1.0] * 20, [1.0] * 20)
    assert difference is not None
    assert difference.low < 0 < difference.high


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_mcnemar_is_the_binomial_test_of_the_discordant(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    result = mcnemar(first, second)
    n = result.only_first + result.only_second
    expected = stats.binomtest(result.only_first, n).pvalue if n else 1.0
    assert result.p_value == pytest.approx(expected)


def test_six_flips_one_way_are_needed():
    assert mcnemar([False] * 20, [True] * 5 + [False] * 15).p_value > 0.05
    assert mcnemar([False] * 20, [True] * 6 + [False] * 14).p_value < 0.05


def test_paired_difference_is_students():
    first, second = [0.0, 0.5, 1.0, 0.25, 0.0], [0.5, 0.5, 1.0, 0.75, 1.0]
    ours = paired_difference(first, second)
    theirs = stats.ttest_rel(second, first).confidence_interval()
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    with pytest.raises(ValueError, match="same tasks"):
        paired_difference([1.0], [1.0, 0.0])


def test_minimum_detectable_effect():
    assert minimum_detectable_effect(tasks=164, rate=0.5) == pytest.approx(2.8016 * math.sqrt(0.5 / 164), rel=1e-3)
    assert minimum_detectable_effect(tasks=1) is None
    assert minimum_detectable_effect(tasks=20, rate=0.0) is None
    wide, narrow = minimum_detectable_effect([0.0, 1.0] * 10), minimum_detectable_effect([0.0, 1.0] * 80)
    assert wide is not None
    assert narrow is not None
    assert wide > 2.5 * narrow


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

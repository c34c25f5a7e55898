"""The statistics of scores. A score that cannot be had is None, never a zero.

Rates over tasks are clustered by task: a task's samples share its difficulty. Models are compared on the same tasks.
Sources: Chen et al. 2021 (arXiv 2107.03374) for pass@k; Wilson 1927; Miller 2024 (arXiv 2411.00640) for clustering and
pairing; McNemar 1947 in its exact form.
"""

import math
from collections.abc import Sequence

from evalkit.records import Record


class Interval(Record):
    """An estimate and its confidence interval. `method` names how the interval was made."""

    estimate: float
    low: float
    high: float
    level: float = 0.95
    method: str

    def excludes(self, value: float) -> bool:
        return value < self.low or value > self.high


def pass_at_k(n: int, c: int, k: int) -> float | None:
    """Unbiased chance that one of k samples passes, from c passes among n: 1 - C(n-c, k) / C(n, k).

    None where k > n: it cannot be estimated, and padding would invent samples. Raises ValueError on impossible counts.
    """
    if not 0 <= c <= n or k < 1:
        raise ValueError(f"no such counts: n={n}, c={c}, k={k}")
    if k > n:
        return None
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


def wilson(successes: int, n: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of a rate; None for no trials."""
    if n == 0:
        return None
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    z = _z(level)
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    # At the ends the bound is the rate itself; rounding must not put the estimate outside.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(estimate=rate, low=low, high=high, level=level, method="wilson")


def clustered_mean(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Mean of per-task values in [0, 1] with Student's interval over tasks, cut to [0, 1]; None below two tasks.

    Each value is already the mean over a task's samples, so their noise is in the spread between tasks. Where all
    values are equal the spread says nothing, and Wilson's interval at the rounded count stands in: never of no width.
    """
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    error = _standard_error(values)
    if error == 0:
        interval = wilson(round(mean * n), n, level)
        assert interval is not None
        return interval.model_copy(update={"estimate": mean})
    half = _t(level, n - 1) * error
    return Interval(
        estimate=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), level=level, method="clustered"
    )


class McNemar(Record):
    """Tasks that only one of two models solved, and how likely so uneven a split is by chance (two-sided, exact)."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Exact McNemar test of two models' verdicts on the same tasks, in the same order. p = 1 where none differ."""
    if len(first) != len(second):
        raise ValueError("the two models were not asked the same tasks")
    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    n = gained + lost
    tail = sum(math.comb(n, i) for i in range(min(gained, lost) + 1))
    return McNemar(only_first=lost, only_second=gained, p_value=min(1.0, 2 * tail / 2**n))


def paired_difference(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Interval | None:
    """Mean of `second - first` per task, Student's interval; None below two tasks.

    Where no task differs, or all by the same, Student's interval would have no width. Then the bound is what the exact
    binomial says of the chance d that a task breaks the rule, none of n having broken it: d <= 1 - (1-level)^(1/n).
    """
    if len(first) != len(second):
        raise ValueError("the two models were not asked the same tasks")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    error = _standard_error(differences)
    if error == 0:
        half, method = 1 - (1 - level) ** (1 / n), "binomial-bound"
    else:
        half, method = _t(level, n - 1) * error, "paired-t"
    return Interval(estimate=mean, low=max(-1.0, mean - half), high=min(1.0, mean + half), level=level, method=method)


def minimum_detectable_effect(
    differences: Sequence[float] | None = None,
    *,
    tasks: int | None = None,
    rate: float | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> float | None:
    """Smallest true difference in pass rate that a comparison would find with the given power: (z_a/2 + z_b) · SE.

    From the observed per-task differences of two models, or in advance from the number of tasks and a guessed rate
    (then both models are taken as independent, which is the worst case). None where neither says anything.
    """
    error = _standard_error(differences) if differences is not None and len(differences) > 1 else 0.0
    if error == 0:
        n = len(differences) if differences is not None else tasks or 0
        guess = 0.5 if rate is None else rate
        if n < 2 or not 0 < guess < 1:
            return None
        error = math.sqrt(2 * guess * (1 - guess) / n)
    return (_z(level) + _quantile(power)) * error


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values for several comparisons, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _standard_error(values: Sequence[float]) -> float:
    n = len(values)
    mean = math.fsum(values) / n
    squares = math.fsum((value - mean) ** 2 for value in values)
    return 0.0 if squares < 1e-18 * n else math.sqrt(squares / (n - 1) / n)


def _z(level: float) -> float:
    return _quantile(0.5 + level / 2)


def _quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def _t(level: float, degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, degrees))

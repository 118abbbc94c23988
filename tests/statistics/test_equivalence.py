"""Equivalence by two one-sided tests: against SciPy, and how often it errs."""

import numpy as np
import pytest
from scipy import stats

from ssl_bench.statistics.anova import Estimate, difference, squares_of_methods
from ssl_bench.statistics.equivalence import p_outside, simultaneous_interval, smallest_margin


def test_it_is_two_one_sided_t_tests() -> None:
    rng = np.random.default_rng(1)
    own = rng.normal(0.3, 0.8, 12)
    estimate = Estimate(float(own.mean()), float(own.var(ddof=1)) / 12, 11)
    low = stats.ttest_1samp(own, -1.0, alternative="greater").pvalue
    high = stats.ttest_1samp(own, 1.0, alternative="less").pvalue
    assert p_outside(estimate, 1.0) == pytest.approx(max(low, high))


def test_intervals_of_several_are_wider_and_agree_with_the_test() -> None:
    estimate = Estimate(0.4, 0.04, 9.0)
    assert simultaneous_interval(estimate, 1) == pytest.approx(estimate.interval())
    low, high = simultaneous_interval(estimate, 10)
    assert low < estimate.interval()[0]
    assert p_outside(estimate, high) == pytest.approx(0.025 / 10)


def test_without_spread_a_difference_is_within_the_margin_or_not() -> None:
    assert p_outside(Estimate(0.5, 0.0, 3.0), 1.0) == 0.0
    assert p_outside(Estimate(1.5, 0.0, 3.0), 1.0) == 1.0
    assert smallest_margin(Estimate(0.5, 0.0, 3.0), 3) == 0.0


def trials(count: int, *, apart: float, margin: float) -> tuple[float, float]:
    """How often five settings are called the same, and how often not; one of them differs from the others."""
    rng, same, different = np.random.default_rng(2), 0, 0
    for _ in range(count):
        values = rng.normal(0, 4, (5, 3, 60)) + rng.normal(0, 0.4, (5, 3, 1)) + rng.normal(0, 1, (5, 1, 60))
        values[0] += apart
        error = squares_of_methods(values)
        pairs = [difference(values[a] - values[b], error) for a in range(5) for b in range(a)]
        intervals = [simultaneous_interval(one, len(pairs)) for one in pairs]
        same += all(-margin < low and high < margin for low, high in intervals)
        different += any(low > margin or high < -margin for low, high in intervals)
    return same / count, different / count


def test_a_difference_as_large_as_the_margin_is_neither() -> None:
    same, different = trials(200, apart=2.0, margin=2.0)
    assert same <= 0.05
    assert different <= 0.05


def test_the_margin_that_could_be_shown_is_shown_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 4, (5, 3, 60)) + rng.normal(0, 0.4, (5, 3, 1)) + rng.normal(0, 1, (5, 1, 60))
    error = squares_of_methods(values)
    margin = smallest_margin(difference(values[0] - values[1], error), 10)
    same, different = trials(200, apart=0.0, margin=1.2 * margin)
    assert same >= 0.8
    assert different == 0.0

"""Equivalence: whether differences lie within a margin, by two one-sided tests.

The tests are those of Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15(6), 1987. Several differences lie
within the margin if each does. Simultaneous intervals are Bonferroni's.
"""

from __future__ import annotations

import math

from ssl_bench.statistics.anova import TINY, Estimate


def p_outside(estimate: Estimate, margin: float) -> float:
    """Return the larger p of the two one-sided tests of a true value of -margin or less, and of margin or more."""
    from scipy import stats

    inside = margin - abs(estimate.value)
    if estimate.error <= TINY:
        return float(inside <= 0)
    return float(stats.t.sf(inside / estimate.error, estimate.freedom))


def p_beyond(estimate: Estimate, margin: float) -> float:
    """Return the two-sided p of a true value within the margin: below 0.05 where the 95 % interval lies outside it."""
    from scipy import stats

    beyond = abs(estimate.value) - margin
    if estimate.error <= TINY:
        return float(beyond <= 0)
    return min(1.0, float(2 * stats.t.sf(beyond / estimate.error, estimate.freedom)))


def simultaneous_interval(estimate: Estimate, intervals: int, level: float = 0.95) -> tuple[float, float]:
    """Return one of several intervals that all hold their true values with at least this probability."""
    return estimate.interval(1 - (1 - level) / intervals)


def smallest_margin(estimate: Estimate, intervals: int, power: float = 0.8, level: float = 0.95) -> float:
    """Return the smallest margin that the intervals of equal settings stay within with at least this power.

    By Bonferroni's inequality: each interval must stay within it with the power 1 - (1 - power) / intervals.
    """
    from scipy import stats

    if estimate.error <= TINY or math.isinf(estimate.error):
        return estimate.error
    outer = stats.t.ppf(1 - (1 - level) / (2 * intervals), estimate.freedom)
    inner = stats.t.ppf(1 - (1 - power) / (2 * intervals), estimate.freedom)
    return float(outer + inner) * estimate.error

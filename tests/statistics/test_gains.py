"""Differences of differences: against sums of squares written out, and their error rate in simulations."""

from collections.abc import Sequence

import numpy as np
import pytest
from cells import of_cases, scores
from scipy import stats

from ssl_bench.statistics.anova import contrast, squares_of_gains, squares_of_mean
from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.gains import compare_gains


def naive_squares(values: np.ndarray) -> tuple[list[float], list[int]]:
    """Mean squares of (methods x conditions) with seeds, with cases and with both, by loops over every cell."""
    methods, conditions, seeds, cases = values.shape

    def effect(i: int, j: int, s: int | None, k: int | None) -> float:
        """Mean over what is None, without everything that methods or conditions share."""
        rows = range(seeds) if s is None else [s]
        columns = range(cases) if k is None else [k]

        def mean(own: Sequence[int], others: Sequence[int]) -> float:
            return float(np.mean([values[a, b, r, c] for a in own for b in others for r in rows for c in columns]))

        everyone, every = range(methods), range(conditions)
        return mean([i], [j]) - mean([i], every) - mean(everyone, [j]) + mean(everyone, every)

    sums = [0.0, 0.0, 0.0]
    for i in range(methods):
        for j in range(conditions):
            base = effect(i, j, None, None)
            for s in range(seeds):
                sums[0] += cases * (effect(i, j, s, None) - base) ** 2
            for k in range(cases):
                sums[1] += seeds * (effect(i, j, None, k) - base) ** 2
            for s in range(seeds):
                for k in range(cases):
                    rest = effect(i, j, s, k) - effect(i, j, s, None) - effect(i, j, None, k) + base
                    sums[2] += rest**2
    own = (methods - 1) * (conditions - 1)
    freedom = [own * (seeds - 1), own * (cases - 1), own * (seeds - 1) * (cases - 1)]
    return [total / each for total, each in zip(sums, freedom, strict=True)], freedom


@pytest.mark.parametrize("shape", [(2, 2, 2, 2), (3, 2, 3, 4), (4, 3, 2, 5)])
def test_squares_are_those_of_the_textbook(shape: tuple[int, int, int, int]) -> None:
    values = np.random.default_rng(3).normal(50, 9, shape)
    expected, freedom = naive_squares(values)
    found = squares_of_gains(values)
    assert [found.by_seed, found.by_case, found.rest] == pytest.approx(expected)
    assert list(found.freedom) == freedom


def test_of_two_methods_under_two_conditions_it_is_the_mean_of_the_differences_of_differences() -> None:
    values = np.random.default_rng(4).normal(50, 9, (2, 2, 3, 20))
    gains = (values[0, 0] - values[1, 0]) - (values[0, 1] - values[1, 1])
    found = contrast(gains, squares_of_gains(values), 4)
    alone = squares_of_mean(gains)
    variance, freedom = alone.variance(1 / 60, 1 / 60)
    assert found.value == pytest.approx(gains.mean())
    assert found.variance == pytest.approx(variance)
    assert found.freedom == pytest.approx(freedom)


def cells(values: np.ndarray) -> list[tuple[CellScores, CellScores]]:
    """Scores by method and condition, of values (I, 2, S, K)."""
    return [(of_cases(*own[0]), of_cases(*own[1])) for own in values]


def test_it_is_of_the_seeds_and_cases_that_all_four_have() -> None:
    few = scores([[[80.0], [70.0]], [[90.0], [60.0]], [[99.0], [99.0]]], seeds=[1, 2, 3])
    base = scores([[[75.0], [71.0]], [[70.0], [60.0]]], seeds=[1, 2])
    many = scores([[[90.0], [90.0], [1.0]], [[91.0], [92.0], [1.0]]], seeds=[1, 2])
    flat = scores([[[90.0], [90.0]], [[90.0], [90.0]]], seeds=[1, 2])
    found = compare_gains((few, many), (base, flat))
    assert found is not None
    assert (found.seeds, found.cases, found.pooled) == (2, 2, False)
    assert found.difference == pytest.approx(np.mean([5, -1, 20, 0]) - np.mean([0, 0, 1, 2]))
    lonely = scores([[[1.0], [2.0]]], seeds=[9])
    assert compare_gains((few, many), (lonely, lonely)) is None


def test_further_methods_lend_degrees_of_freedom_unless_they_lack_a_seed_or_do_not_vary() -> None:
    rng = np.random.default_rng(5)
    own = cells(rng.normal(80, 5, (4, 2, 3, 30)))
    constant = of_cases(*[[0.0] * 30] * 3)
    short = of_cases(*rng.normal(80, 5, (2, 30)))
    alone = compare_gains(own[0], own[1])
    pooled = compare_gains(own[0], own[1], own[2:])
    others = compare_gains(own[0], own[1], [(constant, constant), (short, short)])
    assert alone is not None
    assert pooled is not None
    assert others is not None
    assert pooled.pooled
    assert not others.pooled
    assert alone.estimate is not None
    assert pooled.estimate is not None
    assert pooled.estimate.freedom > alone.estimate.freedom
    assert others.estimate == alone.estimate
    assert pooled.difference == alone.difference


def drawn_tables(rng: np.random.Generator, trials: int, *, gain: float = 0.0) -> np.ndarray:
    """Scores (trials, methods, shares, seeds, cases): labels help, methods differ, seeds and cases are random.

    Every effect varies over seeds and cases: of a share, of a method, and of a method under a share. `gain` is what the
    first method gains more under the first share.
    """
    methods, shares, seeds, cases = 4, 2, 3, 100
    values = rng.normal(0, 5, (trials, methods, shares, seeds, cases))
    values += rng.normal(0, 1.5, (trials, 1, shares, seeds, 1)) + rng.normal(0, 1.0, (trials, methods, 1, seeds, 1))
    values += rng.normal(0, 0.7, (trials, methods, shares, seeds, 1))
    values += rng.normal(0, 8, (trials, 1, shares, 1, cases)) + rng.normal(0, 4, (trials, methods, 1, 1, cases))
    values += rng.normal(0, 2, (trials, methods, shares, 1, cases))
    values[:, 0, 0] += gain
    return values + np.array([60.0, 70.0])[:, None, None] + np.array([3.0, 2.0, 1.0, 0.0])[:, None, None, None]


def p_of(table: np.ndarray) -> float:
    own = cells(table)
    found = compare_gains(own[0], own[3], own[1:3])
    assert found is not None
    assert found.estimate is not None
    return found.estimate.p


def test_equal_gains_are_seldom_called_different() -> None:
    p = np.array([p_of(table) for table in drawn_tables(np.random.default_rng(6), 400)])
    assert 0.02 <= (p < 0.05).mean() <= 0.07
    assert stats.binomtest(int((p < 0.5).sum()), len(p), 0.5).pvalue > 0.001


def test_a_gain_that_shrinks_is_found() -> None:
    tables = drawn_tables(np.random.default_rng(7), 100, gain=5.0)
    assert np.mean([p_of(table) < 0.05 for table in tables]) >= 0.8

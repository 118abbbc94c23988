"""Variance components against cases computed by hand, naive loops and simulations with known components."""

from itertools import product

import numpy as np
import pytest

from ssl_bench.statistics.components import CROSSED, contributions, variance_components

LABELS, SEEDS, CASES = (("labels",), ("seeds",), ("cases",))
BOTH, ALL = ("labels", "seeds"), ("labels", "seeds", "cases")


def test_a_table_by_hand() -> None:
    """Two label draws (rows) and two seeds (columns) on two cases.

    Means: total 6; labels 4, 8; seeds 5, 7; cases 5.5, 6.5; labels x seeds (4, 4), (6, 10).
    Sums of squares: labels 8 * 2**2 = 32; seeds 8 * 1 = 8; cases 8 * 0.25 = 2; labels x seeds 8 * 1 = 8, since each
    effect is 1 or -1: 4 - 4 - 5 + 6 = 1.
    Of both cases: (l, c) means (3.5, 4.5), (7.5, 8.5), so labels x cases 0; (s, c) means (4, 6), (7, 7), so seeds x
    cases 8 * 0.25 = 2. The squares of all differences from 6 (-4, 0, -1, -3, 0, 0, 3, 5) are 60, which leaves 8.
    """
    values = np.array([[[2, 6], [5, 3]], [[6, 6], [9, 11]]], dtype=float)
    squares = {term: one.mean_square for term, one in variance_components(values).items()}
    assert ((values - 6) ** 2).sum() == sum(squares.values()) == 60  # one degree of freedom each
    assert squares == {
        LABELS: 32, SEEDS: 8, CASES: 2, BOTH: 8, ("labels", "cases"): 0, ("seeds", "cases"): 2, ALL: 8,
    }  # fmt: skip
    found = {term: one.variance for term, one in variance_components(values).items()}
    assert found[LABELS] == (32 - 8 - 0 + 8) / 4
    assert found[SEEDS] == (8 - 8 - 2 + 8) / 4
    assert found[CASES] == (2 - 0 - 2 + 8) / 4
    assert found[BOTH] == (8 - 8) / 2
    assert found[("labels", "cases")] == found[("seeds", "cases")] == 0  # (0 - 8) / 2 and (2 - 8) / 2 are below zero
    assert found[ALL] == 8


def naive(values: np.ndarray) -> dict[tuple[str, ...], float]:
    """Variances of a design of three factors, by the textbook's sums of squares in loops."""
    number_of_labels, number_of_seeds, number_of_cases = values.shape
    labels, seeds, cases = (range(n) for n in values.shape)
    total = values.mean()
    of_l, of_s, of_c = ([values.take(i, axis).mean() for i in range(values.shape[axis])] for axis in range(3))
    of_ls = [[values[i, j, :].mean() for j in seeds] for i in labels]
    of_lc = [[values[i, :, k].mean() for k in cases] for i in labels]
    of_sc = [[values[:, j, k].mean() for k in cases] for j in seeds]
    ss_l = ss_s = ss_c = ss_ls = ss_lc = ss_sc = ss_rest = 0.0
    for i, j, k in product(labels, seeds, cases):
        ss_l += (of_l[i] - total) ** 2
        ss_s += (of_s[j] - total) ** 2
        ss_c += (of_c[k] - total) ** 2
        ss_ls += (of_ls[i][j] - of_l[i] - of_s[j] + total) ** 2
        ss_lc += (of_lc[i][k] - of_l[i] - of_c[k] + total) ** 2
        ss_sc += (of_sc[j][k] - of_s[j] - of_c[k] + total) ** 2
        fitted = of_ls[i][j] + of_lc[i][k] + of_sc[j][k] - of_l[i] - of_s[j] - of_c[k] + total
        ss_rest += (values[i, j, k] - fitted) ** 2
    l1, s1, c1 = number_of_labels - 1, number_of_seeds - 1, number_of_cases - 1
    ms_l, ms_s, ms_c = ss_l / l1, ss_s / s1, ss_c / c1
    ms_ls, ms_lc, ms_sc, ms_rest = ss_ls / (l1 * s1), ss_lc / (l1 * c1), ss_sc / (s1 * c1), ss_rest / (l1 * s1 * c1)
    plain = {
        LABELS: (ms_l - ms_ls - ms_lc + ms_rest) / (number_of_seeds * number_of_cases),
        SEEDS: (ms_s - ms_ls - ms_sc + ms_rest) / (number_of_labels * number_of_cases),
        CASES: (ms_c - ms_lc - ms_sc + ms_rest) / (number_of_labels * number_of_seeds),
        BOTH: (ms_ls - ms_rest) / number_of_cases,
        ("labels", "cases"): (ms_lc - ms_rest) / number_of_seeds,
        ("seeds", "cases"): (ms_sc - ms_rest) / number_of_labels,
        ALL: ms_rest,
    }
    return {term: max(variance, 0.0) for term, variance in plain.items()}


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 2, 5), (4, 3, 7)])
def test_loops_give_the_same(shape: tuple[int, int, int]) -> None:
    for seed in range(5):
        values = draw(np.random.default_rng(seed), shape, [1, 1, 2, 0.5, 0.5, 0.5, 1]) + 70
        found = {term: one.variance for term, one in variance_components(values).items()}
        assert found == pytest.approx(naive(values), rel=1e-9, abs=1e-9)


def draw(rng: np.random.Generator, shape: tuple[int, int, int], deviations: list[float]) -> np.ndarray:
    """Values with known standard deviations of labels, seeds, cases, their interactions (ls, lc, sc) and the rest."""
    labels, seeds, cases = shape
    shapes = [(labels, 1, 1), (1, seeds, 1), (1, 1, cases), (labels, seeds, 1), (labels, 1, cases), (1, seeds, cases)]
    effects = [sd * rng.standard_normal(own) for sd, own in zip(deviations, [*shapes, shape], strict=True)]
    values: np.ndarray = sum(effects, np.zeros(shape))
    return values


def test_known_components_are_recovered() -> None:
    """The mean of the estimates over many designs; interactions with cases do not inflate the labels' component."""
    deviations = [2.0, 1.5, 12.0, 1.0, 4.0, 3.0, 6.0]
    rng, repeats = np.random.default_rng(1), 300
    found = [variance_components(draw(rng, (8, 8, 40), deviations)) for _ in range(repeats)]
    for term, sd in zip(found[0], deviations, strict=True):
        own = np.array([one[term].variance for one in found])
        assert own.mean() == pytest.approx(sd**2, abs=4 * own.std() / repeats**0.5 + 0.02 * sd**2), term


def test_no_estimate_is_below_zero() -> None:
    rng = np.random.default_rng(2)
    found = [variance_components(rng.standard_normal((3, 3, 10))) for _ in range(50)]
    smallest = [min(one.variance for one in own.values()) for own in found]
    assert min(smallest) == 0
    assert max(smallest) < 0.3


def test_values_without_spread_have_none() -> None:
    found = variance_components(np.full((3, 2, 4), 70.1))
    assert {one.variance for one in found.values()} == {0.0}
    values = np.broadcast_to(np.array([0.1, 0.3, 0.7]), (3, 2, 3))  # cases differ, and nothing else
    found = variance_components(values)
    assert found[CASES].variance == pytest.approx(np.var([0.1, 0.3, 0.7], ddof=1))
    assert {one.variance for term, one in found.items() if term != CASES} == {0.0}


def test_with_one_seed_the_labels_have_their_interaction_too() -> None:
    values = draw(np.random.default_rng(3), (4, 1, 6), [2, 1, 5, 1, 1, 1, 1])
    found = variance_components(values)
    assert list(found) == [LABELS, CASES, ("labels", "cases")]
    assert [one.confounded for one in found.values()] == [(BOTH,), (("seeds", "cases"),), (ALL,)]
    table = values[:, 0]
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns + table.mean()
    ms_rest = (rest**2).sum() / 15
    assert found[LABELS].variance == pytest.approx(rows.var(ddof=1) - ms_rest / 6)
    assert found[CASES].variance == pytest.approx(columns.var(ddof=1) - ms_rest / 4)
    assert found[("labels", "cases")].variance == pytest.approx(ms_rest)
    assert [one.freedom for one in found.values()] == [3, 5, 15]


def test_with_one_label_draw_nothing_is_said_of_the_labels() -> None:
    found = variance_components(draw(np.random.default_rng(4), (1, 3, 6), [2, 1, 5, 1, 1, 1, 1]))
    assert list(found) == [SEEDS, CASES, ("seeds", "cases")]
    assert found[SEEDS].confounded == (BOTH,)


def test_with_one_training_cases_have_everything() -> None:
    scores = np.array([60.0, 80.0, 70.0, 90.0])
    found = variance_components(scores.reshape(1, 1, 4))
    assert list(found) == [CASES]
    assert found[CASES].variance == pytest.approx(scores.var(ddof=1))
    assert found[CASES].confounded == (("labels", "cases"), ("seeds", "cases"), ALL)
    assert variance_components(np.ones((1, 1, 1))) == {}


def test_the_variance_of_a_mean_is_the_sum_of_the_contributions() -> None:
    """Means of simulated designs vary by as much as their true components say."""
    deviations, shape = [2.0, 1.5, 6.0, 1.0, 3.0, 2.0, 4.0], (2, 3, 5)
    rng = np.random.default_rng(5)
    means = [draw(rng, shape, deviations).mean() for _ in range(4000)]
    terms = variance_components(draw(rng, shape, deviations))
    known = {
        term: type(one)(sd**2, one.mean_square, one.freedom)
        for (term, one), sd in zip(terms.items(), deviations, strict=True)
    }
    parts = contributions(known, dict(zip(CROSSED, shape, strict=True)))
    assert parts[LABELS] == 2.0
    assert parts[ALL] == 16 / 30
    assert np.var(means) == pytest.approx(sum(parts.values()), rel=0.1)
    assert contributions(known, {"cases": 5})[LABELS] == 4.0


@pytest.mark.parametrize("values", [np.ones((2, 2)), np.full((2, 2, 2), np.nan), np.ones((2, 0, 2))])
def test_an_incomplete_design_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected finite values with the axes labels, seeds, cases"):
        variance_components(values)

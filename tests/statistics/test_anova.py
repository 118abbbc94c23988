"""Analysis of variance against hand computation, Student's tests and loops over the definition."""

import numpy as np
import pytest
from scipy import stats

from ssl_bench.statistics.anova import (
    Estimate,
    Squares,
    difference,
    interval_of_mean,
    mean_of_trainings,
    smallest_difference,
    squares_of_mean,
    squares_of_methods,
)


def pair(differences: np.ndarray) -> Estimate:
    """The difference of two methods by their own error term."""
    return difference(differences, squares_of_methods(np.stack([differences, np.zeros_like(differences)])))


def test_mean_squares_by_hand() -> None:
    # seeds' means 1 and 3, cases' means 1, 2, 3; sums of squares: seeds 6, cases 4, rest 0
    found = squares_of_mean(np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]))
    assert (found.by_seed, found.by_case, found.rest) == pytest.approx((6, 2, 0))
    assert found.freedom == (1, 2, 2)


def test_mean_squares_of_methods_equal_loops_over_the_definition() -> None:
    values = np.random.default_rng(1).normal(size=(4, 3, 5))
    methods, seeds, cases = values.shape
    total = values.mean()
    t, r, c = values.mean((1, 2)), values.mean((0, 2)), values.mean((0, 1))
    tr, tc, rc = values.mean(2), values.mean(1), values.mean(0)
    by_seed = by_case = rest = 0.0
    for i in range(methods):
        for j in range(seeds):
            by_seed += cases * (tr[i, j] - t[i] - r[j] + total) ** 2
            for k in range(cases):
                rest += (values[i, j, k] - tr[i, j] - tc[i, k] - rc[j, k] + t[i] + r[j] + c[k] - total) ** 2
        for k in range(cases):
            by_case += seeds * (tc[i, k] - t[i] - c[k] + total) ** 2
    found = squares_of_methods(values)
    assert found.freedom == (6, 12, 24)
    assert (found.by_seed, found.by_case, found.rest) == pytest.approx((by_seed / 6, by_case / 12, rest / 24))


def test_of_two_methods_they_are_half_those_of_the_difference() -> None:
    values = np.random.default_rng(2).normal(size=(2, 3, 8))
    both, single = squares_of_methods(values), squares_of_mean(values[0] - values[1])
    assert (2 * both.by_seed, 2 * both.by_case, 2 * both.rest) == pytest.approx(
        (single.by_seed, single.by_case, single.rest)
    )
    assert both.freedom == single.freedom


def test_p_equals_the_f_test_by_hand() -> None:
    found = pair(np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]))
    freedom = (6 + 2) ** 2 / (6**2 / 1 + 2**2 / 2)  # the rest is 0
    assert (found.value, found.freedom) == pytest.approx((2, freedom))
    assert found.p == pytest.approx(stats.f.sf(24 / 8, 1, freedom))


def test_p_is_students_paired_t_over_seeds_where_cases_differ_by_noise_alone() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(1, 5, (4, 20)) + rng.normal(0, 4, (4, 1))
    differences -= differences.mean(axis=0) - differences.mean()  # all cases' means are equal
    test = stats.ttest_1samp(differences.mean(axis=1), 0)
    found = pair(differences)
    assert found.p == pytest.approx(test.pvalue)
    assert found.interval() == pytest.approx(tuple(test.confidence_interval()))


def test_p_is_students_paired_t_over_cases_where_seeds_do_not_differ() -> None:
    by_case = np.random.default_rng(4).normal(1, 5, 20)
    differences = np.tile(by_case, (3, 1)) + 1e-4 * np.array([[1], [0], [-1]])  # hardly
    test = stats.ttest_1samp(by_case, 0)
    found = pair(differences)
    assert found.p == pytest.approx(test.pvalue, rel=1e-3)
    assert found.interval() == pytest.approx(tuple(test.confidence_interval()), rel=1e-3)


def test_p_without_spread() -> None:
    assert pair(np.zeros((3, 5))).p == 1
    assert pair(np.full((3, 5), 2.0)).p == 0
    assert pair(np.full((3, 5), 2.0)).interval() == (2, 2)


def test_an_interval_leaves_out_zero_exactly_where_p_is_below_its_level() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        found = pair(rng.normal(rng.normal(0, 2), 5, (3, 20)))
        low, high = found.interval()
        assert (found.p < 0.05) == (low > 0 or high < 0)


def test_methods_that_share_every_seeds_luck_are_compared_without_it() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(5, 3, 30))
    shifted = values + rng.normal(0, 50, (1, 3, 1)) + rng.normal(0, 50, (1, 1, 30))
    one, other = squares_of_methods(values), squares_of_methods(shifted)
    assert (one.by_seed, one.by_case, one.rest) == pytest.approx((other.by_seed, other.by_case, other.rest))


def test_a_pair_with_more_seeds_than_the_error_term_has_the_variance_of_its_own_number() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(0, 1, (6, 3, 40)) + rng.normal(0, 2, (6, 3, 1)) + rng.normal(0, 4, (6, 1, 40))
    error, more = squares_of_methods(values), rng.normal(size=(9, 40))
    by_seed, by_case = (error.by_seed - error.rest) / 40, (error.by_case - error.rest) / 3
    assert difference(more, error).variance == pytest.approx(2 * (by_seed / 9 + by_case / 40 + error.rest / 360))


@pytest.mark.parametrize("tests", [1, 5, 15])
def test_the_smallest_difference_is_found_in_four_of_five_simulations(tests: int) -> None:
    rng, found, trials = np.random.default_rng(8), 0, 600
    true = Squares(3, 50, 16 + 50 * 1, 16 + 3 * 4, 16, (10, 245, 490))  # SD 1 of seeds, 2 of cases, 4 of the rest
    size = smallest_difference(true, tests)
    for _ in range(trials):
        drawn = rng.normal(0, 4, (6, 3, 50)) + rng.normal(0, 1, (6, 3, 1)) + rng.normal(0, 2, (6, 1, 50))
        drawn[0] += size
        found += difference(drawn[0] - drawn[1], squares_of_methods(drawn)).p < 0.05 / tests
    assert 0.74 <= found / trials <= 0.86


def test_the_smallest_difference_is_the_noncentral_t_distributions() -> None:
    error = squares_of_methods(np.random.default_rng(9).normal(size=(4, 3, 30)))
    size = smallest_difference(error, 3)
    variance, freedom = error.variance(2 / 90, 2 / 90)
    critical = stats.t.ppf(1 - 0.05 / 6, freedom)
    assert stats.nct.sf(critical, freedom, size / np.sqrt(variance)) == pytest.approx(0.8, abs=1e-3)
    assert smallest_difference(squares_of_methods(np.zeros((3, 3, 5))), 1) == 0


def test_crossed_trainings_without_an_effect_of_seeds_are_as_many_as_there_are_label_draws() -> None:
    rng = np.random.default_rng(10)
    of_label = np.repeat(rng.normal(0, 5, 3), 2)[:, None]  # rows 0 and 1 are of the first draw
    values = of_label + np.zeros((6, 9))
    found = squares_of_mean(values, np.arange(6).reshape(3, 2))
    test = stats.ttest_1samp(of_label[::2, 0], 0)
    estimate = Estimate(float(values.mean()), *found.variance(1 / 54, 1 / 54))
    assert estimate.interval() == pytest.approx(tuple(test.confidence_interval()))


def test_crossed_mean_squares_equal_loops_over_the_definition() -> None:
    values, rows = np.random.default_rng(11).normal(size=(6, 7)), np.array([[0, 2, 4], [1, 3, 5]])
    means, total = values.mean(axis=1), values.mean()
    draw = sum(3 * 7 * (means[row].mean() - total) ** 2 for row in rows) / 1
    seed = sum(2 * 7 * (means[rows[:, s]].mean() - total) ** 2 for s in range(3)) / 2
    both = sum(
        7 * (means[rows[d, s]] - means[rows[d]].mean() - means[rows[:, s]].mean() + total) ** 2
        for d in range(2) for s in range(3)
    ) / 2  # fmt: skip
    found = squares_of_mean(values, rows)
    assert found.by_seed == pytest.approx(max(draw + seed - both, draw, seed))
    assert found.one_training == pytest.approx(max(draw - both, 0) / 3 + max(seed - both, 0) / 2 + both)
    assert (found.by_case, found.rest) == (squares_of_mean(values).by_case, squares_of_mean(values).rest)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 3), (4, 2)])
def test_the_mean_of_trainings_is_that_of_cases_that_are_all_alike(shape: tuple[int, int]) -> None:
    values, rows = np.random.default_rng(13).normal(size=shape).ravel(), np.arange(shape[0] * shape[1]).reshape(shape)
    one, repeated = mean_of_trainings(values, rows), interval_of_mean(np.repeat(values[:, None], 5, axis=1), rows)
    assert one is not None
    assert repeated is not None
    assert (one.value, one.variance, one.freedom) == pytest.approx(
        (repeated.value, repeated.variance, repeated.freedom)
    )
    alone = mean_of_trainings(values)
    assert alone is not None
    assert alone.interval() == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval()))


def test_crossed_trainings_never_have_fewer_degrees_of_freedom_than_a_factor() -> None:
    """Mean squares that nearly cancel leave next to none, and an interval of any width."""
    rng = np.random.default_rng(14)
    for shape in ((2, 2), (2, 3), (3, 3)):
        rows = np.arange(shape[0] * shape[1]).reshape(shape)
        found = [squares_of_mean(rng.normal(size=(rows.size, 6)), rows).freedom[0] for _ in range(200)]
        assert min(found) >= min(shape) - 1


def test_seeds_that_are_alike_by_luck_do_not_narrow_an_interval() -> None:
    rng = np.random.default_rng(12)
    differences = rng.normal(0, 5, (3, 40))
    differences -= differences.mean(axis=1, keepdims=True) - 1  # every seed's mean is 1
    error = squares_of_methods(np.stack([differences, np.zeros_like(differences)]))
    assert error.by_seed == pytest.approx(0)
    least = 2 / 120 * error.rest  # what the rest alone gives the mean
    assert difference(differences, error).variance == pytest.approx(
        least + 2 / 120 * max(error.by_case - error.rest, 0)
    )


def test_a_rounding_error_does_not_move_the_degrees_of_freedom() -> None:
    exact, near = (Squares(3, 2, 9.0, 4.0 + more, 4.0, (2, 1, 2)) for more in (0.0, 1e-12))
    assert exact.variance(1, 1)[1] == pytest.approx(2)
    assert near.variance(1, 1)[1] == pytest.approx(2)
    for by_case in (0.0, 5.0, 50.0, 5000.0):
        assert 1 <= Squares(3, 2, 9.0, by_case, 4.0, (2, 1, 2)).variance(1, 1)[1] <= 3

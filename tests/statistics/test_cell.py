"""Means, spread and intervals of a cell against loops over its defined values and other programs."""

import statistics

import numpy as np
import pytest
from cells import COMPLETE, LONELY_SEED, TWO_CLASSES, Values, crossed, mean_of, of_cases, scores
from scipy import stats

from ssl_bench.statistics.bootstrap import bootstrap_interval
from ssl_bench.statistics.cell import CellScores


def test_hand_computed_means_and_deviations() -> None:
    own = scores([[[1.0], [3.0]], [[5.0], [11.0]]])
    assert own.seed_means.tolist() == [2, 8]
    assert own.mean == 5
    assert own.sd_over_seeds == pytest.approx(np.sqrt(18))  # of 2 and 8
    assert own.sd_over_cases == pytest.approx(np.sqrt(8))  # of 3 and 7


@pytest.mark.parametrize("values", [COMPLETE, TWO_CLASSES, LONELY_SEED])
def test_means_and_deviations_equal_loops_over_the_defined_values(values: Values) -> None:
    by_seed = [mean_of(values, [seed], range(len(values[0]))) for seed in range(len(values))]
    pooled = [[one for seed in values for one in seed[case] if one is not None] for case in range(len(values[0]))]
    own = scores(values)
    assert own.seed_means == pytest.approx(by_seed)
    assert own.mean == pytest.approx(statistics.fmean(mean for mean in by_seed if mean is not None))
    assert own.sd_over_seeds == pytest.approx(statistics.stdev(mean for mean in by_seed if mean is not None))
    assert own.sd_over_cases == pytest.approx(statistics.stdev(sum(case) / len(case) for case in pooled))


def test_a_seed_or_case_without_a_defined_value_is_left_out() -> None:
    own = scores([[[None], [None], [None]], [[4.0], [None], [8.0]]])
    assert np.isnan(own.seed_means[0])
    assert own.seed_means[1] == 6
    assert own.mean == 6
    assert own.sd_over_seeds is None
    assert own.sd_over_cases == pytest.approx(np.sqrt(8))


def test_what_cannot_be_said_is_none() -> None:
    nothing, single = scores([[[None], [None]]]), of_cases([5.0])
    assert (nothing.mean, nothing.sd_over_seeds, nothing.sd_over_cases, nothing.interval()) == (None,) * 4
    assert (single.mean, single.sd_over_seeds, single.sd_over_cases, single.interval()) == (5, None, None, None)


# Groups


def test_a_groups_value_is_linear_in_its_scores_and_its_mean_is_that_of_the_cases() -> None:
    own = scores([[[10.0], [20.0], [60.0], [90.0]]], groups=["a", "b", "a", "a"])
    # theta 45; group a: three cases of mean 160 / 3, group b: one of 20; two cases a group on average
    assert own.units == ("a", "b")
    assert own.values.tolist() == [pytest.approx([45 + 3 / 2 * (160 / 3 - 45), 45 + 1 / 2 * (20 - 45)])]
    assert own.values.mean() == pytest.approx(45)
    assert own.unit_means.tolist() == [pytest.approx([160 / 3, 20])]


def test_the_variance_of_grouped_cases_is_the_ratio_estimators() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 9, 25)
    groups = np.repeat(np.arange(25), sizes)
    values = 70 + rng.normal(0, 10, 25)[groups] + rng.normal(0, 5, len(groups))
    cell = CellScores((1,), tuple(map(str, range(len(values)))), values[None], np.ones((1, len(values)), np.int64),
                      tuple(map(str, groups)))  # fmt: skip
    totals, mean = np.bincount(groups, values), values.mean()
    # survey sampling's linearised variance of a ratio of totals over clusters
    variance = 25 * ((totals - mean * sizes) ** 2).sum() / 24 / len(values) ** 2
    half = stats.t.ppf(0.975, 24) * np.sqrt(variance)
    assert cell.interval() == pytest.approx((mean - half, mean + half))


def test_groups_of_one_case_are_the_cases() -> None:
    plain = crossed(np.random.default_rng(1), 3, 12, (1, 4, 2))
    alone = CellScores(plain.seeds, plain.cases, plain.sums, plain.counts, plain.cases)
    assert np.allclose(alone.values, plain.values)
    assert alone.interval() == pytest.approx(plain.interval())


def test_repeated_frames_of_few_videos_do_not_narrow_the_interval() -> None:
    one = crossed(np.random.default_rng(2), 3, 6, (1, 14, 5))
    names = tuple(f"{case} frame {n}" for case in one.cases for n in range(20))
    many = CellScores(one.seeds, names, np.repeat(one.sums, 20, axis=1), np.repeat(one.counts, 20, axis=1))
    grouped = CellScores(*(getattr(many, key) for key in ("seeds", "cases", "sums", "counts")),
                         tuple(name.split()[0] for name in names))  # fmt: skip
    (low, high), (falsely_low, falsely_high) = grouped.interval() or (0, 0), many.interval() or (0, 0)
    assert (low, high) == pytest.approx(one.interval())
    assert high - low > 2 * (falsely_high - falsely_low)


# Intervals


def test_interval_of_one_seed_is_students_over_cases() -> None:
    values = np.random.default_rng(5).gamma(2, 10, size=60)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert of_cases(values).interval() == pytest.approx(tuple(expected))


def test_interval_is_students_over_seeds_where_cases_do_not_differ() -> None:
    by_seed = np.array([70.0, 74.0, 75.0])
    own = of_cases(*np.tile(by_seed[:, None], 8))
    assert own.interval() == pytest.approx(tuple(stats.ttest_1samp(by_seed, 0).confidence_interval()))


def test_interval_without_spread_is_the_mean() -> None:
    assert of_cases([7.0, 7.0, 7.0], [7.0, 7.0, 7.0]).interval() == (7, 7)


def test_one_undefined_value_hardly_changes_the_interval() -> None:
    whole = crossed(np.random.default_rng(6), 3, 200, (3, 12, 6))
    counts = whole.counts.copy()
    counts[1, 7] = 0
    holed = CellScores(whole.seeds, whole.cases, whole.sums * counts, counts)
    assert not holed.is_complete
    assert holed.interval() == pytest.approx(whole.interval(), abs=0.2)


def test_without_two_complete_cases_the_interval_is_the_bootstraps() -> None:
    own = scores([[[3.0], [None], [5.0]], [[None], [4.0], [6.0]]])
    assert own.interval() == bootstrap_interval(own.sums, own.counts)


def test_a_class_that_a_case_lacks_in_every_seed_leaves_the_cell_complete() -> None:
    own = scores([[[6.0, 8.0], [9.0, None]], [[7.0, 5.0], [4.0, None]]])
    assert own.is_complete
    assert own.values.mean(axis=1).tolist() == pytest.approx([23 / 3, 16 / 3])


def test_prediction_is_the_hand_computed_interval_of_one_more_training() -> None:
    # seeds' means 1 and 3, cases' means 1, 2, 3; mean squares: seeds 6, cases 2, rest 0
    own = of_cases([0.0, 1.0, 2.0], [2.0, 3.0, 4.0])
    same, more = 6 / 3 * 1.5, 2 * 2 / (2 * 3)
    half = stats.t.ppf(0.975, 1) * np.sqrt(same)
    assert own.prediction(same_cases=True) == pytest.approx((2 - half, 2 + half))
    freedom = (same + more) ** 2 / (same**2 / 1 + more**2 / 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(same + more)
    assert own.prediction(same_cases=False) == pytest.approx((2 - half, 2 + half))


def test_prediction_needs_two_seeds_and_two_cases() -> None:
    assert of_cases([1.0, 2.0]).prediction(same_cases=False) is None
    assert of_cases([1.0], [2.0]).prediction(same_cases=False) is None


def test_prediction_of_a_cell_with_undefined_values_is_around_its_mean() -> None:
    own = scores([[[3.0], [5.0], [None], [8.0]], [[4.0], [7.0], [90.0], [8.0]]])
    found, mean = own.prediction(same_cases=False), own.mean
    assert found is not None
    assert mean is not None
    assert sum(found) / 2 == pytest.approx(mean)
    whole = own.complete.prediction(same_cases=False)
    assert whole is not None
    assert found[1] - found[0] == pytest.approx(whole[1] - whole[0])


def test_share_of_seeds_is_that_of_the_means_variance() -> None:
    # of seeds: (6 - 0) / 6 of the first term; the cases' mean square beyond the rest's is 2
    assert of_cases([0.0, 1.0, 2.0], [2.0, 3.0, 4.0]).share_of_seeds == pytest.approx(6 / (6 + 2))
    assert of_cases([1.0, 2.0, 5.0], [1.0, 2.0, 5.0]).share_of_seeds == 0
    assert of_cases([4.0, 4.0], [4.0, 4.0]).share_of_seeds == 0
    assert of_cases([1.0, 2.0]).share_of_seeds is None

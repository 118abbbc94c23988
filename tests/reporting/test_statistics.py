"""Spread, bootstrap interval, paired comparison and Holm's correction against loops, full enumeration and SciPy."""

import itertools
import math
import statistics
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from ssl_bench.reporting.statistics import CellScores, compare, holm, over_seeds_and_cases

Values = Sequence[Sequence[Sequence[float | None]]]  # by seed, case and class; None: undefined

COMPLETE: Values = [[[10.0], [35.0], [62.0]], [[14.0], [51.0], [93.0]]]
TWO_CLASSES: Values = [
    [[10.0, 20.0], [40.0, None], [None, None], [70.0, 95.0]],
    [[12.0, 31.0], [None, None], [55.0, 58.0], [64.0, 91.0]],
    [[17.0, None], [44.0, 47.0], [None, 52.0], [79.0, 83.0]],
]
LONELY_SEED: Values = [[[None], [None], [30.0]], [[20.0], [50.0], [80.0]]]

# Darwin's maize, crossed less self-fertilised, in eighths of an inch (Fisher, The Design of Experiments, 1935).
MAIZE = [49.0, -67.0, 8.0, 16.0, 6.0, 23.0, 28.0, 41.0, 14.0, 29.0, 56.0, 24.0, 75.0, 60.0, -48.0]


def scores(values: Values, seeds: Sequence[int] | None = None, cases: Sequence[str] | None = None) -> CellScores:
    """CellScores of values by seed, case and class."""
    defined = [[[one for one in case if one is not None] for case in seed] for seed in values]
    return CellScores(
        tuple(seeds if seeds is not None else range(len(values))),
        tuple(cases if cases is not None else (f"case {number}" for number in range(len(values[0])))),
        np.array([[sum(case) for case in seed] for seed in defined], dtype=np.float64),
        np.array([[len(case) for case in seed] for seed in defined], dtype=np.int64),
    )


def of_cases(*seeds: Sequence[float]) -> CellScores:
    """CellScores of one value per seed and case."""
    return scores([[[value] for value in seed] for seed in seeds])


def mean_of(values: Values, seeds: Sequence[int], cases: Sequence[int]) -> float | None:
    """Mean over the drawn seeds of the mean over the defined values of the drawn cases."""
    means = []
    for seed in seeds:
        own = [one for case in cases for one in values[seed][case] if one is not None]
        if own:
            means.append(sum(own) / len(own))
    return sum(means) / len(means) if means else None


def every_resample(values: Values) -> list[float]:
    """The mean of each of the equally likely resamples, all of them."""
    seeds, cases = range(len(values)), range(len(values[0]))
    means = [
        mean_of(values, drawn_seeds, drawn_cases)
        for drawn_seeds in itertools.product(seeds, repeat=len(seeds))
        for drawn_cases in itertools.product(cases, repeat=len(cases))
    ]
    return [mean for mean in means if mean is not None]


def signed_ranks(differences: Sequence[float]) -> tuple[float, float]:
    """W+ and W-: sums of the mean ranks of the magnitudes, zeros left out."""
    own = [one for one in differences if one != 0]
    plus = minus = 0.0
    for one in own:
        below = sum(abs(other) < abs(one) for other in own)
        level = sum(abs(other) == abs(one) for other in own)
        rank = below + (level + 1) / 2
        plus, minus = (plus + rank, minus) if one > 0 else (plus, minus + rank)
    return plus, minus


def normal_p(differences: Sequence[float]) -> float:
    """Two-sided p of the normal approximation, corrected for ties."""
    own = [abs(one) for one in differences if one != 0]
    n, statistic = len(own), min(signed_ranks(differences))
    ties = sum(own.count(size) ** 3 - own.count(size) for size in set(own))
    z = (statistic - n * (n + 1) / 4) / math.sqrt(n * (n + 1) * (2 * n + 1) / 24 - ties / 48)
    return math.erfc(abs(z) / math.sqrt(2))


def against_zero(differences: Sequence[float]) -> tuple[CellScores, CellScores]:
    """Two cells of one seed that differ by these."""
    return of_cases(differences), of_cases([0.0] * len(differences))


def crossed(rng: np.random.Generator, seeds: int, cases: int, sd: tuple[float, float, float]) -> CellScores:
    """CellScores of true mean 80 with a spread of seeds, of cases and of both together."""
    of_seed, of_case, of_both = sd
    values = 80 + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_case, cases)
    values += rng.normal(0, of_both, (seeds, cases))
    return CellScores(tuple(range(seeds)), tuple(map(str, range(cases))), values, np.ones_like(values, dtype=np.int64))


def coverage(seeds: int, cases: int, sd: tuple[float, float, float], repetitions: int = 200) -> float:
    """How often the 95 % interval of simulated scores contains the true mean."""
    rng, inside = np.random.default_rng(7), 0
    for _ in range(repetitions):
        interval = crossed(rng, seeds, cases, sd).interval(resamples=400)
        assert interval is not None
        inside += interval[0] <= 80 <= interval[1]
    return inside / repetitions


# Means and deviations


def test_hand_computed_means_and_deviations() -> None:
    own = scores([[[1.0], [3.0]], [[5.0], [11.0]]])
    assert own.seed_means.tolist() == [2, 8]
    assert own.mean == 5
    assert own.sd_over_seeds == pytest.approx(math.sqrt(18))  # of 2 and 8
    assert own.sd_over_cases == pytest.approx(math.sqrt(8))  # of 3 and 7


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
    assert own.sd_over_cases == pytest.approx(math.sqrt(8))


def test_what_cannot_be_said_is_none() -> None:
    nothing, single = scores([[[None], [None]]]), of_cases([5.0])
    assert (nothing.mean, nothing.sd_over_seeds, nothing.sd_over_cases, nothing.interval()) == (None,) * 4
    assert (single.mean, single.sd_over_seeds, single.sd_over_cases, single.interval()) == (5, None, None, None)


# Interval


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("values", [COMPLETE, TWO_CLASSES, LONELY_SEED])
def test_interval_has_the_percentiles_of_all_resamples(values: Values, level: float) -> None:
    every = every_resample(values)
    interval = scores(values).interval(level, resamples=20_000)
    assert interval is not None
    error = 0.01  # of a percentile: over 4 standard errors at the median of 20,000
    for bound, share in zip(interval, ((1 - level) / 2, (1 + level) / 2), strict=True):
        least, most = np.quantile(every, [share - error, share + error], method="inverted_cdf")
        assert least - 1e-9 <= bound <= most + 1e-9


@pytest.mark.parametrize("values", [COMPLETE, LONELY_SEED])
def test_interval_of_everything_reaches_from_the_least_resample_to_the_greatest(values: Values) -> None:
    every = every_resample(values)
    assert scores(values).interval(1.0, resamples=20_000) == pytest.approx((min(every), max(every)))


def test_a_single_resample_is_one_of_all() -> None:
    interval = scores(COMPLETE).interval(resamples=1)
    assert interval is not None
    assert interval[0] == interval[1]
    assert min(abs(interval[0] - one) for one in every_resample(COMPLETE)) < 1e-9


def test_interval_equals_one_of_naively_drawn_resamples() -> None:
    rng = np.random.default_rng(3)
    values = [
        [[None if rng.random() < 0.2 else rng.gamma(2, 20) for _ in range(2)] for _ in range(9)] for _ in range(4)
    ]
    drawn = [mean_of(values, rng.integers(4, size=4), rng.integers(9, size=9)) for _ in range(6000)]
    naive = [one for one in drawn if one is not None]
    interval = scores(values).interval(0.9, resamples=20_000)
    assert interval is not None
    for bound, share in zip(interval, (0.05, 0.95), strict=True):
        least, most = np.quantile(naive, [share - 0.015, share + 0.015])  # 5 standard errors of the naive draws
        assert least <= bound <= most


def test_interval_of_one_seed_equals_scipys_bootstrap_over_cases() -> None:
    values = np.random.default_rng(5).gamma(2, 10, size=60)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=6
    ).confidence_interval
    error = 0.06 * values.std() / math.sqrt(60)  # of a 2.5 % percentile of 20,000: 0.019 standard errors of the mean
    assert of_cases(values).interval(resamples=20_000) == pytest.approx(tuple(expected), abs=error)


def test_interval_is_the_same_at_every_call_whatever_was_drawn_before() -> None:
    own = scores(TWO_CLASSES)
    first = own.interval()
    np.random.seed(1)
    assert own.interval() == first


def test_interval_without_spread_is_the_mean() -> None:
    assert of_cases([7.0, 7.0, 7.0], [7.0, 7.0, 7.0]).interval() == (7, 7)


def test_interval_needs_two_cases_with_a_value() -> None:
    assert scores([[[3.0], [None]], [[4.0], [None]]]).interval() is None
    assert scores([[[3.0], [None]], [[None], [4.0]]]).interval() is not None


def test_interval_of_many_cases_takes_little_memory() -> None:
    own = crossed(np.random.default_rng(0), 3, 800, (1, 1, 1))
    tracemalloc.start()
    own.interval()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20  # all 5000 x 800 case weights at once would be 31 MiB


def test_interval_contains_the_true_mean_about_as_often_as_it_says_with_many_seeds() -> None:
    assert 0.90 <= coverage(seeds=30, cases=40, sd=(2, 5, 1)) <= 0.99


def test_interval_is_too_narrow_with_three_seeds_as_documented() -> None:
    assert coverage(seeds=3, cases=40, sd=(5, 1, 1)) < 0.85


# Comparison


def test_comparison_of_darwins_maize_equals_a_count_over_all_sign_patterns() -> None:
    found = compare(*against_zero(MAIZE))
    assert found is not None
    assert (found.seeds, found.cases, found.statistic) == (1, 15, 24)
    assert found.difference == pytest.approx(314 / 15)
    assert found.effect == pytest.approx((96 - 24) / 120)
    signs = np.array(list(itertools.product([0, 1], repeat=15)))
    as_extreme = np.count_nonzero(np.minimum(signs @ np.arange(1, 16), 120 - signs @ np.arange(1, 16)) <= 24)
    assert found.p == pytest.approx(as_extreme / 2**15)


def enumerated_p(differences: list[float]) -> float:
    """Two-sided p over every pattern of signs of the differences' ranks."""
    ranks = stats.rankdata(np.abs(np.round(differences, 9)))
    plus = np.array(list(itertools.product([0, 1], repeat=len(ranks)))) @ ranks
    middle = ranks.sum() / 2
    found = abs(ranks[np.array(differences) > 0].sum() - middle)
    return float(np.mean(np.abs(plus - middle) >= found - 1e-9))


@pytest.mark.parametrize("cases", [1, 2, 7, 50])
def test_p_is_exact_for_few_untied_differences(cases: int) -> None:
    differences = np.random.default_rng(cases).normal(0.3, 1, cases)
    found = compare(*against_zero(differences))
    expected = stats.wilcoxon(differences.round(9), method="exact")
    assert found is not None
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_p_is_exact_with_zeros_which_are_left_out_of_the_ranks() -> None:
    found = compare(*against_zero([3.0, 0.0, -1.0, 0.0, 2.0, 5.0]))
    without = compare(*against_zero([3.0, -1.0, 2.0, 5.0]))
    assert found is not None
    assert without is not None
    assert (found.statistic, found.p, found.effect) == (1, 4 / 16, 0.8)  # T <= 1: 2 of 16 sign patterns either side
    assert (without.statistic, without.p, without.effect) == (1, 4 / 16, 0.8)
    assert (found.cases, found.difference) == (6, 1.5)


@pytest.mark.parametrize("cases", [20, 51, 200])
def test_p_is_the_tie_corrected_normal_approximation_for_tied_or_many_differences(cases: int) -> None:
    rng = np.random.default_rng(cases)
    differences = rng.integers(-3, 5, cases).astype(float) if cases != 51 else rng.normal(0.2, 1, cases).round(9)
    found = compare(*against_zero(differences))
    assert found is not None
    assert found.p == pytest.approx(normal_p(differences.tolist()))
    assert found.statistic == min(signed_ranks(differences.tolist()))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=20).filter(any))
def test_effect_is_the_rank_biserial_correlation(differences: list[float]) -> None:
    plus, minus = signed_ranks(differences)
    found = compare(*against_zero(differences))
    assert found is not None
    assert found.effect == pytest.approx((plus - minus) / (plus + minus))
    assert found.statistic == min(plus, minus)


def test_each_case_is_averaged_over_the_seeds_before_it_is_ranked() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(80, 5, (3, 12)), rng.normal(78, 5, (3, 12))
    found = compare(of_cases(*a), of_cases(*b))
    expected = stats.wilcoxon((a.mean(0) - b.mean(0)).round(9), method="exact")
    assert found is not None
    assert (found.seeds, found.cases) == (3, 12)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_seeds_and_cases_are_paired_by_name_and_only_the_common_ones_count() -> None:
    a = scores([[[1.0], [2.0], [4.0]], [[50.0], [60.0], [90.0]]], seeds=[1, 2], cases=["x", "y", "z"])
    b = scores([[[70.0], [0.0], [1.0]], [[30.0], [3.0], [9.0]]], seeds=[3, 1], cases=["w", "z", "x"])
    found = compare(a, b)  # seed 1: x 1 - 9, z 4 - 3
    assert found is not None
    assert (found.seeds, found.cases, found.difference) == (1, 2, -3.5)
    assert (found.statistic, found.effect) == (1, pytest.approx(-1 / 3))


def test_a_case_counts_where_both_have_as_many_values_in_every_common_seed() -> None:
    full: list[float | None] = [6.0, 8.0]
    a = scores([[full, [9.0, None], full, [None, None]], [full, full, full, [None, None]]])
    b = scores([[[1.0, 3.0], full, [5.0, None], [None, None]], [[2.0, 2.0], full, [5.0, None], [None, None]]])
    found = compare(a, b)
    assert found is not None
    assert (found.cases, found.difference) == (1, 5)
    both_lack_one = compare(scores([[[6.0, None]], [full]]), scores([[[3.0, None]], [[5.0, 1.0]]]))
    assert both_lack_one is not None
    assert (both_lack_one.cases, both_lack_one.difference) == (1, pytest.approx((3 + 8) / 3))


def test_nothing_in_common_gives_no_comparison() -> None:
    own = of_cases([1.0, 2.0])
    assert compare(own, scores([[[1.0], [2.0]]], seeds=[9])) is None
    assert compare(own, scores([[[1.0], [2.0]]], cases=["p", "q"])) is None
    assert compare(own, scores([[[None], [None]]])) is None


def test_rounding_errors_are_neither_differences_nor_broken_ties() -> None:
    assert (0.1 - 0.3) + 0.2 != 0
    same = compare(of_cases([0.1, 5.0], [0.2, 5.0]), of_cases([0.3, 5.0], [0.0, 5.0]))
    assert same is not None
    assert (same.p, same.effect) == (1, 0)
    differences = [0.3 - 0.2, 0.1, 0.8 - 0.7, -0.4]  # three times 0.1
    tied = compare(*against_zero(differences))
    assert tied is not None
    assert tied.p == pytest.approx(enumerated_p([0.1, 0.1, 0.1, -0.4]))


@pytest.mark.parametrize("cases", [4, 5, 9, 13])
def test_p_is_exact_for_few_tied_differences_too(cases: int) -> None:
    equal, some = [0.5] * cases, np.random.default_rng(cases).integers(1, 4, cases) * np.array([1, -1] * 7)[:cases]
    for differences in (equal, some.astype(float).tolist()):
        found = compare(*against_zero(differences))
        assert found is not None
        assert found.p == pytest.approx(enumerated_p(differences))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda seeds: st.lists(
            st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=seeds, max_size=seeds), min_size=1, max_size=8
        )
    )
)
def test_a_method_compared_with_itself_is_never_significant(by_case: list[list[float | None]]) -> None:
    own = scores([[[case[seed]] for case in by_case] for seed in range(len(by_case[0]))])
    found = compare(own, own)
    whole = sum(None not in case for case in by_case)
    if whole:
        assert found is not None
        assert (found.cases, found.difference, found.p, found.effect) == (whole, 0, 1, 0)
    else:
        assert found is None


def test_a_clear_difference_is_significant_in_both_directions() -> None:
    rng = np.random.default_rng(4)
    base = rng.normal(70, 10, (3, 60))
    worse, better = of_cases(*base), of_cases(*(base + rng.normal(5, 2, (3, 60))))
    there, back = compare(better, worse), compare(worse, better)
    assert there is not None
    assert back is not None
    assert there.p < 1e-6
    assert there.effect > 0.9
    assert (back.p, back.difference, back.effect) == (there.p, -there.difference, -there.effect)


def test_pure_noise_is_significant_about_as_often_as_it_should_be() -> None:
    rng = np.random.default_rng(8)
    found = [compare(*against_zero(rng.normal(0, 1, 30))) for _ in range(200)]
    share = sum(one is not None and one.p < 0.05 for one in found) / 200
    assert 0.02 <= share <= 0.08


def test_p_over_both_equals_the_analysis_of_variance_by_hand() -> None:
    # seeds' means 1 and 3, cases' means 1, 2, 3; sums of squares: seeds 6, cases 4, rest 0: F = 24 / (6 + 2)
    differences = np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])
    freedom = (6 + 2) ** 2 / 6**2
    assert over_seeds_and_cases(differences) == pytest.approx(stats.f.sf(24 / 8, 1, freedom))
    found = compare(of_cases(*(differences + 5)), of_cases(*np.full((2, 3), 5.0)))
    assert found is not None
    assert found.p_both == over_seeds_and_cases(differences)


def test_p_over_both_is_students_paired_t_over_seeds_where_cases_differ_by_noise_alone() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(1, 5, (4, 20)) + rng.normal(0, 4, (4, 1))
    of_case = differences.mean(axis=0) - differences.mean()
    differences -= of_case  # all cases' means are equal, so the seeds alone are left
    t = stats.ttest_1samp(differences.mean(axis=1), 0).pvalue
    assert over_seeds_and_cases(differences) == pytest.approx(t)


def test_p_over_both_is_students_paired_t_over_cases_where_seeds_do_not_differ() -> None:
    by_case = np.random.default_rng(4).normal(1, 5, 20)
    differences = np.tile(by_case, (3, 1)) + 1e-4 * np.array([[1], [0], [-1]])  # hardly
    normal = 2 * stats.norm.sf(abs(by_case.mean()) / (by_case.std(ddof=1) / np.sqrt(20)))  # no degree is lost to seeds
    assert over_seeds_and_cases(differences) == pytest.approx(normal, rel=1e-3)


def test_p_over_both_of_few_or_without_spread() -> None:
    assert over_seeds_and_cases(np.ones((1, 5))) is None
    assert over_seeds_and_cases(np.ones((5, 1))) is None
    assert over_seeds_and_cases(np.zeros((3, 5))) == 1
    assert over_seeds_and_cases(np.full((3, 5), 2.0)) == 0


@pytest.mark.parametrize(
    ("of_seed", "of_case"),
    [(0.4, 0.0), (0.0, 14.0), (0.3, 5.0), (0.0, 0.0)],
    ids=["seeds", "cases", "both", "neither"],
)
@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_methods_are_called_different_no_more_often_than_the_level_says(
    seeds: int, of_seed: float, of_case: float
) -> None:
    """At the level of one comparison, and at that which Holm's correction asks of the first among 21."""
    rng, trials = np.random.default_rng(1), 4000
    p = np.array(
        [
            over_seeds_and_cases(
                rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_case, 100) + rng.normal(0, 5.6, (seeds, 100))
            )
            for _ in range(trials)
        ]
    )
    assert (p < 0.05).mean() <= 0.06
    assert (p < 0.05 / 21).mean() <= 2 * 0.05 / 21
    if of_case:
        assert (p < 0.05).mean() >= 0.03


def test_methods_that_differ_by_their_seeds_alone_are_seldom_called_different() -> None:
    """As in real runs: three seeds with an SD of 1 point, 200 cases with one of 18, and noise of 4 on each score."""
    rng = np.random.default_rng(1)
    over_cases, both, trials = 0, 0, 300
    for _ in range(trials):
        case = rng.normal(77, 18, 200)
        a, b = (of_cases(*(case + rng.normal(0, 1, (3, 1)) + rng.normal(0, 4, (3, 200)))) for _ in range(2))
        found = compare(a, b)
        assert found is not None
        assert found.p_both is not None
        over_cases += found.p < 0.05
        both += found.p_both < 0.05
    assert over_cases / trials > 0.3, "pairing cases alone mistakes a seed's luck for a method"
    assert both / trials < 0.08


# Holm's correction


def test_holm_equals_the_example_worked_by_hand() -> None:
    # 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1, which must not fall below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_some_of_a_family_starts_at_its_number_of_tests() -> None:
    assert holm([0.01, 0.001], tests=10) == pytest.approx([0.09, 0.01])


def test_holm_of_none_of_one_and_of_large_p_values() -> None:
    assert holm([]) == []
    assert holm([0.3]) == [0.3]
    assert holm([0.9, 0.8]) == [1, 1]


P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.02, 0.5])), max_size=12)


@settings(max_examples=50, deadline=None)
@given(P_VALUES)
def test_holm_equals_its_definition(p_values: list[float]) -> None:
    ordered = sorted(p_values)
    by_definition = {
        p: min(1.0, max((len(ordered) - j) * ordered[j] for j in range(len(ordered)) if ordered[j] <= p))
        for p in p_values
    }
    assert holm(p_values) == pytest.approx([by_definition[p] for p in p_values])


@settings(max_examples=50, deadline=None)
@given(P_VALUES.filter(bool), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for step, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        if p_values[number] * (len(p_values) - step) > alpha:
            break
        rejected.add(number)
    assert {number for number, p in enumerate(holm(p_values)) if p <= alpha} == rejected


@settings(max_examples=50, deadline=None)
@given(P_VALUES.flatmap(lambda p_values: st.tuples(st.just(p_values), st.permutations(range(len(p_values))))))
def test_holm_raises_keeps_the_order_and_follows_a_permutation(case: tuple[list[float], list[int]]) -> None:
    p_values, order = case
    adjusted = holm(p_values)
    assert all(raw <= one <= 1 for raw, one in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [one for _, one in pairs] == sorted(adjusted)
    assert holm([p_values[number] for number in order]) == [adjusted[number] for number in order]

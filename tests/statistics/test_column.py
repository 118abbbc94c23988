"""Comparison of a column's methods against loops, enumeration, SciPy, and each method's pair alone."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from cells import MAIZE, of_cases, scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssl_bench.statistics.anova import squares_of_methods
from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.column import Column, Comparison


def compare(a: CellScores, b: CellScores) -> Comparison | None:
    """A column of two methods."""
    return Column([a, b]).compare(0, 1)


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


def test_comparison_of_darwins_maize_equals_a_count_over_all_sign_patterns() -> None:
    found = compare(*against_zero(MAIZE))
    assert found is not None
    assert (found.seeds, found.cases) == (1, 15)
    assert found.difference == pytest.approx(314 / 15)
    assert found.effect == pytest.approx((96 - 24) / 120)
    signs = np.array(list(itertools.product([0, 1], repeat=15)))
    as_extreme = np.count_nonzero(np.minimum(signs @ np.arange(1, 16), 120 - signs @ np.arange(1, 16)) <= 24)
    assert found.p_cases == pytest.approx(as_extreme / 2**15)


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
    assert found.p_cases == pytest.approx(expected.pvalue)


def test_p_is_exact_with_zeros_which_are_left_out_of_the_ranks() -> None:
    found = compare(*against_zero([3.0, 0.0, -1.0, 0.0, 2.0, 5.0]))
    without = compare(*against_zero([3.0, -1.0, 2.0, 5.0]))
    assert found is not None
    assert without is not None
    assert (found.p_cases, found.effect) == (4 / 16, 0.8)  # T <= 1: 2 of 16 sign patterns either side
    assert (without.p_cases, without.effect) == (4 / 16, 0.8)
    assert (found.cases, found.difference) == (6, 1.5)


@pytest.mark.parametrize("cases", [20, 51, 200])
def test_p_is_the_tie_corrected_normal_approximation_for_tied_or_many_differences(cases: int) -> None:
    rng = np.random.default_rng(cases)
    differences = rng.integers(-3, 5, cases).astype(float) if cases != 51 else rng.normal(0.2, 1, cases).round(9)
    found = compare(*against_zero(differences))
    assert found is not None
    assert found.p_cases == pytest.approx(normal_p(differences.tolist()))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=20).filter(any))
def test_effect_is_the_rank_biserial_correlation(differences: list[float]) -> None:
    plus, minus = signed_ranks(differences)
    found = compare(*against_zero(differences))
    assert found is not None
    assert found.effect == pytest.approx((plus - minus) / (plus + minus))


def test_each_case_is_averaged_over_the_seeds_before_it_is_ranked() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(80, 5, (3, 12)), rng.normal(78, 5, (3, 12))
    found = compare(of_cases(*a), of_cases(*b))
    expected = stats.wilcoxon((a.mean(0) - b.mean(0)).round(9), method="exact")
    assert found is not None
    assert (found.seeds, found.cases) == (3, 12)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.p_cases == pytest.approx(expected.pvalue)


def test_seeds_and_cases_are_paired_by_name_and_only_the_common_ones_count() -> None:
    a = scores([[[1.0], [2.0], [4.0]], [[50.0], [60.0], [90.0]]], seeds=[1, 2], cases=["x", "y", "z"])
    b = scores([[[70.0], [0.0], [1.0]], [[30.0], [3.0], [9.0]]], seeds=[3, 1], cases=["w", "z", "x"])
    found = compare(a, b)  # seed 1: x 1 - 9, z 4 - 3
    assert found is not None
    assert (found.seeds, found.cases, found.difference) == (1, 2, -3.5)
    assert found.effect == pytest.approx(-1 / 3)


def test_a_case_counts_where_both_have_as_many_values_in_every_common_seed() -> None:
    full: list[float | None] = [6.0, 8.0]
    a = scores([[full, [9.0, None], full, [None, None]], [full, full, full, [None, None]]])
    b = scores([[[1.0, 3.0], full, [5.0, None], [None, None]], [[2.0, 2.0], full, [5.0, None], [None, None]]])
    found = compare(a, b)
    assert found is not None
    assert (found.cases, found.difference) == (1, 5)
    in_one_seed = compare(scores([[[6.0, None]], [full]]), scores([[[3.0, None]], [[5.0, 1.0]]]))
    assert in_one_seed is None, "a class that both lack in one seed alone"
    always = compare(scores([[[6.0, None]], [[8.0, None]]]), scores([[[3.0, None]], [[5.0, None]]]))
    assert always is not None
    assert (always.cases, always.difference) == (1, 3)


def test_nothing_in_common_gives_no_comparison() -> None:
    own = of_cases([1.0, 2.0])
    assert compare(own, scores([[[1.0], [2.0]]], seeds=[9])) is None
    assert compare(own, scores([[[1.0], [2.0]]], cases=["p", "q"])) is None
    assert compare(own, scores([[[None], [None]]])) is None


def test_rounding_errors_are_neither_differences_nor_broken_ties() -> None:
    assert (0.1 - 0.3) + 0.2 != 0
    same = compare(of_cases([0.1, 5.0], [0.2, 5.0]), of_cases([0.3, 5.0], [0.0, 5.0]))
    assert same is not None
    assert (same.p_cases, same.effect) == (1, 0)
    differences = [0.3 - 0.2, 0.1, 0.8 - 0.7, -0.4]  # three times 0.1
    tied = compare(*against_zero(differences))
    assert tied is not None
    assert tied.p_cases == pytest.approx(enumerated_p([0.1, 0.1, 0.1, -0.4]))


@pytest.mark.parametrize("cases", [4, 5, 9, 13])
def test_p_is_exact_for_few_tied_differences_too(cases: int) -> None:
    equal, some = [0.5] * cases, np.random.default_rng(cases).integers(1, 4, cases) * np.array([1, -1] * 7)[:cases]
    for differences in (equal, some.astype(float).tolist()):
        found = compare(*against_zero(differences))
        assert found is not None
        assert found.p_cases == pytest.approx(enumerated_p(differences))


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
        assert (found.cases, found.difference, found.p_cases, found.effect) == (whole, 0, 1, 0)
    else:
        assert found is None


def test_a_clear_difference_is_significant_in_both_directions() -> None:
    rng = np.random.default_rng(4)
    base = rng.normal(70, 10, (3, 60))
    worse, better = of_cases(*base), of_cases(*(base + rng.normal(5, 2, (3, 60))))
    there, back = compare(better, worse), compare(worse, better)
    assert there is not None
    assert back is not None
    assert there.p_cases < 1e-6
    assert there.effect > 0.9
    assert (back.p_cases, back.difference, back.effect) == (there.p_cases, -there.difference, -there.effect)


def test_pure_noise_is_significant_about_as_often_as_it_should_be() -> None:
    rng = np.random.default_rng(8)
    found = [compare(*against_zero(rng.normal(0, 1, 30))) for _ in range(200)]
    share = sum(one is not None and one.p_cases < 0.05 for one in found) / 200
    assert 0.02 <= share <= 0.08


# The error term


def drawn(seed: int, methods: int, seeds: int = 3, cases: int = 40) -> list[CellScores]:
    rng = np.random.default_rng(seed)
    case = rng.normal(70, 10, cases)
    return [of_cases(*(case + rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 4, (seeds, cases)))) for _ in range(methods)]


def test_the_error_term_is_that_of_all_methods() -> None:
    cells = drawn(1, 5)
    column = Column(cells)
    assert column.pool == (0, 1, 2, 3, 4)
    assert column.error is not None
    expected = squares_of_methods(np.stack([cell.sums for cell in cells]))
    assert (column.error.by_seed, column.error.by_case) == pytest.approx((expected.by_seed, expected.by_case))
    assert (column.error.rest, column.error.freedom) == (pytest.approx(expected.rest), expected.freedom)
    found, alone = column.compare(3, 1), compare(cells[3], cells[1])
    assert found is not None
    assert found.estimate is not None
    assert alone is not None
    assert alone.estimate is not None
    assert found.pooled
    assert found.estimate.value == alone.estimate.value == pytest.approx(cells[3].sums.mean() - cells[1].sums.mean())
    assert found.estimate.freedom > alone.estimate.freedom
    assert found.alone == alone.alone == alone.estimate


def test_a_method_with_one_seed_is_compared_by_itself_and_untested() -> None:
    cells = [*drawn(2, 3), drawn(3, 1)[0].of_seeds([0])]
    column = Column(cells)
    assert (column.pool, column.seeds) == ((0, 1, 2), (0, 1, 2))
    lonely = column.compare(3, 0)
    assert lonely is not None
    assert (lonely.seeds, lonely.estimate, lonely.alone, lonely.pooled) == (1, None, None, False)


def test_methods_without_common_seeds_have_no_comparison_and_the_others_keep_their_pool() -> None:
    cells = drawn(4, 3)
    moved = CellScores((7, 8, 9), cells[2].cases, cells[2].sums, cells[2].counts)
    column = Column([*cells[:2], moved])
    assert column.pool == (0, 1)
    assert column.compare(2, 0) is None


def test_methods_of_the_same_other_seeds_are_compared_by_their_pair() -> None:
    cells = drawn(5, 5)
    others = [CellScores((7, 8, 9), one.cases, one.sums, one.counts) for one in cells[3:]]
    column = Column([*cells[:3], *others])
    assert column.pool == (0, 1, 2)
    pair, alone = column.compare(3, 4), compare(*others)
    assert pair is not None
    assert alone is not None
    assert not pair.pooled
    assert pair.estimate == alone.estimate


def test_a_method_that_finds_nothing_has_no_part_in_the_others_error_term() -> None:
    cells = drawn(6, 4)
    nothing = of_cases(*np.zeros((3, 40)))
    column = Column([*cells, nothing])
    assert column.pool == (0, 1, 2, 3)
    assert column.error == Column(cells).error
    found = column.compare(4, 0)
    assert found is not None
    assert found.estimate is not None
    assert not found.pooled
    assert found.estimate.p < 1e-6


def test_a_pair_with_more_seeds_than_all_keeps_its_own_mean() -> None:
    cells = drawn(7, 4, seeds=5)
    column = Column([*cells[:2], *(cell.of_seeds([0, 1, 2]) for cell in cells[2:])])
    found = column.compare(0, 1)
    assert (column.pool, column.seeds) == ((0, 1, 2, 3), (0, 1, 2))
    assert found is not None
    assert (found.seeds, found.pooled) == (5, True)
    assert found.difference == pytest.approx(cells[0].sums.mean() - cells[1].sums.mean())


def test_cases_without_a_value_in_some_method_are_left_out_of_the_error_term_alone() -> None:
    a, b, c = drawn(8, 3)
    holes = CellScores(c.seeds, c.cases, np.where(np.arange(40) < 5, 0, c.sums), (np.arange(40) >= 5) * c.counts)
    column = Column([a, b, holes])
    assert column.error == Column([cell.of_cases(np.arange(40) >= 5) for cell in (a, b, c)]).error
    found = column.compare(0, 1)
    assert found is not None
    assert (found.cases, found.pooled) == (40, True)


def test_groups_are_the_cases_of_a_comparison() -> None:
    groups = tuple(f"video {number % 6}" for number in range(40))
    cells = [CellScores(one.seeds, one.cases, one.sums, one.counts, groups) for one in drawn(9, 3)]
    column = Column(cells)
    assert column.error is not None
    assert column.error.cases == 6
    found = column.compare(0, 1)
    assert found is not None
    assert (found.cases, found.units) == (40, 6)
    videos = np.array([np.arange(40) % 6 == v for v in range(6)])
    by_video = [(cells[0].sums - cells[1].sums).mean(axis=0)[video].mean() for video in videos]
    assert found.p_cases == pytest.approx(stats.wilcoxon(by_video).pvalue)
    assert found.p_cases >= 2 / 2**6
    assert found.difference == pytest.approx(cells[0].sums.mean() - cells[1].sums.mean())


def test_methods_that_differ_by_their_seeds_alone_are_seldom_called_different() -> None:
    """As in real runs: three seeds with an SD of 1 point, 200 cases with one of 18, and noise of 4 on each score."""
    rng = np.random.default_rng(1)
    over_cases, both, trials = 0, 0, 300
    for _ in range(trials):
        case = rng.normal(77, 18, 200)
        a, b = (of_cases(*(case + rng.normal(0, 1, (3, 1)) + rng.normal(0, 4, (3, 200)))) for _ in range(2))
        found = compare(a, b)
        assert found is not None
        assert found.estimate is not None
        over_cases += found.p_cases < 0.05
        both += found.estimate.p < 0.05
    assert over_cases / trials > 0.3, "pairing cases alone mistakes a seed's luck for a method"
    assert both / trials < 0.08


def test_the_pool_does_not_depend_on_the_order_of_the_rows() -> None:
    cells = drawn(10, 6)
    moved = CellScores((7, 8, 9), cells[0].cases, cells[0].sums, cells[0].counts)
    first, last = Column([moved, *cells[1:]]), Column([*cells[1:], moved])
    assert (first.pool, last.pool) == ((1, 2, 3, 4, 5), (0, 1, 2, 3, 4))
    assert first.error is not None
    assert last.error is not None
    assert (first.error.by_seed, first.error.rest) == pytest.approx((last.error.by_seed, last.error.rest))
    chain = [CellScores(own, one.cases, one.sums, one.counts) for own, one in
             zip([(1, 2, 3), (4, 5, 6), (3, 4, 5)], cells, strict=False)]  # fmt: skip
    assert Column(chain).pool == (1, 2), "the last two share seeds 4 and 5"


def test_a_method_with_few_seeds_does_not_weaken_the_others() -> None:
    cells = drawn(11, 3, seeds=10)
    column = Column([*cells[:2], cells[2].of_seeds([0, 1])])
    assert column.pool == (0, 1)
    assert len(column.seeds) == 10
    third = column.compare(2, 0)
    assert third is not None
    assert not third.pooled


def test_a_method_with_few_defined_values_has_no_part_in_the_others_error_term() -> None:
    cells = drawn(12, 3)
    few = (np.arange(40) < 5) * cells[2].counts
    column = Column([*cells[:2], CellScores(cells[2].seeds, cells[2].cases, few * cells[2].sums, few)])
    assert column.pool == (0, 1)


@pytest.mark.slow
def test_equal_methods_are_seldom_called_different_where_a_third_lacks_cases() -> None:
    rng, trials, wrong = np.random.default_rng(13), 400, 0
    lacking = (np.arange(100) < 55).astype(np.int64) * np.ones((3, 1), dtype=np.int64)
    for _ in range(trials):
        case = rng.normal(70, 15, 100)
        cells = [of_cases(*(case + rng.normal(0, 1, (3, 1)) + rng.normal(0, 8, (3, 100)))) for _ in range(4)]
        cells[3] = CellScores(cells[3].seeds, cells[3].cases, cells[3].sums * lacking, lacking)
        column = Column(cells)
        assert column.pool == (0, 1, 2, 3)
        found = column.compare(0, 1)
        assert found is not None
        assert found.estimate is not None
        wrong += found.estimate.p < 0.05
    assert wrong / trials <= 0.07

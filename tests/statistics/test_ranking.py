"""Rank stability and performance profiles against naive loops, scipy and cases computed by hand."""

import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from ssl_bench.statistics.ranking import performance_profile, rank_stability

RNG = np.random.default_rng(11)
HALF = 0.5


def naive(values: np.ndarray, weights: np.ndarray, larger: bool, resamples: int) -> list[list[float]]:
    """Scores of every method in each resample, by loops; larger is better in what is returned."""
    (methods, seeds, units), rng = values.shape, np.random.default_rng(0)
    scores = []
    for _ in range(resamples):
        drawn_seeds, drawn_units = rng.integers(seeds, size=seeds), rng.integers(units, size=units)
        own = []
        for i in range(methods):
            by_seed = []
            for j in drawn_seeds:
                total = sum(values[i, j, k] * weights[k] for k in drawn_units)
                by_seed.append(total / sum(weights[k] for k in drawn_units))
            own.append(sum(by_seed) / seeds * (1 if larger else -1))
        scores.append([round(score, 9) for score in own])
    return scores


@pytest.mark.parametrize(("larger", "weighted"), list(product([True, False], [True, False])))
def test_it_is_what_naive_loops_over_the_same_draws_give(larger: bool, weighted: bool) -> None:
    values = RNG.normal(80, 5, (5, 3, 8)) + np.array([0, 1, 2, 2, 3])[:, None, None]
    weights = RNG.integers(1, 40, 8).astype(float) if weighted else None
    found = rank_stability(values, larger, weights, resamples=200)
    expected = naive(values, np.ones(8) if weights is None else weights, larger, 200)
    ranks = np.array([rankdata(-np.array(scores)) for scores in expected])
    assert found.distribution == pytest.approx(
        np.array([[(ranks[:, i] == place).mean() for place in range(1, 6)] for i in range(5)])
    )
    assert found.first == pytest.approx((ranks == 1).mean(axis=0))
    means = np.average(values.mean(axis=1), axis=1, weights=weights)
    observed = rankdata(-means if larger else means)
    assert list(found.observed) == list(observed)
    taus = [kendalltau(observed, own).statistic for own in ranks]
    assert found.tau == pytest.approx(np.mean(taus))
    assert found.tau_interval == pytest.approx(np.quantile(taus, [0.025, 0.975]))
    assert (found.undefined, found.resamples) == (0, 200)


def test_ties_within_resamples_have_the_tau_b_of_scipy() -> None:
    values = RNG.integers(0, 3, (6, 2, 4)).astype(float)  # few values: many ties
    found = rank_stability(values, resamples=300)
    expected = naive(values, np.ones(4), True, 300)
    observed = rankdata(-values.mean(axis=(1, 2)).round(9))
    taus = np.array([kendalltau(observed, rankdata(-np.array(scores))).statistic for scores in expected])
    assert any(len(set(scores)) < 6 for scores in expected)
    assert list(found.observed) == list(observed)
    assert found.tau == pytest.approx(np.nanmean(taus))
    shared = np.mean([[(s == max(own)) / own.count(max(own)) for s in own] for own in expected], axis=0)
    assert found.first == pytest.approx(shared)


def test_a_case_by_hand() -> None:
    """A is better by 2 on the first unit and worse by 1 on the second: B wins where the second is drawn twice."""
    values = np.array([[[2.0, 0.0]], [[0.0, 1.0]]])
    found = rank_stability(values, resamples=4000)
    assert list(found.observed) == [1, 2]
    assert found.first == pytest.approx([0.75, 0.25], abs=0.03)  # of (1,1) (1,2) (2,1) (2,2)
    assert found.tau == pytest.approx(0.75 - 0.25, abs=0.06)
    assert found.tau_interval == (-1, 1)
    assert list(rank_stability(values, larger_is_better=False).observed) == [2, 1]


def test_seeds_are_resampled_too() -> None:
    values = np.array([[[2.0], [0.0]], [[0.0], [1.0]]])  # as above, with seeds in the place of units
    assert rank_stability(values, resamples=4000).first == pytest.approx([0.75, 0.25], abs=0.03)


def test_a_unit_counts_as_often_as_its_weight_says() -> None:
    values = np.array([[[2.0, 0.0]], [[0.0, 1.0]]])
    found = rank_stability(values, weights=np.array([1.0, 3.0]), resamples=4000)
    assert list(found.observed) == [2, 1]  # 2/4 against 3/4
    assert found.first == pytest.approx([0.25, 0.75], abs=0.03)
    whole = rank_stability(values, weights=np.array([10.0, 30.0]), resamples=4000)
    assert np.array_equal(whole.distribution, found.distribution)


def test_identical_methods_share_their_places() -> None:
    best = RNG.normal(90, 1, (4, 37))
    found = rank_stability(np.stack([best, best - 20, best]), resamples=100)
    assert list(found.observed) == [1.5, 3, 1.5]
    assert found.first == pytest.approx([HALF, 0, HALF], abs=1e-12)
    assert found.distribution == pytest.approx(np.array([[HALF, HALF, 0], [0, 0, 1], [HALF, HALF, 0]]), abs=1e-12)
    assert found.tau == pytest.approx(1)
    assert found.tau_interval == pytest.approx((1, 1))
    shuffled = rank_stability(np.stack([best, best[:, RNG.permutation(37)]]), resamples=1)
    assert list(shuffled.observed) == [1.5, 1.5]  # equal except for rounding errors


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_ties_and_differences_are_found_on_every_scale(scale: float) -> None:
    values = np.array([[[0.1, 0.2, 0.3]], [[0.3, 0.2, 0.1]], [[0.1, 0.2, 0.29]]]) * scale
    assert list(rank_stability(values, resamples=1).observed) == [1.5, 1.5, 3]


def test_shares_of_methods_and_of_places_add_up_to_one() -> None:
    found = rank_stability(RNG.integers(0, 4, (7, 3, 5)).astype(float), resamples=100)
    for axis in (0, 1):
        assert found.distribution.sum(axis=axis) == pytest.approx(np.ones(7))
    assert np.array_equal(found.first, found.distribution[:, 0])


@pytest.mark.parametrize("values", [np.ones((1, 2, 3)), np.ones((3, 2, 3))])
def test_without_two_methods_that_differ_there_is_no_tau(values: np.ndarray) -> None:
    found = rank_stability(values, resamples=10)
    assert (found.tau, found.tau_interval, found.undefined) == (None, None, 10)
    assert found.first == pytest.approx(np.full(len(values), 1 / len(values)))


def test_resamples_in_which_all_tie_are_left_out_of_tau() -> None:
    values = np.array([[[1.0, 0.0]], [[0.0, 0.0]]])
    found = rank_stability(values, resamples=400)
    assert 60 < found.undefined < 140  # a quarter
    assert (found.tau, found.tau_interval) == (1, (1, 1))


def test_the_generator_is_fixed_and_the_callers_is_not_touched() -> None:
    values = RNG.normal(size=(3, 2, 9))
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    first, second = (rank_stability(values, resamples=50) for _ in range(2))
    assert np.array_equal(first.distribution, second.distribution)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]
    other = rank_stability(values, resamples=50, seed=1)
    assert not np.array_equal(first.distribution, other.distribution)


def test_memory_does_not_grow_with_the_resamples() -> None:
    values = RNG.normal(size=(12, 10, 3000))  # 2.9 MB
    tracemalloc.start()
    rank_stability(values, resamples=20)
    peak = tracemalloc.get_traced_memory()[1]
    rank_stability(values, larger_is_better=False, resamples=200)
    later = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes
    assert later < 2 * values.nbytes


VALUES = np.arange(12.0).reshape(2, 2, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": np.ones((2, 3))}, "shape"),
        ({"values": np.ones((0, 2, 3))}, "shape"),
        ({"values": np.where(VALUES == 3, np.nan, VALUES)}, "found 1 that are not"),
        ({"values": np.where(VALUES > 9, np.inf, VALUES)}, "found 2 that are not"),
        ({"weights": np.ones(2)}, r"weights: expected shape \(3,\)"),
        ({"weights": np.array([1.0, 0.0, 1.0])}, "positive"),
        ({"weights": np.array([1.0, np.nan, 1.0])}, "positive"),
        ({"resamples": 0}, "resamples: expected at least 1"),
    ],
)
def test_wrong_input_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rank_stability(**({"values": VALUES} | changes))
    if "resamples" not in changes:
        with pytest.raises(ValueError, match=words):
            performance_profile(**({"values": VALUES, "thresholds": np.zeros(1)} | changes))


# ---------------------------------------------------------------------------------------------------------- profiles


def test_a_profile_by_hand() -> None:
    values = np.array([[[50.0, 70.0, 90.0], [70.0, 70.0, 71.0]], [[0.0, 0.0, 0.0], [100.0, 100.0, 100.0]]])
    found = performance_profile(values, np.array([0.0, 70.0, 100.0]))
    assert found == pytest.approx(np.array([[1, (1 / 3 + 1 / 3) / 2, 0], [HALF, HALF, 0]]))  # 70 is not above 70


@pytest.mark.parametrize("weighted", [True, False])
def test_a_profile_is_what_naive_loops_give(weighted: bool) -> None:
    values, limits = RNG.uniform(0, 100, (3, 4, 9)), np.array([90.0, 10.0, 50.0])
    weights = RNG.integers(1, 9, 9).astype(float) if weighted else np.ones(9)
    found = performance_profile(values, limits, weights if weighted else None)
    assert found.shape == (3, 3)
    for i, t in product(range(3), range(3)):
        shares = [sum(w for w, v in zip(weights, values[i, j], strict=True) if v > limits[t]) for j in range(4)]
        assert found[i, t] == pytest.approx(sum(shares) / 4 / weights.sum())


def test_a_score_that_equals_a_threshold_except_for_rounding_is_not_above_it() -> None:
    assert 100 * 0.07 > 7
    assert performance_profile(np.array([[[100 * 0.07, 8.0]]]), np.array([7.0])) == pytest.approx(HALF)


def test_thresholds_must_be_finite_and_can_be_none() -> None:
    assert performance_profile(VALUES, np.zeros(0)).shape == (2, 0)
    for wrong in (np.array([np.nan]), np.zeros((1, 1))):
        with pytest.raises(ValueError, match="thresholds"):
            performance_profile(VALUES, wrong)

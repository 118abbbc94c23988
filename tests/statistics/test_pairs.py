"""Two trainings paired over cases: by SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.pairs import compare_two


def one(seed: int, values: dict[str, list[float]], groups: dict[str, str] | None = None) -> CellScores:
    """A cell of one training with the values of each case."""
    return CellScores(
        (seed,), tuple(values), np.array([[sum(own) for own in values.values()]]),
        np.array([[len(own) for own in values.values()]]), None if groups is None else tuple(map(groups.get, values)),
    )  # fmt: skip


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.uniform(40, 90, 30)
    return first, first + rng.normal(2, 6, 30)


def test_the_difference_and_its_interval_are_those_of_a_paired_t_test(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (one(seed, {f"c{i}": [x] for i, x in enumerate(own)}) for seed, own in enumerate(drawn, start=1))
    found = compare_two(a, b)
    assert found is not None
    assert found.estimate is not None
    expected = stats.ttest_rel(drawn[1], drawn[0])
    interval = expected.confidence_interval(0.95)
    assert found.estimate.value == pytest.approx((drawn[1] - drawn[0]).mean())
    assert found.estimate.interval() == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert found.p == pytest.approx(stats.wilcoxon((drawn[1] - drawn[0]).round(9)).pvalue)
    assert found.effect > 0


def test_the_second_against_the_first_turns_the_sign(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (one(1, {f"c{i}": [x] for i, x in enumerate(own)}) for own in drawn)
    forth, back = compare_two(a, b), compare_two(b, a)
    assert forth is not None
    assert back is not None
    assert forth.estimate is not None
    assert back.estimate is not None
    assert (forth.estimate.value, forth.effect) == pytest.approx((-back.estimate.value, -back.effect))


def test_cases_are_paired_by_name_and_by_the_number_of_their_values() -> None:
    a = one(1, {"x": [1.0, 3.0], "y": [5.0, 7.0], "z": [2.0], "only a": [9.0, 9.0]})
    b = one(2, {"z": [4.0, 4.0], "y": [6.0, 10.0], "x": [2.0, 3.0], "only b": [0.0, 0.0]})
    found = compare_two(a, b)
    assert found is not None
    assert found.a.cases == found.b.cases == ("x", "y")  # z has another number of values
    assert (found.a.mean, found.b.mean) == (4.0, 5.25)
    assert compare_two(one(1, {"x": [1.0]}), one(1, {"y": [1.0]})) is None


def test_groups_of_equal_size_are_units_by_their_means() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.uniform(0, 100, (2, 8, 4))
    groups = {f"g{g}_{i}": f"g{g}" for g in range(8) for i in range(4)}
    a, b = (
        one(seed, {f"g{g}_{i}": [own[g, i]] for g in range(8) for i in range(4)}, groups)
        for seed, own in ((1, first), (2, second))
    )
    found = compare_two(a, b)
    assert found is not None
    assert found.estimate is not None
    expected = stats.ttest_rel(second.mean(1), first.mean(1)).confidence_interval(0.95)
    assert found.estimate.interval() == pytest.approx((expected.low, expected.high), rel=1e-6)
    assert len(found.a.units) == 8


def test_one_unit_has_no_interval() -> None:
    found = compare_two(one(1, {"x": [1.0]}), one(2, {"x": [3.0]}))
    assert found is not None
    assert found.estimate is None
    assert (found.a.mean, found.b.mean) == (1.0, 3.0)

"""The bootstrap's interval against full enumeration, naive draws and SciPy's."""

import math
import tracemalloc

import numpy as np
import pytest
from cells import COMPLETE, LONELY_SEED, TWO_CLASSES, Values, crossed, every_resample, mean_of, of_cases, scores
from scipy import stats

from ssl_bench.statistics.bootstrap import bootstrap_interval
from ssl_bench.statistics.cell import CellScores


def bootstrap(cell: CellScores, level: float = 0.95, resamples: int = 5000) -> tuple[float, float] | None:
    return bootstrap_interval(cell.sums, cell.counts, cell.groups, level, resamples)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("values", [COMPLETE, TWO_CLASSES, LONELY_SEED])
def test_bootstrap_has_the_percentiles_of_all_resamples(values: Values, level: float) -> None:
    every = every_resample(values)
    interval = bootstrap(scores(values), level, 20_000)
    assert interval is not None
    error = 0.01  # of a percentile: over 4 standard errors at the median of 20,000
    for bound, share in zip(interval, ((1 - level) / 2, (1 + level) / 2), strict=True):
        least, most = np.quantile(every, [share - error, share + error], method="inverted_cdf")
        assert least - 1e-9 <= bound <= most + 1e-9


@pytest.mark.parametrize("values", [COMPLETE, LONELY_SEED])
def test_bootstrap_of_everything_reaches_from_the_least_resample_to_the_greatest(values: Values) -> None:
    every = every_resample(values)
    assert bootstrap(scores(values), 1.0, 20_000) == pytest.approx((min(every), max(every)))


def test_a_single_resample_is_one_of_all() -> None:
    interval = bootstrap(scores(COMPLETE), resamples=1)
    assert interval is not None
    assert interval[0] == interval[1]
    assert min(abs(interval[0] - one) for one in every_resample(COMPLETE)) < 1e-9


def test_bootstrap_equals_one_of_naively_drawn_resamples() -> None:
    rng = np.random.default_rng(3)
    values = [
        [[None if rng.random() < 0.2 else rng.gamma(2, 20) for _ in range(2)] for _ in range(9)] for _ in range(4)
    ]
    drawn = [mean_of(values, rng.integers(4, size=4), rng.integers(9, size=9)) for _ in range(6000)]
    naive = [one for one in drawn if one is not None]
    interval = bootstrap(scores(values), 0.9, 20_000)
    assert interval is not None
    for bound, share in zip(interval, (0.05, 0.95), strict=True):
        least, most = np.quantile(naive, [share - 0.015, share + 0.015])  # 5 standard errors of the naive draws
        assert least <= bound <= most


def test_bootstrap_of_one_seed_equals_scipys_bootstrap_over_cases() -> None:
    values = np.random.default_rng(5).gamma(2, 10, size=60)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=6
    ).confidence_interval
    error = 0.06 * values.std() / math.sqrt(60)  # of a 2.5 % percentile of 20,000: 0.019 standard errors of the mean
    assert bootstrap(of_cases(values), resamples=20_000) == pytest.approx(tuple(expected), abs=error)


def test_bootstrap_is_the_same_at_every_call_whatever_was_drawn_before() -> None:
    own = scores(TWO_CLASSES)
    first = bootstrap(own)
    np.random.seed(1)
    assert bootstrap(own) == first


def test_bootstrap_without_spread_is_the_mean() -> None:
    assert bootstrap(of_cases([7.0, 7.0, 7.0], [7.0, 7.0, 7.0])) == (7, 7)


def test_bootstrap_needs_two_cases_with_a_value() -> None:
    assert bootstrap(scores([[[3.0], [None]], [[4.0], [None]]])) is None
    assert bootstrap(scores([[[3.0], [None]], [[None], [4.0]]])) is not None


def test_bootstrap_of_many_cases_takes_little_memory() -> None:
    own = crossed(np.random.default_rng(0), 3, 800, (1, 1, 1))
    tracemalloc.start()
    bootstrap(own)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20  # all 5000 x 800 case weights at once would be 31 MiB


def test_bootstrap_of_groups_is_that_of_their_sums() -> None:
    values: Values = [[[10.0], [20.0], [None], [70.0]], [[14.0], [None], [50.0], [90.0]]]
    grouped = scores(values, groups=["a", "b", "a", "c"])
    joined = scores([[[10.0], [20.0], [70.0]], [[14.0, 50.0], [None], [90.0]]])
    assert bootstrap(grouped) == bootstrap(joined)


def test_bootstrap_needs_two_groups() -> None:
    assert bootstrap(scores(COMPLETE, groups=["a", "a", "a"])) is None

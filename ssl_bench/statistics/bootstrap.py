"""Percentile bootstrap over seeds and cases, for scores of which some are undefined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 50  # resamples held in memory at a time
SEED = 0


def bootstrap_interval(
    sums: np.ndarray, counts: np.ndarray, groups: Sequence[str] | None = None, level: float = 0.95,
    resamples: int = 5000,
) -> tuple[float, float] | None:  # fmt: skip
    """Return the percentile interval of the mean over seeds of the mean over values; None for fewer than 2 units.

    Seeds and units (groups, or cases without groups) are drawn with replacement and independently of each other, and a
    resample has each drawn seed's values on each drawn unit (the pigeonhole bootstrap: Owen, Annals of Applied
    Statistics 1(2), 2007, doi:10.1214/07-AOAS122). With one seed the units alone are resampled. A resampled seed
    without any defined value is left out. The generator is fixed: the same scores have the same interval.

    Known weakness: with few seeds or units the interval is too narrow, for the spread of S resampled seeds is that of
    the real ones times sqrt((S - 1) / S), and percentiles do not make up for it as Student's t does.

    Args:
        sums: (S, C) sum of the defined values of each seed and case.
        counts: (S, C) their number.
        groups: (C) name of each case's group.
        level: share of the resampled means inside.
        resamples: how many are drawn.

    """
    if groups is not None:
        names = list(dict.fromkeys(groups))
        belongs = np.equal.outer(np.array(groups), np.array(names)).astype(float)
        sums, counts = sums @ belongs, counts @ belongs
    if np.count_nonzero(counts.any(axis=0)) < 2:
        return None
    (seeds, units), rng = sums.shape, np.random.default_rng(SEED)
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    means = np.empty((resamples, seeds))
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
        means[start : start + rows] = ratio(weights @ sums.T, weights @ counts.T)
    seed_weights[np.isnan(means)] = 0
    resampled = ratio((seed_weights * np.nan_to_num(means)).sum(axis=1), seed_weights.sum(axis=1))
    low, high = np.quantile(resampled[np.isfinite(resampled)], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`sums` / `counts`, NaN where nothing was counted."""
    found = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=found, where=counts > 0)
    return found

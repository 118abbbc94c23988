"""Scores of one method over seeds and cases: mean, spread, intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssl_bench.statistics.anova import Estimate, interval_of_mean, prediction_interval, share_of_seeds
from ssl_bench.statistics.bootstrap import bootstrap_interval, ratio

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value for == to return
class CellScores:
    """Per-case scores of one cell over seeds, in the metric's printed unit.

    A case may have several values, one for each foreground class; where some are undefined, the others count.

    Attributes:
        seeds: (S) distinct seeds, one per run.
        cases: (C) distinct names of the test cases.
        sums: (S, C) float64, sum over classes of the defined values.
        counts: (S, C) int64, number of defined values; 0 where a case has none, its sum then being 0.
        groups: (C) name of each case's group, such as its patient; None where each case stands for itself.
        draws: (S) labelled draw and seed of each row, where labelled draws are crossed with seeds; `seeds` then holds
            a number for each training.

    """

    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray
    groups: tuple[str, ...] | None = None
    draws: tuple[tuple[int, int], ...] | None = None

    @property
    def crossed(self) -> np.ndarray | None:
        """(L, R) rows of L labelled draws with the same R seeds, two of each at least; None without such a design."""
        return None if self.draws is None else crossed_trainings(self.draws)

    @property
    def levels(self) -> int:
        """Number of seeds; of crossed trainings, the fewer of labelled draws and seeds, a single one aside."""
        return len(self.seeds) if self.draws is None else levels(self.draws)

    @property
    def seed_means(self) -> np.ndarray:
        """(S) float64: each seed's mean over all defined values; NaN where nothing is defined."""
        return ratio(self.sums.sum(axis=1), self.counts.sum(axis=1))

    @property
    def mean(self) -> float | None:
        """Mean of the defined seed means; None if there is none."""
        own = _defined(self.seed_means)
        return float(own.mean()) if len(own) else None

    @property
    def sd_over_seeds(self) -> float | None:
        """Sample standard deviation of the defined seed means; None with fewer than 2."""
        return _deviation(self.seed_means)

    @property
    def sd_over_cases(self) -> float | None:
        """Sample standard deviation over cases of a case's mean over seeds; None with fewer than 2 defined cases.

        A case's mean is over all values that it has in any seed.
        """
        return _deviation(ratio(self.sums.sum(axis=0), self.counts.sum(axis=0)))

    @property
    def is_complete(self) -> bool:
        """Whether every case has the same number of values in each seed, at least one."""
        return bool((self.counts == self.counts[:1]).all() and (self.counts[:1] > 0).all())

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Names of what is drawn at random: the groups, or the cases."""
        return tuple(dict.fromkeys(self.groups or self.cases))

    @cached_property
    def complete(self) -> CellScores:
        """The cell without the cases that lack a value in some seed; itself where none does."""
        return (
            self
            if self.is_complete
            else self.of_cases(((self.counts == self.counts[:1]) & (self.counts > 0)).all(axis=0))
        )

    def of_cases(self, kept: np.ndarray) -> CellScores:
        """Return the cell with some of its cases; `kept` (C) is a mask or holds positions."""
        places = np.arange(len(self.cases))[kept]
        groups = None if self.groups is None else tuple(self.groups[i] for i in places)
        cases = tuple(self.cases[i] for i in places)
        return CellScores(self.seeds, cases, self.sums[:, places], self.counts[:, places], groups, self.draws)

    def of_seeds(self, seeds: Sequence[int]) -> CellScores:
        """Return the cell with some of its seeds, in their order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        draws = None if self.draws is None else tuple(self.draws[row] for row in rows)
        return CellScores(tuple(seeds), self.cases, self.sums[rows], self.counts[rows], self.groups, draws)

    @cached_property
    def values(self) -> np.ndarray:
        """(S, K) float64: a value for each seed and unit, whose mean over units is the seed's mean.

        A case stands for itself. A group's value is theta + n_g / n (mean_g - theta): theta the seed's mean over cases,
        mean_g the group's, n_g its number of values and n the mean number. These are the linearised values of a mean
        over clusters of unequal size (Cochran, Sampling Techniques, 1977, section 9A.4). Only of a complete cell.
        """
        mean, sizes = self.seed_means[:, None], self.unit_sizes
        return np.asarray(mean + (self.unit_means - mean) * sizes / sizes.mean())

    @cached_property
    def unit_means(self) -> np.ndarray:
        """(S, K) float64: each unit's plain mean over its values; only of a complete cell."""
        return np.asarray((self.sums if self.groups is None else self.sums @ self._belongs) / self.unit_sizes)

    @cached_property
    def unit_sizes(self) -> np.ndarray:
        """(K) float64: each unit's number of values; only of a complete cell."""
        sizes = self.counts[0] if self.groups is None else self.counts[0] @ self._belongs
        return np.asarray(sizes, dtype=np.float64)

    @cached_property
    def _belongs(self) -> np.ndarray:
        """(C, K) float64: 1 where a case is of a unit."""
        place = {name: number for number, name in enumerate(self.units)}
        of_case = np.array([place[name] for name in self.groups or self.cases])
        return np.asarray(of_case[:, None] == np.arange(len(self.units)), dtype=np.float64)

    def interval(self, level: float = 0.95) -> Interval | None:
        """Interval of `mean` for other seeds and other cases; None for fewer than 2 units with a value.

        It is the t interval of the analysis of variance, seeds and units being random. Where values are undefined, its
        width is that of the complete cases; with fewer than 2 of these units it is the percentile bootstrap's. With one
        seed it is for other cases alone.
        """
        whole = self.complete
        if self.mean is None or len(whole.units) < 2:
            return bootstrap_interval(self.sums, self.counts, self.groups, level)
        found = interval_of_mean(whole.values, whole.crossed)
        return None if found is None else Estimate(self.mean, found.variance, found.freedom).interval(level)

    def prediction(self, *, same_cases: bool, level: float = 0.95) -> Interval | None:
        """Interval of the mean of one further training, on as many other cases or on the same ones.

        Where values are undefined, its width is that of the complete cases. None with fewer than 2 seeds or units.
        """
        whole = self.complete
        if self.mean is None or not whole.cases:
            return None
        found = prediction_interval(whole.values, whole.crossed, same_cases=same_cases)
        return None if found is None else Estimate(self.mean, found.variance, found.freedom).interval(level)

    @property
    def share_of_seeds(self) -> float | None:
        """Share that seeds have of the variance of `mean`, 0 to 1; the rest is of cases. None with fewer than 2."""
        whole = self.complete
        return share_of_seeds(whole.values, whole.crossed) if whole.cases else None


def levels(draws: Iterable[tuple[int, int]]) -> int:
    """Return the fewer of the labelled draws and the seeds of trainings; where one of them is single, the other.

    Args:
        draws: labelled draw and seed of each training; the same number twice where the seed draws the labelled cases.

    """
    return min((count for own in zip(*draws, strict=True) if (count := len(set(own))) > 1), default=1)


def crossed_trainings(draws: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """Return `crossed_rows` where draws and seeds are both two at least; None otherwise."""
    rows = crossed_rows(draws)
    return None if rows is None or min(rows.shape) < 2 else rows


def crossed_rows(draws: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """Return the rows (L, R) of trainings with L labelled draws and R seeds; None where two do not meet exactly once.

    Args:
        draws: labelled draw and seed of each training.

    """
    labels, seeds = (sorted(set(own)) for own in zip(*draws, strict=True))
    rows = {draw: row for row, draw in enumerate(draws)}
    if len(rows) != len(draws) or len(rows) != len(labels) * len(seeds):
        return None
    return np.array([[rows[label, seed] for seed in seeds] for label in labels])


def _defined(values: np.ndarray) -> np.ndarray:
    own: np.ndarray = values[np.isfinite(values)]
    return own


def _deviation(values: np.ndarray) -> float | None:
    own = _defined(values)
    return float(own.std(ddof=1)) if len(own) > 1 else None

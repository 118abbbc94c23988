"""Statistics of a cell's scores over seeds and cases: spread, bootstrap interval, paired comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DECIMALS = 9  # of a difference, so that rounding errors neither break ties nor hide zeros
CHUNK = 50  # resamples held in memory at a time
SEED = 0


@dataclass(frozen=True, eq=False)  # arrays have no single truth value for == to return
class CellScores:
    """Per-case scores of one cell over seeds, in the metric's printed unit.

    A case may have several values, one for each foreground class; where some are undefined, the others count.

    Attributes:
        seeds: (S) distinct seeds, one per run.
        cases: (C) distinct names of the test cases.
        sums: (S, C) float64, sum over classes of the defined values.
        counts: (S, C) int64, number of defined values; 0 where a case has none, its sum then being 0.

    """

    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray

    @property
    def seed_means(self) -> np.ndarray:
        """(S) float64: each seed's mean over all defined values; NaN where nothing is defined."""
        return _ratio(self.sums.sum(axis=1), self.counts.sum(axis=1))

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
        return _deviation(_ratio(self.sums.sum(axis=0), self.counts.sum(axis=0)))

    def interval(self, level: float = 0.95, resamples: int = 5000) -> tuple[float, float] | None:
        """Return the percentile bootstrap interval of `mean`, resampling seeds and cases; None for fewer than 2 cases.

        Both are drawn with replacement and independently of each other, and a resample has each drawn seed's values on
        each drawn case (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 1(2), 2007,
        doi:10.1214/07-AOAS122). With one seed the cases alone are resampled: such an interval says nothing of another
        training. A resampled seed without any defined value is left out, as it is from `mean`. The generator is
        fixed: the same scores have the same interval.

        Known weakness: with few seeds the interval is too narrow, for the spread of S resampled seeds is that of the
        real ones times sqrt((S - 1) / S), and percentiles do not make up for it as Student's t does.

        Args:
            level: share of the resampled means inside.
            resamples: how many are drawn.

        """
        if np.count_nonzero(self.counts.any(axis=0)) < 2:
            return None
        (seeds, cases), rng = self.sums.shape, np.random.default_rng(SEED)
        seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
        means = np.empty((resamples, seeds))
        for start in range(0, resamples, CHUNK):
            rows = min(CHUNK, resamples - start)
            drawn = rng.integers(cases, size=(rows, cases)) + cases * np.arange(rows)[:, None]
            weights = np.bincount(drawn.ravel(), minlength=rows * cases).reshape(rows, cases).astype(np.float64)
            means[start : start + rows] = _ratio(weights @ self.sums.T, weights @ self.counts.T)
        seed_weights[np.isnan(means)] = 0
        resampled = _defined(_ratio((seed_weights * np.nan_to_num(means)).sum(axis=1), seed_weights.sum(axis=1)))
        low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of a with b.

    Attributes:
        seeds: how many seeds both have.
        cases: how many cases were paired, those without a difference included.
        difference: mean over these cases of a - b, in the scores' unit.
        statistic: Wilcoxon's T, the smaller of the rank sums W+ and W- of the positive and negative differences.
        p: two-sided p value of Wilcoxon's signed-rank test.
        effect: matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), -1 to 1, positive where a is larger
            (Kerby, Comprehensive Psychology 3, 2014, doi:10.2466/11.IT.3.1).
        p_both: two-sided p value of `over_seeds_and_cases`; None with fewer than 2 of either.

    """

    seeds: int
    cases: int
    difference: float
    statistic: float
    p: float
    effect: float
    p_both: float | None


def compare(a: CellScores, b: CellScores) -> Comparison | None:
    """Compare two cells on the seeds and cases that both have: by Wilcoxon's test over cases, and over seeds and cases.

    The first asks whether these trained networks would differ on other cases, the second whether the methods, trained
    with other seeds, would.

    For Wilcoxon's test each case's scores are averaged over the seeds first: the same case under several seeds is no
    independent draw.
    A case counts where a and b have the same number of values, at least one, in every common seed; so a class that is
    undefined for one of them alone does not shift the difference. Cases without a difference are left out of the ranks,
    which is Wilcoxon's own rule. p is SciPy's: exact for up to 50 differences, or 13 with ties among their magnitudes,
    and else from the normal approximation, corrected for ties but not for continuity. Without any difference p is 1.

    Returns:
        The comparison; None where a and b have no seed or no such case in common.

    """
    from scipy import stats  # the import takes half a second, which a table without runs does not need

    seeds, seeds_a, seeds_b = np.intersect1d(a.seeds, b.seeds, return_indices=True)
    _, cases_a, cases_b = np.intersect1d(a.cases, b.cases, return_indices=True)
    places_a, places_b = np.ix_(seeds_a, cases_a), np.ix_(seeds_b, cases_b)
    counts = a.counts[places_a]
    paired = ((counts == b.counts[places_b]) & (counts > 0)).all(axis=0)
    if not len(seeds) or not paired.any():
        return None
    sums = a.sums[places_a] - b.sums[places_b]
    differences = (sums.sum(axis=0)[paired] / counts.sum(axis=0)[paired]).round(DECIMALS)
    mean, nonzero = float(differences.mean()), differences[differences != 0]
    p_both = over_seeds_and_cases((sums[:, paired] / counts[:, paired]).round(DECIMALS))
    if not len(nonzero):
        return Comparison(len(seeds), len(differences), mean, 0.0, 1.0, 0.0, p_both)
    sizes = np.abs(nonzero)
    test = stats.wilcoxon(nonzero)
    ranks = stats.rankdata(sizes)
    effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    return Comparison(len(seeds), len(differences), mean, float(test.statistic), float(test.pvalue), effect, p_both)


def over_seeds_and_cases(differences: np.ndarray) -> float | None:
    """Two-sided p of a mean difference of 0 where other seeds and other cases could have been drawn.

    The test of medical imaging's studies with several readers and cases, a training in the place of a reader: an
    analysis of variance of two crossed random factors (Dorfman, Berbaum and Metz, Investigative Radiology 27(9), 1992),
    F on 1 and the degrees of freedom of Hillis (Statistics in Medicine 26(3), 2007, doi:10.1002/sim.2532). The variance
    between seeds, like that between cases, is never estimated below zero: with three seeds luck would otherwise make
    very small p values up to nine times as frequent as they say.

    Args:
        differences: (S, C), of each seed on each case.

    Returns:
        p; None with fewer than 2 seeds or cases. Without any spread it is 0, or 1 where nothing differs.

    """
    from scipy import stats

    seeds, cases = differences.shape
    if seeds < 2 or cases < 2:
        return None
    mean, by_seed, by_case = differences.mean(), differences.mean(axis=1), differences.mean(axis=0)
    ms_seeds = cases * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    ms_cases = seeds * float(((by_case - mean) ** 2).sum()) / (cases - 1)
    rest = differences - by_seed[:, None] - by_case + mean
    ms_rest = float((rest**2).sum()) / ((seeds - 1) * (cases - 1))
    ms_seeds = max(ms_seeds, ms_rest)
    spread = ms_seeds + max(ms_cases - ms_rest, 0.0)
    if spread < 10.0 ** (-2 * DECIMALS):
        return float(abs(mean) < 10.0**-DECIMALS)
    freedom = spread**2 / (ms_seeds**2 / (seeds - 1)) if ms_seeds > 0 else np.inf
    return float(stats.f.sf(seeds * cases * mean**2 / spread, 1, freedom))


def holm(p_values: Sequence[float], tests: int | None = None) -> list[float]:
    """Adjust the p values of one family of tests for their number; in the input's order, each at most 1.

    The k-th smallest of m is multiplied by m - k + 1, and is never below a smaller one's (Holm, Scandinavian Journal of
    Statistics 6(2), 1979). Where only some of a family's p values are given, `tests` is m.
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    adjusted = np.empty_like(given)
    factors = (tests or len(given)) - np.arange(len(given))
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return [float(p) for p in adjusted]


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`sums` / `counts`, NaN where nothing was counted."""
    ratio = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=ratio, where=counts > 0)
    return ratio


def _defined(values: np.ndarray) -> np.ndarray:
    own: np.ndarray = values[np.isfinite(values)]
    return own


def _deviation(values: np.ndarray) -> float | None:
    own = _defined(values)
    return float(own.std(ddof=1)) if len(own) > 1 else None

"""PLACEHOLDER until the statistics module arrives; same interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Scores:
    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray

    @property
    def seed_means(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return self.sums.sum(1) / self.counts.sum(1)

    @property
    def mean(self) -> float | None:
        own = self.seed_means[np.isfinite(self.seed_means)]
        return float(own.mean()) if len(own) else None

    @property
    def sd_over_seeds(self) -> float | None:
        own = self.seed_means[np.isfinite(self.seed_means)]
        return float(own.std(ddof=1)) if len(own) > 1 else None

    @property
    def sd_over_cases(self) -> float | None:
        with np.errstate(invalid="ignore"):
            own = self.sums.sum(0) / self.counts.sum(0)
        own = own[np.isfinite(own)]
        return float(own.std(ddof=1)) if len(own) > 1 else None

    def interval(self, level: float = 0.95, resamples: int = 5000) -> tuple[float, float] | None:
        rng = np.random.default_rng(0)
        s, c = self.sums.shape
        if c < 2:
            return None
        v = rng.multinomial(c, [1 / c] * c, size=resamples).astype(float)
        w = rng.multinomial(s, [1 / s] * s, size=resamples).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (v @ self.sums.T) / (v @ self.counts.T)
        good = np.isfinite(means)
        w = w * good
        with np.errstate(invalid="ignore", divide="ignore"):
            values = (w * np.where(good, means, 0)).sum(1) / w.sum(1)
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    seeds: int
    cases: int
    difference: float
    statistic: float
    p: float
    effect: float


def compare(a: Scores, b: Scores) -> Comparison | None:
    seeds = [s for s in a.seeds if s in b.seeds]
    if not seeds or a.cases != b.cases:
        return None

    def means(one: Scores) -> np.ndarray:
        rows = [one.seeds.index(s) for s in seeds]
        with np.errstate(invalid="ignore"):
            return (one.sums[rows] / one.counts[rows]).mean(0)

    d = means(a) - means(b)
    d = d[np.isfinite(d)]
    if not len(d):
        return None
    if not d.any():
        return Comparison(len(seeds), len(d), 0.0, 0.0, 1.0, 0.0)
    result = stats.wilcoxon(d)
    ranks = stats.rankdata(np.abs(d[d != 0]))
    sign = np.sign(d[d != 0])
    return Comparison(
        len(seeds),
        len(d),
        float(d.mean()),
        float(result.statistic),
        float(result.pvalue),
        float((ranks * sign).sum() / ranks.sum()),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    order = np.argsort(p_values, kind="stable")
    m, running, out = len(p_values), 0.0, [0.0] * len(p_values)
    for i, k in enumerate(order):
        running = max(running, min(1.0, (m - i) * p_values[k]))
        out[k] = running
    return out

"""How stable a ranking of methods is, and how many cases a method scores above a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-11  # of the largest absolute value: numbers that are closer tie, despite rounding errors
LEVEL = 0.95


@dataclass(frozen=True, eq=False)  # arrays have no single truth value for == to return
class RankStability:
    """A ranking of I methods over resamples of their seeds and units.

    Attributes:
        first: (I) float64, each method's share of first places; the shares add up to 1.
        distribution: (I, I) float64, shares of resamples (row: method, column: rank); each row and column adds up to 1.
        observed: (I) float64, each method's rank on the data as they are; 1 is best, tied methods have their mean rank.
        tau: mean of Kendall's tau-b between the observed ranking and each resample's; None where none is defined.
        tau_interval: the central 95 % of these values; None where none is defined.
        undefined: number of resamples without a tau, because all methods tie in them or in the observed ranking.
        resamples: number of resamples.

    """

    first: np.ndarray
    distribution: np.ndarray
    observed: np.ndarray
    tau: float | None
    tau_interval: tuple[float, float] | None
    undefined: int
    resamples: int


def rank_stability(
    values: np.ndarray,
    larger_is_better: bool = True,
    weights: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> RankStability:
    """Rank methods on bootstrap resamples of seeds and units, after Wiesenfarth et al., Scientific Reports 11, 2021.

    A resample draws J seeds and K units with replacement, the same ones for all methods. A method's score is the mean
    over the drawn seeds of its weighted mean over the drawn units. Methods that tie share their places equally. The
    draws depend on `seed`, J and K only. Memory for resamples does not grow with I J K.

    Args:
        values: (I, J, K) finite scores of I methods, J seeds and K units; a unit is a case or a group of cases.
        larger_is_better: whether a larger score is the better one.
        weights: (K) positive, the number of cases in each unit; None: one each.
        resamples: number of resamples, at least 1.
        seed: seed of the generator.

    Raises:
        ValueError: an argument is not as described. Leave out units in which a method has no value before.

    """
    scores, weight = _checked(values, weights)
    if resamples < 1:
        raise ValueError(f"resamples: expected at least 1, found {resamples}")
    methods, seeds, units = scores.shape
    slack = TOLERANCE * _largest(scores)
    better = scores if larger_is_better else -scores
    observed = _order(_means(better, np.ones(seeds), weight), slack)
    rng = np.random.default_rng(seed)
    distribution = np.zeros((methods, methods))
    taus = np.full(resamples, np.nan)
    for place in range(resamples):
        drawn_seeds = np.bincount(rng.integers(seeds, size=seeds), minlength=seeds)
        drawn_units = np.bincount(rng.integers(units, size=units), minlength=units)
        order = _order(_means(better, drawn_seeds, drawn_units * weight), slack)
        distribution += _places(order)
        taus[place] = _tau(observed, order)
    defined = taus[np.isfinite(taus)]
    return RankStability(
        first=distribution[:, 0] / resamples,
        distribution=distribution / resamples,
        observed=_ranks(observed),
        tau=float(defined.mean()) if len(defined) else None,
        tau_interval=_central(defined) if len(defined) else None,
        undefined=resamples - len(defined),
        resamples=resamples,
    )


def performance_profile(values: np.ndarray, thresholds: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return (I, T) the share of cases whose score is strictly above each threshold.

    The share is taken within each seed, and then averaged over seeds; scores are not averaged before. A score that
    equals a threshold up to rounding errors is not above it.

    Args:
        values: (I, J, K) finite scores of I methods, J seeds and K cases.
        thresholds: (T) finite thresholds, in any order.
        weights: (K) positive, the weight of each case; None: the same for all.

    Raises:
        ValueError: an argument is not as described.

    """
    scores, weight = _checked(values, weights)
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.ndim != 1 or not np.isfinite(limits).all():
        raise ValueError(f"thresholds: expected finite numbers of shape (T), found shape {limits.shape}")
    slack = TOLERANCE * max(_largest(scores), _largest(limits))
    even = np.ones(scores.shape[1])
    shares = [_means(scores > limit + slack, even, weight) for limit in limits]
    return np.stack(shares, axis=1) if shares else np.zeros((len(scores), 0))


def _checked(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return values (I, J, K) and weights (K) as float64, the largest weight being 1, or raise ValueError."""
    scores = np.ascontiguousarray(values, dtype=np.float64)
    if scores.ndim != 3 or not scores.size:
        raise ValueError(f"values: expected shape (methods, seeds, units) without zeros, found {scores.shape}")
    if not (finite := np.isfinite(scores)).all():
        raise ValueError(f"values: expected finite numbers, found {int((~finite).sum())} that are not")
    weight = np.ones(scores.shape[2]) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != scores.shape[2:]:
        raise ValueError(f"weights: expected shape {scores.shape[2:]}, one per unit, found {weight.shape}")
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError("weights: expected positive finite numbers, found others")
    return scores, weight / weight.max()


def _means(scores: np.ndarray, seeds: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(I) weighted means of scores (I, J, K) with weights (J) of seeds and (K) of units."""
    means: np.ndarray = (scores @ units) @ seeds / (seeds.sum() * units.sum())
    return means


def _largest(values: np.ndarray) -> float:
    """The largest absolute value; 0 where there is none."""
    return float(max(values.max(initial=0.0), -values.min(initial=0.0)))


def _order(scores: np.ndarray, slack: float) -> np.ndarray:
    """(I, I) int: 1 where the method of the row is better than that of the column, -1 where worse, 0 where they tie."""
    apart = scores[:, None] - scores[None, :]
    return np.where(np.abs(apart) <= slack, 0, np.sign(apart)).astype(np.int64)


def _ranks(order: np.ndarray) -> np.ndarray:
    """(I) ranks from 1; tied methods have their mean rank."""
    ranks: np.ndarray = 1 + (order < 0).sum(axis=1) + ((order == 0).sum(axis=1) - 1) / 2
    return ranks


def _places(order: np.ndarray) -> np.ndarray:
    """(I, I) each method's share of each place: 1 for its rank, or equal shares of the places of tied methods."""
    above = (order < 0).sum(axis=1)[:, None]
    ties = (order == 0).sum(axis=1)[:, None]
    place = np.arange(len(order))[None, :]
    places: np.ndarray = ((above <= place) & (place < above + ties)) / ties
    return places


def _central(values: np.ndarray) -> tuple[float, float]:
    """The percentile interval that holds LEVEL of the values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b of two rankings, each as `_order` gives it; NaN where all methods tie in one of them."""
    pairs = np.count_nonzero(first) * np.count_nonzero(second)
    return float((first * second).sum() / np.sqrt(pairs)) if pairs else float("nan")

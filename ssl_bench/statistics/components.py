"""Variance components: how much of the spread of scores comes from each random factor of a complete crossed design."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

Term = tuple[str, ...]  # a factor, or an interaction of several, in the order of the axes
CROSSED = ("labels", "seeds", "cases")
ROUNDING = 1e-12  # of the largest value: spread below this is a rounding error


@dataclass(frozen=True)
class Component:
    """One term of the analysis of variance.

    Attributes:
        variance: estimate in the values' squared unit, never below zero.
        mean_square: mean square of the term.
        freedom: its degrees of freedom.
        confounded: terms whose variance is part of `variance`, since a factor has one level only.

    """

    variance: float
    mean_square: float
    freedom: int
    confounded: tuple[Term, ...] = ()


def variance_components(values: np.ndarray, factors: Sequence[str] = CROSSED) -> dict[Term, Component]:
    """Estimate the variance of every factor and interaction of a complete crossed design with random factors.

    The model is that of a random-effects analysis of variance with one value per combination: value = mean + one random
    effect per factor + one per interaction. The interaction of all factors cannot be told from noise: it is the
    residual. A mean square's expectation is a sum of variances over the terms that contain its own term, so a signed
    sum of mean squares estimates each variance without bias (Searle, Casella and McCulloch, Variance Components, 1992,
    chapter 4). An estimate below zero becomes zero, which biases it upwards.

    A factor with one level has no variance of its own: its effect is part of the mean. Its interactions with the other
    factors are part of their components, which name them in `confounded`. With one seed, for example, the component of
    the labels is that of the labels and of their interaction with the seed.

    Args:
        values: one axis per factor, finite. By default (L, S, K): L label draws, S seeds, K cases or groups of cases.
        factors: name of each axis.

    Returns:
        Components by term, single factors first. A term has only factors with two levels or more.

    Raises:
        ValueError: the axes are not one per factor, or a value is not finite.
    """
    if values.ndim != len(factors) or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected finite values with the axes {', '.join(factors)}; found shape {values.shape}")
    levels = dict(zip(factors, values.shape, strict=True))
    several = [name for name in factors if levels[name] > 1]
    single = [name for name in factors if levels[name] == 1]
    cells = values.reshape([levels[name] for name in several])
    terms = _terms(several)
    squares = {term: _mean_square(cells, several, term) for term in terms}
    found = {}
    for term in terms:
        above = [other for other in terms if set(term) <= set(other)]
        signed = sum((-1) ** (len(other) - len(term)) * squares[other] for other in above)
        repeats = cells.size / math.prod(levels[name] for name in term)  # values per level of the term
        confounded = tuple(_ordered({*term, *extra}, factors) for extra in _terms(single))
        freedom = math.prod(levels[name] - 1 for name in term)
        found[term] = Component(max(float(signed), 0.0) / repeats, squares[term], freedom, confounded)
    return found


def contributions(components: Mapping[Term, Component], levels: Mapping[str, int]) -> dict[Term, float]:
    """Return each term's part of the variance of a mean over a complete design with these levels of the factors.

    A term's effect is averaged over the levels of its factors. A mean of one training on K cases has the levels
    {"labels": 1, "seeds": 1, "cases": K}.

    Args:
        components: as estimated.
        levels: number of levels of each factor in the mean; a factor that is left out has one.
    """
    return {term: one.variance / math.prod(levels.get(name, 1) for name in term) for term, one in components.items()}


def _terms(factors: Sequence[str]) -> list[Term]:
    """Every combination of one factor or more."""
    return [term for size in range(1, len(factors) + 1) for term in combinations(factors, size)]


def _ordered(names: set[str], factors: Sequence[str]) -> Term:
    return tuple(name for name in factors if name in names)


def _mean_square(cells: np.ndarray, factors: Sequence[str], term: Term) -> float:
    """Mean square of a term: of its effects, each counted once per value; 0 where these are rounding errors."""
    effects: np.ndarray = np.zeros(())
    for size in range(len(term) + 1):
        for part in combinations(term, size):
            rest = tuple(axis for axis, name in enumerate(factors) if name not in part)
            effects = effects + (-1) ** (len(term) - size) * cells.mean(axis=rest, keepdims=True)
    if np.abs(effects).max() <= ROUNDING * np.abs(cells).max():
        return 0.0
    freedom = math.prod(cells.shape[factors.index(name)] - 1 for name in term)
    return float((effects**2).sum() * (cells.size / effects.size) / freedom)

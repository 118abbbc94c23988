"""Analysis of variance with random seeds and cases, as in studies of several readers and cases.

A training stands in the place of a reader (Dorfman, Berbaum and Metz, Investigative Radiology 27(9), 1992; Hillis,
Statistics in Medicine 26(3), 2007, doi:10.1002/sim.2532). Two rules hold everywhere:

- The variance between seeds, like that between cases, is never estimated below zero. Where seeds differ by no more than
  the rest explains, this makes intervals wider than needed.
- Degrees of freedom are Satterthwaite's, of the seeds' part and the cases' part of a variance, S - 1 and K - 1 for one
  method. With many cases they are those of Hillis, who counts the seeds' part alone; with six videos as cases his would
  be hundreds. They are never fewer than the smaller of the two. Where labelled draws are crossed with seeds, the
  trainings' part is a signed sum of three mean squares, of never fewer degrees of freedom than draws or seeds have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

TINY = 1e-9  # in the scores' unit: smaller differences and standard errors are rounding errors


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference with the variance of its estimate and the degrees of freedom of that variance."""

    value: float
    variance: float
    freedom: float

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's t interval."""
        from scipy import stats  # the import takes half a second, which a table without runs does not need

        half = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error if self.error > TINY else 0.0
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided p of the value 0; without any spread 0, or 1 where the value is 0."""
        from scipy import stats

        if self.error <= TINY:
            return float(abs(self.value) <= TINY)
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def smallest(self, tests: int = 1, power: float = 0.8, level: float = 0.05) -> float:
        """Return the true value that the first of `tests` Holm-corrected tests of 0 finds with this power.

        By the noncentral t distribution, the variance being the true one.
        """
        return _shift(min(self.freedom, 1e6), power, level / tests) * self.error if self.error > TINY else 0.0


@dataclass(frozen=True)
class Squares:
    """Mean squares of seeds, cases and the rest, each with its degrees of freedom, of S seeds and K cases.

    Of one method they are those of its scores; of several, those of the methods' interactions with seeds, with cases
    and with both. Where labelled draws are crossed with seeds, a training is a pair of them, and `by_seed` is what
    gives the variance of the mean: by_seed / (S K), as for independent trainings.

    Attributes:
        seeds: number of trainings.
        cases: number of cases or groups.
        by_seed: mean square of the trainings.
        by_case: mean square of the cases.
        rest: mean square of the rest.
        freedom: degrees of freedom of by_seed, by_case and rest.
        one_training: K times the variance of a single training's mean, and of the rest; None: by_seed.

    """

    seeds: int
    cases: int
    by_seed: float
    by_case: float
    rest: float
    freedom: tuple[float, float, float]
    one_training: float | None = None

    @property
    def of_seeds(self) -> float:
        """Mean square of the seeds, at least that of the rest."""
        return max(self.by_seed, self.rest)

    @property
    def of_cases(self) -> float:
        """Mean square of the cases beyond that of the rest, at least 0."""
        return max(self.by_case - self.rest, 0.0)

    def variance(self, seed_factor: float, case_factor: float, training_factor: float = 0.0) -> tuple[float, float]:
        """Return a sum of variances with its degrees of freedom (Satterthwaite 1946).

        `seed_factor` of_seeds + `case_factor` of_cases + `training_factor` one_training.
        """
        one = self.of_seeds if self.one_training is None else max(self.one_training, self.rest)
        return self.combined(seed_factor * self.of_seeds + training_factor * one, case_factor * self.of_cases)

    def combined(self, of_seeds: float, of_cases: float) -> tuple[float, float]:
        """Return the sum of a variance of the seeds' kind and one of the cases' with its degrees of freedom."""
        squares = of_seeds**2 / self.freedom[0] + of_cases**2 / self.freedom[1]
        total = of_seeds + of_cases
        return total, total**2 / squares if squares > 0 else math.inf


def squares_of_mean(values: np.ndarray, crossed: np.ndarray | None = None) -> Squares:
    """Return the mean squares of one method's scores (S, K), of at least two seeds and two cases.

    `crossed` (L, R) are the rows of L labelled draws, each with the same R seeds; None: independent trainings.
    """
    seeds, cases = values.shape
    mean, by_seed, by_case = values.mean(), values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_case + mean
    freedom = seeds - 1, cases - 1, (seeds - 1) * (cases - 1)
    sums = cases * ((by_seed - mean) ** 2).sum(), seeds * ((by_case - mean) ** 2).sum(), (rest**2).sum()
    return _mean_squares(seeds, cases, sums, freedom, (by_seed - mean)[None], crossed)


def squares_of_methods(values: np.ndarray, crossed: np.ndarray | None = None) -> Squares:
    """Return the mean squares of the methods' interactions, from scores (I, S, K), of at least two of each.

    `crossed` is as in `squares_of_mean`.
    """
    centred = values - values.mean(axis=0)  # without what all methods share of a seed, a case, or both
    return _squares_of_interactions(centred, len(values) - 1, crossed)


def squares_of_gains(values: np.ndarray, crossed: np.ndarray | None = None) -> Squares:
    """Return the mean squares behind differences of differences, from scores (I, J, S, K), of at least two of each.

    They are those of the interaction of I methods with J conditions, such as labelled shares, and of this interaction
    with seeds, with cases and with both: what all methods share under one condition is taken out, and so is what a
    method has under all conditions. `crossed` is as in `squares_of_mean`.
    """
    methods, conditions, seeds, cases = values.shape
    centred = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean(axis=(0, 1))
    flat = centred.reshape(methods * conditions, seeds, cases)
    return _squares_of_interactions(flat, (methods - 1) * (conditions - 1), crossed)


def _squares_of_interactions(centred: np.ndarray, own: int, crossed: np.ndarray | None) -> Squares:
    """Mean squares of effects (I, S, K) of `own` degrees of freedom with seeds, with cases and with both.

    `centred` are the scores without what the effects' factors share.
    """
    seeds, cases = centred.shape[1:]
    centred = centred - centred.mean(axis=(1, 2), keepdims=True)  # without the effects themselves
    by_seed, by_case = centred.mean(axis=2, keepdims=True), centred.mean(axis=1, keepdims=True)
    rest = centred - by_seed - by_case
    freedom = own * (seeds - 1), own * (cases - 1), own * (seeds - 1) * (cases - 1)
    sums = cases * (by_seed**2).sum(), seeds * (by_case**2).sum(), (rest**2).sum()
    return _mean_squares(seeds, cases, sums, freedom, by_seed[:, :, 0], crossed)


def _mean_squares(
    seeds: int,
    cases: int,
    sums: tuple[float, float, float],
    freedom: tuple[int, int, int],
    trainings: np.ndarray,
    crossed: np.ndarray | None,
) -> Squares:
    """Divide sums of squares by their degrees of freedom; `trainings` (I, S) are the effects of the trainings."""
    by_seed, by_case, rest = (float(one / own) for one, own in zip(sums, freedom, strict=True))
    if crossed is None:
        return Squares(seeds, cases, by_seed, by_case, rest, freedom)
    draws, repeats = crossed.shape
    effects = trainings[:, crossed]
    of_draw, of_seed = effects.mean(axis=2, keepdims=True), effects.mean(axis=1, keepdims=True)
    both = effects - of_draw - of_seed
    methods = freedom[0] / (seeds - 1)
    own = methods * (draws - 1), methods * (repeats - 1), methods * (draws - 1) * (repeats - 1)
    squares = (repeats * (of_draw**2).sum(), draws * (of_seed**2).sum(), (both**2).sum())
    draw, seed, mixed = (cases * float(one) / each for one, each in zip(squares, own, strict=True))
    total = max(draw + seed - mixed, draw, seed)  # times 1 / (S K), the variance of the mean without the cases'
    one = max(draw - mixed, 0.0) / repeats + max(seed - mixed, 0.0) / draws + mixed
    terms = sum(term**2 / each for term, each in zip((draw, seed, mixed), own, strict=True))
    found = max(total**2 / terms, min(own[:2])) if terms > 0 else freedom[0]  # what cancels leaves next to none
    return Squares(seeds, cases, total, by_case, rest, (found, *freedom[1:]), one)


def interval_of_mean(values: np.ndarray, crossed: np.ndarray | None = None) -> Estimate | None:
    """Estimate the mean of scores (S, K) for other seeds and cases; with one seed, for other cases alone.

    None with fewer than 2 cases.
    """
    seeds, cases = values.shape
    if cases < 2:
        return None
    if seeds == 1:
        return mean_of_units(values[0])
    return Estimate(
        float(values.mean()), *squares_of_mean(values, crossed).variance(1 / (seeds * cases), 1 / (seeds * cases))
    )


def mean_of_units(values: np.ndarray) -> Estimate | None:
    """Estimate the mean of independent values (K), such as one for each seed; None with fewer than 2."""
    count = len(values)
    return None if count < 2 else Estimate(float(values.mean()), float(values.var(ddof=1)) / count, count - 1)


def mean_of_trainings(values: np.ndarray, crossed: np.ndarray | None = None) -> Estimate | None:
    """Estimate the mean of values (S), one for each training; None with fewer than 2.

    `crossed` is as in `squares_of_mean`.
    """
    if crossed is None or len(values) < 2:
        return mean_of_units(values)
    count = len(values)
    centred = values - values.mean()
    found = _mean_squares(count, 1, ((centred**2).sum(), 0.0, 0.0), (count - 1, 1, 1), centred[None], crossed)
    return Estimate(float(values.mean()), found.by_seed / count, found.freedom[0])


def prediction_interval(values: np.ndarray, crossed: np.ndarray | None = None, *, same_cases: bool) -> Estimate | None:
    """Estimate the mean score of one more training on as many cases, from scores (S, K): other cases, or the same.

    A published number is such a draw. Its variance about the mean of S independent trainings is that of a training,
    of_seeds / K, times 1 + 1 / S, and on other cases twice that of the cases' mean. None with fewer than
    2 seeds or cases. `crossed` is as in `squares_of_mean`.
    """
    seeds, cases = values.shape
    if min(seeds, cases) < 2:
        return None
    case_factor = 0.0 if same_cases else 2 / (seeds * cases)
    found = squares_of_mean(values, crossed)
    return Estimate(float(values.mean()), *found.variance(1 / (seeds * cases), case_factor, 1 / cases))


def share_of_seeds(values: np.ndarray, crossed: np.ndarray | None = None) -> float | None:
    """Return the share that seeds have of the variance of the mean of scores (S, K); None with fewer than 2 of either.

    0 where nothing varies.
    """
    if min(values.shape) < 2:
        return None
    found = squares_of_mean(values, crossed)
    total = found.of_seeds + found.of_cases
    return (found.of_seeds - found.rest) / total if total > 0 else 0.0


def difference(values: np.ndarray, error: Squares) -> Estimate:
    """Estimate the difference of two methods, from their paired differences (S, K) and an error term.

    The error term may come from other seeds and cases than the pair's, of which it has the variances alone.
    """
    return contrast(values, error, 2)


def contrast(values: np.ndarray, error: Squares, weight: float) -> Estimate:
    """Estimate a weighted sum of cells, from its value for each seed and case (S, K) and an error term.

    `weight` is the sum of the squared weights: 2 of a difference, 4 of a difference of differences. The error term is
    used as in `difference`.
    """
    seeds, cases = values.shape
    between = weight * (error.of_seeds - error.rest) / (seeds * error.cases)  # of the seeds' means, whatever the cases
    of_seeds = between + weight * error.rest / (seeds * cases)
    of_cases = weight * error.of_cases / (error.seeds * cases)
    return Estimate(float(values.mean()), *error.combined(of_seeds, of_cases))


def smallest_difference(error: Squares, tests: int, power: float = 0.8, level: float = 0.05) -> float:
    """Return the true difference that the first of `tests` Holm-corrected comparisons finds with this power."""
    seeds, cases = error.seeds, error.cases
    variance, freedom = error.variance(2 / (seeds * cases), 2 / (seeds * cases))
    return Estimate(0.0, variance, freedom).smallest(tests, power, level)


@cache
def _shift(freedom: float, power: float, level: float) -> float:
    """Return the true value, in standard errors, that a two-sided t test of 0 finds with this power."""
    from scipy import optimize

    return float(optimize.brentq(lambda shift: _power(shift, freedom, level) - power, 0.0, 1e6))


def _power(shift: float, freedom: float, level: float) -> float:
    """Return how often |T| exceeds the two-sided critical value, T being noncentral t with the mean shift `shift`.

    T is (Z + shift) / sqrt(V / freedom); the integral over V is by Gauss and Legendre, over V's distribution function.
    """
    from scipy import special, stats

    critical = float(stats.t.ppf(1 - level / 2, freedom))
    places, weights = special.roots_legendre(200)
    spread = critical * np.sqrt(stats.chi2.ppf((places + 1) / 2, freedom) / freedom)
    return float((weights / 2) @ (special.ndtr(shift - spread) + special.ndtr(-shift - spread)))

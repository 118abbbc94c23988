"""Comparison of the methods of a column: one error term for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_bench.statistics.anova import TINY, Estimate, Squares, difference, squares_of_methods
from ssl_bench.statistics.cell import CellScores

DECIMALS = 9  # of a difference, so that rounding errors neither break ties nor hide zeros


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of a with b on the seeds and cases that both have.

    Attributes:
        seeds: number of common seeds; of crossed trainings, `CellScores.levels`.
        cases: number of cases that were paired.
        units: number of their groups; of the cases, where each stands for itself.
        difference: mean of a - b, in the scores' unit.
        estimate: the same with its error over seeds and cases; None with fewer than 2 of either.
        pooled: whether the error term is that of all methods of the column, and not of this pair alone.
        alone: the same with the error term of this pair alone, which supposes nothing of the other methods.
        p_cases: two-sided p of Wilcoxon's signed-rank test over units, each one's mean over seeds.
        effect: matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), -1 to 1, positive where a is larger
            (Kerby, Comprehensive Psychology 3, 2014, doi:10.2466/11.IT.3.1).

    """

    seeds: int
    cases: int
    units: int
    difference: float
    estimate: Estimate | None
    pooled: bool
    alone: Estimate | None
    p_cases: float
    effect: float


class Column:
    """The scores of several methods on one test set, and what they can show.

    The error term of a comparison is pooled over all methods of the column, as Dorfman, Berbaum and Metz do: their
    interaction with seeds has (I - 1)(S - 1) degrees of freedom, where a pair alone has S - 1. It is estimated on the
    seeds and cases that all have. Three kinds of rows are left out of it, and are compared by the pair alone:

    - Rows with other seeds, so that the others have the most degrees of freedom.
    - Rows with values in fewer than half as many cases as the fullest one, or in none that the others have.
    - Rows whose scores do not vary, such as those of a network that finds nothing.

    Attributes:
        cells: the methods' scores.
        pool: positions of the methods whose error term is pooled; none where no two have two seeds in common.
        error: their error term.
        seeds: the seeds that they have in common.

    """

    def __init__(self, cells: Sequence[CellScores]) -> None:
        self.cells = list(cells)
        self.pool = _pool(self.cells)
        shared = common([self.cells[i] for i in self.pool]) if len(self.pool) > 1 else None
        self.seeds = () if shared is None else shared[0].seeds
        self.error = None if shared is None else _squares(shared)

    def compare(self, a: int, b: int) -> Comparison | None:
        """Compare method a with method b; None where they have no seed or no case in common.

        A case counts where both have the same number of values, at least one, in every common seed, so that a class
        which is undefined for one of them alone does not shift the difference.
        """
        both = common([self.cells[a], self.cells[b]])
        if both is None:
            return None
        one, other = both
        differences = (one.values - other.values).round(DECIMALS)
        error = self.error if {a, b} <= set(self.pool) else None
        alone = None if min(differences.shape) < 2 else difference(differences, _squares(both))
        estimate = alone if alone is None or error is None else difference(differences, error)
        p_cases, effect = signed_ranks((one.unit_means - other.unit_means).mean(axis=0).round(DECIMALS))
        mean = float(differences.mean().round(DECIMALS))
        return Comparison(
            one.levels, len(one.cases), len(one.units), mean, estimate, error is not None, alone, p_cases, effect
        )


def common(cells: Sequence[CellScores]) -> list[CellScores] | None:
    """Return cells with the seeds and cases that all of them have, in one order; None where there is none.

    A case counts where all have the same number of values, at least one, in every common seed.
    """
    seeds = sorted(set(cells[0].seeds).intersection(*(cell.seeds for cell in cells)))
    cases = sorted(set(cells[0].cases).intersection(*(cell.cases for cell in cells)))
    if not seeds or not cases:
        return None
    places = [{name: number for number, name in enumerate(cell.cases)} for cell in cells]
    own = [
        cell.of_seeds(seeds).of_cases(np.array([place[name] for name in cases]))
        for cell, place in zip(cells, places, strict=True)
    ]
    counts = np.stack([cell.counts for cell in own])
    kept = ((counts == counts[:1, :1]) & (counts > 0)).all(axis=(0, 1))
    return [cell.of_cases(kept) for cell in own] if kept.any() else None


def signed_ranks(differences: np.ndarray) -> tuple[float, float]:
    """Return the two-sided p of Wilcoxon's signed-rank test and the rank-biserial correlation.

    Zeros are left out of the ranks, which is Wilcoxon's own rule. p is SciPy's: exact for up to 50 differences, or 13
    with ties among their magnitudes, and else from the normal approximation, corrected for ties but not for continuity.
    Without any difference p is 1 and the correlation 0.
    """
    from scipy import stats

    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    return float(stats.wilcoxon(nonzero).pvalue), float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def _pool(cells: Sequence[CellScores]) -> tuple[int, ...]:
    """Positions of the methods whose error term is pooled, whatever their order.

    Of the sets of seeds that some method has, or two have in common, the one with the most degrees of freedom is
    taken, with all methods that have these seeds. Of these, methods are left out that have values in fewer than half as
    many cases as the fullest one.
    """
    varying = [number for number, cell in enumerate(cells) if varies(cell)]
    seeds = {number: frozenset(cells[number].seeds) for number in varying}
    shared = {one & other for one in seeds.values() for other in seeds.values()}
    best: tuple[int, ...] = ()
    for own in sorted((one for one in shared if len(one) > 1), key=lambda one: (-len(one), sorted(one))):
        chosen = _of_enough_cases(cells, [number for number in varying if own <= seeds[number]])
        if (len(chosen) - 1) * (len(own) - 1) > (len(best) - 1) * (_common_seeds(cells, best) - 1):
            best = chosen
    return best


def _of_enough_cases(cells: Sequence[CellScores], chosen: Sequence[int]) -> tuple[int, ...]:
    """The methods that share two units, without those that have few complete cases."""
    counts = {number: len(cells[number].complete.cases) for number in chosen}
    kept = [number for number in chosen if 2 * counts[number] >= max(counts.values())]
    while len(kept) > 1:
        shared = common([cells[number] for number in kept])
        if shared is not None and len(shared[0].units) > 1:
            return tuple(kept)
        kept.remove(min(kept, key=lambda number: counts[number]))
    return ()


def _common_seeds(cells: Sequence[CellScores], chosen: Sequence[int]) -> int:
    """Number of seeds that methods have in common; 1 for none."""
    return len(frozenset.intersection(*(frozenset(cells[number].seeds) for number in chosen))) if chosen else 1


def varies(cell: CellScores) -> bool:
    """Whether a cell's scores differ, of its complete cases."""
    whole = cell.complete
    return len(whole.units) > 1 and float(np.ptp(whole.values)) > TINY


def _squares(cells: Sequence[CellScores]) -> Squares:
    return squares_of_methods(np.stack([cell.values for cell in cells]), cells[0].crossed)

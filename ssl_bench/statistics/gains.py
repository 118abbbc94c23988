"""Difference of differences: whether a method's gain over another is larger under one condition than another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssl_bench.statistics.anova import Squares, contrast, squares_of_gains
from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.column import DECIMALS, Comparison, common, signed_ranks, varies

Conditions = tuple[CellScores, CellScores]  # one method's scores under both conditions


def compare_gains(method: Conditions, other: Conditions, more: Sequence[Conditions] = ()) -> Comparison | None:
    """Estimate how much larger the gain of `method` over `other` is under the first condition than under the second.

    The error term is pooled over all methods, as in `Column`: it is the interaction of methods and conditions with
    seeds and cases. A further method is left out of it if it lacks a seed of the two, if its scores do not vary, or if
    the methods would share fewer than half of the complete cases with it.

    Args:
        method: its scores under both conditions.
        other: of the method that it gains on.
        more: further methods for the error term.

    Returns:
        The comparison, of the seeds and cases that all four cells have; None where they have none in common.

    """
    cells = [method[0], other[0], method[1], other[1]]
    shared = common(cells)
    if shared is None:
        return None
    own, less = (one.values - base.values for one, base in (shared[:2], shared[2:]))
    differences = (own - less).round(DECIMALS)
    unit_gains = [one.unit_means - base.unit_means for one, base in (shared[:2], shared[2:])]
    p_cases, effect = signed_ranks((unit_gains[0] - unit_gains[1]).mean(axis=0).round(DECIMALS))
    error, pooled = _error(cells, more, shared)
    own, _ = _error(cells, (), shared)
    estimate, alone = (None if one is None else contrast(differences, one, 4) for one in (error, own))
    mean = float(differences.mean().round(DECIMALS))
    first = shared[0]
    return Comparison(first.levels, len(first.cases), len(first.units), mean, estimate, pooled, alone, p_cases, effect)


def _error(
    cells: Sequence[CellScores], more: Sequence[Conditions], shared: Sequence[CellScores]
) -> tuple[Squares | None, bool]:
    """The error term, and whether it is of further methods too; none with fewer than two seeds or units."""
    if min(shared[0].values.shape) < 2:
        return None, False
    seeds, kept = set(shared[0].seeds), shared
    added: list[CellScores] = []
    for pair in more:
        if not all(seeds <= set(cell.seeds) and varies(cell) for cell in pair):
            continue
        found = common([*(cell.of_seeds(shared[0].seeds) for cell in (*cells, *added, *pair))])
        if found is not None and 2 * len(found[0].cases) >= len(shared[0].cases) and len(found[0].units) > 1:
            added, kept = [*added, *pair], found
    first, base, second, second_base, *others = [cell.values for cell in kept]
    values = np.stack([
        np.stack([first, second]), np.stack([base, second_base]),
        *(np.stack(others[i : i + 2]) for i in range(0, len(others), 2)),
    ])  # fmt: skip
    return squares_of_gains(values, shared[0].crossed), bool(added)

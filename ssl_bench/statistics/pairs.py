"""Comparison of two trainings on the cases that both were tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssl_bench.statistics.anova import Estimate, mean_of_units
from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.column import DECIMALS, common, signed_ranks


@dataclass(frozen=True)
class Pair:
    """Two trainings, b against a, paired over cases. It says nothing of other trainings.

    Attributes:
        a: scores of the first on the cases that were paired.
        b: those of the second, on the same cases in the same order.
        estimate: of the mean of b - a on other cases or groups; None with fewer than 2 of them.
        p: two-sided p of Wilcoxon's signed-rank test over cases or groups.
        effect: matched-pairs rank-biserial correlation, -1 to 1, positive where b is larger.

    """

    a: CellScores
    b: CellScores
    estimate: Estimate | None
    p: float
    effect: float


def compare_two(a: CellScores, b: CellScores) -> Pair | None:
    """Compare two trainings, each alone in its cell, whatever their seeds; None where they share no case.

    A case counts where both have the same number of values, at least one. Both name the groups of cases alike.
    """
    both = common([replace(one, seeds=(0,), draws=None) for one in (a, b)])
    if both is None:
        return None
    first, second = both
    estimate = mean_of_units((second.values - first.values)[0].round(DECIMALS))
    p, effect = signed_ranks((second.unit_means - first.unit_means)[0].round(DECIMALS))
    return Pair(first, second, estimate, p, effect)

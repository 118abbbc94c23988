"""Comparisons of two rows of a table as it prints them, with Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ssl_bench.statistics.anova import TINY, Squares, smallest_difference
from ssl_bench.statistics.column import Comparison
from ssl_bench.statistics.holm import holm

SIGNIFICANT = 0.05  # of Holm-corrected p values over seeds and cases
FEW_SEEDS = 3  # common to both, for a mark of significance
Span = tuple[float, float]  # the least and the most of several numbers


@dataclass(frozen=True)
class Paired:
    """A method against another one on the same cases and seeds; a positive difference: it scores higher.

    `seeds` are those in common; of trainings with label seeds, the fewer of labelled draws and seeds, a single one
    aside. `units` are the groups of the cases, or the cases. `p`, `p_holm` and the interval are over seeds and units,
    from the error term of all methods of the column (`pooled`) or of this pair alone, `p_pair` always from the latter;
    `p_cases`, `p_cases_holm` and `effect` are of Wilcoxon's test over units. What ends in `_holm` is corrected over the
    family's `tests`.
    """

    other: str = ""
    seeds: int | None = None
    cases: int | None = None
    units: int | None = None
    difference: float | None = None
    ci95_low: float | None = None
    ci95_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    tests: int | None = None
    pooled: bool | None = None
    p_pair: float | None = None
    p_pair_holm: float | None = None
    p_cases: float | None = None
    p_cases_holm: float | None = None
    effect: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the Holm-corrected p value over seeds and cases is below SIGNIFICANT, of FEW_SEEDS at least."""
        return self._shows(self.p_holm)

    @property
    def is_significant_alone(self) -> bool:
        """As `is_significant`, by the error term of this pair alone."""
        return self._shows(self.p_pair_holm)

    def _shows(self, p: float | None) -> bool:
        return p is not None and p < SIGNIFICANT and (self.seeds or 0) >= FEW_SEEDS


NO_PAIR = Paired()
Pairs = dict[tuple[int, int], Paired]


def corrected(found: Mapping[tuple[int, int], Comparison], tests: int) -> Pairs:
    """Describe comparisons, with Holm's correction over all of them, as some of `tests`."""
    estimated = {pair: one.estimate.p for pair, one in found.items() if one.estimate is not None}
    alone = {pair: one.alone.p for pair, one in found.items() if one.alone is not None}
    both, each = (dict(zip(p, holm(list(p.values()), tests), strict=True)) for p in (estimated, alone))
    cases = dict(zip(found, holm([one.p_cases for one in found.values()], tests), strict=True))
    described = {}
    for pair, one in found.items():
        low, high = (None, None) if one.estimate is None else one.estimate.interval()
        described[pair] = Paired(
            "", one.seeds, one.cases, one.units, one.difference, low, high, estimated.get(pair), both.get(pair), tests,
            None if one.estimate is None else one.pooled, alone.get(pair), each.get(pair),
            one.p_cases, cases[pair], one.effect,
        )  # fmt: skip
    return described


def comparison_of(pairs: Pairs, number: int, other: int, titles: Sequence[str]) -> Paired:
    """The comparison of a row with another, in this direction; an empty one where there is none."""
    return with_name(pairs.get((number, other)) or _reversed(pairs.get((other, number))), titles[other])


def _reversed(one: Paired | None) -> Paired | None:
    """The comparison of b with a from that of a with b; a zero has no sign."""
    if one is None or one.difference is None or one.effect is None:
        return None
    low, high = one.ci95_low, one.ci95_high
    return replace(
        one, difference=0.0 - one.difference, effect=0.0 - one.effect,
        ci95_low=None if high is None else 0.0 - high, ci95_high=None if low is None else 0.0 - low,
    )  # fmt: skip


def with_name(one: Paired | None, other: str) -> Paired:
    """Add the other row's title; an empty comparison where there is none."""
    return NO_PAIR if one is None else replace(one, other=other)


def smallest(compared: Iterable[Comparison], error: Squares | None, tests: int) -> Span | None:
    """The least and the most of the true differences that comparisons would find, of those that could be marked.

    None where no scores vary: a difference of scores that are constant says nothing of other trainings.
    """
    own = [one for one in compared if one.estimate is not None and one.seeds >= FEW_SEEDS]
    found = [one.estimate.smallest(tests) for one in own if one.estimate is not None and not one.pooled]
    if error is not None and any(one.pooled for one in own):
        found.append(smallest_difference(error, tests))
    found = [one for one in found if one > TINY]
    return (min(found), max(found)) if found else None

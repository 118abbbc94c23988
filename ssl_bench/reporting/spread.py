"""Where the spread of a table's scores comes from: labelled cases, initialisation, test cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ssl_bench.cards import Grid
from ssl_bench.command import quantity
from ssl_bench.reporting.analysis import Record
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.statistics.cell import CellScores, crossed_rows
from ssl_bench.statistics.components import CROSSED, Component, Term, contributions, variance_components

TOGETHER = ("trainings", "cases")  # where the seed draws the labelled cases, too
NEGLIGIBLE = 1e-18  # variance in the metric's squared unit that is taken for none
PARTS: tuple[Term, ...] = (("labels",), ("seeds",), ("trainings",), ("cases",))
SPREAD_NOTE = (
    "Standard deviation that each source gives to the mean score of one training on these test cases, and its share of "
    "the variance; from a random-effects analysis of variance of the cases' scores, whose estimates are never below "
    "zero. Initialisation: all that the seed draws except the labelled cases (initial weights, batches, augmentation). "
    "Rest: interactions. Last column: share of labels and initialisation in the variance of the reported mean over all "
    "trainings; test cases have the rest. Few label draws or seeds give rough estimates, and 0 is no proof of no "
    "effect: from 3 of them, the true standard deviation is 0.5 to 6 times the estimate at best, from 10 0.7 to 1.8 "
    "times (95 % intervals)."
)
ONE_LABEL_DRAW = "One label draw: what other labelled cases would change is not known, and is in no share of that row."
LEFT_OUT = "Left out, for too few cases with a value in every training, or label draws and seeds that do not all meet:"
ONE_SEED = "One seed: what another initialisation would change is not known apart from the labels, or at all."


@dataclass(frozen=True)
class Spread:
    """The variance components of one cell, in the metric's squared unit.

    Attributes:
        components: of the factors CROSSED, or TOGETHER.
        levels: number of levels of each factor.

    """

    components: dict[Term, Component]
    levels: dict[str, int]

    @property
    def of_one_training(self) -> dict[Term, float]:
        """Each term's part of the variance of the mean score of one training on these cases."""
        return contributions(self.components, {"cases": self.levels["cases"]})

    @property
    def share_of_trainings(self) -> float | None:
        """Share of labels and seeds in the variance of the reported mean; None for one training, or without variance.

        Interactions with cases count as the cases'.
        """
        parts = contributions(self.components, self.levels)
        own = [value for term, value in parts.items() if "cases" not in term]
        total = sum(parts.values())
        return sum(own) / total if own and total > NEGLIGIBLE else None


def spread(scores: CellScores) -> Spread | None:
    """Estimate the variance components of a cell.

    Runs with label seeds must be a complete crossed design. Without label seeds, each training is one level of a
    single factor, "trainings": its labels and its initialisation were drawn together.
    Only cases with the same number of defined values, at least one, in every training are used. Groups of cases count
    as cases.

    Args:
        scores: of the cell, one row per run.

    Returns:
        None where fewer than two cases or groups are left, or the runs are no complete design.
    """
    whole = scores.complete
    if len(whole.units) < 2:
        return None
    if whole.draws is None:
        return _spread(whole.values, TOGETHER)
    rows = crossed_rows(whole.draws)
    return None if rows is None else _spread(whole.values[rows], CROSSED)


def is_crossed(records: Iterable[Record]) -> bool:
    """Whether any run of these records has a label seed."""
    return any(one.scores is not None and one.scores.draws is not None for one in records)


def spread_table(grid: Grid, records: Iterable[Record]) -> Table:
    """Return the sources of each measured cell's spread; without rows where nothing can be said.

    Args:
        grid: the aimed grid.
        records: of its cells.

    """
    rows: list[list[str | Cell]] = []
    notes: dict[str, None] = {SPREAD_NOTE: None}
    for one in records:
        if one.scores is None:
            continue
        found = spread(one.scores)
        if found is None:
            notes[f"{LEFT_OUT} {one.place.row.title}, {one.place.benchmark.heading(one.metric)}."] = None
            continue
        notes |= dict.fromkeys(_single(found))
        place = one.place
        share = found.share_of_trainings
        rows.append([
            place.row.title, one.data, place.benchmark.heading(one.metric), _design(found.levels),
            str(found.levels["cases"]), *_parts(found.of_one_training),
            "—" if share is None else Cell(f"{100 * share:.0f} %", share),
        ])  # fmt: skip
    header = [
        "Method", "Data", "Metric", "Trainings", "Cases", "Labels", "Initialisation", "Labels and\ninitialisation",
        "Test cases", "Rest", "Trainings' share\nof the mean's\nvariance",
    ]  # fmt: skip
    kept = [c for c, name in enumerate(header) if c < 5 or any(str(row[c]) != "—" for row in rows)]
    shown = [header[c] for c in kept]
    numeric = frozenset(shown) - {*header[:4]}
    lines = [[row[c] for c in kept] for row in rows]
    return Table(f"{grid.name}: sources of the spread", shown, lines, numeric, list(notes) if rows else [], "spread")


def _spread(values: np.ndarray, factors: tuple[str, ...]) -> Spread:
    return Spread(variance_components(values, factors), dict(zip(factors, values.shape, strict=True)))


def _design(levels: dict[str, int]) -> str:
    if "trainings" in levels:
        return quantity(levels["trainings"], "seed")
    return f"{quantity(levels['labels'], 'label draw')} x {quantity(levels['seeds'], 'seed')}"


def _parts(parts: dict[Term, float]) -> list[str | Cell]:
    """Standard deviation and share of each source, and of all interactions together."""
    total = sum(parts.values())
    rest = {term: value for term, value in parts.items() if term not in PARTS}
    values = [*(parts.get(term) for term in PARTS), sum(rest.values()) if rest else None]
    return ["—" if value is None else _part(value, total) for value in values]


def _part(value: float, total: float) -> Cell:
    share = f" ({100 * value / total:.0f} %)" if total > NEGLIGIBLE else ""
    return Cell(f"{value**0.5:.2f}{share}", value**0.5)


def _single(one: Spread) -> list[str]:
    """What one level of a factor leaves unknown."""
    is_one = {name: one.levels.get(name) == 1 for name in ("labels", "seeds", "trainings")}
    return [ONE_LABEL_DRAW] * is_one["labels"] + [ONE_SEED] * (is_one["seeds"] or is_one["trainings"])

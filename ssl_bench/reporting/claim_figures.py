"""The picture of claims, from their tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssl_bench.cards import METRICS, Claims, CurveClaim, EquivalenceClaim
from ssl_bench.reporting.claim_verdicts import ClaimTest
from ssl_bench.reporting.draw_claims import ClaimRow, claims_figure
from ssl_bench.reporting.drawn import NARROW
from ssl_bench.reporting.table_figures import TableFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THUMBNAIL = 8  # rows
CAPTION = (
    "Measured differences with their intervals (of equivalences: the largest, with its simultaneous interval), by "
    "verdict. A published difference stands beside the measured one for orientation. An arrow points to "
    "a difference outside the axis."
)


def claim_figures(card: Claims, tests: Sequence[ClaimTest]) -> list[TableFigure]:
    """Draw the measured differences in the metric; none where nothing is measured."""
    rows = _rows(tests)
    if not rows:
        return []
    figure = claims_figure(rows, _heading(card))
    return [TableFigure("differences", "differences", f"Measured differences: {card.title}", figure, CAPTION)]


def claims_thumbnail(card: Claims, tests: Sequence[ClaimTest]) -> Figure | None:
    """Draw the first measured differences, NARROW wide; None where nothing is measured."""
    rows = _rows(tests)
    return claims_figure(rows[:THUMBNAIL], _heading(card), NARROW) if rows else None


def _heading(card: Claims) -> str:
    unit = f" [{card.unit}]" if card.unit else ""
    return f"difference of {METRICS[card.metric].title}{unit}"


def _rows(tests: Sequence[ClaimTest]) -> list[ClaimRow]:
    return [
        ClaimRow(
            f"{test.who}, {test.data}", test.verdict, test.difference, test.interval,
            None if isinstance(test.claim, EquivalenceClaim) else test.published,
        )
        for test in tests
        if test.difference is not None and not isinstance(test.claim, CurveClaim)
    ]  # fmt: skip

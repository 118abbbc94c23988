"""A picture of claims: each measured difference with its interval, coloured by its verdict, and the published size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssl_bench.reporting.canvas import (
    LINE,
    SIZE,
    WIDTH,
    fix_layout,
    legend_below,
    legend_columns,
    say_no_run,
    style,
    wrapped,
)

ROW = 0.2  # inches: a row with a label of one line
LABELS = 0.5  # of the width, for the labels at most
MARKS: dict[str, dict[str, Any]] = {  # by verdict
    "supported": {"color": "#0072b2", "marker": "o", "markersize": 4.5},
    "contradicted": {"color": "#d55e00", "marker": "X", "markersize": 5.5},
    "not shown": {"color": "#7f7f7f", "marker": "o", "markersize": 4.5, "markerfacecolor": "#ffffff"},
}
PUBLISHED: dict[str, Any] = {
    "color": "#000000", "marker": "D", "markersize": 5, "fillstyle": "none", "markeredgewidth": 0.9, "linestyle": "",
}  # fmt: skip


@dataclass(frozen=True)
class ClaimRow:
    """A measured test.

    Attributes:
        label: its sides and data.
        verdict: supported, contradicted or not shown.
        value: the difference.
        interval: of the difference; None without a test.
        published: the difference of the paper's numbers; None without them.

    """

    label: str
    verdict: str
    value: float
    interval: tuple[float, float] | None = None
    published: float | None = None


def claims_figure(rows: Sequence[ClaimRow], heading: str, width: float = WIDTH) -> Figure:
    """Draw differences from top to bottom beside a line at zero.

    Args:
        rows: the tests.
        heading: what is on the axis, with its unit.
        width: width of the figure in inches, at least 3; the text keeps its size.

    """
    with style():
        labels = [wrapped(row.label, LABELS * width - 0.2, most=3) for row in rows]
        handles = _handles(rows)
        high = [ROW + LINE * label.count("\n") for label in labels]
        legend = 0.16 * ceil(len(handles) / legend_columns(list(handles), width)) if handles else 0.0
        height = max(sum(high), 2 * ROW) + 0.6 + legend
        figure = Figure(figsize=(width, height), layout="constrained")
        axis = figure.subplots()
        places = [sum(high[:number]) + own / 2 for number, own in enumerate(high)]
        axis.set_yticks(places, labels, fontsize=SIZE - 0.5)
        axis.set_ylim(max(sum(high), ROW), 0)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(wrapped(heading, (1 - LABELS) * width))
        axis.axvline(0, color="0.4", linewidth=0.8, linestyle="--", zorder=0.6)
        limit = _limit(rows)
        if limit is not None:
            axis.set_xlim(-1.1 * limit, 1.1 * limit)
        for place, row in zip(places, rows, strict=True):
            _draw(axis, row, place, limit)
        if not rows:
            axis.set_xticks([])
            say_no_run(axis)
        legend_below(figure, handles)
        fix_layout(figure)
        return figure


def _limit(rows: Sequence[ClaimRow]) -> float | None:
    """The largest magnitude on the axis; None for all. Few far values would press the others together."""
    ends = sorted(abs(row.value) if row.interval is None else max(map(abs, row.interval)) for row in rows)
    ends += [abs(row.published) for row in rows if row.published is not None]
    usual = sorted(ends)[int(0.85 * (len(ends) - 1))] if ends else 0.0
    return 1.5 * usual if usual > 0 and max(ends) > 3 * usual else None


def _draw(axis: Axes, row: ClaimRow, place: float, limit: float | None) -> None:
    mark = MARKS[row.verdict]
    axis.axhline(place, color="0.93", linewidth=0.6, zorder=0)
    if limit is not None and abs(row.value) > limit:
        side = 1 if row.value > 0 else -1
        axis.annotate(
            f"{row.value:+.1f}", (side * 1.1 * limit, place), (side * 0.85 * limit, place), color=mark["color"],
            ha="right" if side > 0 else "left", va="center", fontsize=6.5,
            arrowprops={"arrowstyle": "->", "color": mark["color"], "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        return
    if row.interval is not None:
        axis.plot(row.interval, [place, place], color=mark["color"], linewidth=1.3, solid_capstyle="butt", zorder=2)
    axis.plot([row.value], [place], linestyle="", zorder=3, **mark)
    if row.published is not None and (limit is None or abs(row.published) <= 1.1 * limit):
        axis.plot([row.published], [place], zorder=4, **PUBLISHED)


def _handles(rows: Sequence[ClaimRow]) -> dict[str, Any]:
    """A legend's marks for what is drawn."""
    used = {row.verdict for row in rows}
    handles: dict[str, Any] = {verdict: Line2D([], [], **mark) for verdict, mark in MARKS.items() if verdict in used}
    if any(row.published is not None for row in rows):
        handles["published difference"] = Line2D([], [], **PUBLISHED)
    return handles

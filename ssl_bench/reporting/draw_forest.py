"""A forest plot: each method's mean with its interval, the published number, and the difference to the baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

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
from ssl_bench.reporting.looks import looks

ROW = 0.21  # inches: a row with a label of one line
LABELS = 0.3  # of the width, for the labels at most
NO_VALUE = "no value"
NOTE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 6.5, "color": "0.4"}
PUBLISHED, UPPER = "#000000", "#bdbdbd"
MARKS: dict[str, dict[str, Any]] = {  # what the legend calls a mark, and how it looks
    "mean, 95 % interval": {"marker": "o", "markersize": 4.5},
    "published": {"marker": "D", "markersize": 5.5, "fillstyle": "none", "markeredgewidth": 0.9},
    "difference, significant": {"marker": "s", "markersize": 4.5},
    "difference, significance not shown": {"marker": "s", "markersize": 4.5, "markerfacecolor": "#ffffff"},
    "difference, not tested": {"marker": "x", "markersize": 4.5},
}
MEAN, PRINTED, SHOWN, NOT_SHOWN, NOT_TESTED = MARKS


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; None without one. Numbers that are not finite are not drawn."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ForestRow:
    """A method of a forest plot; None stands for what is not known.

    Attributes:
        label: the method as the table calls it.
        style_key: the method's name in the registry, which selects the colour; "" for none.
        mean: mean over seeds and cases, in the printed unit.
        published: the number that the paper prints.
        difference: mean minus the baseline's mean.
        significant: whether the difference is significant after correction; None if it was not tested.

    """

    label: str
    style_key: str = ""
    mean: Estimate | None = None
    published: float | None = None
    difference: Estimate | None = None
    significant: bool | None = None


@dataclass(frozen=True)
class Forest:
    """A forest plot of one column and metric.

    Attributes:
        title: data set and share.
        heading: the metric with its unit.
        rows: from top to bottom.
        baseline: label of the row that the others are compared with; "" for none.
        upper: the upper line, drawn over all rows; None without one.
        upper_label: what the upper line is.
        larger_is_better: whether a larger value is the better one.

    """

    title: str
    heading: str
    rows: tuple[ForestRow, ...]
    baseline: str = ""
    upper: Estimate | None = None
    upper_label: str = "upper line"
    larger_is_better: bool = True


def forest_figure(forest: Forest, width: float = WIDTH) -> Figure:
    """Draw means on the left and differences to the baseline on the right; without a difference, means alone.

    Args:
        forest: what to draw.
        width: width of the figure in inches, at least 3; the text keeps its size.

    """
    with style():
        forest = _finite_forest(forest)
        rows = forest.rows
        labels = [wrapped(row.label, LABELS * width, most=2) for row in rows]
        parts = 2 if any(row.difference is not None for row in rows) else 1
        panel = (1 - LABELS) * width / parts - 0.3  # inches: a guess before the layout, for ticks and labels
        handles = _handles(forest)
        high = ROW + LINE / 2 * max((label.count("\n") for label in labels), default=0)
        legend = 0.16 * ceil(len(handles) / legend_columns(list(handles), width)) if handles else 0.0
        title = wrapped(forest.title, width - 0.3)
        height = max(len(rows), 2) * high + 0.75 + legend + LINE * title.count("\n")
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(title, x=0.5, fontsize=SIZE)
        axes = figure.subplots(1, parts, squeeze=False, sharey=True)[0]
        _prepare(axes[0], labels, wrapped(forest.heading, panel), panel)
        colours = looks([(row.label, row.style_key) for row in rows])
        _draw_means(axes[0], forest, [colours[row.label].colour for row in rows])
        if parts == 2:
            way = "← worse · better →" if forest.larger_is_better else "← better · worse →"
            words = f"difference to {forest.baseline}" if forest.baseline else "difference"
            _prepare(axes[1], labels, f"{wrapped(words, panel, most=2)}\n{way}", panel)
            axes[1].tick_params(axis="y", length=0, labelleft=False)
            _draw_differences(axes[1], forest, [colours[row.label].colour for row in rows])
        legend_below(figure, handles)
        fix_layout(figure)
        return figure


def _prepare(axis: Axes, labels: list[str], heading: str, panel: float) -> None:
    """Give a panel of `panel` inches a row per label, from top to bottom, with light lines, and few numbers below."""
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(heading)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(panel / 0.4)), steps=[1, 2, 5, 10]))
    axis.margins(x=0.06)
    for place in range(len(labels)):
        axis.axhline(place, color="0.93", linewidth=0.6, zorder=0)


def _draw_means(axis: Axes, forest: Forest, colours: list[str]) -> None:
    """Draw means with their intervals, published numbers, and the upper line as a band over all rows."""
    if forest.upper is not None:
        if forest.upper.interval is not None:
            axis.axvspan(*forest.upper.interval, color=UPPER, alpha=0.5, linewidth=0, zorder=0.5)
        axis.axvline(forest.upper.value, color="0.4", linewidth=0.8, zorder=0.6)
    for place, (row, colour) in enumerate(zip(forest.rows, colours, strict=True)):
        if row.mean is not None:
            _draw_estimate(axis, row.mean, place, colour, MEAN)
        elif row.published is None:
            at = axis.get_yaxis_transform()
            axis.annotate(NO_VALUE, (0, place), (4, 0), xycoords=at, ha="left", **NOTE)
        if row.published is not None:
            axis.plot([row.published], [place], color=PUBLISHED, linestyle="", zorder=4, **MARKS[PRINTED])
    if not axis.lines[len(forest.rows) :]:
        axis.set_xticks([])  # numbers of an empty plot are meaningless
        if not forest.rows:
            say_no_run(axis)


def _draw_differences(axis: Axes, forest: Forest, colours: list[str]) -> None:
    """Draw differences with their intervals beside a line at zero; the baseline has its name there."""
    axis.axvline(0, color="0.4", linewidth=0.8, linestyle="--", zorder=0.6)
    for place, (row, colour) in enumerate(zip(forest.rows, colours, strict=True)):
        if row.difference is not None:
            _draw_estimate(axis, row.difference, place, colour, _mark(row))
    low, high = axis.get_xlim()
    side = 1 if low + high > 0 else -1  # of zero, with more space
    for place, row in enumerate(forest.rows):
        if row.difference is None:
            text = "baseline" if row.label == forest.baseline else NO_VALUE
            axis.annotate(text, (0, place), (4 * side, 0), ha="left" if side > 0 else "right", **NOTE)


def _draw_estimate(axis: Axes, estimate: Estimate, place: int, colour: str, mark: str) -> None:
    if estimate.interval is not None:
        axis.plot(estimate.interval, [place, place], color=colour, linewidth=1.3, solid_capstyle="butt", zorder=2)
    axis.plot([estimate.value], [place], color=colour, linestyle="", zorder=3, **MARKS[mark])


def _handles(forest: Forest) -> dict[str, Any]:
    """A legend's marks for what is drawn."""
    used = {MEAN for row in forest.rows if row.mean is not None}
    used |= {PRINTED for row in forest.rows if row.published is not None}
    used |= {_mark(row) for row in forest.rows if row.difference is not None}
    handles: dict[str, Any] = {}
    for name, mark in MARKS.items():
        if name == PRINTED and name in used:
            handles[name] = Line2D([], [], color=PUBLISHED, linestyle="", **mark)
        elif name in used:
            handles[name] = Line2D([], [], color="0.3", **mark)
    if forest.upper is not None:
        handles[forest.upper_label] = Patch(facecolor=UPPER, alpha=0.5, edgecolor="0.4", linewidth=0.8)
    return handles


def _mark(row: ForestRow) -> str:
    return {True: SHOWN, False: NOT_SHOWN, None: NOT_TESTED}[row.significant]


def _finite_forest(forest: Forest) -> Forest:
    """The same forest with None in the place of numbers that are not finite."""
    rows = tuple(
        replace(
            row,
            mean=_finite(row.mean),
            published=row.published if row.published is not None and isfinite(row.published) else None,
            difference=_finite(row.difference),
        )
        for row in forest.rows
    )
    return replace(forest, rows=rows, upper=_finite(forest.upper))


def _finite(estimate: Estimate | None) -> Estimate | None:
    """None without a finite value; without an interval where one of its ends is not finite."""
    if estimate is None or not isfinite(estimate.value):
        return None
    ends = estimate.interval
    return estimate if ends is None or all(map(isfinite, ends)) else Estimate(estimate.value)

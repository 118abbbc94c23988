"""Lines of methods with bands over seeds: the curves of training, and scores against the labelled share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_bench.reporting.canvas import WIDTH, fix_layout, legend_below, legend_columns, say_no_run, style, wrapped
from ssl_bench.reporting.looks import Look, looks


@dataclass(frozen=True)
class Line:
    """A method's values over seeds: `x` (N,), `y` (S, N), a row per seed, NaN where a seed has no value.

    `style_key` is the method's name in the registry, which selects colour, dash and marker; "" for none.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    style_key: str = ""


@dataclass(frozen=True)
class Panel:
    """One plot; with `ticks` (positions and their labels) its points stand apart, as shares do."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] | None = None


def line_figure(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side under one legend: the mean over seeds ± the sample standard deviation, of two or more.

    Every label has a colour, dash and marker of its own, the same in all panels: those of its method if it has one.
    """
    with style():
        own = looks([(line.label, line.style_key) for panel in panels for line in panel.lines])
        labels = list(own)
        height = (2.5 if len(panels) > 1 else 3.2) + 0.16 * max(ceil(len(labels) / legend_columns(labels)) - 1, 0)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axis.set(title=wrapped(panel.title, WIDTH / len(panels) - 0.6), xlabel=panel.x_label, ylabel=panel.y_label)
            if panel.ticks is not None:
                axis.set_xticks([x for x, _ in panel.ticks], [text for _, text in panel.ticks])
                axis.set_xlim(panel.ticks[0][0] - 0.5, panel.ticks[-1][0] + 0.5)
            for number, line in enumerate(panel.lines):
                apart = 0.0 if panel.ticks is None else 0.06 * (number - (len(panel.lines) - 1) / 2)
                first = labels.index(line.label)  # point with a marker: lines that are close have theirs apart
                handles[line.label] = _draw_line(axis, line, own[line.label], first, apart, panel.ticks is not None)
            if not panel.lines:
                axis.set_yticks([])  # tick labels of an empty plot are meaningless
                if panel.ticks is None:
                    axis.set_xticks([])
                say_no_run(axis)
        legend_below(figure, {label: handles[label] for label in labels})
        fix_layout(figure)
        return figure


def _draw_line(axis: Axes, line: Line, own: Look, first: int, apart: float, stands_apart: bool) -> Any:
    """Draw a line, and return what the legend shows of it."""
    counts = np.isfinite(line.y).sum(axis=0)
    mean, deviation = np.full(counts.shape, np.nan), np.full(counts.shape, np.nan)
    mean[counts > 0] = np.nanmean(line.y[:, counts > 0], axis=0)
    deviation[counts > 1] = np.nanstd(line.y[:, counts > 1], axis=0, ddof=1)
    look: dict[str, Any] = {"color": own.colour, "linestyle": own.dash, "marker": own.marker}
    if stands_apart:
        return axis.errorbar(line.x + apart, mean, yerr=deviation, capsize=2, markersize=3.5, elinewidth=0.8, **look)[0]
    axis.fill_between(line.x, mean - deviation, mean + deviation, color=look["color"], alpha=0.2, linewidth=0)
    step = max(1, len(line.x) // 6)
    (drawn,) = axis.plot(line.x, mean, markersize=3, markevery=(first % step, step), **look)
    return drawn

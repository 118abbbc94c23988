"""Lines of methods with bands over seeds: the curves of training, and scores against the labelled share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_bench.reporting.canvas import (
    NO_RUN,
    WIDTH,
    fix_layout,
    legend_below,
    legend_columns,
    say_absent,
    style,
    wrapped,
)
from ssl_bench.reporting.looks import Look, looks


@dataclass(frozen=True)
class Line:
    """A method's values over seeds: `x` (N,), `y` (S, N), a row per seed, NaN where a seed has no value.

    `style_key` is the method's name in the registry, which selects colour, dash and marker; "" for none. `bounds`
    (2, N) are the ends of each mean's interval, NaN for none; without them the interval is Student's t over seeds.
    A level has the same value everywhere, and is drawn across the panel with one band.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    style_key: str = ""
    bounds: np.ndarray | None = None
    is_level: bool = False

    @property
    def means(self) -> np.ndarray:
        """(N,): the mean of each point over the seeds that have a value; NaN where none has."""
        counts = np.isfinite(self.y).sum(axis=0)
        means = np.full(counts.shape, np.nan)
        means[counts > 0] = np.nanmean(self.y[:, counts > 0], axis=0)
        return means

    @property
    def ends(self) -> np.ndarray:
        """(2, N): the ends of each point's 95 % interval; NaN where there is none."""
        return t_bounds(self.y) if self.bounds is None else self.bounds


@dataclass(frozen=True)
class Panel:
    """One plot; with `ticks` (positions and their labels) its points stand apart, as shares do.

    `absent` is said where there is no line.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] | None = None
    absent: str = NO_RUN


def t_bounds(y: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the ends (2, N) of the t interval of each column's mean; NaN with fewer than 2 values.

    Args:
        y: (S, N), a row per seed, NaN where a seed has no value.
        level: of the interval.

    """
    from scipy import stats

    counts = np.isfinite(y).sum(axis=0)
    ends, enough = np.full((2, y.shape[1]), np.nan), counts > 1
    error = np.nanstd(y[:, enough], axis=0, ddof=1) / np.sqrt(counts[enough])
    half = stats.t.ppf((1 + level) / 2, counts[enough] - 1) * error
    ends[:, enough] = np.nanmean(y[:, enough], axis=0) + np.array([[-1.0], [1.0]]) * half
    return ends


def line_figure(panels: Sequence[Panel], width: float = WIDTH) -> Figure:
    """Draw panels, two a row, under one legend: the mean over seeds with its 95 % interval.

    Every label has a colour, dash and marker of its own, the same in all panels: those of its method if it has one.

    Args:
        panels: the plots.
        width: of the figure, in inches.

    """
    with style():
        own = looks([(line.label, line.style_key) for panel in panels for line in panel.lines])
        labels = list(own)
        across = min(len(panels), 2)
        down = ceil(len(panels) / across)
        height = (2.5 if across > 1 or width < WIDTH else 3.2) * down
        height += 0.16 * max(ceil(len(labels) / legend_columns(labels, width)) - 1, 0)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = list(figure.subplots(down, across, squeeze=False).flat)
        handles: dict[str, Any] = {}
        for axis, panel in zip(axes, panels, strict=False):
            axis.set(title=wrapped(panel.title, width / across - 0.6), xlabel=panel.x_label, ylabel=panel.y_label)
            handles |= _draw_panel(axis, panel, own)
        for axis in axes[len(panels) :]:
            axis.remove()
        legend_below(figure, {label: handles[label] for label in labels})
        fix_layout(figure)
        return figure


def _draw_panel(axis: Axes, panel: Panel, own: Mapping[str, Look]) -> dict[str, Any]:
    """Draw a panel's lines; returns what the legend shows of each."""
    labels, handles = list(own), dict[str, Any]()
    if panel.ticks is not None:
        axis.set_xticks([x for x, _ in panel.ticks], [text for _, text in panel.ticks])
        axis.set_xlim(panel.ticks[0][0] - 0.5, panel.ticks[-1][0] + 0.5)
    apart = [line.label for line in panel.lines if not line.is_level]
    for line in panel.lines:
        look = own[line.label]
        if line.is_level:
            handles[line.label] = _draw_level(axis, line, look)
        elif panel.ticks is not None:
            shift = 0.06 * (apart.index(line.label) - (len(apart) - 1) / 2)
            handles[line.label] = _draw_points(axis, line, look, shift)
        else:
            first = labels.index(line.label)  # point with a marker: lines that are close have theirs apart
            handles[line.label] = _draw_curve(axis, line, look, first)
    if not panel.lines:
        axis.set_yticks([])  # tick labels of an empty plot are meaningless
        if panel.ticks is None:
            axis.set_xticks([])
        say_absent(axis, panel.absent)
    return handles


def _draw_level(axis: Axes, line: Line, look: Look) -> Any:
    low, high = line.ends[:, 0]
    if np.isfinite(low):
        axis.axhspan(low, high, color=look.colour, alpha=0.15, linewidth=0)
    return axis.axhline(line.means[0], color=look.colour, linestyle=look.dash)


def _draw_points(axis: Axes, line: Line, look: Look, shift: float) -> Any:
    x, (low, high) = line.x + shift, line.ends
    axis.errorbar(x, (low + high) / 2, yerr=(high - low) / 2, fmt="none", ecolor=look.colour, capsize=2, elinewidth=0.8)
    (drawn,) = axis.plot(x, line.means, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=3.5)
    return drawn


def _draw_curve(axis: Axes, line: Line, look: Look, first: int) -> Any:
    axis.fill_between(line.x, *line.ends, color=look.colour, alpha=0.2, linewidth=0)
    step = max(1, len(line.x) // 6)
    (drawn,) = axis.plot(
        line.x, line.means, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=3,
        markevery=(first % step, step),
    )  # fmt: skip
    return drawn

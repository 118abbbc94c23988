"""How stable a ranking is, as a map of shares, and the share of cases above a threshold, as a line per method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ssl_bench.reporting.canvas import (
    LINE,
    SIZE,
    WIDTH,
    fitting,
    fix_layout,
    legend_below,
    legend_columns,
    say_no_run,
    style,
    text_width,
    wrapped,
)
from ssl_bench.reporting.looks import looks
from ssl_bench.statistics.ranking import RankStability

LABELS = 0.3  # of the width, for the labels at most
CELL, ROW = 0.5, 0.25  # inches: width and height of a cell at most
NARROW = 2.6  # inches: the least width of a figure of few methods
FRAME = "#d55e00"
NOTE = "Numbers: share of resamples [%]. Frames: observed ranks."


@dataclass(frozen=True, eq=False)  # arrays have no single truth value for == to return
class ProfileLine:
    """A method's shares (T) of cases from 0 to 1 above T thresholds, with intervals (T, 2) where they are known.

    `style_key` is the method's name in the registry; "" for none. NaN is not drawn.
    """

    label: str
    shares: np.ndarray
    intervals: np.ndarray | None = None
    style_key: str = ""


@dataclass(frozen=True, eq=False)
class Profile:
    """Performance profiles of one column and metric over thresholds (T); `heading` is the metric with its unit."""

    title: str
    heading: str
    thresholds: np.ndarray
    lines: tuple[ProfileLine, ...]


def ranking_figure(title: str, labels: Sequence[str], ranking: RankStability, width: float = WIDTH) -> Figure:
    """Draw a row per method, a column per rank, and in each cell the share of resamples; the observed rank is framed.

    Rows stand in the order of the observed ranks. `labels` has one text per method; `width` is in inches.
    """
    with style():
        count = len(labels)
        order = np.lexsort((-ranking.first, ranking.observed))
        beside = [wrapped(labels[i], LABELS * width, most=2) for i in order]
        left = 0.14 + max(text_width(line) for label in beside for line in label.split("\n"))
        cell = min((width - left - 0.08) / count, CELL)
        width = min(width, max(left + cell * count + 0.08, NARROW))
        row = 0.29 if any("\n" in label for label in beside) else ROW
        head, foot = wrapped(title, width - 0.2), wrapped(NOTE, width - 0.2)
        above, below = 0.1 + LINE * (head.count("\n") + 1), 0.4 + LINE * (foot.count("\n") + 1)
        height = above + row * count + below
        figure = Figure(figsize=(width, height))
        figure.text(0.5, 1 - 0.04 / height, head, ha="center", va="top", fontsize=SIZE)
        figure.text(0.1 / width, 0.04 / height, foot, ha="left", va="bottom", fontsize=SIZE)
        axis = figure.add_axes((left / width, below / height, cell * count / width, row * count / height))
        shares = 100 * ranking.distribution[order]
        axis.imshow(shares, vmin=0, vmax=100, cmap="Blues", aspect="auto", interpolation="nearest")
        axis.set_yticks(range(count), beside)
        axis.set_xticks(range(count), [str(i + 1) for i in range(count)])
        axis.set_xlabel("rank", labelpad=1)
        axis.tick_params(length=0, pad=3)
        axis.spines[:].set_visible(False)
        texts = {place: _percent(share) for place, share in np.ndenumerate(shares)}
        size = fitting(texts.values(), cell - 0.03, 6.5)
        for (y, x), text in texts.items():
            colour = "#ffffff" if shares[y, x] > 55 else "#000000"
            axis.text(x, y, text, ha="center", va="center", fontsize=size, color=colour)
        for y, rank in enumerate(ranking.observed[order]):
            axis.add_patch(Rectangle((rank - 1.5, y - 0.5), 1, 1, fill=False, edgecolor=FRAME, clip_on=False))
        return figure


def ranking_caption(labels: Sequence[str], ranking: RankStability) -> str:
    """Return the text below a ranking figure: shares of first places, and Kendall's tau with its interval."""
    order = np.argsort(-ranking.first, kind="stable")
    firsts = [f"{labels[i]} {_percent(100 * ranking.first[i])} %" for i in order if ranking.first[i] > 0]
    text = (
        f"{ranking.resamples:,} resamples of seeds and cases. Share of first places: {', '.join(firsts)}; methods that "
        "tie share a place. Frames mark the observed ranks. "
    )
    if ranking.tau is None or ranking.tau_interval is None:
        return f"{text}Kendall's tau is not defined, because all methods tie."
    low, high = ranking.tau_interval
    text += (
        f"Kendall's tau between the observed ranking and that of a resample: mean {ranking.tau:.2f}, "
        f"95 % interval {low:.2f} to {high:.2f}."
    )
    left_out = f" {ranking.undefined:,} resamples without a tau, in which all methods tie, are left out."
    return text + (left_out if ranking.undefined else "")


def profile_figure(profile: Profile, width: float = WIDTH) -> Figure:
    """Draw the share of cases above each threshold, a line per method, and bands where intervals are known."""
    with style():
        own = looks([(line.label, line.style_key) for line in profile.lines])
        labels = list(own)
        title = wrapped(profile.title, width - 0.6)
        legend = 0.16 * ceil(len(labels) / legend_columns(labels, width)) if labels else 0.0
        figure = Figure(figsize=(width, 2.8 + legend + LINE * title.count("\n")), layout="constrained")
        axis = figure.subplots()
        axis.set(title=title, xlabel=f"threshold on {profile.heading}", ylabel="cases above it [%]")
        axis.set_ylim(-2, 102)
        handles = {}
        x = profile.thresholds
        step = max(1, len(x) // 6)
        for number, line in enumerate(profile.lines):
            look = own[line.label]
            if line.intervals is not None:
                low, high = 100 * line.intervals.T
                axis.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
            (handles[line.label],) = axis.plot(
                x, 100 * line.shares, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=3.5,
                markevery=(number % step, step),
            )  # fmt: skip
        if not profile.lines:
            axis.set(xticks=[], yticks=[])  # numbers of an empty plot are meaningless
            say_no_run(axis)
        legend_below(figure, handles)
        fix_layout(figure)
        return figure


def _percent(share: float) -> str:
    """A share in per cent without decimals; "<1" for less than a half, nothing for 0, and never 100 for less."""
    if share <= 0:
        return ""
    if share < 0.5:
        return "<1"
    return ">99" if 99.5 <= share < 100 - 1e-9 else f"{share:.0f}"

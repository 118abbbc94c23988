"""A map of all pairs of methods: the difference, its interval, and a mark where it is significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ssl_bench.reporting.canvas import LINE, SIZE, WIDTH, fitting, say_no_run, style, text_width, wrapped

LABELS = 0.25  # of the width, for the labels at most
CELL, TALL = 0.9, 1.1  # inches: a cell's width and an upright label's length, at most
NARROW = 3.2  # inches: the least width of a figure of few methods
LARGE, SMALL, SMALLEST = 6.5, 5.5, 4.5  # points: a difference, an interval, and the least that can be read
MARK = "*"
NO_PAIR = "–"


@dataclass(frozen=True)
class Pair:
    """The difference `first` minus `second` in the printed unit; the interval is None where it is not known."""

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None = None
    significant: bool = False

    def turned(self) -> Pair:
        """The same comparison as `second` minus `first`."""
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Pair(self.second, self.first, -self.difference, ends, self.significant)


@dataclass(frozen=True)
class Comparisons:
    """All pairs of methods of one column and metric.

    Attributes:
        title: data set and share.
        heading: the metric with its unit.
        means: each method's label and mean; None where it is not known. Labels differ.
        pairs: each pair once, in either direction; a pair that is missing has an empty cell.
        larger_is_better: whether a larger value is the better one.
        decimals: of the printed numbers.

    """

    title: str
    heading: str
    means: tuple[tuple[str, float | None], ...]
    pairs: tuple[Pair, ...]
    larger_is_better: bool = True
    decimals: int = 1


def significance_figure(comparisons: Comparisons, width: float = WIDTH) -> Figure:
    """Draw a cell per pair: row minus column, the interval where there is space for it, a star where significant.

    Methods stand in the order of their means, the best first. Blue cells are those whose row is better.

    Args:
        comparisons: what to draw.
        width: width of the figure in inches.

    Raises:
        ValueError: a label stands twice, or a pair stands twice or has a label that is not in `means`.

    """
    found = _by_labels(comparisons)
    with style():
        labels = _ordered(comparisons)
        count = max(len(labels), 1)
        beside = [wrapped(_with_mean(comparisons, label), LABELS * width, most=2) for label in labels]
        left = 0.14 + max((text_width(line) for label in beside for line in label.split("\n")), default=0.3)
        cell = min((width - left - 0.06) / count, CELL)
        texts = _lay_out(list(found.values()), cell - 0.05, comparisons.decimals)
        names, upright = _column_names(labels, cell - 0.05)
        width = min(width, max(left + cell * count + 0.06, NARROW))
        title, note = wrapped(comparisons.title, width - 0.2), wrapped(_note(comparisons, texts), width - 0.2)
        row = max(texts.height, 0.27 if any("\n" in label for label in beside) else 0.0)
        foot = 0.1 + LINE * (note.count("\n") + 1)
        above = 0.14 + LINE * (title.count("\n") + 1) + _height(names, upright)
        height = above + row * count + foot
        figure = Figure(figsize=(width, height))
        figure.text(0.5, 1 - 0.04 / height, title, ha="center", va="top", fontsize=SIZE)
        figure.text(0.1 / width, 0.04 / height, note, ha="left", va="bottom", fontsize=SIZE)
        axis = figure.add_axes((left / width, foot / height, cell * count / width, row * count / height))
        axis.set_yticks(range(len(labels)), beside)
        axis.set_xticks(range(len(labels)), names, rotation=90 if upright else 0)
        axis.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=2)
        axis.spines[:].set_visible(False)
        shown = _colour(axis, comparisons, found, labels)
        for y, first in enumerate(labels):
            for x, second in enumerate(labels):
                if y != x:
                    _write(axis, x, y, found.get((first, second)), shown, texts, row)
        if not labels:
            say_no_run(axis)
        return figure


def _note(comparisons: Comparisons, texts: _Layout) -> str:
    """What the cells and colours are."""
    interval = ", with its 95 % interval" if texts.lines else ""
    return (
        f"Cells: row minus column, {comparisons.heading}{interval}; {MARK} significant after Holm. "
        "Blue: the row is better; red: it is worse."
    )


@dataclass(frozen=True)
class _Layout:
    """How cells are written: sizes in points, the number of lines of an interval, and a cell's height in inches."""

    large: float
    small: float
    lines: int
    height: float
    decimals: int


def _lay_out(pairs: Sequence[Pair], space: float, decimals: int) -> _Layout:
    """Choose sizes with which every text fits into `space` inches; an interval has one line, two or none."""
    large = fitting([_difference(pair, decimals) for pair in pairs], space, LARGE)
    known = [pair for pair in pairs if pair.interval is not None]
    for lines, least in ((1, 5.0), (2, SMALLEST)):
        small = fitting([text for pair in known for text in _interval(pair, decimals, lines)], space, SMALL)
        if known and small >= least:
            return _Layout(large, small, lines, 0.19 + 0.09 * lines, decimals)
    return _Layout(large, SMALL, 0, 0.22, decimals)


def _difference(pair: Pair, decimals: int) -> str:
    return _signed(pair.difference, decimals) + (MARK if pair.significant else "")


def _interval(pair: Pair, decimals: int, lines: int) -> tuple[str, ...]:
    """The interval in one line or two."""
    if pair.interval is None or lines == 0:
        return ()
    low, high = (_signed(end, decimals) for end in pair.interval)
    return (f"[{low}, {high}]",) if lines == 1 else (f"[{low},", f"{high}]")


def _signed(value: float, decimals: int) -> str:
    """A number with its sign; 0 has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _write(axis: Axes, x: int, y: int, pair: Pair | None, shown: AxesImage, texts: _Layout, height: float) -> None:
    """Write a cell of `height` inches: the difference above its interval, black or white, as is easier to read."""
    if pair is None:
        axis.text(x, y, NO_PAIR, ha="center", va="center", color="0.4")
        return
    red, green, blue, _ = shown.to_rgba(np.asarray(shown.get_array())[y, x])
    colour = "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"
    lines = _interval(pair, texts.decimals, texts.lines)
    step = 0.095 / height  # of a cell's height, between lines
    top = y - step * len(lines) / 2
    look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": colour}
    axis.text(x, top, _difference(pair, texts.decimals), fontsize=texts.large, **look)
    for number, line in enumerate(lines, start=1):
        axis.text(x, top + step * number, line, fontsize=texts.small, **look)


def _colour(
    axis: Axes, comparisons: Comparisons, found: Mapping[tuple[str, str], Pair], labels: Sequence[str]
) -> AxesImage:
    """Colour each cell by how much better the row is; cells without a pair stay white."""
    sign = 1 if comparisons.larger_is_better else -1
    better = np.full((max(len(labels), 1),) * 2, np.nan)
    for y, row in enumerate(labels):
        for x, column in enumerate(labels):
            if (row, column) in found:
                better[y, x] = sign * found[row, column].difference
    most = float(np.nanmax(np.abs(better))) if np.isfinite(better).any() else 0.0
    most = 1.3 * most or 1.0  # black text can be read on all but the darkest colours
    return axis.imshow(better, vmin=-most, vmax=most, cmap="RdBu", aspect="auto", interpolation="nearest")


def _by_labels(comparisons: Comparisons) -> dict[tuple[str, str], Pair]:
    """Pairs in both directions by row and column; those without a finite difference are left out."""
    labels = [label for label, _ in comparisons.means]
    if len(set(labels)) < len(labels):
        raise ValueError(f"means: expected different labels, found {labels}")
    found: dict[tuple[str, str], Pair] = {}
    seen: set[frozenset[str]] = set()
    for pair in comparisons.pairs:
        names = frozenset((pair.first, pair.second))
        if len(names) < 2 or not names <= set(labels) or names in seen:
            raise ValueError(f"pairs: expected each pair of labels once, found {pair.first} and {pair.second}")
        seen.add(names)
        if isfinite(pair.difference):
            ends = pair.interval if pair.interval is not None and all(map(isfinite, pair.interval)) else None
            one = replace(pair, interval=ends)
            found[pair.first, pair.second], found[pair.second, pair.first] = one, one.turned()
    return found


def _ordered(comparisons: Comparisons) -> list[str]:
    """Labels by their means, the best first; labels without a mean are the last."""
    known = [(label, mean) for label, mean in comparisons.means if mean is not None and isfinite(mean)]
    known.sort(key=lambda one: one[1], reverse=comparisons.larger_is_better)
    first = [label for label, _ in known]
    return first + [label for label, _ in comparisons.means if label not in first]


def _with_mean(comparisons: Comparisons, label: str) -> str:
    mean = dict(comparisons.means)[label]
    return label if mean is None or not isfinite(mean) else f"{label} ({mean:.{comparisons.decimals}f})"


def _column_names(labels: Sequence[str], space: float) -> tuple[list[str], bool]:
    """Labels above the columns of `space` inches, and whether they stand upright, because a word is too wide."""
    words = [word for label in labels for word in label.split()]
    if max(map(text_width, words), default=0.0) <= space:
        level = [wrapped(label, space) for label in labels]
        if all(name.count("\n") < 2 for name in level):
            return level, False
    most = 2 if space > 2 * LINE else 1
    return [wrapped(label, TALL, most=most) for label in labels], True


def _height(names: Sequence[str], upright: bool) -> float:
    """Inches that the names above the columns need."""
    if upright:
        return max(text_width(line) for name in names for line in name.split("\n"))
    return LINE * max((name.count("\n") + 1 for name in names), default=0)

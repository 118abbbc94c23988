"""The paper's figures drawn from plain data: lines with bands over seeds, masks beside the truth, uncertainty maps."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil
from typing import Any, Literal

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from ssl_bench.ops import IGNORED

WIDTH = 7.0  # inches: a text's width in print
BESIDE, BELOW, LINE = 0.88, 0.2, 0.13  # inches: for a row's label at most, for a picture's number, for a title's line
SIZE = 7.5  # points
NO_RUN = "no run"
COLOURS = seaborn.color_palette("colorblind", 8).as_hex()
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
TRUTH = "#d55e00"  # vermilion: seen on black and on white, by colour-blind eyes too
UNKNOWN = "#808080"  # ignored pixels
CLASSES = ("#000000", "#ffffff", *islice(cycle([COLOURS[i] for i in (0, 2, 4, 7, 6)]), 254))  # none like the border
STYLE: dict[Any, Any] = {
    "font.size": SIZE, "axes.titlesize": SIZE, "axes.labelsize": SIZE, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": SIZE, "axes.linewidth": 0.6, "lines.linewidth": 1.3, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": False, "text.parse_math": False, "svg.fonttype": "path",
    "svg.hashsalt": "ssl-bench", "pdf.fonttype": 42, "figure.dpi": 150, "savefig.dpi": 150,
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A method's values over seeds: `x` (N,), `y` (S, N), a row per seed, NaN where a seed has no value."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One plot; with `ticks` (positions and their labels) its points stand apart, as shares do."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] | None = None


@dataclass(frozen=True)
class PicturedCase:
    """A case as Figure 4 shows it: image (h, w[, 3]) uint8, masks (h, w) of class numbers; None where not run.

    The truth can have IGNORED pixels.
    """

    label: str
    image: np.ndarray
    truth: np.ndarray
    predictions: tuple[np.ndarray | None, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class PicturedMoments:
    """An image as Figure 5 shows it; a stage: title, uncertainty (h, w) from 0 to 1, mixed image, its uncertainty."""

    label: str
    image: np.ndarray
    stages: tuple[tuple[str, np.ndarray, np.ndarray, np.ndarray], ...]


def line_figure(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side under one legend: the mean over seeds ± the sample standard deviation, of two or more.

    Every label has a colour, dash and marker of its own, the same in all panels.
    """
    with _style():
        labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
        columns = _legend_columns(labels)
        height = (2.5 if len(panels) > 1 else 3.2) + 0.16 * max(ceil(len(labels) / columns) - 1, 0)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axis.set(title=_wrapped(panel.title, WIDTH / len(panels) - 0.6), xlabel=panel.x_label, ylabel=panel.y_label)
            if panel.ticks is not None:
                axis.set_xticks([x for x, _ in panel.ticks], [text for _, text in panel.ticks])
                axis.set_xlim(panel.ticks[0][0] - 0.5, panel.ticks[-1][0] + 0.5)
            for number, line in enumerate(panel.lines):
                apart = 0.0 if panel.ticks is None else 0.06 * (number - (len(panel.lines) - 1) / 2)
                handles[line.label] = _draw_line(axis, line, labels.index(line.label), apart, panel.ticks is not None)
            if not panel.lines:
                axis.set_yticks([])  # tick labels of an empty plot are meaningless
                if panel.ticks is None:
                    axis.set_xticks([])
                _say_no_run(axis)
        if handles:
            figure.legend(
                [handles[label] for label in labels], labels, loc="outside lower center", ncols=columns, frameon=False,
                handlelength=3,
            )  # fmt: skip
        figure.draw_without_rendering()  # lay out once: a second layout would shift the artists slightly between files
        figure.set_layout_engine("none")
        return figure


def example_figure(methods: Sequence[str], examples: Sequence[PicturedCase]) -> Figure:
    """Draw a row per case: the image, each method's mask with the truth's border on it and its score, the truth.

    Ignored pixels are hatched, and grey in the truth.
    """
    with _style():
        titles = ["Image", *methods, "Ground truth"]
        titles = [f"({'abcdefghijklmnopqrstuvwxyz'[i % 26]}) {title}" for i, title in enumerate(titles)]
        figure, rows = _grid([one.image for one in examples], [one.label for one in examples], [titles])
        for row, one in zip(rows, examples, strict=False):
            _show_image(row[0], one.image)
            ignored = one.truth == IGNORED
            truth = np.where(ignored, 0, one.truth)
            top = max(int(mask.max(initial=1)) for mask in (truth, *one.predictions) if mask is not None)
            for axis, mask, score in zip(row[1:-1], one.predictions, one.scores, strict=True):
                if mask is None:
                    _say_no_run(axis)
                    continue
                _show_mask(axis, mask, top)
                axis.set_xlabel(score, labelpad=2)
                for label in np.unique(truth[truth > 0]):
                    if (truth == label).all():
                        continue  # no border to draw
                    axis.contour(truth == label, levels=[0.5], colors=TRUTH, linewidths=0.7)
                _hatch(axis, ignored)
            _show_mask(row[-1], truth, top)
            if ignored.any():
                shown = np.ma.masked_where(~ignored, ignored)
                row[-1].imshow(shown, cmap=ListedColormap([UNKNOWN]), interpolation="nearest")
            _hatch(row[-1], ignored, "#000000")
        return figure


def uncertainty_figure(examples: Sequence[PicturedMoments]) -> Figure:
    """Draw a row per image: the image, then per stage its uncertainty, the mixed image, and that one's uncertainty."""
    with _style():
        titles = [["Image"] for _ in examples] or [["Image"]]
        for row_titles, one in zip(titles, examples, strict=False):
            for title, *_ in one.stages:
                row_titles += [f"{title}\nuncertainty", "UMIX image", "its uncertainty"]
        if all(row_titles == titles[0] for row_titles in titles):
            titles = titles[:1]  # once is enough
        figure, rows = _grid([one.image for one in examples], [one.label for one in examples], titles, foot=0.45)
        shown = None
        for row, one in zip(rows, examples, strict=False):
            _show_image(row[0], one.image)
            for place, (_, before, mixed, after) in enumerate(one.stages):
                first, second, third = row[1 + 3 * place : 4 + 3 * place]
                _show_image(second, mixed)
                for axis, values in ((first, before), (third, after)):
                    shown = axis.imshow(values, vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
                    axis.set_xlabel(f"mean {values.mean():.3f}", labelpad=2)
            for axis in row[1 + 3 * len(one.stages) :]:
                _say_no_run(axis)
        if shown is not None:
            width, height = figure.get_size_inches()
            left, right = rows[0, 0].get_position().x0, rows[0, -1].get_position().x1
            bar = figure.add_axes((left, 0.34 / height, min(2.5 / width, right - left), 0.08 / height))
            figure.colorbar(shown, cax=bar, orientation="horizontal").set_label("entropy / ln K", labelpad=1)
        return figure


def render(figure: Figure, kind: Literal["png", "svg", "pdf"]) -> bytes:
    """Return a figure as a file: the same figure gives the same bytes on the same software."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None}, "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }  # fmt: skip
    content = io.BytesIO()
    with _style():
        figure.savefig(content, format=kind, metadata=metadata[kind])
    return content.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults and STYLE, regardless of the user's settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _draw_line(axis: Axes, line: Line, number: int, apart: float, stands_apart: bool) -> Any:
    """Draw a line, and return what the legend shows of it."""
    counts = np.isfinite(line.y).sum(axis=0)
    mean, deviation = np.full(counts.shape, np.nan), np.full(counts.shape, np.nan)
    mean[counts > 0] = np.nanmean(line.y[:, counts > 0], axis=0)
    deviation[counts > 1] = np.nanstd(line.y[:, counts > 1], axis=0, ddof=1)
    look: dict[str, Any] = {
        "color": COLOURS[number % 8],
        "linestyle": DASHES[(number + number // 8) % 8],  # from the ninth on, a known colour with another dash
        "marker": MARKERS[number % 8],
    }
    if stands_apart:
        return axis.errorbar(line.x + apart, mean, yerr=deviation, capsize=2, markersize=3.5, elinewidth=0.8, **look)[0]
    axis.fill_between(line.x, mean - deviation, mean + deviation, color=look["color"], alpha=0.2, linewidth=0)
    step = max(1, len(line.x) // 6)
    (drawn,) = axis.plot(line.x, mean, markersize=3, markevery=(number % step, step), **look)
    return drawn


def _grid(
    images: Sequence[np.ndarray], labels: Sequence[str], titles: Sequence[Sequence[str]], *, foot: float = 0.0
) -> tuple[Figure, np.ndarray]:
    """Frames for pictures: a row per image as high as the image wants, its label on the left, titles above.

    Args:
        images: the images; without any there is one row that says "no run".
        labels: a label per image.
        titles: titles of the columns for each row, or once for all rows.
        foot: inches to leave free at the bottom.

    Returns:
        The figure, and its axes (rows, columns).

    """
    columns = max(map(len, titles))
    sides = [image.shape[0] / image.shape[1] for image in images] or [1.0]
    beside = ["\n".join(_wrapped(line, BESIDE, most=2) for line in label.splitlines()) for label in labels]
    left = 0.12 + max((_width(line) for label in beside for line in label.splitlines()), default=0.0)
    cell = min((WIDTH - left - 0.05) / columns, 1.3)
    heights = [min(max(side, 0.4), 1.6) * cell for side in sides]
    above = [[_wrapped(title, cell - 0.08) for title in row_titles] for row_titles in titles]
    head = 0.06 + LINE * max(title.count("\n") + 1 for row_titles in above for title in row_titles)
    between = BELOW + (head if len(above) > 1 else 0.0)
    width = left + cell * columns + 0.05
    height = head + sum(heights) + between * (len(sides) - 1) + BELOW + foot
    figure = Figure(figsize=(width, height))
    place = {
        "left": left / width, "right": 1 - 0.05 / width, "top": 1 - head / height, "bottom": (BELOW + foot) / height,
        "wspace": 0.03, "hspace": between / np.mean(heights), "height_ratios": heights,
    }  # fmt: skip
    rows = figure.subplots(len(sides), columns, squeeze=False, gridspec_kw=place)
    for axis in rows.flat:
        axis.set(xticks=[], yticks=[], anchor="N")
        axis.spines[:].set_visible(False)
        if not images:
            _say_no_run(axis)
    for axis, label in zip(rows[:, 0], beside, strict=False):
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    for row, row_titles in zip(rows, above, strict=False):
        for axis, title in zip(row, row_titles, strict=False):
            axis.set_title(title, pad=3)
    return figure, rows


def _width(text: str) -> float:
    """Width of a printed text in inches."""
    return float(TextPath((0, 0), text, size=SIZE).vertices[:, 0].max(initial=0.0)) / 72


def _wrapped(text: str, width: float, most: int | None = None) -> str:
    """Break lines over `width` inches at a space, or in a word where there is none; after `most` lines comes "…"."""
    lines = []
    for line in text.split("\n"):
        rest = line
        while len(rest) > 1 and _width(rest) > width:
            fits = next(n for n in range(1, len(rest)) if _width(rest[: n + 1]) > width)
            space = rest.rfind(" ", 1, fits + 1)
            cut = fits if space < 0 else space
            lines.append(rest[:cut])
            rest = rest[cut:].lstrip(" ")
        lines.append(rest)
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1][:-1]}…"]
    return "\n".join(lines)


def _legend_columns(labels: Sequence[str]) -> int:
    """As many columns as fit beside each other, with rows about as long as each other."""
    keys = 6.5 * SIZE / 72  # inches of a column apart from its text: the sample of the line, and spaces
    for columns in range(min(len(labels), 6), 1, -1):
        parts = np.array_split(np.array(labels, dtype=object), columns)  # a legend fills its columns in this way
        if sum(max(map(_width, part)) + keys for part in parts) <= WIDTH:
            return ceil(len(labels) / ceil(len(labels) / columns))
    return 1


def _show_image(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _show_mask(axis: Axes, mask: np.ndarray, top: int) -> None:
    """Class numbers up to `top`: background black, the first class white, the others in colours."""
    colours = ListedColormap(CLASSES[: top + 1])
    axis.imshow(mask, cmap=colours, vmin=-0.5, vmax=top + 0.5, interpolation="nearest")


def _hatch(axis: Axes, ignored: np.ndarray, colour: str = UNKNOWN) -> None:
    """Hatch the pixels of `ignored` (h, w) bool, over what the axis shows."""
    if not ignored.any():
        return
    axis.set(autoscale_on=False)
    height, width = ignored.shape
    padded = np.pad(ignored.astype(float), 1, mode="edge")  # a contour ends at the centres of the outer pixels
    places = np.arange(-1, width + 1), np.arange(-1, height + 1)
    areas = axis.contourf(*places, padded, levels=[0.5, 1.5], colors=["none"], hatches=["//////"])
    areas.set(edgecolor=colour, linewidth=0)


def _say_no_run(axis: Axes) -> None:
    axis.text(0.5, 0.5, NO_RUN, transform=axis.transAxes, ha="center", va="center", color="0.4")

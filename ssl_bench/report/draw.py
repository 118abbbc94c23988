"""The paper's figures drawn from plain data: lines with bands over seeds, masks beside the truth, uncertainty maps."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH = 7.0  # inches: a text's width in print
NO_RUN = "no run"
COLOURS = seaborn.color_palette("colorblind", 8).as_hex()
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
TRUTH = "#d55e00"  # vermilion: seen on black and on white, by colour-blind eyes too
CLASSES = ("#000000", "#ffffff", *islice(cycle(COLOURS), 253))
STYLE: dict[Any, Any] = {
    "font.size": 7.5, "axes.titlesize": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7.5, "axes.linewidth": 0.6, "lines.linewidth": 1.3, "axes.spines.top": False,
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
class Example:
    """A case as Figure 4 shows it: image (h, w[, 3]) uint8, masks (h, w) of class numbers; None where not run."""

    label: str
    image: np.ndarray
    truth: np.ndarray
    predictions: tuple[np.ndarray | None, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class UncertaintyExample:
    """An image as Figure 5 shows it; a stage: title, uncertainty (h, w) from 0 to 1, mixed image, its uncertainty."""

    label: str
    image: np.ndarray
    stages: tuple[tuple[str, np.ndarray, np.ndarray, np.ndarray], ...]


def line_figure(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side under one legend: the mean over seeds ± the sample standard deviation, of two or more.

    Every label has a colour, dash and marker of its own, the same in all panels.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 2.5 if len(panels) > 1 else 3.2), layout="constrained")
        labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
        handles: dict[str, Any] = {}
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
            if panel.ticks is not None:
                axis.set_xticks([x for x, _ in panel.ticks], [text for _, text in panel.ticks])
                axis.set_xlim(panel.ticks[0][0] - 0.5, panel.ticks[-1][0] + 0.5)
            for number, line in enumerate(panel.lines):
                apart = 0.0 if panel.ticks is None else 0.06 * (number - (len(panel.lines) - 1) / 2)
                handles[line.label] = _draw_line(axis, line, labels.index(line.label), apart, panel.ticks is not None)
            if not panel.lines:
                _say_no_run(axis)
        if handles:
            figure.legend(
                [handles[label] for label in labels], labels, loc="outside lower center", ncols=min(len(labels), 6),
                frameon=False,
            )  # fmt: skip
        return figure


def example_figure(methods: Sequence[str], examples: Sequence[Example]) -> Figure:
    """Draw a row per case: the image, each method's mask with the truth's border on it and its score, the truth."""
    with _style():
        titles = ["Image", *methods, "Ground truth"]
        titles = [f"({'abcdefghijklmnopqrstuvwxyz'[i % 26]}) {title}" for i, title in enumerate(titles)]
        figure, rows = _grid([one.image for one in examples], len(titles), below=0.16)
        for number, (row, one) in enumerate(zip(rows, examples, strict=False)):
            row[0].set_ylabel(_shortened(one.label))
            _show_image(row[0], one.image)
            top = max(int(mask.max(initial=1)) for mask in (one.truth, *one.predictions) if mask is not None)
            for axis, mask, score in zip(row[1:-1], one.predictions, one.scores, strict=True):
                if mask is None:
                    _say_no_run(axis)
                    continue
                _show_mask(axis, mask, top)
                axis.set_xlabel(score, labelpad=2)
                for label in np.unique(one.truth[one.truth > 0]):
                    if (one.truth == label).all():
                        continue  # no border to draw
                    axis.contour(one.truth == label, levels=[0.5], colors=TRUTH, linewidths=0.7)
            _show_mask(row[-1], one.truth, top)
            if number == 0:
                for axis, title in zip(row, titles, strict=True):
                    axis.set_title(title)
        return figure


def uncertainty_figure(examples: Sequence[UncertaintyExample]) -> Figure:
    """Draw a row per image: the image, then per stage its uncertainty, the mixed image, and that one's uncertainty."""
    with _style():
        stages = max((len(one.stages) for one in examples), default=0)
        figure, rows = _grid([one.image for one in examples], 1 + 3 * stages, below=0.16)
        shown = None
        for number, (row, one) in enumerate(zip(rows, examples, strict=False)):
            row[0].set_ylabel(_shortened(one.label))
            _show_image(row[0], one.image)
            titles = ["Image"]
            for place, (title, before, mixed, after) in enumerate(one.stages):
                titles += [f"{title}\nuncertainty", "\nUMIX image", "\nits uncertainty"]
                first, second, third = row[1 + 3 * place : 4 + 3 * place]
                _show_image(second, mixed)
                for axis, values in ((first, before), (third, after)):
                    shown = axis.imshow(values, vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
                    axis.set_xlabel(f"mean {values.mean():.3f}", labelpad=2)
            if number == 0:
                for axis, title in zip(row, titles, strict=False):
                    axis.set_title(title)
            for axis in row[1 + 3 * len(one.stages) :]:
                _say_no_run(axis)
        if shown is not None:
            bar = figure.colorbar(shown, ax=rows[:, -1].tolist(), shrink=0.8, pad=0.03, aspect=15)
            bar.set_label("entropy / ln K")
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
    """Matplotlib's own defaults and STYLE, whatever the user's settings are."""
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
        "linestyle": DASHES[number % 8],
        "marker": MARKERS[number % 8],
    }
    if stands_apart:
        return axis.errorbar(line.x + apart, mean, yerr=deviation, capsize=2, markersize=3.5, elinewidth=0.8, **look)
    axis.fill_between(line.x, mean - deviation, mean + deviation, color=look["color"], alpha=0.2, linewidth=0)
    step = max(1, len(line.x) // 6)
    (drawn,) = axis.plot(line.x, mean, markersize=3, markevery=(number % step, step), **look)
    return drawn


def _grid(images: Sequence[np.ndarray], columns: int, *, below: float) -> tuple[Figure, np.ndarray]:
    """A figure with a row of empty frames per image, as high as the image wants and `below` inches for words."""
    sides = [image.shape[0] / image.shape[1] for image in images] or [1.0]
    cell = min((WIDTH - 0.9) / columns, 1.3)
    heights = [min(max(side, 0.4), 1.6) * cell + below for side in sides]
    layout = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(cell * columns + 0.9, sum(heights) + 0.45), layout=layout)
    rows = figure.subplots(len(sides), columns, squeeze=False, height_ratios=heights)
    for axis in rows.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    if not images:
        for axis in rows.flat:
            _say_no_run(axis)
    return figure, rows


def _shortened(label: str, most: int = 16) -> str:
    """Lines of at most so many characters, so that a row's label stays beside its row."""
    return "\n".join(line if len(line) <= most else f"{line[: most - 1]}…" for line in label.splitlines())


def _show_image(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _show_mask(axis: Axes, mask: np.ndarray, top: int) -> None:
    """Class numbers up to `top`: background black, the first class white, the others in colours."""
    colours = ListedColormap(CLASSES[: top + 1])
    axis.imshow(mask, cmap=colours, vmin=-0.5, vmax=top + 0.5, interpolation="nearest")


def _say_no_run(axis: Axes) -> None:
    axis.text(0.5, 0.5, NO_RUN, transform=axis.transAxes, ha="center", va="center", color="0.4")

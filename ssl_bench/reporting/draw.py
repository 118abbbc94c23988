"""The paper's figures drawn from pictures: masks beside the truth, uncertainty maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ssl_bench.labels import IGNORED
from ssl_bench.reporting.canvas import LINE, NO_PICTURE, NO_RUN, WIDTH, say_absent, style, text_width, wrapped
from ssl_bench.reporting.looks import COLOURS

BESIDE, BELOW = 0.88, 0.2  # inches: for a row's label at most, for a picture's number
TRUTH = "#d55e00"  # vermilion: seen on black and on white, by colour-blind eyes too
UNKNOWN = "#808080"  # ignored pixels
CLASSES = ("#000000", "#ffffff", *islice(cycle([COLOURS[i] for i in (0, 2, 4, 7, 6)]), 254))  # none like the border


@dataclass(frozen=True)
class PicturedCase:
    """A case as Figure 4 shows it: image (h, w[, 3]) uint8, masks (h, w) of class numbers.

    A text in place of a mask says why there is none. The truth can have IGNORED pixels.
    """

    label: str
    image: np.ndarray
    truth: np.ndarray
    predictions: tuple[np.ndarray | str, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class PicturedMoments:
    """An image as Figure 5 shows it; a stage: title, uncertainty (h, w) from 0 to 1, mixed image, its uncertainty."""

    label: str
    image: np.ndarray
    stages: tuple[tuple[str, np.ndarray, np.ndarray, np.ndarray], ...]


def example_figure(methods: Sequence[str], examples: Sequence[PicturedCase], absent: str = NO_RUN) -> Figure:
    """Draw a row per case: the image, each method's mask with the truth's border on it and its score, the truth.

    Ignored pixels are hatched, and grey in the truth. `absent` is said in place of all pictures if there is no case.
    """
    with style():
        titles = ["Image", *methods, "Ground truth"]
        titles = [f"({'abcdefghijklmnopqrstuvwxyz'[i % 26]}) {title}" for i, title in enumerate(titles)]
        figure, rows = _grid([one.image for one in examples], [one.label for one in examples], [titles], absent)
        for row, one in zip(rows, examples, strict=False):
            _show_image(row[0], one.image)
            ignored = one.truth == IGNORED
            truth = np.where(ignored, 0, one.truth)
            top = max(int(mask.max(initial=1)) for mask in (truth, *one.predictions) if not isinstance(mask, str))
            for axis, mask, score in zip(row[1:-1], one.predictions, one.scores, strict=True):
                if isinstance(mask, str):
                    say_absent(axis, mask)
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


def uncertainty_figure(examples: Sequence[PicturedMoments], absent: str = NO_RUN) -> Figure:
    """Draw a row per image: the image, then per stage its uncertainty, the mixed image, and that one's uncertainty.

    `absent` is said in place of all pictures if there is no image.
    """
    with style():
        titles = [["Image"] for _ in examples] or [["Image"]]
        for row_titles, one in zip(titles, examples, strict=False):
            for title, *_ in one.stages:
                row_titles += [f"{title}\nuncertainty", "UMIX image", "its uncertainty"]
        if all(row_titles == titles[0] for row_titles in titles):
            titles = titles[:1]  # once is enough
        figure, rows = _grid(
            [one.image for one in examples], [one.label for one in examples], titles, absent, foot=0.45
        )
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
                say_absent(axis, NO_PICTURE)
        if shown is not None:
            width, height = figure.get_size_inches()
            left, right = rows[0, 0].get_position().x0, rows[0, -1].get_position().x1
            bar = figure.add_axes((left, 0.34 / height, min(2.5 / width, right - left), 0.08 / height))
            figure.colorbar(shown, cax=bar, orientation="horizontal").set_label("entropy / ln K", labelpad=1)
        return figure


def _grid(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    titles: Sequence[Sequence[str]],
    absent: str,
    *,
    foot: float = 0.0,
) -> tuple[Figure, np.ndarray]:
    """Frames for pictures: a row per image as high as the image wants, its label on the left, titles above.

    Args:
        images: the images; without any there is one row that says `absent`.
        labels: a label per image.
        titles: titles of the columns for each row, or once for all rows.
        absent: why there is no image.
        foot: inches to leave free at the bottom.

    Returns:
        The figure, and its axes (rows, columns).

    """
    columns = max(map(len, titles))
    sides = [image.shape[0] / image.shape[1] for image in images] or [1.0]
    beside = ["\n".join(wrapped(line, BESIDE, most=2) for line in label.splitlines()) for label in labels]
    left = 0.12 + max((text_width(line) for label in beside for line in label.splitlines()), default=0.0)
    cell = min((WIDTH - left - 0.05) / columns, 1.3)
    heights = [min(max(side, 0.4), 1.6) * cell for side in sides]
    above = [[wrapped(title, cell - 0.08) for title in row_titles] for row_titles in titles]
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
            say_absent(axis, absent)
    for axis, label in zip(rows[:, 0], beside, strict=False):
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    for row, row_titles in zip(rows, above, strict=False):
        for axis, title in zip(row, row_titles, strict=False):
            axis.set_title(title, pad=3)
    return figure, rows


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

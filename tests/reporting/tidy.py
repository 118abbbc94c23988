"""Checks where the words of a figure stand."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(figure: Figure) -> list[Text]:
    """Texts that one sees: of an axis's tick labels, those inside its limits."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axis in figure.axes:
        found += [axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts]
        for part in (axis.xaxis, axis.yaxis):
            found += [label for tick in part._update_ticks() for label in (tick.label1, tick.label2)]  # type: ignore[attr-defined]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def assert_tidy(figure: Figure) -> None:
    """No text leaves the paper, or lies on another or on a picture; the numbers of a map lie on that map alone."""
    figure.draw_without_rendering()
    shown = drawn_texts(figure)
    names = [text.get_text() for text in shown]
    words = np.array([text.get_window_extent().extents for text in shown])  # left, bottom, right, top in pixels
    maps = [axis for axis in figure.axes if axis.get_images()]
    width, height = figure.bbox.size
    outside = (words[:, :2] < -1).any(axis=1) | (words[:, 2] > width + 1) | (words[:, 3] > height + 1)
    assert not [name for name, out in zip(names, outside, strict=True) if out]
    boxes = np.array([*words, *(axis.get_window_extent().extents for axis in maps)]).reshape(-1, 4)
    common = np.minimum(words[:, None, 2:], boxes[None, :, 2:]) - np.maximum(words[:, None, :2], boxes[None, :, :2])
    overlap = (common > 2).all(axis=2)  # a pixel or two are rounding
    np.fill_diagonal(overlap, val=False)
    for number, axis in enumerate(maps):
        overlap[[text in axis.texts for text in shown], len(names) + number] = False
    assert not [(names[i], [*names, *["a picture"] * len(maps)][j]) for i, j in np.argwhere(overlap)]

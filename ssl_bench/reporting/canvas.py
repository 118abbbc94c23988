"""What all figures share: their style and size, wrapped text, a legend below the plots, and their files."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import ceil
from typing import Any, Literal, get_args

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

WIDTH = 7.0  # inches: a text's width in print
LINE = 0.13  # inches: for a title's line
SIZE = 7.5  # points
KEY = 6.5 * SIZE / 72  # inches of a legend's column apart from its text: the sample of the line, and spaces
NO_RUN, NO_PICTURE = "no run", "no picture"
STYLE: dict[Any, Any] = {
    "font.size": SIZE, "axes.titlesize": SIZE, "axes.labelsize": SIZE, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": SIZE, "axes.linewidth": 0.6, "lines.linewidth": 1.3, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": False, "text.parse_math": False, "svg.fonttype": "path",
    "svg.hashsalt": "ssl-bench", "pdf.fonttype": 42, "figure.dpi": 150, "savefig.dpi": 150,
}  # fmt: skip


FigureFormat = Literal["png", "svg", "pdf"]


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and STYLE, regardless of the user's settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def text_width(text: str, size: float = SIZE) -> float:
    """Width of a text in inches, within `style`; `size` in points."""
    return _width_of(text) * size / SIZE if text.strip() else 0.0


@lru_cache(maxsize=4096)
def _width_of(text: str) -> float:
    return float(TextPath((0, 0), text, size=SIZE).vertices[:, 0].max(initial=0.0)) / 72


def fitting(texts: Iterable[str], space: float, size: float) -> float:
    """The largest size in points, at most `size`, with which no text is wider than `space` inches."""
    alike = {re.sub(r"\d", "8", text) for text in texts}  # digits are as wide as each other: measure few texts
    widest = max((text_width(text, size) for text in alike), default=0.0)
    return size if widest <= space else size * space / widest


def wrapped(text: str, width: float, most: int | None = None) -> str:
    """Break lines over `width` inches at a space, or in a word where there is none; after `most` lines comes "…"."""
    lines = []
    for line in text.split("\n"):
        rest = line
        while len(rest) > 1 and text_width(rest) > width:
            lengths = range(2, len(rest) + 1)
            fits = 1 + bisect_right(lengths, width, key=lambda n: text_width(rest[:n]))
            space = rest.rfind(" ", 1, fits + 1)
            cut = fits if space < 0 else space
            lines.append(rest[:cut])
            rest = rest[cut:].lstrip(" ")
        lines.append(rest)
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1][:-1]}…"]
    return "\n".join(lines)


def legend_columns(labels: Sequence[str], width: float = WIDTH) -> int:
    """As many columns as fit beside each other into `width` inches, with rows about as long as each other."""
    for columns in range(min(len(labels), 6), 1, -1):
        parts = np.array_split(np.array(labels, dtype=object), columns)  # a legend fills its columns in this way
        if sum(max(map(text_width, part)) + KEY for part in parts) <= width:
            return ceil(len(labels) / ceil(len(labels) / columns))
    return 1


def legend_below(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Add a legend under all plots, if there is anything in it; the figure has a constrained layout."""
    if not handles:
        return
    width = figure.get_figwidth()
    labels = [wrapped(label, width - KEY) for label in handles]
    figure.legend(
        list(handles.values()), labels, loc="outside lower center", ncols=legend_columns(labels, width), frameon=False,
        handlelength=3,
    )  # fmt: skip


def fix_layout(figure: Figure) -> None:
    """Lay a figure out once: a second layout would shift the artists slightly between files."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def say_no_run(axis: Axes) -> None:
    """Write NO_RUN into the middle of a plot."""
    say_absent(axis, NO_RUN)


def say_absent(axis: Axes, text: str) -> None:
    """Write into the middle of a plot why it is empty."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color="0.4")


def rendered(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG, SVG and PDF, by suffix."""
    return {suffix: render(figure, suffix) for suffix in get_args(FigureFormat)}


def render(figure: Figure, kind: FigureFormat) -> bytes:
    """Return a figure as a file: the same figure gives the same bytes on the same software."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None}, "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }  # fmt: skip
    content = io.BytesIO()
    with style():
        figure.savefig(content, format=kind, metadata=metadata[kind])
    return content.getvalue()

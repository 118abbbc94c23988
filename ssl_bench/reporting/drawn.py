"""What a drawer of figures returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from ssl_bench.store import Run

NARROW = 3.4  # inches: the width of a thumbnail's figure, which is legible where the whole figure is not


@dataclass(frozen=True)
class Drawn:
    """A figure with the lines below it.

    Attributes:
        figure: the figure.
        remarks: what its panels and pictures show.
        thumbnail: draws a part of it, at most NARROW wide; None: the upper left corner of the figure serves.
        pictureless: runs that the figure cannot show because they have no pictures.
        is_empty: whether the figure shows nothing measured.
        finding: what it shows, in a sentence; may be empty.
    """

    figure: Figure
    remarks: list[str]
    thumbnail: Callable[[], Figure] | None = None
    pictureless: tuple[Run, ...] = ()
    is_empty: bool = False
    finding: str = ""

"""What `data check` sees of each case, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Finding:
    """A finding: an "error" makes the data set unusable, a "warning" does not."""

    level: Literal["error", "warning"]
    kind: str
    text: str


@dataclass(frozen=True)
class Seen:
    """One decoded case: either an error, or what the comparisons between cases need."""

    id: str
    error: str | None = None
    size: tuple[int, ...] = ()
    foreground: float | None = None  # share of the mask's known pixels
    classes: frozenset[int] = frozenset()
    ignored: int = 0  # pixels
    pixels: int = 0  # of the mask
    content: str = ""
    perceptual: int | None = None
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros(0))
    mask: Path | None = None
    palette: Mapping[int, str] = field(default_factory=dict)
    exif: tuple[Path, ...] = ()
    framed: bool = False  # foreground all along the border of a 2D mask, and background inside
    was_turned: bool = False
    levels: int | None = None  # different ones of a 2D image that intensity_range mapped

"""Grey images of more than 8 bits: the range of their levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_bench.data.describe.arrays import content_of, range_of
from ssl_bench.data.describe.masks import Advance, counted
from ssl_bench.data.describe.naming import sample_of
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.pictures import is_deep, read_deep_image
from ssl_bench.errors import UnreadableFileError


def deep_range(images: Sequence[Path], advance: Advance, unreadable: Unreadable) -> tuple[float, float] | None:
    """Return the `intensity_range` of images of more than 8 bits; None for those of 8 bits.

    Whole numbers from 0 on get the smallest range [0, 2^n - 1] that holds them, such as [0, 4095] for 12 bits, unless
    they leave a quarter of it or more unused at its dark end, as Hounsfield units with an offset do.

    Raises:
        UserError: an image has 8 bits among deeper ones.
    """
    if not any(deep for _, deep in unreadable.each(sample_of(images), _is_deep)):
        return None
    low, high, is_whole = np.inf, -np.inf, True
    for _, (darkest, brightest, whole) in unreadable.each(counted(images, advance), _extremes):
        low, high, is_whole = min(low, darkest), max(high, brightest), is_whole and whole
    white = float(2 ** int(max(high, 0)).bit_length() - 1)
    if is_whole and 0 <= low < white / 4:
        return 0.0, white
    return range_of(low, high) if low < high else None


def _is_deep(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return is_deep(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableFileError(f"{path}: not a readable image: {error}") from None


def _extremes(path: Path) -> tuple[float, float, bool]:
    """The lowest and the highest level, and whether levels are whole numbers."""
    levels = read_deep_image(path, content_of(path), "ignore")
    return float(levels.min()), float(levels.max()), levels.dtype.kind in "iu"

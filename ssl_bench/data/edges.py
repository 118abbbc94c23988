"""Values of masks that are no classes but edges: what smoothing or resizing puts between the values of two classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from PIL import ImageColor
from scipy.ndimage import maximum_filter, minimum_filter

BETWEEN = 1 / 3  # share of the pixels of edge values that have a lower and a higher neighbour


class Edges:
    """Looks in masks for values between the lowest and the highest one that occur only along borders.

    No pixel of an edge value has this value in all pixels around it (8, of voxels 26), in any mask. Thin structures of
    a class, such as vessels, may have no such pixel either. But they border on the background alone, while at least
    a third of the pixels of all edge values have both a lower and a higher value around them.
    """

    def __init__(self) -> None:
        self.inside: set[int] = set()  # values with a pixel that is no border
        self._pixels, self._between = Counter[int](), Counter[int]()

    def note(self, mask: np.ndarray) -> None:
        """Look at a mask of whole numbers, (H, W) or (X, Y, Z), of any type."""
        mask = mask.astype(np.int64) if mask.dtype.kind == "f" else mask
        counts = _counted(mask)
        self._pixels += counts
        if counts.keys() <= self.inside:
            return
        low, high = minimum_filter(mask, 3), maximum_filter(mask, 3)
        self.inside |= _counted(mask[low == high]).keys()
        self._between += _counted(mask[(low < mask) & (mask < high)])

    @property
    def values(self) -> list[int]:
        """The edge values, in order."""
        found = [value for value in sorted(self._pixels)[1:-1] if value not in self.inside]
        between, pixels = (sum(count[value] for value in found) for count in (self._between, self._pixels))
        return found if between >= BETWEEN * pixels else []

    @property
    def leave_two(self) -> bool:
        """Whether several edge values are all that the masks have beside black (near 0) and white (near 255).

        A single value is more likely a class of outlines: edges have several.
        """
        low, high = min(self._pixels, default=0), max(self._pixels, default=0)
        return 0 <= low < 32 and 224 <= high < 256 and 2 <= len(self.values) == len(self._pixels) - 2


def brightness(value: int | str) -> int:
    """The grey level of a colour (#rrggbb), as Pillow converts it; a value itself."""
    return value if isinstance(value, int) else int(ImageColor.getcolor(value, "L"))  # type: ignore[arg-type]


def _counted(values: np.ndarray) -> Counter[int]:
    """How many pixels have each value."""
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(map(int, found), counts.tolist(), strict=True)))

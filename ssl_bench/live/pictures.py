"""A kept test case as a PNG: the image with the borders of its truth and of a prediction."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ssl_bench.store import Example

TRUTH, PREDICTION = (255, 212, 0), (0, 190, 255)  # colours of the borders; the style sheet has them too
SIDE = 384  # least length of the picture's longer side, in pixels


def case_png(example: Example) -> bytes:
    """Return the picture of a case; of a volume, that of its kept slice."""
    scale = max(1, -(-SIDE // max(example.image.shape[:2])))
    image = example.image if example.image.ndim == 3 else np.repeat(example.image[..., None], 3, axis=2)
    pixels = _enlarged(image, scale)
    for mask, colour, reach in ((example.truth, TRUTH, 3), (example.prediction, PREDICTION, 2)):
        pixels[_border(_enlarged(mask, scale), reach)] = colour  # the thinner line is seen on the other
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def _enlarged(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel as a square of `scale` pixels."""
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _border(mask: np.ndarray, reach: int) -> np.ndarray:
    """Which pixels of a mask (h, w) have another class at most `reach` pixels away, up, down, left or right."""
    found = np.zeros(mask.shape, dtype=bool)
    for axis in (0, 1):
        for distance in range(1, reach + 1):
            later = np.roll(mask, -distance, axis) != mask
            later.swapaxes(0, axis)[-distance:] = False  # what `roll` brought from the other side
            found |= later | np.roll(later, distance, axis)
    return found

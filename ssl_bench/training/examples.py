"""Picks the test cases whose pictures a run keeps (Figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from PIL import Image

from ssl_bench.ops import IGNORED
from ssl_bench.scoring.scorer import Prediction
from ssl_bench.seeds import shuffled
from ssl_bench.store import Example

SIDE = 256  # longest side of a kept picture, in pixels


DRAWN, EXTREMES = 8, 4  # cases drawn by their ids, the same for every run on the same test set; best and worst ones


Why = Literal["drawn", "best", "worst"]
Page = tuple[int, np.ndarray, np.ndarray]  # the slice's place, and the small pictures of truth and prediction


class Album:
    """Gathers one network's predictions while a run is scored, and picks the examples at the end."""

    def __init__(self, network: str) -> None:
        self.network = network
        self._pages: dict[str, Page] = {}

    def add(self, one: Prediction) -> None:
        """Keep small pictures of a prediction, if it is the album's network's."""
        if one.network == self.network:
            self._pages[one.case] = _page(one)

    def examples(
        self, scores: dict[str, float | None], images: Callable[[list[str]], Iterator[np.ndarray]]
    ) -> list[Example]:
        """Return the drawn, best and worst cases, in that order.

        Args:
            scores: each case's score, which ranks best and worst; larger is better; None where undefined.
            images: yields the images of some cases, (H, W, C) uint8 or (C, X, Y, Z) float32.

        """
        ranked = [case for _, case in sorted((score, case) for case, score in scores.items() if score is not None)]
        chosen: dict[str, list[Why]] = {}
        picks: list[tuple[Why, list[str]]] = [
            ("drawn", shuffled(scores, "examples")[:DRAWN]), ("best", ranked[::-1][:EXTREMES]),
            ("worst", ranked[:EXTREMES]),
        ]  # fmt: skip
        for why, cases in picks:
            for case in cases:
                chosen.setdefault(case, []).append(why)
        examples = []
        for (case, whys), image in zip(chosen.items(), images(list(chosen)), strict=True):
            examples.append(_example(case, ",".join(whys), self._pages[case], image))
        return examples


def example_of(one: Prediction, image: np.ndarray) -> Example:
    """Return the picture of a prediction; `image` is (H, W, C) uint8 or (C, X, Y, Z) float32."""
    return _example(one.case, "asked", _page(one), image)


def _page(one: Prediction) -> Page:
    place = middle_slice(one.truth)
    return place, thumbnail(flat(one.truth, place)), thumbnail(flat(one.mask, place))


def _example(case: str, why: str, page: Page, image: np.ndarray) -> Example:
    place, truth, prediction = page
    return Example(case, why, place, resized(picture(image, place), truth.shape), truth, prediction)


def picture(image: np.ndarray, place: int) -> np.ndarray:
    """An RGB image as it is; of other images and of volumes the first channel, in grey.

    Args:
        image: (H, W, C) uint8 or (C, X, Y, Z) float32.
        place: of a volume's slice along z.

    """
    if image.ndim == 4:
        return grey(flat(image[0], place), image[0])
    return image if image.shape[2] == 3 else image[..., 0]


def middle_slice(mask: np.ndarray) -> int:
    """Return the z of a mask's slice with the most foreground; the middle slice if there is none."""
    if mask.ndim == 2:
        return 0
    areas = ((mask > 0) & (mask != IGNORED)).sum(axis=(0, 1))
    return int(areas.argmax()) if areas.any() else mask.shape[2] // 2


def flat(volume: np.ndarray, place: int) -> np.ndarray:
    """Return an axial slice of (X, Y, Z), x to the right and y down; an array with two axes unchanged."""
    return volume if volume.ndim == 2 else volume[:, :, place].T


def grey(pixels: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Intensities as uint8, black at the 1st and white at the 99th percentile of the whole volume or patch."""
    low, high = np.percentile(whole, (1, 99))
    scaled: np.ndarray = (np.clip((pixels - low) / max(high - low, 1e-8), 0, 1) * 255).round().astype(np.uint8)
    return scaled


def thumbnail(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) uint8 brought to at most SIDE pixels a side by the nearest pixel."""
    scale = min(1.0, SIDE / max(mask.shape))
    return resized(mask, tuple(max(1, round(side * scale)) for side in mask.shape), nearest=True)


def resized(pixels: np.ndarray, shape: tuple[int, ...], *, nearest: bool = False) -> np.ndarray:
    """An image or mask, uint8, brought to (h, w)."""
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((shape[1], shape[0]), how))

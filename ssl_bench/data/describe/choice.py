"""Which of several pairs of images and masks a new card takes, and what it says about the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_bench.data.pictures import is_deep, open_picture
from ssl_bench.errors import UserError

MASK_WORDS = re.compile(r"mask|(?<!un)label|seg|truth|anno|manual|(?<![a-z])gt(?![a-z])|1stHO|2ndHO", re.IGNORECASE)
SECOND = re.compile(r"(?<![a-z0-9])(?:2nd|second)|(?:manual|reader|rater|observer|annotator|expert)[-_ ]?[2-9]", re.I)
BY_HAND = re.compile(r"manual|(?<![a-z0-9])1st", re.IGNORECASE)
DRAWN_ON = re.compile(r"box|overlay|preview|thumb|visual|super[-_ ]?pixel", re.IGNORECASE)
Pair = tuple[str, str]  # patterns of images and of masks


@dataclass(frozen=True)
class Choice:
    """The patterns of images and masks, and those of files beside them that were not chosen.

    Attributes:
        images: with {channel} where each channel has a file.
        masks: of the same ids.
        channels: the values of {channel}, in their order.
        other_masks: further masks of these images.
        other_images: further images of these masks.
    """

    images: str
    masks: str
    channels: tuple[str, ...] = ()
    other_masks: tuple[str, ...] = ()
    other_images: tuple[str, ...] = ()


def is_named_mask(masks: str, images: str) -> bool:
    """Whether the first pattern has a word for masks that the second lacks."""
    own, others = masks.split("/"), images.split("/")
    says = [any(MASK_WORDS.search(part) for part in a if part not in b) for a, b in ((own, others), (others, own))]
    return says == [True, False]


def preferred(pairs: Sequence[Pair]) -> list[Pair]:
    """Leave out the pairs that names speak against, one rule after another, as long as a pair is left.

    Masks are named masks; a first annotator comes before a second one, drawings by hand before other masks (DRIVE's
    fields of view), images before those with boxes drawn on them.
    """
    rules: list[Callable[[str, str], bool]] = [
        lambda images, masks: is_named_mask(masks, images),
        lambda _, masks: not SECOND.search(masks),
        lambda images, _: not DRAWN_ON.search(images),
        lambda _, masks: bool(BY_HAND.search(masks)),
    ]
    left = list(pairs)
    for rule in rules:
        if len(left) > 1:
            left = [pair for pair in left if rule(*pair)] or left
    return left


def are_views(masks: Sequence[Path]) -> bool:
    """Whether masks of two levels show what a camera sees: large, and nearly the same for every image."""
    pixels = []
    images = []
    for path in masks:
        with suppress(OSError, UserError):  # a file that cannot be read is reported elsewhere
            images.append(open_picture(path, path.read_bytes(), "ignore", may_be_deep=True))
    for image in images:
        values = np.asarray(image if image.mode == "P" or is_deep(image) else image.convert("L"))
        levels = np.unique(values)
        pixels.append(values == levels[-1])
        if len(levels) != 2 or pixels[-1].shape != pixels[0].shape:
            return False
    if len(pixels) < 3:
        return False
    share = np.mean(pixels, axis=0)
    return bool(share.mean() > 0.4 and np.maximum(share, 1 - share).mean() > 0.97)

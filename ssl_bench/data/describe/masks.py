"""The values that masks hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_bench.cards import GREY
from ssl_bench.data.images import digits
from ssl_bench.data.volume_files import read_array
from ssl_bench.data.volumes import near_whole
from ssl_bench.errors import UserError

MOST_LEVELS = 20  # a file with more different values is no mask


MOST_CLASSES = 255  # that a card may have


def is_flat(path: Path) -> bool:
    """Whether a picture has few enough grey levels for a mask; JPEG artefacts are tolerated."""
    levels, _ = _histogram(path)
    return bool((levels > 0).sum() <= MOST_LEVELS) or (_is_jpeg(path) and _is_black_and_white(levels))


def is_flat_volume(path: Path) -> bool:
    """Whether a volume has few values, all of them whole numbers, as masks do."""
    values = np.unique(near_whole(read_array(path, "label", channels=None).array))
    return len(values) <= MOST_LEVELS and bool((values == np.rint(values)).all())


def grey_levels(masks: Sequence[Path], advance: Callable[[int, int], None] | None) -> tuple[list[int], bool]:
    """The grey levels (of palette images: indices) in all masks, background first, and whether a card must name them.

    Raises:
        UserError: too many levels for a mask, and not black and white that a threshold can separate.
    """
    total, palette = np.zeros(256, dtype=np.int64), False
    for path in _counted(masks, advance):
        levels, mode = _histogram(path)
        total += levels
        palette |= mode == "P"
    values = [int(value) for value in np.flatnonzero(total)]
    if len(values) > MOST_LEVELS or (len(values) > 2 and any(map(_is_jpeg, masks))):
        between = total[32:224]  # artefacts are few and of all levels; a third class has one
        third = between.sum() > 0.002 * total.sum() and np.convolve(between, [1] * 32).max() > 0.7 * between.sum()
        if palette or third or not _is_black_and_white(total) or not total[128:].any():
            raise UserError(
                f"{masks[0].parent}: expected masks of at most {MOST_LEVELS} grey levels (JPEG: black and white only), "
                f"found {len(values)}"
            )
        return list(GREY), False  # the card's threshold clears the artefacts away
    return values, palette or values != list(GREY)


def voxel_values(masks: Sequence[Path], advance: Callable[[int, int], None] | None) -> tuple[list[int], bool]:
    """The values in all masks, background first, and whether a card must name them (they are not 0, 1, ...)."""
    found: set[float] = set()
    for path in _counted(masks, advance):
        labels = np.unique(near_whole(read_array(path, "label").array))
        found.update(labels.tolist())
        unusable = labels[~np.isfinite(labels) | (labels != np.rint(labels))]
        if len(found) > MOST_CLASSES or len(unusable):
            others = digits(unusable[0]) if len(unusable) else str(len(found))
            raise UserError(
                f"{path}: expected at most {MOST_CLASSES} different whole numbers in all masks, found {others}"
            )
    values = sorted(map(int, found), key=lambda value: (value != 0, value))
    return values, values != list(range(len(values)))


def _histogram(path: Path) -> tuple[np.ndarray, str]:
    """How many pixels have each of the 256 levels, as masks are read: palette indices or grey; and the file's mode."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{path}: expected 8 bits per channel, found more")
            levels = (image if image.mode in ("L", "P") else image.convert("L")).histogram()
            return np.array(levels), image.mode
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image: {error}") from None


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _is_black_and_white(levels: np.ndarray) -> bool:
    """Whether nearly all pixels are close to 0 or 255, as of a mask that was compressed or smoothed."""
    return bool(levels[:32].sum() + levels[224:].sum() >= 0.95 * levels.sum())


def _counted(paths: Sequence[Path], advance: Callable[[int, int], None] | None) -> Iterator[Path]:
    for i, path in enumerate(paths):
        yield path
        if advance is not None:
            advance(i + 1, len(paths))

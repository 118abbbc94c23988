"""The values that masks hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from ssl_bench.cards import GREY
from ssl_bench.command import listed
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.edges import Edges, brightness
from ssl_bench.data.pictures import (
    Palettes,
    digits,
    hex_color,
    is_deep,
    near_whole,
    open_picture,
    palette_colors,
    require_opaque,
    used_colors,
)
from ssl_bench.data.volume_files import read_array
from ssl_bench.errors import UnreadableFileError, UserError

UNKNOWN = 255  # by custom, the value of pixels without a known class
MOST_LEVELS = 20  # a file with more different values is no mask
MOST_OBJECTS = 128  # that the masks of one image number
FEWEST_OBJECTS = 8  # of one image, and
FEWEST_COUNTS = 4  # different numbers of objects tell objects from classes
MOST_COLORS = 256  # of one file that is read by colour
PARTS = ("0 to 127", "128 to 255")  # classes of masks with smoothed edges


MOST_CLASSES = 255  # that a card may have


def is_flat(path: Path) -> bool:
    """Whether a picture has few enough grey levels for a mask; JPEG artefacts are tolerated."""
    image = _opened(path)
    if is_deep(image):
        return _has_few(np.asarray(image)) or _count_objects(np.asarray(image)) is not None
    levels = _histogram(image)
    if bool((levels > 0).sum() <= MOST_LEVELS) or (_is_jpeg(path) and _is_black_and_white(levels)):
        return True
    return _count_numbered(image) is not None


def is_flat_volume(path: Path) -> bool:
    """Whether a volume has few values, all of them whole numbers, as masks do."""
    return _has_few(read_array(path, "label", channels=None).array)


def _has_few(array: np.ndarray) -> bool:
    values = np.unique(near_whole(array))
    return len(values) <= MOST_LEVELS and bool((values == np.rint(values)).all())


Advance = Callable[[int, int], None] | None  # called with (done, total) after each mask
# what masks hold, background first; fields that a card needs; lines of its first comment
Values = tuple[list[int] | list[str], dict[str, Any], tuple[str, ...]]


def picture_values(masks: Sequence[Path], advance: Advance, unreadable: Unreadable) -> Values:
    """The grey levels in all masks; palette indices where every palette gives an index the same colour; or colours.

    Two colours are classes as a viewer shows them: black is the background. Files in `unreadable` are left out, and
    those that cannot be read are added to it.

    Raises:
        UserError: a mask is transparent; or too many levels or colours for a mask, and not black and white that a
            threshold can separate.
    """
    first = next(unreadable.each(masks, _opened), None)
    if first is not None and is_deep(first[1]):
        return _deep_values(masks, advance, unreadable)
    total, colors, palettes = np.zeros(256, dtype=np.int64), Counter[str](), Palettes()
    grey = np.zeros(256, dtype=np.int64)  # of masks without colours
    is_palette, by_color = False, False
    indices: dict[int, str] = {}
    objects, sets, edges = set[int | None](), set[frozenset[int]](), Edges()
    for path, image in unreadable.each(counted(masks, advance), _opened):
        _require_depth(path, image, deep=False)
        require_opaque(path, image)
        mode = image.mode
        total += (levels := _histogram(image))
        sets.add(frozenset(np.flatnonzero(levels).tolist()))
        objects.add(None if None in objects else _count_numbered(image))
        is_palette |= mode == "P"
        if not _is_jpeg(path):
            edges.note(np.asarray(image.convert("L")))
            grey += levels * (mode in ("1", "L", "LA"))
        if mode == "P" or (mode not in ("1", "L", "LA") and not _is_jpeg(path)):
            found = used_colors(image, MOST_COLORS)
            if found is None:
                raise UserError(f"{path}: expected a mask of at most {MOST_LEVELS} grey levels or colours, found more")
            colors.update(found)
            by_color |= mode != "P" and any(len({color[1:3], color[3:5], color[5:7]}) > 1 for color in found)
            indices |= (own := palette_colors(image))
            try:
                palettes.note(path, own)
            except UserError:
                by_color = True
    black = "#000000"
    if is_palette and not by_color and len(indices) == 2:
        by_color = indices[max(indices)] == black
    if by_color:
        colors.update({hex_color([value] * 3): int(grey[value]) for value in np.flatnonzero(grey)})
        return _as_colors(masks, colors, edges)
    values = [int(value) for value in np.flatnonzero(total)]
    if (most := _most_objects(objects)) is not None:
        return _as_objects(most, is_palette)
    if len(values) > MOST_LEVELS or (len(values) > 2 and any(map(_is_jpeg, masks))):
        between = total[32:224]  # artefacts are few and of all levels; a third class has one
        third = between.sum() > 0.002 * total.sum() and np.convolve(between, [1] * 32).max() > 0.7 * between.sum()
        if is_palette or third or not _is_black_and_white(total) or not total[128:].any():
            raise UserError(
                f"{masks[0].parent}: expected masks of at most {MOST_LEVELS} grey levels (JPEG: black and white only), "
                f"found {len(values)}"
            )
        return list(GREY), {}, ()  # the card's threshold clears the artefacts away
    apart = _apart(values, sets)
    if apart is not None:
        return apart
    if edges.leave_two and all(len({*ImageColor.getrgb(color)}) == 1 for color in colors):
        if not is_palette and any(0 < max(own) <= 127 for own in sets):  # which a threshold refuses
            return named_values(values, sets, edges)
        return [*PARTS], {}, _are_edges(edges, "The threshold of 127")
    fields = {"mask_values": tuple(values)} if is_palette or values != list(GREY) else {}
    return values, fields, _may_be_edges(edges.values)


def _deep_values(masks: Sequence[Path], advance: Advance, unreadable: Unreadable) -> Values:
    """The grey levels in all masks of more than 8 bits, or the objects that they number.

    Raises:
        UserError: a mask has 8 bits, or the levels are too many for classes.
    """
    objects = set[int | None]()

    def read(path: Path) -> np.ndarray:
        image = _opened(path)
        _require_depth(path, image, deep=True)
        levels = near_whole(np.asarray(image))
        objects.add(None if None in objects else _count_objects(levels))
        return levels

    for _ in unreadable.each(counted(masks, advance), read):
        pass
    if (most := _most_objects(objects)) is not None:
        return _as_objects(most, is_palette=False)
    return named_values(*whole_numbers(masks, read, None, unreadable))


def _require_depth(path: Path, image: Image.Image, *, deep: bool) -> None:
    """Raise UserError for a mask of 8 bits among deeper ones, or the other way round."""
    if is_deep(image) != deep:
        expected, found = ("more than 8", "8") if deep else ("8", "more")
        raise UserError(f"{path}: expected {expected} bits as in the first mask, found {found}; masks need one depth")


def _are_edges(edges: Edges, parted: str) -> tuple[str, ...]:
    """Lines of a card's comment for masks that have two classes and their smoothed edges."""
    return (
        f"# Only along borders: {listed([*map(str, edges.values)])}. {parted} takes them for smoothed edges.",
        "# If they are classes, give mask_values, one for each class.",
    )


def _may_be_edges(values: Sequence[int] | Sequence[str]) -> tuple[str, ...]:
    """A line of a card's comment for values that may be no classes."""
    if not values:
        return ()
    names = listed([*map(str, values)])
    return (f"# Only along borders: {names}. If these are smoothed edges, merge each with a class beside it.",)


def _apart(values: list[int], sets: Collection[frozenset[int]]) -> Values | None:
    """What masks of the values 0, 1, ..., K and 255 hold: 255 is unknown, or another way to write class 1; else None.

    Args:
        values: of all masks, in order.
        sets: of each mask.

    """
    if len(values) < 3 or values != [*range(len(values) - 1), UNKNOWN]:
        return None
    classes = values[:-1]
    if any(UNKNOWN in own and len(own - {0, UNKNOWN}) > 0 for own in sets):
        said = (
            f"# {UNKNOWN} is taken for pixels without a known class: ignore = {UNKNOWN}.",
            "# If it is a class, add it to mask_values and its name to classes.",
        )
        return [*classes], {"mask_values": tuple(classes), "ignore": UNKNOWN}, said
    if len(classes) == 2:
        both = f"# No mask has both 1 and {UNKNOWN}: both are taken for the foreground, written in two ways."
        return ["0", f"1 or {UNKNOWN}"], {"mask_values": (0, (1, UNKNOWN))}, (both,)
    return None


def _count_numbered(image: Image.Image) -> int | None:
    """Count the objects of a mask of 8 bits that numbers them; else None."""
    if image.mode not in ("L", "P") or image.getextrema()[1] >= MOST_OBJECTS:  # type: ignore[operator]
        return None
    return _count_objects(np.asarray(image))


def _count_objects(mask: np.ndarray) -> int | None:
    """Count the objects of a mask that numbers them: its levels are 0, 1, ..., n, each in one piece; else None."""
    values = np.unique(mask)
    if not 0 <= values[0] <= values[-1] <= len(values):  # NaN is none of these
        return None
    last = int(values[-1])
    if not np.array_equal(values[values > 0], np.arange(1, last + 1)):
        return None
    if last < 2:
        return last
    from skimage.measure import label  # here, since it is slow to import

    return last if label(mask.astype(np.int64), background=0, connectivity=2).max() == last else None


def _most_objects(counts: Collection[int | None]) -> int | None:
    """The largest number of objects, if all masks number objects and have many or different ones; else None."""
    numbers = [count for count in counts if count is not None]
    if None in counts or len(numbers) < FEWEST_COUNTS or max(numbers) < FEWEST_OBJECTS:
        return None
    return max(numbers)


def _as_objects(most: int, is_palette: bool) -> Values:
    """Objects that are numbered, such as glands, are one class."""
    said = f"# The masks number objects, up to {most} of one image: any value above 0 is the foreground."
    fields = {"mask_values": (0, tuple(range(1, most + 1)))} if is_palette else {"mask_threshold": 0}
    return (
        ["0", f"1 to {most}"],
        fields,
        (said, "# If the numbers are classes, give mask_values instead, one for each class."),
    )


def _as_colors(masks: Sequence[Path], colors: Counter[str], edges: Edges) -> Values:
    """Colours, black or else the most frequent one first. Black and white need no field: a threshold reads them."""
    if len(colors) > MOST_LEVELS:
        raise UserError(f"{masks[0].parent}: expected masks of at most {MOST_LEVELS} colours, found {len(colors)}")
    if set(colors) == {"#000000", "#ffffff"}:
        return list(GREY), {}, ()
    first = "#000000" if "#000000" in colors else colors.most_common(1)[0][0]
    ordered = [first, *sorted(color for color in colors if color != first)]
    along_borders = [color for color in ordered if brightness(color) in edges.values]
    return ordered, {"mask_colors": tuple(ordered)}, _may_be_edges(along_borders)


def voxel_values(masks: Sequence[Path], advance: Advance, unreadable: Unreadable) -> Values:
    """The values in all masks, background first; a card names them if they are not 0, 1, ..."""
    values, sets, edges = whole_numbers(masks, lambda path: read_array(path, "label").array, advance, unreadable)
    if values == list(range(len(values))):
        return values, {}, _may_be_edges(edges.values)
    return named_values(values, sets, edges)


def named_values(values: list[int], sets: Collection[frozenset[int]], edges: Edges) -> Values:
    """Values that the card names: a class each and 255 for unknown ones, or two classes and their smoothed edges."""
    apart = _apart(values, sets)
    if apart is not None:
        return apart
    if edges.leave_two:
        dark, bright = (tuple(value for value in values if (value > 127) == is_bright) for is_bright in (False, True))
        return [*PARTS], {"mask_values": (dark, bright[::-1])}, _are_edges(edges, "mask_values")
    said = _may_be_edges(edges.values)
    if min(values) < 0:
        said += (f"# {min(values)} may stand for an unknown class: then give ignore = {min(values)} instead.",)
    return [*values], {"mask_values": tuple(values)}, said


def whole_numbers(
    masks: Sequence[Path], read: Callable[[Path], np.ndarray], advance: Advance, unreadable: Unreadable
) -> tuple[list[int], set[frozenset[int]], Edges]:
    """The different labels of all masks that can be read, 0 first, the sets that masks have, and which may be edges.

    Raises:
        UserError: a label is no whole number, or there are too many for classes.
    """
    found, sets, edges = set[float](), set[frozenset[int]](), Edges()
    for path, array in unreadable.each(counted(masks, advance), read):
        whole = near_whole(array)
        labels = np.unique(whole)
        found.update(labels.tolist())
        unusable = labels[~np.isfinite(labels) | (labels != np.rint(labels))]
        if len(found) > MOST_CLASSES or len(unusable):
            others = digits(unusable[0]) if len(unusable) else str(len(found))
            raise UserError(
                f"{path}: expected at most {MOST_CLASSES} different whole numbers in all masks, found {others}"
            )
        sets.add(frozenset(map(int, labels.tolist())))
        edges.note(whole)
    return sorted(map(int, found), key=lambda value: (value != 0, value)), sets, edges


def _opened(path: Path) -> Image.Image:
    try:
        return open_picture(path, path.read_bytes(), "ignore", may_be_deep=True)
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error.strerror}") from None


def _histogram(image: Image.Image) -> np.ndarray:
    """How many pixels have each of the 256 levels, as masks are read: palette indices or grey."""
    return np.array((image if image.mode in ("L", "P") else image.convert("L")).histogram())


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _is_black_and_white(levels: np.ndarray) -> bool:
    """Whether nearly all pixels are close to 0 or 255, as of a mask that was compressed or smoothed."""
    return bool(levels[:32].sum() + levels[224:].sum() >= 0.95 * levels.sum())


def counted(paths: Sequence[Path], advance: Advance) -> Iterator[Path]:
    """Yield the paths, and call `advance` after each."""
    for i, path in enumerate(paths):
        yield path
        if advance is not None:
            advance(i + 1, len(paths))

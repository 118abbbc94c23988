"""How a new card reads images with an EXIF orientation: as the sizes of their masks tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image

from ssl_bench.command import quantity
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.pictures import exif_orientation
from ssl_bench.errors import UnreadableFileError, first_line

QUARTER = range(5, 9)  # orientations that exchange width and height


def propose_orientation(
    cases: Sequence[CaseFiles], unreadable: Unreadable
) -> tuple[Literal["apply", "ignore"] | None, str]:
    """Return the card's exif_orientation and a line about it. None and "" where no image has an orientation.

    Masks that fit turned images were drawn in a viewer, which applies orientations; those that fit images as they are
    stored were not. None with a line where sizes tell nothing, or do not tell the same of all images.
    """
    turned = [case for case in cases if any(_is_turned(path, unreadable) for path in case.images)]
    if not turned:
        return None, ""
    fits: dict[Literal["apply", "ignore"], CaseFiles] = {}
    for case in turned:
        way = _fitting(case, unreadable)
        if way is not None:
            fits.setdefault(way, case)
    have = "has" if len(turned) == 1 else "have"
    share = f"{len(turned)} of {quantity(len(cases), 'image')}"
    found = f"# {share}, such as {turned[0].image.name}, {have} an EXIF orientation."
    if len(fits) == 1:
        (way,) = fits
        return way, f"{found} The sizes of the masks say: {way}."
    if fits:
        names = " and ".join(f"{way} for {case.image.name}" for way, case in sorted(fits.items()))
        return None, f"{found} The sizes of the masks say {names}: no one value of exif_orientation reads all of them."
    return None, f"{found} The sizes of the masks do not say whether exif_orientation is apply or ignore: add it."


def _header_of(path: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation and the size of a picture.

    Raises:
        UnreadableFileError: its header cannot be read.
    """
    try:
        with Image.open(path) as image:
            return exif_orientation(path), image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableFileError(f"{path}: not a readable image: {first_line(error)}") from None


def _is_turned(path: Path, unreadable: Unreadable) -> bool:
    header = unreadable.read(path, _header_of)
    return header is not None and header[0] != 1


def _fitting(case: CaseFiles, unreadable: Unreadable) -> Literal["apply", "ignore"] | None:
    """How the image fits its mask, which is compared as it is stored; None where both ways do or neither does."""
    headers = [None if path is None else unreadable.read(path, _header_of) for path in (case.image, case.mask)]
    if headers[0] is None or headers[1] is None:
        return None
    (turn, stored), (mask_turn, expected) = headers[0], headers[1]
    if turn not in QUARTER or mask_turn != 1 or stored[0] == stored[1]:
        return None
    return "ignore" if stored == expected else "apply" if stored[::-1] == expected else None

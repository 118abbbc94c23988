"""How a new card reads images with an EXIF orientation: as the sizes of their masks tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PIL import Image

from ssl_bench.command import quantity
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.pictures import exif_orientation
from ssl_bench.errors import UserError, first_line

QUARTER = range(5, 9)  # orientations that exchange width and height


def propose_orientation(cases: Sequence[CaseFiles]) -> tuple[Literal["apply", "ignore"] | None, str]:
    """Return the card's exif_orientation and a line about it. None and "" where no image has an orientation.

    Masks that fit turned images were drawn in a viewer, which applies orientations; those that fit images as they are
    stored were not. None with a line where sizes tell nothing, or do not tell the same of all images.
    """
    try:
        turned = [case for case in cases if any(exif_orientation(path) != 1 for path in case.images)]
        fits = {_fitting(case) for case in turned} - {None}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{cases[0].image.parent}: an image cannot be read: {first_line(error)}") from None
    if not turned:
        return None, ""
    found = f"# {quantity(len(turned), 'image')}, such as {turned[0].image.name}, have an EXIF orientation."
    if len(fits) == 1:
        (way,) = fits
        return way, f"{found} The sizes of the masks say: {way}."
    return None, f"{found} The sizes of the masks do not say whether exif_orientation is apply or ignore: add it."


def _fitting(case: CaseFiles) -> Literal["apply", "ignore"] | None:
    """How the image fits its mask, which is compared as it is stored; None where both ways do or neither does."""
    if case.mask is None or exif_orientation(case.image) not in QUARTER:
        return None
    with Image.open(case.image) as image, Image.open(case.mask) as mask:
        stored, expected = image.size, mask.size
    if exif_orientation(case.mask) != 1 or stored[0] == stored[1]:
        return None
    return "ignore" if stored == expected else "apply" if stored[::-1] == expected else None

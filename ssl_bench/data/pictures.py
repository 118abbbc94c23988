"""Reading one 2D file: an image's pixels, a mask's classes, and what would make either ambiguous."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_bench.cards import Files, members_of
from ssl_bench.command import quantity
from ssl_bench.data.quiet import quiet_libraries
from ssl_bench.errors import UnreadableFileError, UserError, first_line
from ssl_bench.labels import IGNORED

warnings.filterwarnings("ignore", module="PIL[.]")  # what it says of a broken file, an error says

TIFF = (b"II", b"MM")  # how its files begin; libtiff writes to stderr
ORIENTATION = 274  # EXIF tag
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF tag, and one of its values
SAMPLE_FORMAT, UNSIGNED = 339, 1
WHOLE = 1e-3  # a label this close to a whole number is that number; NIfTI's scaling is in floating point
SATURATION = 32  # difference between the channels of a pixel that JPEG may make of grey


def read_image(path: Path, content: bytes, channels: int = 3, exif: str = "refuse") -> np.ndarray:
    """Decode an image to (H, W, 3) uint8 RGB, or for `channels` 1 to (H, W, 1) grey.

    Raises:
        UserError: not an image, truncated, of several pages, with more than 8 bits a channel, or with an EXIF
            orientation that is to be refused.
    """
    image = open_picture(path, content, exif)
    return np.asarray(image.convert("RGB")) if channels == 3 else np.asarray(image.convert("L"))[..., None]


def read_deep_image(path: Path, content: bytes, exif: str) -> np.ndarray:
    """Decode a grey image of more than 8 bits to its levels (H, W), whole numbers or floating point.

    Raises:
        UserError: as `read_image`, and for 8 bits.
    """
    image = open_picture(path, content, exif, may_be_deep=True)
    if not is_deep(image):
        raise UserError(
            f"{path}: expected more than 8 bits, whose levels intensity_range on the card maps to 8 bits; found 8"
        )
    return np.asarray(image)


def read_mask(path: Path, content: bytes, files: Files) -> tuple[np.ndarray, dict[int, str]]:
    """Decode a mask to class numbers (H, W) uint8: by the card's colours, its values, or grey levels above a threshold.

    Grey of more than 8 bits needs values, or the threshold 0. The second value is the mask's palette if the mask is
    read by index (see `palette_colors`), else empty.

    Raises:
        UserError: as `read_image`; the file is transparent; a colour or value is no class's; colours where the card
            names grey levels; or levels that all lie on one side of the threshold.
    """
    may_be_deep = files.mask_values is not None or (files.mask_colors is None and files.mask_threshold == 0)
    image = open_picture(path, content, files.exif_orientation, may_be_deep=may_be_deep)
    require_opaque(path, image)
    if is_deep(image):
        levels = near_whole(np.asarray(image))
        if files.mask_values is not None:
            return class_numbers(levels, files.mask_values, path, ignored=files.ignored_level), {}
        if not (levels >= 0).all():
            raise UserError(f"{path}: expected mask levels from 0 on, found {digits(levels.min())}")
        return (levels > 0).astype(np.uint8), {}
    if files.mask_colors is not None:
        return _by_color(path, image, files.mask_colors, files.ignore), {}
    if files.mask_values is not None and image.mode == "P":
        return class_numbers(np.asarray(image), files.mask_values, path, ignored=files.ignored_level), palette_colors(
            image
        )
    _require_grey(path, image)
    grey = np.asarray(image.convert("L"))
    if files.mask_values is not None:
        return class_numbers(grey, files.mask_values, path, ignored=files.ignored_level), {}
    require_two_sides(path, grey, files.mask_threshold)
    return (grey > files.mask_threshold).astype(np.uint8), {}


def digits(value: np.floating | np.integer | int) -> str:
    """Write a number with as many digits as tell it from its neighbours in its type."""
    return np.format_float_positional(value, trim="-")


def near_whole(labels: np.ndarray) -> np.ndarray:
    """Round the labels that are within `WHOLE` of a whole number; the others, NaN among them, stay as they are."""
    if labels.dtype.kind != "f":
        return labels
    nearest = np.rint(labels)
    with np.errstate(invalid="ignore"):  # infinity
        return np.where(abs(labels - nearest) <= WHOLE, nearest, labels)


def class_numbers(
    values: np.ndarray,
    wanted: Sequence[int | tuple[int, ...]],
    path: Path,
    what: str = "values",
    write: Callable[[Any], str] = digits,
    ignored: int | None = None,
) -> np.ndarray:
    """Replace each value of a mask by the number of its class, uint8: the value's place in `wanted`.

    Several values of `wanted` in a tuple are one class. The value `ignored` becomes IGNORED.
    `what` is what the error message calls the values, and `write` gives one of them as text.

    Raises:
        UserError: a value that is neither in `wanted` nor `ignored`, or no value but this one.
    """
    found, inverse = np.unique(values, return_inverse=True)
    place = {float(value): number for number, own in enumerate(members_of(wanted)) for value in own}
    listing = ", ".join(write(value) for own in members_of(wanted) for value in own)
    if ignored is not None:
        place[float(ignored)] = IGNORED
        listing += f" or {write(ignored)} (ignored)"
        if len(found) == 1 and float(found[0]) == ignored:
            raise UserError(
                f"{path}: expected pixels with a known class, found the ignored value {write(ignored)} alone; a case "
                "without labels needs no mask (masks_optional in the card)"
            )
    unknown = [value for value in found if float(value) not in place]
    if unknown:
        listed = ", ".join(map(write, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise UserError(f"{path}: expected mask {what} {listing}, found also {listed}")
    numbers = np.array([place[float(value)] for value in found.tolist()], dtype=np.uint8)
    return numbers[inverse].reshape(values.shape)


def palette_colors(image: Image.Image) -> dict[int, str]:
    """Return the colour (#rrggbb) of each palette index that a picture uses; empty for one without a palette."""
    if image.mode != "P":
        return {}
    colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    indices, first = np.unique(np.asarray(image), return_index=True)
    return {int(index): hex_color(colors[place]) for index, place in zip(indices, first, strict=True)}


class Palettes:
    """The colours of palette indices over a data set's masks: an index has one meaning if it has one colour."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, Path]] = {}

    @property
    def colors(self) -> dict[int, str]:
        """The colour of each index."""
        return {index: color for index, (color, _) in self._seen.items()}

    def note(self, path: Path | None, colors: Mapping[int, str]) -> None:
        """Compare a mask's palette with those of the masks before it.

        Raises:
            UserError: an index has another colour.
        """
        for index, color in colors.items():
            assert path is not None, "only a mask has a palette"
            known, where = self._seen.setdefault(index, (color, path))
            if known != color:
                raise UserError(
                    f"{path}: palette index {index} is {color}, but {known} in {where}; indices name classes only if "
                    "all palettes agree: give mask_colors instead of mask_values"
                )


def united(masks: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
    """Unite the masks of one image, class numbers of one shape: a pixel has the class that any of them gives it.

    Raises:
        UserError: two masks have different shapes or give a pixel two classes.
    """
    result = masks[0]
    for mask, path in zip(masks[1:], paths[1:], strict=True):
        if mask.shape != result.shape:
            raise UserError(f"{path}: expected the shape of {paths[0]}, {result.shape}, found {mask.shape}")
        torn = int(((mask != result) & (mask > 0) & (result > 0)).sum())
        if torn:
            raise UserError(
                f"{path}: expected masks of one image that agree, found {quantity(torn, 'pixel')} of two classes"
            )
        result = np.maximum(result, mask)
    return result


def used_colors(image: Image.Image, most: int) -> dict[str, int] | None:
    """Return the colours of a picture as #rrggbb with their numbers of pixels; None if there are more than `most`."""
    colors = image.convert("RGB").getcolors(most)
    return None if colors is None else {hex_color(color): count for count, color in colors}


def hex_color(color: object) -> str:
    """Return a colour of three channels as #rrggbb."""
    red, green, blue = (int(value) for value in color)  # type: ignore[attr-defined]
    return f"#{red:02x}{green:02x}{blue:02x}"


def exif_orientation(path: Path) -> int:
    """Return the EXIF orientation of a picture: 1 if it has none or needs no turn, else 2 to 8."""
    with Image.open(path) as image:
        return _orientation(image)


def is_colored(image: Image.Image) -> bool:
    """Whether a pixel's channels differ; in a JPEG file, those of more than a thousandth of the pixels, and by much."""
    if image.mode in ("1", "L", "LA"):
        return False
    rgb = np.asarray(image.convert("RGB")).astype(np.int16)
    difference = np.ptp(rgb, axis=2)
    if image.format in ("JPEG", "MPO"):
        return bool((difference > SATURATION).mean() > 0.001)
    return bool(difference.any())


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey of more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def open_picture(path: Path, content: bytes, exif: str, *, may_be_deep: bool = False) -> Image.Image:
    """Decode a picture of one page, turned by its EXIF orientation if `exif` is "apply".

    With `may_be_deep`, grey of more than 8 bits is none of the errors.

    Raises:
        UserError: as `read_image`.
    """
    try:
        with quiet_libraries() if content[:2] in TIFF else nullcontext():
            image: Image.Image = Image.open(io.BytesIO(content))
            coded = str(getattr(image, "tile", ""))  # how the file codes its pixels; loading forgets it
            pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))  # MPO: a photograph, previews
            image.load()
            turn, kind = _orientation(image), image.format
            if image.mode == "LAB":  # which Pillow converts to RGB alone
                image = image.convert("RGB")
    except UnidentifiedImageError:
        raise UnreadableFileError(f"{path}: not a readable image: the content has no format that is read") from None
    except Exception as error:  # Pillow raises various exceptions for a damaged file
        raise UnreadableFileError(f"{path}: not a readable image: {first_line(error)}") from None
    if pages > 1:
        raise UserError(f"{path}: expected one page, found {pages}; save each page as a file of its own")
    if is_deep(image):
        _require_deep(path, image, may_be_deep=may_be_deep)
    elif ";16" in coded:
        raise UserError(
            f"{path}: expected 8 bits per channel, found more; convert it to 8 bits, or save it as an array in an .npz "
            "file, whose levels intensity_range on the card maps to 8 bits"
        )
    if turn != 1 and exif == "refuse":
        raise UserError(
            f"{path}: has EXIF orientation {turn}, so viewers show it turned; expected exif_orientation = apply or "
            "ignore to say how it is read (a field of the card's [files]; an option of predict)"
        )
    if turn != 1 and exif == "apply":
        image = ImageOps.exif_transpose(image)
    image.format = kind  # which a copy has not
    return image


def _require_deep(path: Path, image: Image.Image, *, may_be_deep: bool) -> None:
    """Raise UserError for grey of more than 8 bits whose levels have no meaning on the card or are not read right."""
    if not may_be_deep:
        raise UserError(
            f"{path}: expected 8 bits, found more; intensity_range on the card says how such images are read, and "
            "mask_values or mask_threshold = 0 how such masks are"
        )
    tags = getattr(image, "tag_v2", {})
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow inverts with 8 bits alone
        raise UserError(f"{path}: expected a TIFF file whose level 0 is black (BlackIsZero), found white (WhiteIsZero)")
    is_unsigned = tags and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
    if is_unsigned and image.mode == "I" and int(np.asarray(image).min()) < 0:  # which Pillow reads as signed
        raise UserError(f"{path}: expected levels below 2^31, found larger ones")
    if image.format == "PPM":
        raise UserError(f"{path}: expected PNG or TIFF for more than 8 bits; levels of PGM are read scaled")


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns it
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(2, 9) else 1


def require_opaque(path: Path, image: Image.Image) -> None:
    """Raise UserError for a mask with transparent pixels, whose colours a viewer shows otherwise than they are read."""
    if "A" not in image.mode and "transparency" not in image.info:
        return
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    low, high = int(alpha.min(initial=255)), int(alpha.max(initial=0))
    if low == 255:
        return
    if low == high:
        found = f"alpha = {low} in all pixels; save it without its alpha channel"
    elif image.convert("RGB").getcolors(1) is not None:
        found = "one colour whose alpha channel is the drawing; save this channel as the mask"
    else:
        found = "transparent pixels; flatten it onto its background"
    raise UserError(f"{path}: expected an opaque mask, found {found}")


def _require_grey(path: Path, image: Image.Image) -> None:
    if is_colored(image):
        colors = image.convert("RGB").getcolors(1 << 24) or []
        common = ", ".join(hex_color(color) for _, color in sorted(colors, reverse=True)[:4])
        raise UserError(f"{path}: expected grey levels, found colours ({common}); mask_colors gives classes by colour")


def require_two_sides(path: Path, grey: np.ndarray, threshold: int) -> None:
    """Raise UserError for levels that differ and lie on one side of the threshold. Level 0 alone is an empty mask."""
    low, high = int(grey.min(initial=255)), int(grey.max(initial=0))
    below, above = 0 < high <= threshold, 0 < threshold < low < high
    if below or above:
        levels = np.unique(grey)
        found = " and ".join(map(str, levels)) if len(levels) <= 2 else f"levels from {low} to {high}"
        raise UserError(
            f"{path}: expected mask levels on both sides of mask_threshold = {threshold}, found {found}; mask_values "
            "names levels of classes"
        )


def _by_color(
    path: Path, image: Image.Image, colors: Sequence[str | tuple[str, ...]], ignored: int | str | None
) -> np.ndarray:
    """Return the class number of each pixel's colour (H, W) uint8."""
    rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    codes = (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]
    wanted = [tuple(int(color[1:], 16) for color in own) for own in members_of(colors)]
    code = None if ignored is None else int(str(ignored)[1:], 16)
    return class_numbers(codes, wanted, path, "colours", lambda code: f"#{int(code):06x}", code)

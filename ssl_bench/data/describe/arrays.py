"""2D arrays in HDF5 and NPZ files: which files hold an image and a label, and the values of both."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ssl_bench.cards import Files
from ssl_bench.data.arrays import read_array_2d
from ssl_bench.data.describe.masks import Advance, Values, named_values, whole_numbers
from ssl_bench.data.describe.naming import patterns_of, sample_of
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.errors import UnreadableFileError, UserError


def find_arrays(folder: Path, paths: list[Path]) -> tuple[Files, int]:
    """Return the layout of the largest group of files that hold a 2D image and its label, and the images' channels.

    Raises:
        UserError: there is no such group.
    """
    problems = list[str]()
    for pattern, files in patterns_of(folder, paths, pictures=True).items():
        channels = set[int]()
        try:
            for path in sample_of(list(files.values())):
                with suppress(UnreadableFileError):  # reported elsewhere
                    channels.add(_channels_of_slice(path))
        except UserError as error:
            problems.append(str(error))
            continue
        if channels:
            suffixes = sorted({path.suffix.lower() for path in files.values()})
            layout = Files.model_validate({"roots": ["."], "images": pattern, "image_suffixes": suffixes})
            return layout, max(channels)
    raise UserError([*problems, f"{folder}: expected two or more readable arrays with similar names, found none"][0])


def array_values(masks: Sequence[Path], advance: Advance, unreadable: Unreadable, layout: Files) -> Values:
    """The values in all labels, and the range of all images."""
    low, high, kinds = np.inf, -np.inf, dict[bool, Path]()

    def label(path: Path) -> np.ndarray:
        nonlocal low, high
        content = content_of(path)
        image = read_array_2d(path, content, layout.image_key)
        low, high = min(low, float(image.min())), max(high, float(image.max()))
        kinds.setdefault(image.dtype == np.uint8, path)
        if len(kinds) == 2:
            raise UserError(f"{kinds[True]}: has an image of 8 bits, {kinds[False]} another one; expected one kind")
        return read_array_2d(path, content, layout.mask_key)

    values, fields, said = named_values(*whole_numbers(masks, label, advance, unreadable))
    if False in kinds:
        fields["intensity_range"] = range_of(low, high)
    return values, fields, said


def range_of(low: float, high: float) -> tuple[float, float]:
    """The `intensity_range` of images with these extremes: [0, 1] or [0, 255] where they lie in it, else they."""
    common = [ends for ends in ((0.0, 1.0), (0.0, 255.0)) if ends[0] <= low and high <= ends[1]]
    return (common or [(low, high)])[0]


def content_of(path: Path) -> bytes:
    """Read a file; one that cannot be read is an UnreadableFileError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error.strerror}") from None


def _channels_of_slice(path: Path) -> int:
    """The channels of the 2D image that a file holds with its label, 1 or 3.

    Raises:
        UserError: it holds none, or cannot be read.
    """
    content = content_of(path)
    image, label = (read_array_2d(path, content, key).shape for key in ("image", "label"))
    channels = image[2] if len(image) == 3 else 1
    if len(image) not in (2, 3) or channels not in (1, 3) or label not in (image[:2], (*image[:2], 1)):
        raise UserError(
            f"{path}: expected an image (height, width) or (height, width, 3) and a label (height, width), found "
            f"{image} and {label}"
        )
    return channels

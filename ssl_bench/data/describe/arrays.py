"""2D arrays in HDF5 and NPZ files: which files hold an image and a label, and the values of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssl_bench.cards import Files
from ssl_bench.data.arrays import read_array_2d
from ssl_bench.data.describe.masks import Advance, Values, named_values, whole_numbers
from ssl_bench.data.describe.naming import patterns_of, sample_of
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.errors import UnreadableFileError, UserError


def find_arrays(folder: Path, paths: list[Path]) -> Files | None:
    """Return the layout of the largest group of files that hold a 2D image and its label; None if there is none."""
    for pattern, files in patterns_of(folder, paths, pictures=True).items():
        slices = [one for one in map(_is_slice, sample_of(list(files.values()))) if one is not None]
        if slices and all(slices):
            suffixes = sorted({path.suffix.lower() for path in files.values()})
            return Files.model_validate({"roots": ["."], "images": pattern, "image_suffixes": suffixes})
    return None


def array_values(masks: Sequence[Path], advance: Advance, unreadable: Unreadable, layout: Files) -> Values:
    """The values in all labels, and the range of all images: [0, 1] or [0, 255] where they lie in it."""
    low, high, kinds = np.inf, -np.inf, dict[bool, Path]()

    def label(path: Path) -> np.ndarray:
        nonlocal low, high
        content = _content_of(path)
        image = read_array_2d(path, content, layout.image_key)
        low, high = min(low, float(image.min())), max(high, float(image.max()))
        kinds.setdefault(image.dtype == np.uint8, path)
        if len(kinds) == 2:
            raise UserError(f"{kinds[True]}: has an image of 8 bits, {kinds[False]} another one; expected one kind")
        return read_array_2d(path, content, layout.mask_key)

    labels, _, edges = whole_numbers(masks, label, advance, unreadable)
    values, fields, said = named_values(labels, edges)
    if False in kinds:
        common = [ends for ends in ((0.0, 1.0), (0.0, 255.0)) if ends[0] <= low and high <= ends[1]]
        fields["intensity_range"] = (common or [(low, high)])[0]
    return values, fields, said


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error.strerror}") from None


def _is_slice(path: Path) -> bool | None:
    """Whether a file holds a 2D image and its label; None if it cannot be read."""
    try:
        content = _content_of(path)
        return [read_array_2d(path, content, key).ndim for key in ("image", "label")] == [2, 2]
    except UnreadableFileError:
        return None
    except UserError:
        return False

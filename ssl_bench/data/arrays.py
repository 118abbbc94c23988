"""Reading 2D arrays in HDF5 and NPZ files as images of 8 bits and as masks."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np

from ssl_bench.cards import ARRAYS, HDF5, Files
from ssl_bench.data.pictures import class_numbers, digits, near_whole, require_two_sides
from ssl_bench.errors import UnreadableFileError, UserError, first_line

ROUNDING = 1e-6  # of the range's length, by which float32 may leave it


def holds_arrays(path: Path) -> bool:
    """Whether a file is in a format of arrays, by its suffix."""
    return path.name.lower().endswith(ARRAYS)


def read_array_2d(path: Path, content: bytes, key: str) -> np.ndarray:
    """Read the array of numbers at a key.

    Raises:
        UserError: the file is unreadable, has no such key, or the array is not of numbers.
    """
    array, keys = _load(path, content, key)
    if array is None:
        raise UserError(f"{path}: expected the key '{key}', found {', '.join(keys) or 'none'}")
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise UserError(f"{path}: {key}: expected one number per pixel, found {array.dtype} {array.shape}")
    return array


def read_array_image(path: Path, content: bytes, files: Files, channels: int) -> np.ndarray:
    """Read an image (H, W, channels) uint8 from an array (H, W) or (H, W, C).

    A grey array gives three equal channels where `channels` is 3. With `intensity_range`, its two values become 0 and
    255, and those between are rounded to the nearest of 256 levels.

    Raises:
        UserError: the array has other axes, is not of 8 bits and the card has no range, or has values outside of it.
    """
    return image_of_array(f"{path}: {files.image_key}", read_array_2d(path, content, files.image_key), files, channels)


def image_of_array(where: str, array: np.ndarray, files: Files, channels: int) -> np.ndarray:
    """Return an image (H, W, channels) uint8 from an array (H, W) or (H, W, C), as `read_array_image` does.

    Args:
        where: names the array in errors.
        array: of numbers.
        files: with the `intensity_range`.
        channels: of the image.

    Raises:
        UserError: as `read_array_image`.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in {1, channels}:
        shape = array.shape if array.ndim != 3 or array.shape[2] != 1 else array.shape[:2]
        raise UserError(
            f"{where}: expected (height, width) or (height, width, {channels}), found {shape}; volumes need [[volumes]]"
        )
    levels = _levels(where, array, files)
    return levels if levels.shape[2] == channels else np.repeat(levels, channels, axis=2)


def read_array_mask(path: Path, content: bytes, files: Files) -> np.ndarray:
    """Read a mask (H, W) as class numbers uint8: by the card's values, or levels of 8 bits above its threshold.

    Raises:
        UserError: the array has other axes, a value is no class's, or levels do not suit the threshold.
    """
    array = near_whole(read_array_2d(path, content, files.mask_key))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise UserError(f"{path}: {files.mask_key}: expected (height, width), found {array.shape}")
    if files.mask_values is not None:
        return class_numbers(array, files.mask_values, path, ignored=files.ignored_level)
    if files.mask_colors is not None or array.dtype != np.uint8:
        raise UserError(f"{path}: {files.mask_key}: expected mask_values on the card, which names an array's values")
    require_two_sides(path, array, files.mask_threshold)
    return (array > files.mask_threshold).astype(np.uint8)


def _levels(where: str, array: np.ndarray, files: Files) -> np.ndarray:
    """The 256 levels of an image."""
    if not np.isfinite(array).all():
        raise UserError(f"{where}: expected finite values, found NaN or infinity")
    low, high = array.min(), array.max()
    if files.intensity_range is None:
        if array.dtype != np.uint8:
            raise UserError(
                f"{where}: expected 8 bits, found {array.dtype} from {digits(low)} to {digits(high)}"
                "; intensity_range on the card says which values are black and white"
            )
        return array
    if array.dtype == np.uint8 and not any(suffix.lower().endswith(ARRAYS) for suffix in files.image_suffixes):
        raise UserError(
            f"{where}: expected more than 8 bits, as the pictures of intensity_range on the card have; found uint8"
        )
    black, white = files.intensity_range
    slack = ROUNDING * (white - black)
    if low < black - slack or high > white + slack:
        raise UserError(
            f"{where}: expected values in intensity_range = [{black:g}, {white:g}], found "
            f"{digits(low)} to {digits(high)}"
        )
    scaled: np.ndarray = (array.astype(np.float64) - black) / (white - black)
    levels: np.ndarray = np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)
    return levels


def _load(path: Path, content: bytes, key: str) -> tuple[np.ndarray | None, list[str]]:
    """The array at a key, None if there is none, and all keys."""
    try:
        if path.name.lower().endswith(HDF5):
            with h5py.File(io.BytesIO(content)) as file:
                keys = [name for name in file if isinstance(file[name], h5py.Dataset)]
                return (np.asarray(file[key]) if key in keys else None), keys
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return (arrays[key] if key in arrays.files else None), list(arrays.files)
    except Exception as error:  # libraries raise various exceptions for a damaged file
        raise UnreadableFileError(f"{path}: not a readable array: {first_line(error)}") from None

"""Images and volumes in memory, brought to what a run's networks read from files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ssl_bench.data.arrays import image_of_array
from ssl_bench.data.slices import require_axial
from ssl_bench.data.volumes import scaled
from ssl_bench.errors import UserError
from ssl_bench.prediction.masks import files_of, require_named_channels
from ssl_bench.prediction.predictor import Predictor

NAME = "image"  # in errors


def as_pixels(image: np.ndarray, predictor: Predictor) -> np.ndarray:
    """Return a 2D image as its file would be read: (H, W, C) uint8.

    Of 8 bits, grey becomes RGB and RGB grey where the network has the other number of channels. Other numbers, and all
    arrays where the run's card has an `intensity_range`, are read as arrays in HDF5 and NPZ files are.

    Args:
        image: (H, W) or (H, W, C).
        predictor: the network.

    Raises:
        UserError: the image has other axes or channels, or values without a meaning.
    """
    channels, names = predictor.spec.channel_count, predictor.reading.channel_names
    files = files_of(predictor.reading, None)
    _require_numbers(image)
    require_named_channels(NAME, image, names)
    is_grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    is_picture = channels in (1, 3) and (is_grey or (image.ndim == 3 and image.shape[2] == 3))
    if image.dtype != np.uint8 or files.intensity_range is not None or names or not is_picture:
        return np.ascontiguousarray(image_of_array(NAME, image, files, channels))
    picture = Image.fromarray(np.ascontiguousarray(image.reshape(image.shape[:2]) if is_grey else image))
    return np.asarray(picture.convert("RGB")) if channels == 3 else np.asarray(picture.convert("L"))[..., None]


def as_voxels(image: np.ndarray, predictor: Predictor, spacing: Sequence[float] | None) -> np.ndarray:
    """Return a volume as its file would be read: (C, X, Y, Z) float32.

    The intensities of a network for volumes are scaled as the run's card says; those of slices stay as they are.

    Args:
        image: (X, Y, Z), or (C, X, Y, Z).
        predictor: the network.
        spacing: distances between voxels along X, Y and Z in mm; None: not known.

    Raises:
        UserError: the volume has other axes or channels, intensities that are equal or not finite, or, of slices,
            voxels that are thick along X or Y.
    """
    spec = predictor.spec
    _require_numbers(image)
    volume = image[None] if image.ndim == 3 else image
    if volume.ndim != 4 or len(volume) != spec.channel_count:
        expected = "(x, y, z)" if spec.channel_count == 1 else f"({spec.channel_count}, x, y, z)"
        raise UserError(f"{NAME}: expected {expected}, found {image.shape}")
    if spec.slice_window is not None:
        require_axial(spacing, NAME)
    intensity = "as-is" if spec.slice_window is not None else spec.intensity
    return np.stack([scaled(channel, intensity, NAME) for channel in volume])


def _require_numbers(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray):
        raise UserError(
            f"{NAME}: expected a numpy array, found {type(image).__name__}; `ssl-bench predict` reads files"
        )
    if image.dtype.kind not in "biuf" or image.size == 0:
        raise UserError(f"{NAME}: expected an array of numbers, found {image.dtype} of shape {image.shape}")

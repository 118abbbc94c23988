"""Volumes as stacks of 2D slices along z: for 2D networks, which volumes are put together from afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ssl_bench.cards import SliceWindow
from ssl_bench.errors import UserError

PERCENTILES = (0.5, 99.5)
THICK = 1.5  # so much longer along x or y than along z, voxels are slices along another axis


def require_axial(spacing: Sequence[float] | None, name: object) -> None:
    """Check that a volume was not taken in thick slices along x or y, which slices along z would cut across.

    Args:
        spacing: distances between neighbouring voxels along x, y and z in mm; None where the format has none.
        name: of the volume or its file, for the error.

    Raises:
        UserError: its voxels are more than THICK times as long along x or y as along z.

    """
    if spacing is not None and max(spacing[:2]) > THICK * spacing[2]:
        sides = ", ".join(f"{side:g}" for side in spacing)
        raise UserError(
            f"{name}: expected slices along superior-inferior (z), found voxels of ({sides}) mm along x, y and z, "
            "thick along another axis; turn the files, or train on volumes"
        )


def to_slices(volume: np.ndarray) -> np.ndarray:
    """Turn a mask (X, Y, Z) or an image (C, X, Y, Z) into slices (Z, Y, X) or (Z, Y, X, C): x to the right, y down."""
    return np.ascontiguousarray(volume.T)


def to_volume(slices: Iterable[np.ndarray]) -> np.ndarray:
    """Put slices (Y, X) of a mask together: (X, Y, Z)."""
    return np.ascontiguousarray(np.stack(list(slices)).T)


def to_bytes(image: np.ndarray, window: SliceWindow, name: object) -> np.ndarray:
    """Bring intensities to 8 bits, each channel by its own window.

    Args:
        image: (X, Y, Z), or (C, X, Y, Z).
        window: the intensities that become 0 and 255; `Volumes.slice_window`.
        name: of the case or its file, for the error.

    Returns:
        (C, X, Y, Z) uint8.

    Raises:
        UserError: a channel's intensities are all equal.

    """
    channels = image[None] if image.ndim == 3 else image
    result = np.empty(channels.shape, np.uint8)
    for channel, own in zip(channels, result, strict=True):
        low, high = _limits(channel, window)
        if low >= high:
            raise UserError(f"{name}: nearly every voxel has the value {low:g}; 8 bits need intensities that differ")
        scaled = (channel.astype(np.float64).clip(low, high) - low) / (high - low)
        own[:] = np.rint(255 * scaled)
        if own.min() == own.max():
            raise UserError(
                f"{name}: expected intensities in the slice_window from {low:g} to {high:g}, found them from "
                f"{channel.min():g} to {channel.max():g}, all {'below' if own.max() == 0 else 'above'} it"
            )
    return result


def _limits(channel: np.ndarray, window: SliceWindow) -> tuple[float, float]:
    if window == "range":
        return float(channel.min()), float(channel.max())
    if window == "percentiles":
        low, high = np.percentile(channel.astype(np.float64), PERCENTILES)
        return float(low), float(high)
    low, high = window
    return low, high

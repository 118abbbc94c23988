"""Where the voxels of a volume lie: canonical axes, and the comparison of two grids.

An affine is the 4x4 matrix that maps a voxel's indices to its position in mm: x to the right, y to anterior, z to
superior (RAS).
"""

from __future__ import annotations

import functools
import logging
import math
from itertools import product
from typing import Any

import numpy as np

TOLERANCE = 0.1  # two grids agree where their corners lie this close, as a share of the smallest side of a voxel
SHEAR = 0.01  # cosine of the angle between two axes, from which on they are not at right angles
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@functools.cache
def nib() -> Any:  # most of its functions have no types
    """Return nibabel. It is imported where a volume's file is read."""
    import nibabel

    nibabel.imageglobals.logger.setLevel(logging.CRITICAL + 1)  # what it says of a file, an error says
    return nibabel


def affine_of(direction: tuple[float, ...], spacing: tuple[float, ...], origin: tuple[float, ...]) -> np.ndarray:
    """Return the affine of an ITK image.

    Args:
        direction: the rows of the matrix whose columns are the axes of the array, in LPS.
        spacing: in mm, for each axis of the array.
        origin: position of the first voxel in mm, in LPS.
    """
    axes = len(spacing)
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(direction, (axes, axes)) * np.array(spacing))[:3, :3]
    affine[:3, 3] = origin[:3]
    return np.asarray(LPS_TO_RAS @ affine)


def is_regular(affine: np.ndarray) -> bool:
    """Whether an affine is finite and its voxels have a volume."""
    return bool(np.isfinite(affine).all()) and bool(np.linalg.matrix_rank(affine[:3, :3]) == 3)


def axes_of(affine: np.ndarray) -> str:
    """Return the directions to which the three array axes point most closely, such as LPS."""
    return "".join(map(str, nib().orientations.aff2axcodes(affine)))


def turned(array: np.ndarray, affine: np.ndarray, onto: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Permute and reverse the first three axes of an array, so that they run along the axes of another affine.

    Args:
        array: (X, Y, Z, ...).
        affine: of the array.
        onto: the other affine; None: right, anterior, superior.

    Returns:
        The turned array and its affine. The positions of the voxels stay the same.
    """
    relative = affine if onto is None else np.linalg.inv(onto) @ affine
    turn = nib().orientations.io_orientation(relative)
    return (
        np.asarray(nib().orientations.apply_orientation(array, turn)),
        np.asarray(affine @ nib().orientations.inv_ornt_aff(turn, array.shape[:3])),
    )


def turned_back(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Bring an array (X, Y, Z) from the axes right, anterior, superior to those of an affine."""
    canonical = nib().orientations.axcodes2ornt("RAS")
    turn = nib().orientations.ornt_transform(canonical, nib().orientations.io_orientation(affine))
    return np.asarray(nib().orientations.apply_orientation(array, turn))


def along(array: np.ndarray, stored: str, wanted: str) -> np.ndarray:
    """Bring an array (X, Y, Z, ...) from some axes to others, such as from LPS to RAS."""
    ornt = nib().orientations.axcodes2ornt
    turn = nib().orientations.ornt_transform(ornt(stored), ornt(wanted))
    return np.asarray(nib().orientations.apply_orientation(array, turn))


def sides_of(affine: np.ndarray) -> tuple[float, ...]:
    """Return the distances in mm between neighbouring voxels, for each axis of the array."""
    return tuple(float(side) for side in nib().affines.voxel_sizes(affine))


def smallest_angle(affine: np.ndarray) -> float:
    """Return the smallest angle between two axes of the array, in degrees; 90 if their cosine is at most `SHEAR`."""
    axes = affine[:3, :3] / np.array(sides_of(affine))
    cosine = float(abs(axes.T @ axes - np.eye(3)).max())
    return 90.0 if cosine <= SHEAR else math.degrees(math.acos(min(cosine, 1.0)))


def difference(found: np.ndarray, expected: np.ndarray, shape: tuple[int, ...]) -> str:
    """Describe how one grid differs from another; empty where their corners agree within `TOLERANCE`.

    Args:
        found: affine of the grid.
        expected: affine of the other grid.
        shape: (X, Y, Z) of both.
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in shape))]).T
    apart = float(np.linalg.norm(((found - expected) @ corners)[:3], axis=0).max())
    sides, others = np.array(sides_of(expected)), np.array(sides_of(found))
    allowed = TOLERANCE * float(sides.min())
    if apart <= allowed:
        return ""
    extent = np.maximum(np.array(shape) - 1, 1)
    axes, other_axes = expected[:3, :3] / sides, found[:3, :3] / others
    parts = []
    if (abs(others - sides) * extent > allowed).any():
        parts.append(f"voxels of {_listed(sides)} mm, found {_listed(others)}")
    if (np.linalg.norm(other_axes - axes, axis=0) * sides * extent > allowed).any():
        columns, other_columns = (" ".join(map(_listed, matrix.T)) for matrix in (axes, other_axes))
        parts.append(f"axes along {columns}, found {other_columns}")
    if np.linalg.norm(found[:3, 3] - expected[:3, 3]) > allowed:
        parts.append(f"the first voxel at {_listed(expected[:3, 3])} mm, found {_listed(found[:3, 3])}")
    return "; ".join([*parts, f"their corners are up to {apart:.3g} mm apart"])


def _listed(numbers: np.ndarray) -> str:
    return "(" + ", ".join(f"{number:.6g}" for number in np.where(abs(numbers) < 1e-9, 0, numbers)) + ")"

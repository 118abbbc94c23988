"""The 3D demo data set: synthetic hearts that the package draws itself, each volume a pure function of its number."""

from __future__ import annotations

import numpy as np

VERSION = 3  # another number draws other cases
Field = np.ndarray  # (X, Y, Z) float32
Positions = np.ndarray  # (3, X, Y, Z) float32: each voxel's position
Point = np.ndarray  # (3,): a position, or a direction


def draw(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one case: image (X, Y, Z) float32 of zero mean and unit deviation, mask (X, Y, Z) uint8 of the atrium.

    Sides are 44 to 56, 40 to 52 and 32 to 40 voxels. The atrium is irregular, grained and has veins. A ventricle in a
    dark wall and vessels hold blood that is 5 to 30 % darker, so that brightness alone does not tell. Each volume has a
    contrast curve, uneven brightness and noise of its own, so that a labelled volume or two do not show all contrasts.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    rng = np.random.default_rng([2018, VERSION, index])
    shape = tuple(int(rng.integers(low, high + 1)) for low, high in ((44, 56), (40, 52), (32, 40)))
    grid = np.indices(shape, dtype=np.float32)
    atrium = _atrium(rng, grid)
    away = distance_transform_edt(~atrium).astype(np.float32)
    image = _tissue(rng, grid)
    blood = rng.uniform(0.75, 1.0)
    ventricle, muscle = _ventricle(rng, grid, away)
    image[muscle] *= rng.uniform(0.3, 0.6)
    image[ventricle | _vessels(rng, grid, away)] = blood * rng.uniform(0.7, 0.95)
    image[atrium] = (blood + rng.uniform(0.05, 0.12) * _noise(rng, shape, 1.5))[atrium]
    image = gaussian_filter(image, rng.uniform(0.4, 0.8))
    image *= 1 + rng.uniform(0.05, 0.2) * _noise(rng, shape, 12.0).clip(-2, 2)
    image = _contrast(rng, image)
    image += rng.uniform(0.02, 0.06) * rng.standard_normal(shape, dtype=np.float32)
    return (image - image.mean()) / image.std(), atrium.astype(np.uint8)


def _contrast(rng: np.random.Generator, image: Field) -> Field:
    """Map brightness by a random increasing, piecewise linear curve, as between scanners; 0 to 1.4 becomes 0 to 1."""
    steps = np.exp(rng.normal(0, 0.9, 5))
    heights = np.concatenate([[0], np.cumsum(steps) / steps.sum()])
    return np.asarray(np.interp(image, np.linspace(0, 1.4, len(heights)), heights), dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Field:
    """Smooth noise of unit standard deviation with features of about `scale` voxels."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), scale, mode="wrap", truncate=3.0)
    return np.asarray(field / field.std())


def _direction(rng: np.random.Generator) -> Point:
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def _ellipsoid(rng: np.random.Generator, grid: Positions, centre: Point, stretch: float) -> Field:
    """Distance from the centre, longer or shorter along three random axes by up to the factor `stretch`."""
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    axes = axes * rng.uniform(1 / stretch, stretch, 3)
    offset = (grid - centre[:, None, None, None].astype(np.float32)).reshape(3, -1)
    return np.asarray(np.linalg.norm(axes.T.astype(np.float32) @ offset, axis=0).reshape(grid.shape[1:]))


def _tube(grid: Positions, start: Point, end: Point) -> Field:
    """Distance from the segment between two points."""
    start, end = start.astype(np.float32), end.astype(np.float32)
    offset = grid - start[:, None, None, None]
    along = np.tensordot(end - start, offset, 1) / np.float32((end - start) @ (end - start))
    return np.asarray(np.linalg.norm(offset - (end - start)[:, None, None, None] * along.clip(0, 1), axis=0))


def _atrium(rng: np.random.Generator, grid: Positions) -> np.ndarray:
    """One connected component of 4 to 15 % of the volume, bool."""
    from scipy.ndimage import label

    shape = grid.shape[1:]
    centre = np.array(shape) * rng.uniform(0.35, 0.65, 3)
    share = rng.uniform(0.055, 0.125)
    radius = np.cbrt(share * np.prod(shape) * 3 / (4 * np.pi))
    depth = _ellipsoid(rng, grid, centre, 1.25) / radius + 0.13 * _noise(rng, shape, 4.0)
    inside = depth < np.quantile(depth, share)  # the share is exact, whatever the deformation
    for _ in range(int(rng.integers(2, 5))):
        tip = centre + radius * rng.uniform(1.3, 1.8) * _direction(rng)
        inside |= _tube(grid, centre, tip) < rng.uniform(1.8, 3.0)
    pieces, _ = label(inside)  # the deformation may cut off small pieces
    return np.asarray(pieces == np.bincount(pieces[inside]).argmax())


def _ventricle(rng: np.random.Generator, grid: Positions, away: Field) -> tuple[np.ndarray, np.ndarray]:
    """The ventricle's smooth cavity and the muscle wall around it; neither overlaps the atrium."""
    places = np.stack([rng.integers(4, side - 4, 6) for side in grid.shape[1:]])
    centre = places[:, away[tuple(places)].argmax()]
    depth = _ellipsoid(rng, grid, centre, 1.2)
    radius = rng.uniform(7.0, 11.0)
    return (depth < radius) & (away > 4), (depth < radius + rng.uniform(3.0, 5.0)) & (away > 1)


def _vessels(rng: np.random.Generator, grid: Positions, away: Field) -> np.ndarray:
    """One to three smooth tubes through the volume, which stop near the atrium."""
    sides = np.array(grid.shape[1:])
    inside = np.zeros(grid.shape[1:], dtype=bool)
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.uniform(0, sides, (2, 3))
        axis = int(rng.integers(0, 3))
        start[axis], end[axis] = 0, sides[axis]
        inside |= _tube(grid, start, end) < rng.uniform(2.5, 5.0)
    return inside & (away > rng.uniform(2.0, 3.5))


def _tissue(rng: np.random.Generator, grid: Positions) -> Field:
    """Textured soft tissue with brighter fat, and dark air outside of the body."""
    shape = grid.shape[1:]
    image = rng.uniform(0.25, 0.6) + 0.1 * _noise(rng, shape, 4.0) + 0.05 * _noise(rng, shape, 1.2)
    image += rng.uniform(0.05, 0.2) * (_noise(rng, shape, 5.0) > 1.3)
    x, y, _ = 2 * grid / np.array(shape, dtype=np.float32)[:, None, None, None] - 1
    air = x**2 + y**2 + 0.15 * _noise(rng, shape, 6.0) > rng.uniform(1.0, 1.5)
    image[air] = 0.08
    return np.asarray(image)

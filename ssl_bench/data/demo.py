"""The demo data set: synthetic lesions that the package draws itself, each image a pure function of its number."""

from __future__ import annotations

import numpy as np

VERSION = 2  # another number draws other cases
Field = np.ndarray  # (H, W) float


def draw(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one case: image (H, W, 3) uint8 RGB, mask (H, W) bool of the lesion; sides of 96 to 180 pixels.

    A lesion has an irregular border and a grained pigment. Round spots without grain, ink, hairs, bubbles, uneven light
    and shadow are not lesion, so that neither darkness nor colour alone tells. Exposure and white balance vary more
    than a few labelled images show, so that unlabelled ones help.
    """
    rng = np.random.default_rng([2023, VERSION, index])
    long_side = int(rng.integers(130, 181))
    sides = [long_side, int(long_side * rng.uniform(0.72, 0.95))]
    height, width = sides if rng.random() < 0.5 else sides[::-1]
    image = _skin(rng, height, width)
    for _ in range(int(rng.integers(0, 2))):
        _add_spot(rng, image)
    mask = _add_lesion(rng, image)
    if rng.random() < 0.25:
        _add_ink(rng, image)
    if rng.random() < 0.5:
        _add_hairs(rng, image)
    _add_bubbles(rng, image)
    image *= _light(rng, height, width)[..., None] * _camera(rng)
    image += rng.normal(0, rng.uniform(0.005, 0.02), image.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8), mask


def _noise(rng: np.random.Generator, height: int, width: int, scale: float) -> Field:
    """Smooth noise of unit standard deviation with features of about `scale` pixels."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal((height, width)), scale, mode="wrap")
    return np.asarray(field / field.std())


def _skin(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Skin of a random tone with blotches and pores, (H, W, 3) in [0, 1]."""
    tone = np.array([0.86, 0.66, 0.56]) * rng.uniform(0.6, 1.08) + rng.normal(0, 0.03, 3)
    image = np.broadcast_to(tone, (height, width, 3)).copy()
    for scale, strength in ((22.0, 0.05), (7.0, 0.03), (1.2, 0.015)):
        image += strength * _noise(rng, height, width, scale)[..., None] * rng.uniform(0.6, 1.2, 3)
    return image


def _pigment(rng: np.random.Generator) -> np.ndarray:
    """Absorption of red, green and blue by a brown pigment."""
    return np.array([0.42, 0.62, 0.66]) * rng.uniform(0.35, 1.0) * rng.uniform(0.85, 1.15, 3)


def _stain(image: np.ndarray, amount: Field, pigment: np.ndarray) -> None:
    """Darken the image in place by `amount` (0 to 1) of a pigment."""
    image *= 1 - amount[..., None] * pigment


def _add_lesion(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draw the lesion in place and return its mask."""
    height, width = image.shape[:2]
    radius = np.sqrt(rng.uniform(0.03, 0.3) * height * width / np.pi)
    y, x = np.mgrid[:height, :width]
    y, x = y - height * rng.uniform(0.3, 0.7), x - width * rng.uniform(0.3, 0.7)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.7, 1.0)
    u, v = (x * np.cos(angle) + y * np.sin(angle)) / stretch, (y * np.cos(angle) - x * np.sin(angle)) * stretch
    theta = np.arctan2(v, u)
    border = np.ones_like(theta)
    for k in range(2, 9):
        border += rng.normal(0, 0.22 / k) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    inside = radius * border.clip(0.35) - np.hypot(u, v) + 1.5 * _noise(rng, height, width, 3.0)
    soft = 1 / (1 + np.exp(-inside / rng.uniform(0.5, 3.5)))
    grain = 0.75 + 0.3 * _noise(rng, height, width, 1.6) + 0.2 * _noise(rng, height, width, 9.0)
    if rng.random() < 0.3:  # a paler middle
        grain *= 1 - 0.6 * np.exp(-((np.hypot(u, v) / (0.5 * radius)) ** 2))
    _stain(image, soft * grain.clip(0.1, 1.3), _pigment(rng))
    mask: np.ndarray = inside > 0
    return mask


def _add_spot(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw in place a round spot of even pigment: not a lesion."""
    height, width = image.shape[:2]
    radius = rng.uniform(0.05, 0.17) * min(height, width)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width))
    _stain(image, 1 / (1 + np.exp((distance - radius) / rng.uniform(0.5, 2.0))), _pigment(rng))


def _add_ink(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw in place a violet stroke of a marker."""
    from scipy.ndimage import gaussian_filter
    from skimage.draw import disk

    stroke = np.zeros(image.shape[:2])
    for row, column in zip(*_curve(rng, image), strict=True):
        rows, columns = disk((row, column), 3.5, shape=stroke.shape)
        stroke[rows, columns] = 1
    _stain(image, 0.8 * gaussian_filter(stroke, 1.0), np.array([0.65, 0.75, 0.3]))


def _add_hairs(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw in place up to thirteen thin dark curves."""
    from scipy.ndimage import gaussian_filter

    hair = np.zeros(image.shape[:2])
    for _ in range(int(rng.integers(1, 14))):
        hair[_curve(rng, image)] = 1
    _stain(image, (2.0 * gaussian_filter(hair, rng.uniform(0.5, 0.8))).clip(0, 1), np.array([0.7, 0.75, 0.75]))


def _add_bubbles(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw in place up to five bright rings."""
    from scipy.ndimage import gaussian_filter
    from skimage.draw import circle_perimeter

    height, width = image.shape[:2]
    rings = np.zeros((height, width))
    for _ in range(int(rng.integers(0, 6))):
        centre = int(rng.integers(0, height)), int(rng.integers(0, width))
        rings[circle_perimeter(*centre, int(rng.integers(3, 9)), shape=rings.shape)] = 1
    image += 0.5 * gaussian_filter(rings, 0.7)[..., None]


def _curve(rng: np.random.Generator, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a bent line across a part of the image."""
    from skimage.draw import bezier_curve

    height, width = image.shape[:2]
    points = [(int(rng.integers(0, height)), int(rng.integers(0, width))) for _ in range(3)]
    rows, columns = bezier_curve(*points[0], *points[1], *points[2], weight=1, shape=(height, width))
    return rows, columns


def _camera(rng: np.random.Generator) -> np.ndarray:
    """Exposure and white balance: a factor each of red, green and blue."""
    return np.asarray(rng.uniform(0.6, 1.15) * rng.uniform(0.82, 1.18, 3))


def _light(rng: np.random.Generator, height: int, width: int) -> Field:
    """Uneven light from one side and, sometimes, dark corners."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.2) * (x * np.cos(angle) + y * np.sin(angle))
    if rng.random() < 0.35:
        light *= 1 - rng.uniform(0.3, 0.7) / (1 + np.exp(-(np.hypot(x, y) - 1.15) / 0.06))
    return np.asarray(light)

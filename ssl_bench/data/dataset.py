"""Dataset: a prepared data set, open on its cache files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from ssl_bench.cards import Axes, Files, Intensity, SliceWindow, Volumes
from ssl_bench.data.raw import MappedArrays, Rows
from ssl_bench.errors import UserError
from ssl_bench.labels import IGNORED


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, open on its cache files; `path` is the HDF5 file.

    `fingerprint` is a hash of all source files' contents and ids; `contents` a hash of each image's pixels; `masked`
    the ids of the cases that have a mask. `label_values`, `intensity`, `slice_window` and `axes` say how the source
    files were read. A 2D case has one image; a volume that is cut into slices has one for each slice along z.
    `ignores`: pixels of masks can be IGNORED. `layout` is that of the source files, None for drawn cases.
    """

    path: Path
    fingerprint: str
    ids: tuple[str, ...]
    contents: tuple[str, ...]
    masked: frozenset[str]
    label_values: tuple[int, ...]
    intensity: Intensity
    slice_window: SliceWindow | None = None
    axes: Axes = "xyz"
    ignores: bool = False
    layout: Files | Volumes | None = None

    def arrays(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, C, size, size) and masks (N, size, size), both uint8, of some cases in their order.

        A missing mask is all background.
        """
        rows = self.rows(ids)
        images, masks = self.open_rows()
        return images.read(rows), masks.read(rows)

    def open_rows(self) -> tuple[Rows, Rows]:
        """Open the images (C, size, size) and masks (size, size) that `rows` numbers."""
        with h5py.File(self.path) as file:
            channels = int(file.attrs["channels"])
        size = int(self.path.stem)
        images, masks = (self.path.with_suffix(f".{name}") for name in ("image", "mask"))
        return Rows(images, (channels, size, size)), Rows(masks, (size, size))

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Numbers of the images of some cases, in their order."""
        return [row for rows in self._images(ids) for row in rows]

    def batches(self, ids: Sequence[str], size: int) -> Iterator[np.ndarray]:
        """Yield the images of some cases, `size` at a time, the last ones fewer: (N, C, side, side) uint8."""
        rows, (images, _) = self.rows(ids), self.open_rows()
        for start in range(0, len(rows), size):
            yield images.read(rows[start : start + size])

    def images(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the image of a few cases, of a volume the middle slice: (size, size, C) uint8."""
        images, _ = self.open_rows()
        for rows in self._images(ids):
            yield images.read([rows[len(rows) // 2]])[0].transpose(1, 2, 0)

    def stacks(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield all images of some cases: (images, size, size, C) uint8."""
        images, _ = self.open_rows()
        for rows in self._images(ids):
            yield images.read(rows).transpose(0, 2, 3, 1)

    def count_images(self, ids: Sequence[str]) -> int:
        """How many images some cases have."""
        return sum(map(len, self._images(ids)))

    def truth_sizes(self, ids: Sequence[str]) -> list[tuple[int, int]]:
        """Return (H, W) of the original masks of some 2D cases, or of the slices of volumes."""
        with h5py.File(self.path) as file:
            sizes = file["shape"][:][self._rows(ids)]
        if self.slice_window is not None:
            sizes = sizes[:, 1::-1]  # of (X, Y, Z)
        return [(int(height), int(width)) for height, width in sizes]

    def sides(self, ids: Sequence[str]) -> dict[str, list[int]]:
        """Return the smallest and the largest length of each axis of some cases' original masks."""
        with h5py.File(self.path) as file:
            shapes = file["shape"][:][self._rows(ids)]
        return {"smallest": shapes.min(axis=0).tolist(), "largest": shapes.max(axis=0).tolist()}

    def count_voxels(self, ids: Sequence[str]) -> int:
        """How many voxels some 3D cases have together."""
        return sum(prod(sides) for _, sides in self._places(ids))

    def spacings(self, ids: Sequence[str]) -> list[tuple[float, ...]]:
        """Return the distance in mm between neighbouring voxels along each axis, for some 3D cases.

        Raises:
            UserError: a file has no spacing, or a spacing that is not positive.
        """
        with h5py.File(self.path) as file:
            spacings = file["spacing"][:][self._rows(ids)]
        for name, spacing in zip(ids, spacings, strict=True):
            if not (np.isfinite(spacing) & (spacing > 0)).all():
                raise UserError(
                    f"{name}: distances in mm need a positive spacing in the file, found {spacing.tolist()}"
                )
        return [tuple(map(float, spacing)) for spacing in spacings]

    def truths(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the masks of some cases at their original sizes, (H, W) or (X, Y, Z) uint8 class numbers or IGNORED."""
        if self.is_whole:
            labels = MappedArrays(self.path.with_suffix(".label"), np.uint8)
            yield from (labels.read(start, sides) for start, sides in self._places(ids))
            return
        with h5py.File(self.path) as file:
            ends, shapes, bits = file["truth_end"][:], file["shape"][:], file["truth_bits"]
            planes = int(file.attrs["planes"]) + self.ignores
            for i in self._rows(ids):
                shape = (planes, *(int(side) for side in shapes[i]))
                start = 0 if i == 0 else int(ends[i - 1])
                flat = np.unpackbits(bits[start : int(ends[i])], count=int(np.prod(shape)))
                yield _from_planes(flat.reshape(shape), self.ignores)

    def volumes(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the images of some 3D cases, (C, X, Y, Z) float32, whose voxels are read when they are used."""
        with h5py.File(self.path) as file:
            channels = int(file.attrs["channels"])
        voxels = MappedArrays(self.path.with_suffix(".voxel"), np.float32)
        yield from (voxels.read(channels * start, (channels, *sides)) for start, sides in self._places(ids))

    @property
    def is_whole(self) -> bool:
        """Whether the cases are whole volumes, for 3D networks."""
        return self.path.stem == "volumes"

    def _places(self, ids: Sequence[str]) -> list[tuple[int, tuple[int, ...]]]:
        """For some 3D cases, the number of voxels before it in the cache, and its sides."""
        with h5py.File(self.path) as file:
            shapes = file["shape"][:]
        ends = np.cumsum(shapes.prod(axis=1))
        return [(0 if i == 0 else int(ends[i - 1]), tuple(map(int, shapes[i]))) for i in self._rows(ids)]

    def _images(self, ids: Sequence[str]) -> list[range]:
        """The rows of each case's images."""
        rows = self._rows(ids)
        if self.slice_window is None:
            return [range(row, row + 1) for row in rows]
        with h5py.File(self.path) as file:
            ends = [0, *map(int, file["image_end"][:])]
        return [range(ends[row], ends[row + 1]) for row in rows]

    def _rows(self, ids: Sequence[str]) -> list[int]:
        place = {name: i for i, name in enumerate(self.ids)}
        return [place[name] for name in ids]


def _from_planes(bits: np.ndarray, ignores: bool = False) -> np.ndarray:
    """Undo `_to_planes`."""
    if ignores:
        return np.where(bits[-1], np.uint8(IGNORED), _from_planes(bits[:-1]))
    mask = np.zeros(bits.shape[1:], np.uint8)
    for plane, values in enumerate(bits):
        mask |= values << plane
    return mask


def resize(pixels: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """Bring an image (H, W, C) or mask (H, W), uint8, to (size, size): antialiased bilinear, or nearest."""
    if pixels.shape[:2] == (size, size):
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] != 3:  # Pillow takes RGB, or one channel without a channel axis
        planes = np.moveaxis(pixels, 2, 0)
        return np.stack([resize(np.ascontiguousarray(plane), size, nearest=nearest) for plane in planes], axis=2)
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((size, size), how))

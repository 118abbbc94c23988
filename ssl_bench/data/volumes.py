"""Reading a 3D data set: which files there are, and one case's image and mask on one grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssl_bench.cards import Axes, Benchmark, Volumes
from ssl_bench.data.geometry import difference, smallest_angle, turned
from ssl_bench.data.images import Case, CaseFiles, channel_files, mask_files, natural, pair_files, require_root
from ssl_bench.data.patterns import bracket_hint, broad, nfc
from ssl_bench.data.pictures import class_numbers, near_whole, united
from ssl_bench.data.volume_files import Read, Volume, read_array, read_plane
from ssl_bench.errors import UserError


def list_volumes(benchmark: Benchmark, data_root: Path | None) -> tuple[Volumes, list[CaseFiles]]:
    """Find the first layout of a card that exists, and its cases ordered by id (numbers in ids as numbers).

    Raises:
        UserError: no folder is named or has one of the layouts.
    """
    root = require_root(benchmark, data_root)
    tried = []
    for layout in benchmark.volumes:
        for folder in (root / name for name in layout.roots):
            channels = channel_files(layout, folder, benchmark.channel_names)
            stacks = list_stacks(folder, layout.slice_files) if layout.slice_files else []
            if channels[0] or stacks:
                whole = pair_files(layout, folder, channels, mask_files(layout, folder))
                there = {case.id for case in whole}
                stacked = [case for case in stacks if case.id not in there]
                return layout, sorted([*whole, *stacked], key=lambda case: natural(case.id))
            tried.append(str(folder / layout.images))
    hint = bracket_hint(*(layout.images for layout in benchmark.volumes))
    raise UserError(f"--data-root: no volumes of {benchmark.title} found; looked for {', '.join(tried)}{hint}")


def list_stacks(folder: Path, pattern: str) -> list[CaseFiles]:
    """Find the cases whose slices are files of their own.

    Args:
        folder: where to look.
        pattern: relative path with {id} and {slice}.

    Raises:
        UserError: a case lacks a slice before its last one, counted from 0 or 1, or has one twice.
    """
    before, after = (re.escape(nfc(part)) for part in pattern.split("{slice}"))
    text = f"{before}(?P<slice>[0-9]+){after}".replace(re.escape("{id}"), "(?P<id>[^/.][^/]*)")
    wanted, found = re.compile(text), dict[str, dict[int, Path]]()
    for path in sorted(folder.glob(broad(pattern.replace("{slice}", "*")))):
        match = wanted.fullmatch(nfc(path.relative_to(folder).as_posix()))
        if match:
            slices = found.setdefault(match["id"], {})
            twin = slices.setdefault(int(match["slice"]), path)
            if twin != path:
                raise UserError(f"{path}: two files are slice {match['slice']} of '{match['id']}'; the other is {twin}")
    cases = []
    for name, slices in found.items():
        numbers = sorted(slices)
        missing = sorted({*range(min(numbers[0], 1), numbers[-1] + 1)} - set(numbers))
        if missing:
            raise UserError(f"{slices[numbers[0]]}: case '{name}' lacks slice {missing[0]} of {numbers[-1]}")
        first, *others = [slices[number] for number in numbers]
        cases.append(CaseFiles(name, first, first, tuple(others), is_stack=True))
    return cases


def read_case(
    case: CaseFiles,
    layout: Volumes,
    classes: int,
    read: Read = Path.read_bytes,
    *,
    channels: int = 1,
    in_mm: bool = False,
) -> Case:
    """Read a case: image (X, Y, Z) float32 with the layout's intensities, mask (X, Y, Z) uint8 class numbers or None.

    An image of several channels is (C, X, Y, Z). `read` gives a file's bytes. `in_mm` is whether distances are measured
    in mm.

    Raises:
        UserError: a file is unreadable, not 3D or not finite, image and mask differ in shape or geometry, the mask has
            a value that is no class's, or distances in mm need axes at right angles.
    """
    if case.is_stack:
        return read_stack(case, layout, classes, read)
    image = read_channels(case.images, channels, layout.intensity, read, axes=layout.axes)
    angle = 90.0 if image.affine is None else smallest_angle(image.affine)
    if in_mm and angle < 90:
        raise UserError(
            f"{case.image}: expected axes at right angles, along which distances in mm are measured, found an angle of "
            f"{angle:.1f} degrees; resample the volume, or set distance_unit = 'voxel' on the card"
        )
    intensities = image.array[0] if channels == 1 else image.array
    if case.mask is None:
        return Case(case.id, intensities, None, image.spacing, was_turned=image.turned_since)
    wanted = layout.mask_values or tuple(range(classes))
    masks = [read_array(path, "label", read, axes=layout.axes) for path in case.masks]
    numbers = []
    for mask, path in zip(masks, case.masks, strict=True):
        labels = near_whole(aligned(mask, image, path, case.image, "its image"))
        numbers.append(class_numbers(labels, wanted, path, ignored=layout.ignore))
    was_turned = image.turned_since or any(mask.turned_since for mask in masks)
    return Case(case.id, intensities, united(numbers, case.masks), image.spacing, was_turned=was_turned)


def read_stack(case: CaseFiles, layout: Volumes, classes: int, read: Read = Path.read_bytes) -> Case:
    """Read a case whose slices (rows y, columns x) are HDF5 files with image and label, as `read_case` does.

    Raises:
        UserError: a file is unreadable, or its image or label has another shape than the first slice's image.
    """
    images, masks = list[np.ndarray](), list[np.ndarray]()
    for path in case.images:
        for key, planes in (("image", images), ("label", masks)):
            plane = read_plane(path, key, read)
            if plane.shape != (images or [plane])[0].shape:
                expected = f"expected the shape of the first slice, {images[0].shape}"
                raise UserError(f"{path}: {key}: {expected}, found {plane.shape}")
            planes.append(plane)
    image, labels = np.stack(images).T, near_whole(np.stack(masks).T)
    wanted = layout.mask_values or tuple(range(classes))
    numbers = class_numbers(labels, wanted, case.image, ignored=layout.ignore)
    return Case(case.id, scaled(image, layout.intensity, case.image), numbers)


def read_channels(
    paths: Sequence[Path],
    channels: int,
    intensity: str,
    read: Read = Path.read_bytes,
    key: str = "image",
    axes: Axes = "xyz",
) -> Volume:
    """Read an image as (C, X, Y, Z) float32, each channel with its own intensities: zscore is of one channel.

    Args:
        paths: a file for each channel, or one with all of them on a fourth axis.
        channels: C.
        intensity: as `scaled` takes it.
        read: gives a file's bytes.
        key: names the image in an HDF5 file.
        axes: order of the axes in HDF5 files.

    Raises:
        UserError: a file is unreadable or has another shape than expected, or lies elsewhere than the first channel.
    """
    one_file = len(paths) == 1
    found = [read_array(path, key, read, channels=channels if one_file else 1, axes=axes) for path in paths]
    first = found[0]
    others = zip(paths[1:], found[1:], strict=True)
    arrays = [first.array] + [aligned(one, first, path, paths[0], "the first channel") for path, one in others]
    if one_file and channels > 1:
        arrays = list(first.array)
    files = [paths[0]] * channels if one_file else paths
    voxels = np.stack([scaled(array, intensity, path) for array, path in zip(arrays, files, strict=True)])
    return replace(first, array=voxels, turned_since=any(one.turned_since for one in found))


def aligned(volume: Volume, reference: Volume, path: Path, reference_path: Path, whose: str) -> np.ndarray:
    """Return a volume's array (X, Y, Z) with its voxels where the reference has them.

    Where one of the two files has no orientation and position, their axes in the files and their spacings must agree.

    Args:
        volume: of one channel.
        reference: whose grid is expected.
        path: of the volume.
        reference_path: of the reference.
        whose: what the reference is to the volume, such as "its image".

    Raises:
        UserError: the volume has another shape or lies elsewhere.
    """
    array, affine = volume.array, volume.affine
    if affine is not None and reference.affine is not None:
        array, affine = turned(array, affine, onto=reference.affine)
    shape = reference.array.shape[-3:]
    if array.shape != shape:
        raise UserError(f"{path}: expected the shape of {whose}, {shape}, found {array.shape}")
    if affine is not None and reference.affine is not None:
        differing = difference(affine, reference.affine, shape)
    else:
        differing = _unlike(volume, reference)
    if differing:
        raise UserError(f"{path}: expected the geometry of {whose}, {reference_path}: {differing}")
    return array


def _unlike(volume: Volume, reference: Volume) -> str:
    """Describe how axes or spacings of two volumes differ if one of them has no position."""
    if volume.stored != reference.stored:
        without = "this file has" if volume.affine is None else "that file has"
        return f"axes {reference.stored}, found {volume.stored}; {without} no orientation and position"
    if volume.spacing and reference.spacing and not np.allclose(volume.spacing, reference.spacing, rtol=1e-3, atol=0):
        expected, found = (", ".join(f"{side:g}" for side in one.spacing or ()) for one in (reference, volume))
        return f"voxels of ({expected}) mm, found ({found})"
    return ""


def scaled(image: np.ndarray, intensity: str, name: object) -> np.ndarray:
    """Scale a volume's intensities to the networks' input range, float32; `name` is that of its file, for errors.

    Raises:
        UserError: they are all equal, or not finite as float32.
    """
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise UserError(f"{name}: expected finite values, found NaN or infinity")
    if intensity == "as-is":
        return image
    mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    if deviation == 0:
        raise UserError(f"{name}: every voxel has the value {mean:g}; zscore needs intensities that differ")
    result: np.ndarray = ((image - mean) / deviation).astype(np.float32)
    return result

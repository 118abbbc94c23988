"""Reading a 3D data set: which files there are, and one case's voxels from HDF5, NIfTI or what medpy reads."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

from ssl_bench.cards import HDF5, Benchmark, Volumes
from ssl_bench.data.images import Case, CaseFiles, channel_patterns, named, pair_up, require_root
from ssl_bench.data.pictures import class_numbers
from ssl_bench.errors import UserError, first_line

NIFTI = (".nii", ".nii.gz")
Read = Callable[[Path], bytes]


def list_volumes(benchmark: Benchmark, data_root: Path | None) -> tuple[Volumes, list[CaseFiles]]:
    """Find the first layout of a card that exists, and its cases ordered by id (numbers in ids as numbers).

    Raises:
        UserError: no folder is named or has one of the layouts.
    """
    root = require_root(benchmark, data_root)
    tried = []
    for layout in benchmark.volumes:
        for folder in (root / name for name in layout.roots):
            patterns = channel_patterns(layout.images, benchmark.channel_names)
            images, *others = [dict(named(folder, pattern)) for pattern in patterns]
            if images and layout.masks is None:
                return layout, [replace(case, mask=case.image) for case in pair_up(images, {}, others)]
            if images:
                return layout, pair_up(images, dict(named(folder, str(layout.masks))), others)
            tried.append(str(folder / layout.images))
    raise UserError(f"--data-root: no volumes of {benchmark.title} found; looked for {', '.join(tried)}")


def read_case(
    case: CaseFiles, layout: Volumes, classes: int, read: Read = Path.read_bytes, *, channels: int = 1
) -> Case:
    """Read a case: image (X, Y, Z) float32 with the layout's intensities, mask (X, Y, Z) uint8 class numbers or None.

    An image of several channels is (C, X, Y, Z). `read` gives a file's bytes.

    Raises:
        UserError: a file is unreadable, not 3D or not finite, image and mask differ in shape or orientation, or the
            mask has a value that is no class's.
    """
    image = read_channels(case.images, channels, layout.intensity, read)
    intensities = image.array[0] if channels == 1 else image.array
    if case.mask is None:
        return Case(case.id, intensities, None, image.spacing)
    mask = read_array(case.mask, "label", read)
    sides = image.array.shape[1:]
    if mask.array.shape != sides:
        raise UserError(f"{case.mask}: expected the shape of its image, {sides}, found {mask.array.shape}")
    if mask.orientation != image.orientation:
        raise UserError(
            f"{case.mask}: expected the orientation of its image, {image.orientation}, found {mask.orientation}"
        )
    wanted = layout.mask_values or tuple(range(classes))
    return Case(case.id, intensities, class_numbers(mask.array, wanted, case.mask), image.spacing)


def read_channels(
    paths: Sequence[Path], channels: int, intensity: str, read: Read = Path.read_bytes, key: str = "image"
) -> Volume:
    """Read an image as (C, X, Y, Z) float32, each channel with its own intensities: zscore is of one channel.

    Args:
        paths: a file for each channel, or one with all of them on a fourth axis.
        channels: C.
        intensity: as `scaled` takes it.
        read: gives a file's bytes.
        key: names the image in an HDF5 file.

    Raises:
        UserError: a file is unreadable or has another shape or orientation than expected.
    """
    one_file = len(paths) == 1
    found = [read_array(path, key, read, channels=channels if one_file else 1) for path in paths]
    first = found[0]
    for path, volume in zip(paths, found, strict=True):
        if (volume.array.shape, volume.orientation) != (first.array.shape, first.orientation):
            expected = f"{first.array.shape} {first.orientation}".strip()
            other = f"{volume.array.shape} {volume.orientation}".strip()
            raise UserError(
                f"{path}: expected the shape and orientation of the first channel, {expected}; found {other}"
            )
    arrays = list(first.array) if one_file and channels > 1 else [volume.array for volume in found]
    files = [paths[0]] * channels if one_file else paths
    voxels = np.stack([scaled(array, intensity, path) for array, path in zip(arrays, files, strict=True)])
    return Volume(voxels, first.orientation, first.spacing)


@dataclass(frozen=True)
class Volume:
    """A file's voxels, the orientation in which the file has them, and their spacing.

    `array` is (X, Y, Z), or (C, X, Y, Z) where channels were asked for.

    `spacing` is the distance between neighbouring voxels along each axis of `array`, in mm; None in an HDF5 file.
    """

    array: np.ndarray
    orientation: str = ""
    spacing: tuple[float, ...] | None = None


def read_array(path: Path, key: str, read: Read = Path.read_bytes, *, channels: int | None = 1) -> Volume:
    """Read a volume; `key` names it in an HDF5 file.

    A NIfTI volume is brought to the closest canonical axes (right, anterior, superior). `read` gives a file's bytes.
    `channels` is the expected length of a fourth axis, which becomes the first; where it is 1, there may be no fourth
    axis, and it is left out. None takes what the file has.
    """
    try:
        if path.name.lower().endswith(HDF5):
            with h5py.File(io.BytesIO(read(path))) as file:
                volume = Volume(np.asarray(file[key]))
        elif path.name.lower().endswith(NIFTI):
            content = read(path)
            if path.name.lower().endswith(".gz"):
                content = gzip.decompress(content)  # at once, which holds its checksum
            volume = _from_nifti(nib.nifti1.Nifti1Image.from_bytes(content))
        else:
            volume = _read_by_medpy(path)
    except UserError:
        raise
    except Exception as error:  # libraries raise various exceptions for a damaged file
        reason = first_line(error)
        raise UserError(f"{path}: not a readable volume: {reason}") from None
    array, spacing = volume.array, volume.spacing
    if array.ndim == 4 and array.shape[3] == 1:
        array, spacing = array[..., 0], None if spacing is None else spacing[:3]
    found = array.shape[3] if array.ndim == 4 else 1
    if array.ndim not in (3, 4) or channels not in (None, found):
        wanted = "" if channels in (None, 1) else f" and {channels} channels on a fourth"
        raise UserError(f"{path}: expected a volume of three axes{wanted}, found shape {array.shape}")
    if array.ndim == 4:
        array, spacing = np.moveaxis(array, 3, 0), None if spacing is None else spacing[:3]
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected one number per voxel, found {array.dtype}")
    return Volume(array, volume.orientation, spacing)


def _from_nifti(image: nib.nifti1.Nifti1Image) -> Volume:
    """Bring an image to the closest canonical axes, its spacing with them and in mm."""
    canonical = nib.funcs.as_closest_canonical(image)
    scale = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    sizes = tuple(float(scale * size) for size in nib.affines.voxel_sizes(canonical.affine))
    return Volume(np.asarray(canonical.dataobj), "".join(map(str, nib.orientations.aff2axcodes(image.affine))), sizes)


def _read_by_medpy(path: Path) -> Volume:
    import medpy.io  # here, since SimpleITK is slow to import

    with path.open("rb") as file:
        header = file.read(1 << 14).split(b"\n\n")[0].lower()
    if path.suffix.lower() == ".nrrd" and (b"data file:" in header or b"datafile:" in header):
        raise UserError(
            f"{path}: the voxel data is in a separate file, which is not supported; convert it to a single-file format"
        )
    array, header = medpy.io.load(str(path))
    return Volume(array, spacing=tuple(map(float, header.get_voxel_spacing())))


def scaled(image: np.ndarray, intensity: str, path: Path) -> np.ndarray:
    """Scale a volume's intensities to the networks' input range, float32.

    Raises:
        UserError: they are all equal, or not finite as float32.
    """
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise UserError(f"{path}: expected finite values, found NaN or infinity")
    if intensity == "as-is":
        return image
    mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    if deviation == 0:
        raise UserError(f"{path}: every voxel has the value {mean:g}; zscore needs intensities that differ")
    result: np.ndarray = ((image - mean) / deviation).astype(np.float32)
    return result

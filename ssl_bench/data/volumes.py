"""Reading a 3D data set: which files there are, and one case's voxels from HDF5, NIfTI or what medpy reads."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

from ssl_bench.cards import Benchmark, Volumes
from ssl_bench.data.images import Case, CaseFiles, class_numbers, named, natural, pair_up, require_root
from ssl_bench.errors import UserError, first_line

HDF5 = (".h5", ".hdf5")
NIFTI = (".nii", ".nii.gz")
Read = Callable[[Path], bytes]


def list_volumes(benchmark: Benchmark, data_root: Path | None) -> tuple[Volumes, list[CaseFiles]]:
    """Find the first of a card's layouts that is there, and its cases ordered by id (numbers in ids as numbers).

    Raises:
        UserError: no folder is named or has one of the layouts.
    """
    root = require_root(benchmark, data_root)
    tried = []
    for layout in benchmark.volumes:
        for folder in (root / name for name in layout.roots):
            images = dict(named(folder, layout.images))
            if images and layout.masks is None:
                return layout, [CaseFiles(name, images[name], images[name]) for name in sorted(images, key=natural)]
            if images:
                return layout, pair_up(images, dict(named(folder, str(layout.masks))))
            tried.append(str(folder / layout.images))
    raise UserError(f"--data-root: no volumes of {benchmark.title} found; looked for {', '.join(tried)}")


def read_case(case: CaseFiles, layout: Volumes, classes: int, read: Read = Path.read_bytes) -> Case:
    """Read a case: image (X, Y, Z) float32 with the layout's intensities, mask (X, Y, Z) uint8 class numbers or None.

    `read` gives a file's bytes.

    Raises:
        UserError: a file is unreadable, not 3D or not finite, image and mask differ in shape or orientation, or the
            mask has a value that is no class's.
    """
    image, orientation = read_array(case.image, "image", read)
    intensities = scaled(image, layout.intensity, case.image)
    if case.mask is None:
        return Case(case.id, intensities, None)
    values, mask_orientation = read_array(case.mask, "label", read)
    if values.shape != image.shape:
        raise UserError(f"{case.mask}: expected the shape of its image, {image.shape}, found {values.shape}")
    if mask_orientation != orientation:
        raise UserError(f"{case.mask}: expected the orientation of its image, {orientation}, found {mask_orientation}")
    wanted = layout.mask_values or tuple(range(classes))
    return Case(case.id, intensities, class_numbers(values, wanted, case.mask))


def read_array(path: Path, key: str, read: Read = Path.read_bytes) -> tuple[np.ndarray, str]:
    """Read a volume (X, Y, Z) and the orientation in which its file has it; `key` names it in an HDF5 file.

    A NIfTI volume is brought to the closest canonical axes (right, anterior, superior). `read` gives a file's bytes.
    """
    orientation = ""
    try:
        if path.name.lower().endswith(HDF5):
            with h5py.File(io.BytesIO(read(path))) as file:
                array = np.asarray(file[key])
        elif path.name.lower().endswith(NIFTI):
            content = read(path)
            if path.name.lower().endswith(".gz"):
                content = gzip.decompress(content)  # at once, which holds its checksum
            volume = nib.nifti1.Nifti1Image.from_bytes(content)
            orientation = "".join(map(str, nib.orientations.aff2axcodes(volume.affine)))
            array = np.asarray(nib.funcs.as_closest_canonical(volume).dataobj)
        else:
            array = _read_by_medpy(path)
    except UserError:
        raise
    except Exception as error:  # libraries raise all kinds at a damaged file
        reason = first_line(error)
        raise UserError(f"{path}: not a readable volume: {reason}") from None
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise UserError(f"{path}: expected a volume of three axes, found shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected one number a voxel, found {array.dtype}")
    return array, orientation


def _read_by_medpy(path: Path) -> np.ndarray:
    import medpy.io  # here, since SimpleITK is slow to import

    with path.open("rb") as file:
        header = file.read(1 << 14).split(b"\n\n")[0].lower()
    if path.suffix.lower() == ".nrrd" and (b"data file:" in header or b"datafile:" in header):
        raise UserError(f"{path}: expected the voxels in this file, found that they lie in another one")
    array: np.ndarray = medpy.io.load(str(path))[0]
    return array


def scaled(image: np.ndarray, intensity: str, path: Path) -> np.ndarray:
    """Bring a volume's intensities to what the networks see, float32.

    Raises:
        UserError: they are all equal, or not finite as float32.
    """
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise UserError(f"{path}: expected finite values, found some that are not")
    if intensity == "as-is":
        return image
    mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    if deviation == 0:
        raise UserError(f"{path}: every voxel has the value {mean:g}; zscore needs intensities that differ")
    result: np.ndarray = ((image - mean) / deviation).astype(np.float32)
    return result

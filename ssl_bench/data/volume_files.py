"""The formats of volumes: one file's voxels on canonical axes, and its geometry."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ssl_bench.cards import HDF5, Axes
from ssl_bench.data.geometry import affine_of, axes_of, is_regular, nib, sides_of, turned
from ssl_bench.data.itk_files import itk_reader, read_by_itk
from ssl_bench.errors import UnreadableFileError, UserError, first_line

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".mha", ".mhd")  # read by SimpleITK
Read = Callable[[Path], bytes]


@dataclass(frozen=True)
class Volume:
    """A file's voxels on the closest canonical axes (right, anterior, superior), and where they lie.

    Attributes:
        array: (X, Y, Z), or (C, X, Y, Z) where channels were asked for.
        stored: the axes in the file. RAS in HDF5, which does not name them; LAS in a NIfTI file that names none.
        spacing: distance between neighbouring voxels along X, Y and Z, in mm; None in an HDF5 file.
        affine: (4, 4), from the indices of `array` to RAS in mm; None where the file has no orientation and position:
            HDF5, and NIfTI whose sform and qform codes are 0.
        turned_since: whether versions before NRRD and MHA files were turned gave other voxels.
    """

    array: np.ndarray
    stored: str = "RAS"
    spacing: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    turned_since: bool = False


def read_array(
    path: Path, key: str, read: Read = Path.read_bytes, *, channels: int | None = 1, axes: Axes = "xyz"
) -> Volume:
    """Read a volume and bring it to the closest canonical axes.

    Axes of length 1 after the third are left out.

    Args:
        path: the file.
        key: names the volume in an HDF5 file.
        read: gives a file's bytes.
        channels: expected length of a fourth axis, which becomes the first. 1: there is none. None: any length.
        axes: order of the first three axes in an HDF5 file.

    Raises:
        UserError: the file is unreadable, its voxels have no volume, or it has another shape or type than expected.
    """
    try:
        if path.name.lower().endswith(HDF5):
            with h5py.File(io.BytesIO(read(path))) as file:
                volume = Volume(np.asarray(file[key]))
        elif path.name.lower().endswith(NIFTI):
            volume = _from_nifti(nifti_image(read(path)), path)
        else:
            volume = _from_itk(path)
    except UserError:
        raise
    except KeyError as error:  # an HDF5 file without this key
        raise UserError(f"{path}: not a readable volume: {first_line(error)}") from None
    except Exception as error:  # libraries raise various exceptions for a damaged file
        raise UnreadableFileError(f"{path}: not a readable volume: {first_line(error)}") from None
    array = volume.array
    array = np.squeeze(array, tuple(axis for axis in range(3, array.ndim) if array.shape[axis] == 1))
    found = array.shape[3] if array.ndim == 4 else 1
    if array.ndim not in (3, 4) or channels not in (None, found):
        wanted = "" if channels in (None, 1) else f" and {channels} channels on a fourth"
        raise UserError(f"{path}: expected a volume of three axes{wanted}, found shape {array.shape}")
    if array.ndim == 4:
        array = np.moveaxis(array, 3, 0)
    if axes == "zyx" and path.name.lower().endswith(HDF5):
        array = array.swapaxes(-1, -3)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected one number per voxel, found {array.dtype}")
    return replace(volume, array=array)


def read_plane(path: Path, key: str, read: Read = Path.read_bytes) -> np.ndarray:
    """Read an array of two axes from an HDF5 file.

    Raises:
        UserError: the file is unreadable or has no such array of numbers.
    """
    try:
        with h5py.File(io.BytesIO(read(path))) as file:
            array = np.asarray(file[key])
    except Exception as error:  # the library raises various exceptions for a damaged file
        raise UserError(f"{path}: not a readable slice: {first_line(error)}") from None
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise UserError(f"{path}: {key}: expected numbers along two axes, found {array.dtype} of shape {array.shape}")
    return array


def nifti_image(content: bytes) -> Any:
    """Return the nibabel image in the bytes of a NIfTI-1 or NIfTI-2 file, compressed by gzip or not.

    Raises:
        Exception: of nibabel, gzip or zlib, where the content is damaged.
    """
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)  # at once, which checks its checksum
    second = 540 in (int.from_bytes(content[:4], order) for order in ("little", "big"))  # the length of its header
    kind = nib().Nifti2Image if second else nib().Nifti1Image
    header = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
    for field in ("qform_code", "sform_code"):  # nibabel takes an unknown code for 0, which drops the position
        if int(header[field]) not in range(6):
            raise ValueError(f"expected a {field} from 0 to 5, found {int(header[field])}")
    return kind.from_bytes(content)


def nifti_space(path: Path) -> tuple[Any, np.ndarray, Any]:
    """Return how a NIfTI file in the space of a volume's file is written: nibabel's class, affine and header.

    An HDF5 file has the identity as affine.
    """
    if path.name.lower().endswith(NIFTI):
        image = nifti_image(path.read_bytes())
        return type(image), image.affine, image.header.copy()
    header = nib().Nifti1Header()
    if path.name.lower().endswith(HDF5):
        return nib().Nifti1Image, np.eye(4), header
    affine = _affine_by_itk(itk_reader(path))
    header.set_data_shape((1, 1, 1))
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    return nib().Nifti1Image, affine, header


def _from_nifti(image: Any, path: Path) -> Volume:
    """Bring an image to the closest canonical axes, its spacing and affine with it and in mm."""
    scale = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([scale, scale, scale, 1.0]) @ image.affine
    is_placed = bool(image.header["sform_code"] or image.header["qform_code"])
    return _canonical(np.asarray(image.dataobj), affine, path, is_placed=is_placed)


def _from_itk(path: Path) -> Volume:
    import SimpleITK  # here, since it is slow to import

    image = read_by_itk(path)
    array = SimpleITK.GetArrayViewFromImage(image).copy().T  # (X, Y, Z, ...), and before them the components
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, 0, -1)
    if image.GetDimension() < 3:
        return Volume(array)
    volume = _canonical(array, _affine_by_itk(image), path)
    return replace(volume, turned_since=volume.stored != "RAS" and path.suffix.lower() != ".mhd")


def _affine_by_itk(image: Any) -> np.ndarray:
    return affine_of(image.GetDirection(), image.GetSpacing(), image.GetOrigin())


def _canonical(array: np.ndarray, affine: np.ndarray, path: Path, *, is_placed: bool = True) -> Volume:
    """Bring an array (X, Y, Z, ...) to the closest canonical axes; `is_placed` is whether the file has its affine.

    Raises:
        UserError: the affine is not finite or not invertible.
    """
    if array.ndim < 3:
        return Volume(array)
    if not is_regular(affine):
        raise UserError(f"{path}: expected an affine with three independent axes, found {affine[:3].tolist()}")
    stored = axes_of(affine)
    array, affine = turned(array, affine)
    return Volume(array, stored, sides_of(affine), affine if is_placed else None)

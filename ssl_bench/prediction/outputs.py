"""The files of predicted masks and maps: their names and contents."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_bench.cards import RunSpec
from ssl_bench.data.geometry import turned_back
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.volume_files import nifti_space
from ssl_bench.errors import UserError
from ssl_bench.prediction.inputs import suffix_of

MOST = 65535  # value of a pixel in a grey PNG file


def stems(images: Sequence[CaseFiles], dimensions: int) -> list[str]:
    """Return the name of each image's mask without its suffix.

    It is the image's name, with its folder's name in front if several images have the same name, and with all folders
    in which they differ if those folders have the same name. It is the id of an
    image whose channels have files of their own.
    """
    names = [
        image.id.replace("/", "_") if image.others else image.image.name[: -len(suffix_of(image.image, dimensions))]
        for image in images
    ]
    count = Counter(names)
    parents = [image.image.parent.resolve() for image in images]
    found = [f"{parent.name}_{name}" if count[name] > 1 else name for parent, name in zip(parents, names, strict=True)]
    again = Counter(found)
    if max(again.values(), default=0) < 2:
        return found
    top = Path(os.path.commonpath(parents))
    return [
        "_".join([*parent.relative_to(top).parts, name]) if again[own] > 1 else own
        for parent, name, own in zip(parents, names, found, strict=True)
    ]


def require_free(targets: Sequence[Path], images: Sequence[CaseFiles], overwrite: bool) -> None:
    """Raise UserError if writing would overwrite an output, an input or an existing file."""
    twice = [path for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]}: two outputs would have this name; predict them into different folders")
    inputs = {path.resolve() for image in images for path in image.images}
    for path in targets:
        if path.resolve() in inputs:
            raise UserError(f"--output: {path} is one of the images; name another folder")
        if path.exists() and not overwrite:
            raise UserError(f"--output: {path} exists; --overwrite replaces such files")


def label_values(spec: RunSpec) -> np.ndarray:
    """The value of each class in a mask, in the first type that fits: 2D uint8, uint16, then as in 3D.

    In 3D it is uint8, int16, int32 or int64 (NIfTI).
    """
    low, high = min(spec.label_values), max(spec.label_values)
    kinds = (np.uint8, *((np.uint16,) if spec.dimensions == 2 else ()), np.int16, np.int32, np.int64)
    fitting = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return np.array(spec.label_values, next(fitting))


def require_png(spec: RunSpec, run: Path) -> None:
    """Raise UserError if a class of a 2D run has a value in masks that a PNG file cannot hold."""
    unfit = [value for value in spec.label_values if not 0 <= value <= MOST]
    if unfit:
        raise UserError(
            f"{run}: expected values in masks (mask_values) from 0 to {MOST}, which PNG files hold, found {unfit[0]}; "
            "in Python, load_model gives masks with such values"
        )


def png(pixels: np.ndarray) -> bytes:
    """Encode a mask (H, W) uint8 or uint16 as grey of 8 or 16 bits, or a map of 0 to 1 as grey of 8 bits."""
    content = io.BytesIO()
    grey = (255 * pixels).round().astype(np.uint8) if pixels.dtype.kind == "f" else pixels
    Image.fromarray(grey).save(content, "PNG")
    return content.getvalue()


def nifti(voxels: np.ndarray, image: Path) -> bytes:
    """Encode a mask or map (X, Y, Z) on canonical axes as .nii.gz with the axes and affine of its image.

    The header is that of a NIfTI image. The window of grey values to show is the image's alone.
    """
    kind, affine, header = nifti_space(image)
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    encoded = kind(turned_back(voxels, affine), affine, header).to_bytes()
    return gzip.compress(encoded, compresslevel=1, mtime=0)

"""Masks for new images: applies a finished run's network to 2D images and 3D volumes."""

from __future__ import annotations

import gzip
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ssl_bench.atomic import require_folder, write_bytes, writing
from ssl_bench.cards import VOLUME_SUFFIXES, ExifOrientation, Files, ImageProtocol, RunSpec, VolumeProtocol
from ssl_bench.data.batches import channels_first
from ssl_bench.data.dataset import resize
from ssl_bench.data.geometry import turned_back
from ssl_bench.data.images import natural
from ssl_bench.data.pictures import read_image
from ssl_bench.data.slices import require_axial, to_bytes, to_slices
from ssl_bench.data.volume_files import Volume, nifti_space
from ssl_bench.data.volumes import read_channels
from ssl_bench.errors import UserError
from ssl_bench.method import SSLMethod
from ssl_bench.ops import entropy
from ssl_bench.scoring.inference import BATCH, class_map, image_scores, volume_scores
from ssl_bench.store import RunFolder, spec_of
from ssl_bench.training.device import set_determinism
from ssl_bench.training.job import method_of, trained_method

SUFFIXES = {
    2: Files.model_fields["image_suffixes"].default,
    3: VOLUME_SUFFIXES,
}
ENDING = {2: ".png", 3: ".nii.gz"}


@dataclass(frozen=True)
class Predictor:
    """A network of a finished run with its trained weights, on a device."""

    run: Path
    spec: RunSpec
    name: str
    network: nn.Module
    device: torch.device


def load_predictor(
    folder: Path, methods: dict[str, type[SSLMethod]], device: torch.device, network: str | None = None
) -> Predictor:
    """Build a finished run's networks and load their weights; `network` None takes the method's predictor.

    Raises:
        UserError: the run is not finished, its weights do not fit, its method does not exist in the run's version, or
            the run has no network of that name.
    """
    data = RunFolder(folder).read()
    if data is None or data["status"] != "finished":
        raise UserError(f"{folder}: expected a finished run; `ssl-bench run` with its options continues it")
    spec = spec_of(folder, data)
    method_class, hyper = method_of(folder, spec, methods)
    method = trained_method(RunFolder(folder), spec, method_class, hyper, device)
    name = network or method.predictor_name
    if name not in method.networks:
        raise UserError(f"--network: expected one of {', '.join(method.networks)}; found '{name}'")
    return Predictor(folder, spec, name, method.networks[name], device)


def list_images(named: Sequence[Path], dimensions: int) -> list[Path]:
    """List the images (2D) or volumes (3D) in files and folders, sorted by name in each folder, each file once.

    Raises:
        UserError: a path does not exist, a file has another suffix, or a folder has no image.
    """
    suffixes, kind = SUFFIXES[dimensions], {2: "image", 3: "volume"}[dimensions]
    expected = f"expected {kind}s ({', '.join(suffixes)}) for a run on {dimensions}D data"
    found: dict[Path, Path] = {}
    for path in named:
        if path.is_dir():
            inside = [one for one in path.iterdir() if one.is_file() and not one.name.startswith(".")]
            files = sorted((one for one in inside if _suffix(one, dimensions)), key=lambda one: natural(one.name))
            if not files:
                raise UserError(f"{path}: {expected}, found none in this folder")
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder")
        elif not _suffix(path, dimensions):
            raise UserError(f"{path}: {expected}")
        else:
            files = [path]
        for one in files:
            found.setdefault(one.resolve(), one)
    return list(found.values())


def predict(
    predictor: Predictor,
    images: Sequence[Path],
    output: Path,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    overwrite: bool = False,
    exif_orientation: str = "refuse",
    advance: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a mask for each image, at its own size and with the values of the run's data set.

    2D: `<stem>.png`, 8 bits. 3D: `<stem>.nii.gz` with the axes and affine of the image's file, and the
    header of a NIfTI file. If two images have the same stem, their folder's name is put in front.

    An image is predicted as in the run's scoring. Only the other images of its batch may differ, which may change the
    last bits of a logit.

    Args:
        predictor: the network.
        images: as `list_images` gives them.
        output: the folder to write to.
        probabilities: write `<stem>_prob_<class>` too for each foreground class: the softmax, in 2D as grey levels
            (255 is 1), in 3D the windows' mean as float32.
        uncertainty: write `<stem>_uncertainty` too, in the same format: the softmax's entropy divided by ln K, 0 to 1.
        overwrite: replace output files that exist.
        exif_orientation: 2D images with an EXIF orientation are turned as viewers show them (apply), read as stored
            (ignore) or refused; a mask has the sides of its image as it is read.
        advance: called with (done, total).

    Returns:
        The masks, in the order of the images.

    Raises:
        UserError: two outputs or an image and an output are one file, an output exists or cannot be written, or an
            image cannot be read. All but the last two are found before anything is written.
    """
    if exif_orientation not in get_args(ExifOrientation):
        expected = ", ".join(get_args(ExifOrientation))
        raise UserError(f"--exif-orientation: expected one of {expected}; found '{exif_orientation}'")
    set_determinism()
    spec = predictor.spec
    labels = [re.sub(r"[^\w.-]+", "-", label) for label in spec.classes[1:] if probabilities]
    endings = ["", *(f"_prob_{label}" for label in labels), *(["_uncertainty"] if uncertainty else [])]
    stems = _stems(images, spec.dimensions)
    targets = [[output / f"{stem}{ending}{ENDING[spec.dimensions]}" for ending in endings] for stem in stems]
    require_folder("--output", output)
    _require_free([path for paths in targets for path in paths], images, overwrite)
    scored = _scores(predictor, images, exif_orientation)
    for done, (image, paths, scores) in enumerate(zip(images, targets, scored, strict=True), 1):
        probability = scores.softmax(0) if isinstance(spec.protocol, ImageProtocol) else scores
        maps = [_label_values(spec)[class_map(scores, spec.protocol)]]
        maps += [one.cpu().numpy() for one in probability[1:] if probabilities]
        if uncertainty:
            maps.append((entropy(probability[None])[0] / math.log(len(probability))).cpu().numpy())
        for path, pixels in zip(paths, maps, strict=True):
            content = _png(pixels) if spec.dimensions == 2 else _nifti(pixels, image)
            with writing("--output", output):
                write_bytes(path, content)
        if advance is not None:
            advance(done, len(images))
    return [paths[0] for paths in targets]


def _suffix(path: Path, dimensions: int) -> str:
    """The suffix of a known format in lower case; empty for other formats."""
    return next((suffix for suffix in SUFFIXES[dimensions] if path.name.lower().endswith(suffix)), "")


def _stems(images: Sequence[Path], dimensions: int) -> list[str]:
    """Each image's name without its suffix, with its folder's name in front if several images have the same name."""
    stems = [path.name[: -len(_suffix(path, dimensions))] for path in images]
    count = Counter(stems)
    return [
        f"{path.parent.resolve().name}_{stem}" if count[stem] > 1 else stem
        for path, stem in zip(images, stems, strict=True)
    ]


def _require_free(targets: Sequence[Path], images: Sequence[Path], overwrite: bool) -> None:
    """Raise UserError if writing would overwrite an output, an input or an existing file."""
    twice = [path for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]}: two outputs would have this name; predict them into different folders")
    inputs = {path.resolve() for path in images}
    for path in targets:
        if path.resolve() in inputs:
            raise UserError(f"--output: {path} is one of the images; name another folder")
        if path.exists() and not overwrite:
            raise UserError(f"--output: {path} exists; --overwrite replaces such files")


def _scores(predictor: Predictor, images: Sequence[Path], exif: str) -> Iterator[Tensor]:
    """Yield each image's logits (K, H, W), or of each volume on canonical axes the logits or the mean softmax.

    A volume's are (K, X, Y, Z): logits where the network sees slices, else the mean softmax.
    """
    spec, network, device = predictor.spec, predictor.network, predictor.device
    protocol, channels = spec.protocol, spec.channel_count
    if isinstance(protocol, VolumeProtocol):
        volumes = (_read_volume(spec, path, spec.intensity).array for path in images)
        yield from volume_scores(network, volumes, protocol, device)
        return
    if spec.slice_window is not None:
        for path in images:
            volume = _read_volume(spec, path, "as-is")
            require_axial(volume.spacing, path)
            yield _by_slices(predictor, to_slices(to_bytes(volume.array, spec.slice_window, path)), protocol)
        return
    if channels not in (1, 3):
        raise UserError(
            f"predict: expected a run on images of 1 or 3 channels in one file, found {channels} in separate files"
        )
    for start in range(0, len(images), BATCH):
        pixels = [_read(path, channels, exif) for path in images[start : start + BATCH]]
        squares = channels_first(np.stack([resize(one, protocol.augment_size) for one in pixels]))
        sizes = [(one.shape[0], one.shape[1]) for one in pixels]
        yield from image_scores(network, squares, sizes, protocol, device)


def _read_volume(spec: RunSpec, path: Path, intensity: str) -> Volume:
    """Read a volume as the run's training volumes were read.

    Raises:
        UserError: the file cannot be read; or the run was trained on HDF5 files with the slices first, which name no
            axes, and the file's axes were turned.
    """
    volume = read_channels([path], spec.channel_count, intensity, axes=spec.axes or "xyz")
    if spec.axes is not None and volume.stored != "RAS":
        raise UserError(
            f"{path}: expected an HDF5 file as in training, or axes RAS, found {volume.stored}; nothing says how the "
            "training arrays lie, so turning it could mirror it"
        )
    return volume


def _by_slices(predictor: Predictor, slices: np.ndarray, protocol: ImageProtocol) -> Tensor:
    """The logits (K, X, Y, Z) of slices (Z, Y, X, C) uint8."""
    squares = channels_first(np.stack([resize(one, protocol.augment_size) for one in slices]))
    sizes = repeat(slices.shape[1:3], len(slices))
    logits = image_scores(predictor.network, squares, sizes, protocol, predictor.device)
    return torch.stack([one.mT for one in logits], dim=-1)


def _read(path: Path, channels: int, exif: str) -> np.ndarray:
    try:
        return read_image(path, path.read_bytes(), channels, exif)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _label_values(spec: RunSpec) -> np.ndarray:
    """The value of each class in a mask, in the smallest type of uint8, int16 and int32 that fits (NIfTI, PNG)."""
    low, high = min(spec.label_values), max(spec.label_values)
    fitting = (t for t in (np.uint8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return np.array(spec.label_values, next(fitting))


def _png(pixels: np.ndarray) -> bytes:
    """Encode a mask (H, W) uint8, or a map of 0 to 1, as 8-bit grey."""
    content = io.BytesIO()
    grey = (255 * pixels).round().astype(np.uint8) if pixels.dtype.kind == "f" else pixels
    Image.fromarray(grey).save(content, "PNG")
    return content.getvalue()


def _nifti(voxels: np.ndarray, image: Path) -> bytes:
    """Encode a mask or map (X, Y, Z) on canonical axes as .nii.gz with the axes and affine of its image.

    The header is that of a NIfTI image. The window of grey values to show is the image's alone.
    """
    kind, affine, header = nifti_space(image)
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    encoded = kind(turned_back(voxels, affine), affine, header).to_bytes()
    return gzip.compress(encoded, compresslevel=1, mtime=0)

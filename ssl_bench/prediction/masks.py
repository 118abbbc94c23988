"""Predicts masks: reads images as the run's training images were read, and writes what the network says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from ssl_bench.atomic import require_folder, write_bytes, writing
from ssl_bench.cards import Axes, ExifOrientation, Files, RunSpec, Volumes
from ssl_bench.data.arrays import holds_arrays, read_array_2d
from ssl_bench.data.images import CaseFiles, pair
from ssl_bench.data.slices import require_axial
from ssl_bench.data.volumes import read_channels
from ssl_bench.errors import UserError
from ssl_bench.ops import entropy
from ssl_bench.prediction.axes import Turn, require_array_axes, turn_of
from ssl_bench.prediction.ensemble import require_alike
from ssl_bench.prediction.outputs import label_values, nifti, png, require_free, require_png, stems
from ssl_bench.prediction.predictor import Predictor, Reading
from ssl_bench.prediction.scores import Flip, Scores, flips_of, mean_of, pixel_scores, voxel_scores
from ssl_bench.scoring.inference import BATCH, class_map
from ssl_bench.training.device import set_determinism

ENDING = {2: ".png", 3: ".nii.gz"}
PICTURES = Files.model_validate({"roots": ["."], "images": "{id}", "masks": "{id}"})  # if no layout says more


def predict(
    predictors: Sequence[Predictor],
    images: Sequence[CaseFiles],
    output: Path,
    *,
    tta: str | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    overwrite: bool = False,
    exif_orientation: str | None = None,
    array_axes: str | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a mask for each image, at its own size and with the values of the run's data set.

    2D: `<stem>.png`, 8 bits, or 16 bits if a value is above 255. 3D: `<stem>.nii.gz` with the axes and affine of the
    image's file, and the header of a NIfTI file. If two images have the same stem, their folder's name is put in front,
    or all folders in which they differ.

    An image is predicted as in the run's scoring. Only the other images of its batch may differ, which may change the
    last bits of a logit. With several networks or flips, a mask has the class with the largest mean probability; each
    network sees the intensities as its own run did, and the mean is taken at the image's own size.

    Args:
        predictors: the network, or several whose probabilities are averaged; the first one's run names the outputs'
            values and says how images lie in their files (EXIF orientation, order of the axes in HDF5 files).
        images: as `list_images` gives them.
        output: the folder to write to.
        tta: "flips": also average over the image flipped left to right, top to bottom, and both; a volume along x, y
            and both. None: the image as it is.
        probabilities: write `<stem>_prob_<class>` too for each foreground class: the softmax, in 2D as grey levels
            (255 is 1), in 3D the windows' mean as float32; of several networks or flips their mean.
        uncertainty: write `<stem>_uncertainty` too, in the same format: the entropy of these probabilities divided by
            ln K, 0 to 1.
        overwrite: replace output files that exist.
        exif_orientation: 2D images with an EXIF orientation are turned as viewers show them (apply), read as stored
            (ignore) or refused; a mask has the sides of its image as it is read. None: as the first run's card says.
        array_axes: axes such as LPS of arrays whose files name none, where the training files name them and an image
            does not, or the reverse; "as-stored" turns nothing.
        advance: called with (done, total).

    Returns:
        The masks, in the order of the images.

    Raises:
        UserError: the networks' runs are not alike (`require_alike`), a PNG file cannot hold a class's value, two
            outputs or an image and an output are one file, an output exists or cannot be written, nothing says how an
            image lies, or an image cannot be read. All but writing and reading errors are found
            before anything is written.
    """
    if exif_orientation not in (None, *get_args(ExifOrientation)):
        expected = ", ".join(get_args(ExifOrientation))
        raise UserError(f"--exif-orientation: expected one of {expected}; found '{exif_orientation}'")
    flips = flips_of(tta)
    require_alike(predictors)
    set_determinism()
    spec = predictors[0].spec
    require_array_axes(array_axes, predictors[0].reading.axes, spec.dimensions, (one.image for one in images))
    labels = [re.sub(r"[^\w.-]+", "-", label) for label in spec.classes[1:] if probabilities]
    endings = ["", *(f"_prob_{label}" for label in labels), *(["_uncertainty"] if uncertainty else [])]
    if spec.dimensions == 2:
        require_png(spec, predictors[0].run)
        exif_orientation = files_of(predictors[0].reading, exif_orientation).exif_orientation
    names = stems(images, spec.dimensions)
    targets = [[output / f"{name}{ending}{ENDING[spec.dimensions]}" for ending in endings] for name in names]
    require_folder("--output", output)
    require_free([path for paths in targets for path in paths], images, overwrite)
    streams = [
        _volumes_scores(one, images, spec.axes or "xyz", array_axes, flips)
        if spec.dimensions == 3
        else _images_scores(one, images, exif_orientation, flips)
        for one in predictors
    ]
    for done, (image, paths, parts) in enumerate(zip(images, targets, zip(*streams, strict=True), strict=True), 1):
        scores, turn = mean_of((own for own, _ in parts), len(parts)), parts[0][1]
        probability = scores.probabilities
        maps = [label_values(spec)[class_map(scores.values, spec.protocol)]]
        maps += [one.cpu().numpy() for one in probability[1:] if probabilities]
        if uncertainty:
            maps.append((entropy(probability[None])[0] / math.log(len(probability))).cpu().numpy())
        for path, pixels in zip(paths, maps, strict=True):
            content = png(pixels) if spec.dimensions == 2 else nifti(turn.back(pixels), image.image)
            with writing("--output", output):
                write_bytes(path, content)
        if advance is not None:
            advance(done, len(images))
    return [paths[0] for paths in targets]


def _volumes_scores(
    predictor: Predictor, images: Sequence[CaseFiles], axes: Axes, array_axes: str | None, flips: Sequence[Flip]
) -> Iterator[tuple[Scores, Turn]]:
    """Yield each volume's scores (K, X, Y, Z), and how it was turned for the network; `axes` are of HDF5 files."""
    spec = predictor.spec
    for image in images:
        intensity = "as-is" if spec.slice_window is not None else spec.intensity
        volume = read_channels(image.images, spec.channel_count, intensity, axes=axes)
        turn = turn_of(image.image, volume.stored, predictor.reading.axes, array_axes)
        if spec.slice_window is not None:
            require_axial(turn.sides(volume.spacing), image.image)
        yield voxel_scores(predictor, turn.onto(volume.array), image.image, flips), turn


def _images_scores(
    predictor: Predictor, images: Sequence[CaseFiles], exif: str | None, flips: Sequence[Flip]
) -> Iterator[tuple[Scores, Turn]]:
    """Yield each image's scores (K, H, W), and that it was not turned."""
    files = files_of(predictor.reading, exif)
    for image in images:
        _require_readable(image, predictor.spec, predictor.reading)
    for start in range(0, len(images), BATCH):
        pixels = [_read(image, files, predictor) for image in images[start : start + BATCH]]
        yield from ((scores, Turn()) for scores in pixel_scores(predictor, pixels, flips))


def files_of(reading: Reading, exif: str | None) -> Files:
    """The layout by which 2D images are read, with another treatment of EXIF orientations if one is given."""
    assert not isinstance(reading.layout, Volumes), "a 2D run has no volumes"
    files = reading.layout or PICTURES
    return files if exif is None else files.model_copy(update={"exif_orientation": exif})


def _require_readable(image: CaseFiles, spec: RunSpec, reading: Reading) -> None:
    """Check that the run's record says how an image of these formats is read.

    Raises:
        UserError: it has a file for all channels where each needs one, or levels that have no known meaning: an array,
            or a picture where the card's `intensity_range` read arrays alone.
    """
    in_array, is_one_file = holds_arrays(image.image), not image.others
    if in_array and reading.layout is None:
        raise UserError(
            f"{image.image}: the run's record (of an earlier version) does not say how arrays were read; expected a "
            "picture"
        )
    if is_one_file and not in_array and reading.channel_names:
        raise UserError(
            f"{image.image}: expected a folder of images with a file for each channel "
            f"({', '.join(reading.channel_names)}), found one file; --pattern names their files"
        )
    _require_arrays(image, reading)
    if is_one_file and not in_array and spec.channel_count not in (1, 3):
        raise UserError(
            f"{image.image}: expected an image of {spec.channel_count} channels; the run's record (of an earlier "
            "version) does not name the channels' files"
        )


def _require_arrays(image: CaseFiles, reading: Reading) -> None:
    """Raise UserError for a picture if the run's card has an `intensity_range` and no pictures."""
    layout = reading.layout
    if not isinstance(layout, Files) or layout.intensity_range is None:
        return
    known = tuple(suffix.lower() for suffix in layout.image_suffixes)
    for path in image.images:
        if not holds_arrays(path) and not path.name.lower().endswith(known):
            low, high = layout.intensity_range
            raise UserError(
                f"{path}: expected an array in HDF5 or NPZ, as the run's card has intensity_range = "
                f"[{low:g}, {high:g}]; found a picture"
            )


def require_named_channels(where: Path | str, array: np.ndarray, names: Sequence[str]) -> None:
    """Raise UserError for an array without all channels that have a name: a grey array is none of them."""
    if names and (array.ndim != 3 or array.shape[2] != len(names)):
        raise UserError(
            f"{where}: expected (height, width, {len(names)}), the channels {', '.join(names)}; found {array.shape}"
        )


def _read(image: CaseFiles, files: Files, predictor: Predictor) -> np.ndarray:
    """Read an image as in training: (H, W, C) uint8."""
    try:
        contents = [path.read_bytes() for path in image.images]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if holds_arrays(image.image) and not image.others:
        array = read_array_2d(image.image, contents[0], files.image_key)
        require_named_channels(f"{image.image}: {files.image_key}", array, predictor.reading.channel_names)
    return pair(image, contents, (), files, predictor.spec.channel_count).image

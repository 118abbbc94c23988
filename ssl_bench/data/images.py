"""Reading a 2D data set in its published layout: which files there are, and one case's pixels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ssl_bench.cards import Benchmark, Files, Volumes
from ssl_bench.data.arrays import holds_arrays, image_of_array, read_array_image, read_array_mask
from ssl_bench.data.patterns import bracket_hint, has_wildcards, literal, named, require_one_folder, require_one_id
from ssl_bench.data.pictures import Palettes, exif_orientation, read_deep_image, read_image, read_mask, united
from ssl_bench.errors import UserError


@dataclass(frozen=True)
class CaseFiles:
    """One case's files; `mask` is None where it is missing. The id is in the Unicode normal form NFC.

    `image` holds the image, or its first channel if each channel has a file; `others` are the other channels' files.
    `more_masks` are those that are united with `mask`.
    `is_stack` says that they are the slices of a volume instead, in order, each with its image and mask.
    """

    id: str
    image: Path
    mask: Path | None
    others: tuple[Path, ...] = ()
    more_masks: tuple[Path, ...] = ()
    is_stack: bool = False

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of the image."""
        return (self.image, *self.others)

    @property
    def masks(self) -> tuple[Path, ...]:
        """The files of the mask."""
        return () if self.mask is None else (self.mask, *self.more_masks)


@dataclass(frozen=True)
class Case:
    """One case's pixels or voxels; `mask` is None for truly unlabelled data.

    2D: image (H, W, C) uint8, mask (H, W). 3D: image (X, Y, Z) float32, or (C, X, Y, Z) of several channels, and mask
    (X, Y, Z). Masks are class numbers or IGNORED, uint8. `spacing` is the distance between neighbouring voxels along
    each axis in mm; None where the format has none. `palette` is the colour of each palette index of a mask that is
    read by index; `was_turned` is whether earlier versions gave other axes: see `Volume`.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray | None
    spacing: tuple[float, ...] | None = None
    palette: Mapping[int, str] = field(default_factory=dict)
    was_turned: bool = False


def list_cases(benchmark: Benchmark, data_root: Path | None) -> list[CaseFiles]:
    """Find a data set's images and masks, ordered by id (numbers in ids as numbers).

    Raises:
        UserError: no folder is named or has the card's layout, or two images or masks with one id.
    """
    files = benchmark.files
    assert files is not None, "only a 2D data set in files has them"
    root = _locate(files, benchmark, require_root(benchmark, data_root))
    channels = channel_files(files, root, benchmark.channel_names)
    return pair_files(files, root, channels, mask_files(files, root), ("image_suffixes", "mask_suffixes"))


def channel_files(layout: Files | Volumes, root: Path, names: Sequence[str]) -> list[list[tuple[str, Path]]]:
    """The files of each channel below a root with their ids, or the image files if an image is one file."""
    suffixes = layout.image_suffixes if isinstance(layout, Files) else ("",)
    return [named(root, pattern, suffixes, layout.exclude) for pattern in channel_patterns(layout.images, names)]


def mask_files(layout: Files | Volumes, root: Path) -> list[tuple[str, Path]]:
    """The files of masks below a root with their ids; none without a pattern of masks."""
    if layout.masks is None:
        return []
    suffixes = (layout.mask_suffixes or layout.image_suffixes) if isinstance(layout, Files) else ("",)
    return named(root, layout.masks, suffixes, layout.exclude)


def masks_without_image(layout: Files | Volumes, cases: Sequence[CaseFiles]) -> list[tuple[str, Path]]:
    """The masks of a layout that are no case's, with their ids.

    Args:
        layout: with the patterns.
        cases: that were found by it.
    """
    image = next((case.image for case in cases if not case.is_stack), None)
    if image is None:
        return []
    used = {path for case in cases for path in case.masks}
    root = image.parents[layout.images.count("/")]
    return [(name, path) for name, path in mask_files(layout, root) if path not in used]


def channel_patterns(pattern: str, channels: Sequence[str]) -> list[str]:
    """The pattern of each channel's files, or of the image files if an image is one file."""
    return [pattern.replace("{channel}", literal(channel)) for channel in channels] or [pattern]


def pair_files(
    layout: Files | Volumes,
    root: Path,
    channels: Sequence[Sequence[tuple[str, Path]]],
    masks: Sequence[tuple[str, Path]],
    suffixes: tuple[str, str] = ("", ""),
) -> list[CaseFiles]:
    """List the cases of files with ids, ordered by id; a mask is no image, even if the images' pattern fits it.

    Without a pattern of masks, each image's file holds its mask.

    Args:
        layout: with the patterns.
        root: where the files were looked for.
        channels: each channel's files, or the images if an image is one file.
        masks: files of masks.
        suffixes: the card's fields that choose one of several suffixes of images and of masks.

    Raises:
        UserError: as in `pair_up`; two images or (without `masks_united`) two masks have one id; a file fits several
            ids; or image and mask lie in different folders.
    """
    among = {path for _, path in masks}
    left = [[(name, path) for name, path in files if path not in among] for files in channels]
    if layout.masks is not None:
        require_one_id(masks, layout.masks, root, {name for name, _ in left[0]})
        if has_wildcards(layout.images):
            require_one_id(left[0], layout.images.replace("{channel}", "*"), root, {name for name, _ in masks})
    images, *others = [_by_id(files, "images", suffixes[0]) for files in left]
    if layout.masks is None:
        return [replace(case, mask=case.image) for case in pair_up(images, {}, others)]
    all_masks: dict[str, list[Path]] = {}
    for name, path in masks:
        all_masks.setdefault(name, []).append(path)
    first = {name: paths[0] for name, paths in all_masks.items()}
    cases = pair_up(images, first if layout.masks_united else _by_id(masks, "masks", suffixes[1]), others)
    if layout.masks_united:
        more = {paths[0]: tuple(paths[1:]) for paths in all_masks.values()}
        cases = [case if case.mask is None else replace(case, more_masks=more[case.mask]) for case in cases]
    require_one_folder(layout.images, layout.masks, ((case.image, mask) for case in cases for mask in case.masks))
    return cases


def pair_up(
    images: Mapping[str, Path], masks: Mapping[str, Path], others: Sequence[Mapping[str, Path]] = ()
) -> list[CaseFiles]:
    """Give each image the mask of its id; masks in the images' folder are not counted as images.

    Args:
        images: by id; the first channel's where each has files of its own.
        masks: by id.
        others: the other channels' files.

    Raises:
        UserError: an image lacks a channel.
    """
    among = set(masks.values())
    cases = [name for name in images if images[name] not in among]
    for name in cases:
        found = [channel.get(name) for channel in others]
        if None in found:
            count = 1 + len(found) - found.count(None)
            raise UserError(f"{images[name]}: expected {1 + len(others)} channels of case '{name}', found {count}")
    return [
        CaseFiles(name, images[name], masks.get(name), tuple(channel[name] for channel in others))
        for name in sorted(cases, key=natural)
    ]


def folder_of(cases: Sequence[CaseFiles]) -> Path:
    """The innermost folder that holds all images."""
    return Path(os.path.commonpath([case.image.parent for case in cases]))


def pair(case: CaseFiles, images: Sequence[bytes], masks: Sequence[bytes], files: Files, channels: int = 3) -> Case:
    """Decode a case and check that its image (or its channels' images) and its masks have the same size."""
    planes = [
        _read_image(path, content, channels if len(images) == 1 else 1, files)
        for path, content in zip(case.images, images, strict=True)
    ]
    for path, plane in zip(case.images, planes, strict=True):
        if plane.shape != planes[0].shape:
            expected, found = _size(planes[0]), _size(plane)
            raise UserError(f"{path}: expected the size of the first channel, {expected} pixels, found {found}")
    image = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    if case.mask is None:
        return Case(case.id, image, None)
    palettes, numbers = Palettes(), []
    for path, content in zip(case.masks, masks, strict=True):
        mask, palette = (
            (read_array_mask(path, content, files), {}) if holds_arrays(path) else read_mask(path, content, files)
        )
        palettes.note(path, palette)
        if image.shape[:2] != mask.shape:
            expected, found = _size(image), _size(mask)
            raise UserError(f"{path}: expected the size of its image, {expected} pixels, found {found}{_turn(case)}")
        numbers.append(mask)
    return Case(case.id, image, united(numbers, case.masks), palette=palettes.colors)


def _turn(case: CaseFiles) -> str:
    """What an error about sizes says of an image with an EXIF orientation."""
    turn = 1 if holds_arrays(case.image) else exif_orientation(case.image)
    return "" if turn == 1 else f"; the image has EXIF orientation {turn}: exif_orientation on the card may be wrong"


def _read_image(path: Path, content: bytes, channels: int, files: Files) -> np.ndarray:
    if holds_arrays(path):
        return read_array_image(path, content, files, channels)
    if files.intensity_range is not None:
        return image_of_array(str(path), read_deep_image(path, content, files.exif_orientation), files, channels)
    return read_image(path, content, channels, files.exif_orientation)


def require_root(benchmark: Benchmark, data_root: Path | None) -> Path:
    """Return the data root, which a data set in files requires."""
    if data_root is None:
        raise UserError(
            f"--data-root: expected the folder that holds {benchmark.title}, found none; SSL_BENCH_DATA sets it too"
        )
    if not data_root.is_dir():
        raise UserError(f"--data-root: no folder at {data_root}")
    return data_root


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that orders 2 before 10."""
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _locate(files: Files, benchmark: Benchmark, data_root: Path) -> Path:
    candidates = [data_root / root for root in files.roots]
    for candidate in candidates:
        pattern = channel_patterns(files.images, benchmark.channel_names)[0]
        if named(candidate, pattern, files.image_suffixes, files.exclude):
            return candidate
    tried = ", ".join(str(candidate / files.images) + ".*" for candidate in candidates)
    hint = bracket_hint(files.images)
    raise UserError(f"--data-root: no images of {benchmark.title} found; looked for {tried}{hint}")


def _by_id(files: Iterable[tuple[str, Path]], kind: str, suffixes: str = "") -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in files:
        if name in found:
            hint = f"; if they differ in their suffix, {suffixes} in the card's [files] chooses one" if suffixes else ""
            hint += "; masks_united on the card unites several masks of an image" if kind == "masks" else ""
            raise UserError(f"{path}: two {kind} have the id '{name}'; the other one is {found[name]}{hint}")
        found[name] = path
    return found

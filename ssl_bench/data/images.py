"""Reading a 2D data set in its published layout: which files there are, and one case's pixels."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_bench.cards import Benchmark, Files
from ssl_bench.data.pictures import read_image, read_mask
from ssl_bench.errors import UserError


@dataclass(frozen=True)
class CaseFiles:
    """One case's files; `mask` is None where it is missing.

    `image` holds the image, or its first channel if each channel has a file; `others` are the other channels' files.
    `is_stack` says that they are the slices of a volume instead, in order, each with its image and mask.
    """

    id: str
    image: Path
    mask: Path | None
    others: tuple[Path, ...] = ()
    is_stack: bool = False

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of the image."""
        return (self.image, *self.others)


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
    images, *others = [
        _by_id(named(root, pattern, files.image_suffixes), "images", "image_suffixes")
        for pattern in channel_patterns(files.images, benchmark.channel_names)
    ]
    masks = _by_id(named(root, files.masks, files.mask_suffixes or files.image_suffixes), "masks", "mask_suffixes")
    return pair_up(images, masks, others)


def channel_patterns(pattern: str, channels: Sequence[str]) -> list[str]:
    """The pattern of each channel's files, or of the image files if an image is one file."""
    return [pattern.replace("{channel}", channel) for channel in channels] or [pattern]


def pair_up(
    images: Mapping[str, Path], masks: Mapping[str, Path], others: Sequence[Mapping[str, Path]] = ()
) -> list[CaseFiles]:
    """Give each image the mask of its id; masks in the images' folder are not counted as images.

    Args:
        images: by id; the first channel's where each has files of its own.
        masks: by id.
        others: the other channels' files.

    Ids are compared in one Unicode normal form (NFC). A case has its id as in the name of the image.

    Raises:
        UserError: an image lacks a channel, or two files have ids that differ in their normal forms alone.
    """
    among = set(masks.values())
    cases = [name for name in images if images[name] not in among]
    _composed({name: images[name] for name in cases})
    masks, others = _composed(masks), [_composed(channel) for channel in others]
    for name in cases:
        found = [channel.get(_nfc(name)) for channel in others]
        if None in found:
            count = 1 + len(found) - found.count(None)
            raise UserError(f"{images[name]}: expected {1 + len(others)} channels of case '{name}', found {count}")
    return [
        CaseFiles(name, images[name], masks.get(_nfc(name)), tuple(channel[_nfc(name)] for channel in others))
        for name in sorted(cases, key=natural)
    ]


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _composed(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return files by id in the normal form NFC.

    Raises:
        UserError: two files have the same id in this form.
    """
    return _by_id(((_nfc(name), path) for name, path in files.items()), "files")


def folder_of(cases: Sequence[CaseFiles]) -> Path:
    """The innermost folder that holds all images."""
    return Path(os.path.commonpath([case.image.parent for case in cases]))


def named(folder: Path, pattern: str, suffixes: Sequence[str] = ("",)) -> list[tuple[str, Path]]:
    """Find the files of a pattern with their ids, ordered by path; what is hidden does not count.

    Args:
        folder: where to look.
        pattern: relative path in which {id} stands for the case's id, the same wherever it stands. It may have another
            Unicode normal form than the names of the files.
        suffixes: what may follow, in small or capital letters.

    """
    first, *others = pattern.split("{id}")
    ends = "|".join(map(re.escape, suffixes))
    text = re.escape(first) + "(?P<id>[^/.][^/]*)" + "(?P=id)".join(map(re.escape, others))
    wanted, composed = (re.compile(f"{form}(?i:{ends})") for form in (text, _nfc(text)))
    found = []
    broad = "*".join(map(_broad, (first, *others))).rstrip("*") + "*"
    for path in sorted(folder.glob(broad)):
        name = path.relative_to(folder).as_posix()
        match = wanted.fullmatch(name) or composed.fullmatch(_nfc(name))
        if match:
            found.append((match["id"], path))
    return found


def _broad(part: str) -> str:
    """Return a glob pattern of a part of a path, in which accented letters have either Unicode normal form."""
    decomposed = unicodedata.normalize("NFD", part)
    return "*".join(map(glob.escape, re.split(r"[^/]?[^/\x00-\x7f]+", decomposed)))


def pair(case: CaseFiles, images: Sequence[bytes], mask_bytes: bytes | None, files: Files, channels: int = 3) -> Case:
    """Decode a case and check that its image (or its channels' images) and mask have the same size."""
    planes = [
        read_image(path, content, channels if len(images) == 1 else 1, files.exif_orientation)
        for path, content in zip(case.images, images, strict=True)
    ]
    for path, plane in zip(case.images, planes, strict=True):
        if plane.shape != planes[0].shape:
            expected, found = _size(planes[0]), _size(plane)
            raise UserError(f"{path}: expected the size of the first channel, {expected} pixels, found {found}")
    image = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    if case.mask is None or mask_bytes is None:
        return Case(case.id, image, None)
    mask, palette = read_mask(case.mask, mask_bytes, files)
    if image.shape[:2] != mask.shape:
        expected, found = _size(image), _size(mask)
        raise UserError(f"{case.mask}: expected the size of its image, {expected} pixels, found {found}")
    return Case(case.id, image, mask, palette=palette)


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
        if named(candidate, channel_patterns(files.images, benchmark.channel_names)[0], files.image_suffixes):
            return candidate
    tried = ", ".join(str(candidate / files.images) + ".*" for candidate in candidates)
    raise UserError(f"--data-root: no images of {benchmark.title} found; looked for {tried}")


def _by_id(files: Iterable[tuple[str, Path]], kind: str, suffixes: str = "") -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in files:
        if name in found:
            hint = f"; if they differ in their suffix, {suffixes} in the card's [files] chooses one" if suffixes else ""
            raise UserError(f"{path}: two {kind} have the id '{name}'; the other one is {found[name]}{hint}")
        found[name] = path
    return found

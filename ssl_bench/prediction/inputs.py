"""Which images `predict` takes: named files, and those of folders."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ssl_bench.cards import ARRAYS, VOLUME_SUFFIXES, Files, Volumes, require_pattern
from ssl_bench.command import quantity, quoted
from ssl_bench.data.images import CaseFiles, channel_files, channel_patterns, mask_files, natural, pair_files
from ssl_bench.data.patterns import is_excluded, literal, named
from ssl_bench.errors import UserError
from ssl_bench.prediction.predictor import Reading

log = logging.getLogger(__name__)

SUFFIXES = {
    2: (*Files.model_fields["image_suffixes"].default, *ARRAYS),
    3: VOLUME_SUFFIXES,
}
KIND = {2: "image", 3: "volume"}


def suffix_of(path: Path, dimensions: int) -> str:
    """The suffix of a known format in lower case, the longest that fits; empty for other formats."""
    fitting = [suffix for suffix in SUFFIXES[dimensions] if path.name.lower().endswith(suffix)]
    return max(fitting, key=len, default="")


def list_images(
    paths: Sequence[Path], reading: Reading, dimensions: int, pattern: str | None = None
) -> list[CaseFiles]:
    """List the images (2D) or volumes (3D) in files and folders, sorted by name in each folder, each once.

    With `pattern`, a folder's images are the files of this pattern, as on a card. Without it they are

    - the images of the run's card, if each channel has a file or the folder holds no images itself,
    - otherwise all images in the folder itself, apart from masks and files that the run's card excludes.

    What lies in a folder and is not taken is logged in one line.

    Raises:
        UserError: a path does not exist, a file has another suffix, a folder has no image, an image lacks a channel,
            or the pattern is none.
    """
    if pattern is not None:
        _require_channels(pattern, reading.channel_names)
        if not any(path.is_dir() for path in paths):
            raise UserError("--pattern: expected a folder among the images, in which it names files; found none")
    expected = f"expected {KIND[dimensions]}s ({', '.join(SUFFIXES[dimensions])}) for a run on {dimensions}D data"
    found: dict[tuple[Path, ...], CaseFiles] = {}
    masks: dict[Path, set[Path]] = {}  # by folder
    for path in paths:
        if path.is_dir():
            if pattern is None:
                cases, masks[path] = _of_folder(path, reading, dimensions)
            else:
                cases = _of_pattern(path, pattern, reading, dimensions)
            if not cases:
                raise UserError(f"{path}: {expected}, found none{_advice(path, pattern, reading, dimensions)}")
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder")
        elif not suffix_of(path, dimensions):
            raise UserError(f"{path}: {expected}")
        else:
            cases = [_single(path)]
        for case in cases:
            found.setdefault(tuple(file.resolve() for file in case.images), case)
    taken = {path for files in found for path in files}
    for folder, own in masks.items():
        _tell_what_is_left(folder, taken, own, bool(reading.channel_names), dimensions)
    return list(found.values())


def _single(path: Path) -> CaseFiles:
    return CaseFiles(path.stem, path, None)


def _require_channels(pattern: str, channels: Sequence[str]) -> None:
    try:
        require_pattern(pattern)
    except ValueError as error:
        raise UserError(f"--pattern {pattern}: {error}") from None
    if ("{channel}" in pattern) != bool(channels):
        found = f"a file for each of {', '.join(channels)}" if channels else "one file for an image"
        raise UserError(f"--pattern {pattern}: must contain {{channel}} if channels have files, and only then; "
                        f"the run has {found}")  # fmt: skip


def _of_pattern(folder: Path, pattern: str, reading: Reading, dimensions: int) -> list[CaseFiles]:
    """The images in files of a pattern below a folder."""
    has_suffix = pattern.lower().endswith(SUFFIXES[dimensions])
    suffixes = ("",) if has_suffix else SUFFIXES[dimensions]
    channels = [named(folder, one, suffixes) for one in channel_patterns(pattern, reading.channel_names)]
    layout = Files.model_validate({"roots": ["."], "images": pattern, "image_suffixes": [".h5"]})  # without masks
    return _paired(layout, folder, channels, [])


def _of_folder(folder: Path, reading: Reading, dimensions: int) -> tuple[list[CaseFiles], set[Path]]:
    """The images in a folder, and the files that are masks or excluded by the run's card."""
    inside = sorted(_files_in(folder, dimensions), key=lambda path: natural(path.name))
    cases, masks = list[CaseFiles](), set[Path]()
    if reading.layout is not None and (reading.channel_names or not inside):
        cases, masks = _of_layout(folder, reading.layout, reading.channel_names)
    if not cases and inside:
        masks = {*masks, *_masks_among(inside, folder, reading.layout, dimensions)}
        cases = [_single(path) for path in inside if path not in masks]
    return cases, masks


def _of_layout(folder: Path, layout: Files | Volumes, channels: Sequence[str]) -> tuple[list[CaseFiles], set[Path]]:
    """The images of a card's layout, and its masks.

    The folder is the layout's own, or one above it, or the one that holds the image files themselves.
    """
    for root in (folder, *(folder / name for name in layout.roots)):
        cases, masks = _matching(root, layout, channels)
        if cases:
            return cases, masks
    inner = _in_one_folder(layout)
    return ([], set()) if inner is None else _matching(folder, inner, channels)


def _in_one_folder(layout: Files | Volumes) -> Files | Volumes | None:
    """The layout as seen from the folder of its image files; None if the names of its files have no id.

    Masks that lie elsewhere are left out.
    """
    place, _, images = layout.images.rpartition("/")
    if "{id}" not in images:
        return None
    mask_place, _, masks = (layout.masks or "").rpartition("/")
    beside = masks if mask_place == place and "{id}" in masks else None
    return layout.model_copy(update={"images": images, "masks": beside})


def _matching(root: Path, layout: Files | Volumes, names: Sequence[str]) -> tuple[list[CaseFiles], set[Path]]:
    """The images and the masks of a layout below a root."""
    channels = channel_files(layout, root, names)
    if not channels[0]:
        return [], set()
    masks = mask_files(layout, root)
    chosen = ("image_suffixes", "mask_suffixes") if isinstance(layout, Files) else ("", "")
    cases = _paired(layout, root, channels, masks, chosen)
    return cases, {path for _, path in masks}


def _paired(
    layout: Files | Volumes,
    root: Path,
    channels: Sequence[Sequence[tuple[str, Path]]],
    masks: Sequence[tuple[str, Path]],
    suffixes: tuple[str, str] = ("", ""),
) -> list[CaseFiles]:
    """The cases of files without their masks.

    Raises:
        UserError: as in `pair_files`; or a channel has a file whose first channel is missing.
    """
    known = {path for _, path in masks}
    for files in channels[1:]:
        extra = sorted({name for name, path in files if path not in known} - {name for name, _ in channels[0]})
        if extra:
            path = next(path for name, path in files if name == extra[0])
            raise UserError(f"{path}: expected {len(channels)} channels of case '{extra[0]}', the first is missing")
    cases = pair_files(layout, root, channels, masks, suffixes)
    return [replace(case, mask=None, more_masks=()) for case in cases]


def _masks_among(inside: Sequence[Path], folder: Path, layout: Files | Volumes | None, dimensions: int) -> set[Path]:
    """Which files of a folder are masks of images beside them, by the run's card, or are excluded by it.

    New files may have another format than the card's, so suffixes count only where they alone tell images from masks.
    """
    if layout is None:
        return set()
    excluded = {path for path in inside if _is_excluded(path, layout)}
    beside = layout if "/" not in layout.images else _in_one_folder(layout)
    if beside is None or beside.masks is None or "/" in beside.masks:
        return excluded
    patterns = _without_suffix(beside.images), _without_suffix(beside.masks)
    suffixes = mask_suffixes = SUFFIXES[dimensions]
    if patterns[0] == patterns[1]:
        patterns = beside.images, beside.masks
        suffixes = beside.image_suffixes if isinstance(beside, Files) else ("",)
        mask_suffixes = (beside.mask_suffixes or suffixes) if isinstance(beside, Files) else ("",)
    masks = [(name, path) for name, path in named(folder, patterns[1], mask_suffixes) if path in inside]
    files = {path for _, path in masks}
    images = {name for name, path in named(folder, patterns[0], suffixes) if path not in files}
    return excluded | {path for name, path in masks if name in images}


def _is_excluded(path: Path, layout: Files | Volumes) -> bool:
    """Whether a card excludes a file, or of volumes one of its name in another format."""
    shorter = [_without_suffix(pattern) for pattern in layout.exclude if isinstance(layout, Volumes)]
    by_name = [pattern for pattern in shorter if pattern not in (*layout.exclude, "*")]
    return is_excluded(path.name, layout.exclude) or is_excluded(_without_suffix(path.name), by_name)


def _without_suffix(name: str) -> str:
    """A name or pattern without the suffix of a volume, which patterns of 2D files do not have."""
    return name[: -len(suffix)] if (suffix := suffix_of(Path(name), 3)) else name


def _files_in(folder: Path, dimensions: int) -> list[Path]:
    """The files of a known format in a folder itself, apart from hidden ones."""
    inside = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in inside if suffix_of(path, dimensions)]


def _files_below(folder: Path, dimensions: int) -> Iterator[Path]:
    """The files of a known format in a folder and its subfolders, apart from hidden ones."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if suffix_of(path, dimensions))


def _tell_what_is_left(folder: Path, taken: set[Path], masks: set[Path], channels: bool, dimensions: int) -> None:
    """Log how many files of a folder are not predicted, and what would take them. `taken` are resolved paths."""
    left = [path for path in _files_below(folder, dimensions) if path.resolve() not in taken]
    parts = []
    if count := sum(path in masks for path in left):
        parts.append(f"{quantity(count, 'mask')} or excluded by the run's card")
    others = [path for path in left if path not in masks]
    if below := [path for path in others if path.parent != folder]:
        parts.append(f"{quantity(len(below), 'file')} in subfolders ({_pattern_of(below, folder, channels)})")
    if direct := len(others) - len(below):
        parts.append(f"{quantity(direct, 'other file')} (--pattern names files)")
    if parts:
        log.info("note: %s: not predicted: %s", folder, ", ".join(parts))


def _pattern_of(files: Sequence[Path], folder: Path, channels: bool) -> str:
    """What takes files in subfolders."""
    places = {path.parent.relative_to(folder) for path in files}
    depths = {len(place.parts) for place in places}
    if channels or len(depths) > 1:
        return "name their folders, or --pattern names files"
    place = literal(next(iter(places)).as_posix()) if len(places) == 1 else "/".join("*" * depths.pop())
    return f"--pattern {shlex.quote(f'{place}/{{id}}')} takes them"


def _advice(folder: Path, pattern: str | None, reading: Reading, dimensions: int) -> str:
    """What may help where a folder has no image."""
    if pattern is not None:
        return f" of --pattern {shlex.quote(pattern)}"
    below = list(_files_below(folder, dimensions))
    if reading.channel_names and below:
        card = f" as images = {quoted(reading.layout.images)}" if reading.layout is not None else ""
        return f" with a file for each of {', '.join(reading.channel_names)}{card}; --pattern names their files"
    below = [path for path in below if path.parent != folder]
    if below:
        found = f"{quantity(len(below), 'file')} in subfolders: {_pattern_of(below, folder, channels=False)}"
        return f" in this folder; {found}"
    inside = len(_files_in(folder, dimensions))
    return " in this folder" + (f" but {quantity(inside, 'mask')} or excluded by the run's card" if inside else "")

"""Where the cases of a data set come from: files, or the package's own drawings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from ssl_bench.cards import CHANNELS, GREY, Axes, Benchmark, Files, Intensity, SliceWindow, Volumes, members_of
from ssl_bench.command import quantity
from ssl_bench.data import demo, demo3d
from ssl_bench.data.images import Case, CaseFiles, folder_of, list_cases, pair
from ssl_bench.data.itk_files import voxel_file
from ssl_bench.data.patterns import bracket_hint, filled_in
from ssl_bench.data.pictures import Palettes
from ssl_bench.data.slices import require_axial
from ssl_bench.data.volume_files import ITK
from ssl_bench.data.volumes import list_volumes, read_case
from ssl_bench.errors import UserError

CHUNK = 16  # cases decoded ahead at a time


class Source(Protocol):
    """A source of cases.

    `reading` names the ways of reading that change the decoded values. `slice_window` is None where cases are not cut
    into slices. `layout` is None for a drawing.
    """

    label_values: tuple[int, ...]
    intensity: Intensity
    slice_window: SliceWindow | None
    axes: Axes
    layout: Files | Volumes | None
    reading: str

    def state(self) -> str:
        """Identify the source without decoding it."""

    def __len__(self) -> int: ...

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Yield each case with the hash of its source."""


def find_source(benchmark: Benchmark, data_root: Path | None, allow_partial: bool) -> Source:
    """Return the source of a data set: its generator, or its folder below the data root."""
    if benchmark.generator is not None:
        return _Drawn(benchmark)
    files, cases = find_cases(benchmark, data_root)
    missing, is_own = [case for case in cases if case.mask is None], benchmark.option.endswith(".toml")
    if missing and not files.masks_optional:
        lines = [missing_mask(case, files) for case in missing[:10]]
        more = f"\n... and {len(missing) - 10} more" if len(missing) > 10 else ""
        way = "; masks_optional = true on the card takes such images for unlabelled ones" if is_own else ""
        raise UserError("\n".join(lines) + more + way)
    if len(missing) == len(cases):
        raise UserError(f"{folder_of(cases)}: no case has a mask")
    if len(cases) != benchmark.cases and not allow_partial:
        raise UserError(
            f"{folder_of(cases)}: expected the {quantity(benchmark.cases, 'case')} of {benchmark.title}, found "
            f"{len(cases)}; --allow-partial accepts these"
            + (f", and so does cases = {len(cases)} on the card" if is_own else "")
        )
    return _Folder(cases, files, benchmark)


def find_cases(benchmark: Benchmark, data_root: Path | None) -> tuple[Files | Volumes, list[CaseFiles]]:
    """Return the layout in which a data set lies below the data root, and its cases, ordered by id.

    Raises:
        UserError: no folder has the card's layout, or two files have one id.
    """
    files: Files | Volumes
    if benchmark.files is not None:
        files, cases = benchmark.files, list_cases(benchmark, data_root)
    else:
        files, cases = list_volumes(benchmark, data_root)
    if not cases:
        raise UserError(f"{benchmark.option}: every file that fits images = '{files.images}' fits masks, too")
    return files, cases


def missing_mask(case: CaseFiles, files: Files | Volumes) -> str:
    """Name the mask that a case lacks."""
    name = (files.masks or files.images) + (".*" if isinstance(files, Files) else "")
    return f"{case.image}: its mask {filled_in(name, case.id)} is missing{bracket_hint(files.masks)}"


def decode(case: CaseFiles, files: Files | Volumes, benchmark: Benchmark) -> tuple[Case, str]:
    """Return a case in files, and the hash of its source bytes.

    Raises:
        UserError: a file cannot be read, or image and mask do not fit each other.
    """
    channels = benchmark.channel_count
    try:
        images = [path.read_bytes() for path in case.images]
        masks = [path.read_bytes() for path in case.masks]
        beside = [path.read_bytes() for path in _beside(case)]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    contents = (*images, *(masks or [b""]), *beside)
    digest = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in contents)).hexdigest()
    if isinstance(files, Files):
        return pair(case, images, masks, files, channels), digest
    if benchmark.slices:
        files = files.model_copy(update={"intensity": "as-is"})  # 8 bits are made of the intensities in the files
    read = dict(zip((*case.images, *case.masks), (*images, *masks), strict=True))
    in_mm = benchmark.distance_unit == "mm"
    found = read_case(case, files, len(benchmark.classes), read.__getitem__, channels=channels, in_mm=in_mm)
    if benchmark.slices:
        require_axial(found.spacing, case.image)
    return found, digest


def touched(file: Path) -> dict[str, int]:
    """What changes when a file is written or replaced, even by a copy of the same size and time of modification.

    Raises:
        OSError: the file cannot be looked at.
    """
    found = file.stat()
    return {name: getattr(found, name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")}


def _beside(case: CaseFiles) -> list[Path]:
    """The files that hold the voxels of a case's `.mhd` headers."""
    return [beside for path in (*case.images, *case.masks) if (beside := voxel_file(path)) is not None]


def _first_values(classes: Sequence[int | tuple[int, ...]]) -> tuple[int, ...]:
    """The value that `predict` writes for each class: the first of a list."""
    return tuple(own[0] for own in members_of(classes))


class _Folder:
    """A data set in files: fast to identify by what changes with a file, slow to decode."""

    def __init__(self, cases: list[CaseFiles], files: Files | Volumes, benchmark: Benchmark) -> None:
        self.cases, self.files, self.benchmark = cases, files, benchmark
        self.layout: Files | Volumes | None = files
        self.slice_window: SliceWindow | None = None
        self.axes: Axes = "xyz" if isinstance(files, Files) else files.axes
        if isinstance(files, Files):
            self.label_values: tuple[int, ...] = _first_values(files.mask_values or GREY)
            self.intensity: Intensity = "rgb"
            self.reading = f"mask {'' if files.mask_values else '> '}{files.mask_values or files.mask_threshold}"
            if files.mask_colors:
                self.label_values = GREY if len(files.mask_colors) == 2 else tuple(range(len(files.mask_colors)))
                self.reading = f"mask {files.mask_colors}"
            if files.intensity_range is not None:
                self.reading += f" range {files.intensity_range}"
            if (files.image_key, files.mask_key) != ("image", "label"):
                self.reading += f" keys {files.image_key} {files.mask_key}"
            if files.exif_orientation != "refuse":
                self.reading += f" exif {files.exif_orientation}"
        else:
            values = files.mask_values or tuple(range(len(benchmark.classes)))
            self.label_values, self.intensity = _first_values(values), files.intensity
            self.reading = f"mask {values} intensity {files.intensity}"
            if benchmark.slices:
                self.slice_window, self.intensity = files.slice_window, "rgb"
                self.reading = f"mask {values} slices {files.slice_window}"
            if files.axes != "xyz":
                self.reading += f" axes {files.axes}"
            if any(str(pattern).lower().endswith(ITK) for pattern in (files.images, files.masks)):
                self.reading += " axes RAS"  # which versions without these words did not turn to
        if files.ignore is not None:
            self.reading += f" ignore {files.ignore}"
        if benchmark.channel_count != CHANNELS[benchmark.dimensions]:
            self.reading += f" channels {benchmark.channel_count}"

    def state(self) -> str:
        """Identify the source files without reading them: a hash of paths, of `touched`, and of what is required."""
        digest = hashlib.sha256(f"{self.reading} {self.benchmark.distance_unit}".encode())
        for case in self.cases:
            for path in (*case.images, *case.masks, *_beside(case)):
                try:
                    now = touched(path)
                except OSError as error:
                    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
                digest.update(f"{case.id}|{path.resolve()}|{now}\n".encode())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.cases)

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Yield each case with the hash of its source bytes, decoding on several threads, a few cases ahead."""
        palettes = Palettes()
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self.cases), CHUNK):
                decoding = partial(decode, files=self.files, benchmark=self.benchmark)
                chunk = self.cases[start : start + CHUNK]
                for files, (case, digest) in zip(chunk, pool.map(decoding, chunk), strict=True):
                    palettes.note(files.mask, case.palette)
                    yield case, digest


class _Drawn:
    """A data set that the package draws."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.count, self.module = benchmark.cases, {"demo": demo, "demo3d": demo3d}[str(benchmark.generator)]
        self.label_values: tuple[int, ...] = GREY if benchmark.dimensions == 2 else (0, 1)
        self.intensity: Intensity = "rgb" if benchmark.network_dimensions == 2 else "as-is"
        self.slice_window: SliceWindow | None = "percentiles" if benchmark.slices else None
        self.axes: Axes = "xyz"
        self.layout: Files | Volumes | None = None
        self.reading = f"slices {self.slice_window}" if benchmark.slices else ""

    def state(self) -> str:
        """Identify the drawing by its code, its number of cases and numpy's version."""
        code = hashlib.sha256(Path(str(self.module.__file__)).read_bytes()).hexdigest()
        drawing = f"{code} {self.count} {np.__version__}{self.reading}"
        return hashlib.sha256(drawing.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.count

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Draw each case."""
        for index in range(self.count):
            image, mask = self.module.draw(index)
            case = Case(f"{index:04d}", image, mask.astype(np.uint8))
            yield case, hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()

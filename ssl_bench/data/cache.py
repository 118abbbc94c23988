"""The cache: a data set's cases, decoded (and, in 2D, resized to one size), in one HDF5 file per content and size."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import platformdirs
from filelock import FileLock
from PIL import Image

from ssl_bench.data import demo, demo3d
from ssl_bench.data.files import Case, CaseFiles, folder_of, list_cases, pair
from ssl_bench.data.volumes import list_volumes, read_case
from ssl_bench.errors import UserError
from ssl_bench.files import write_bytes, write_json
from ssl_bench.spec import GREY, Benchmark, Files, Intensity, Volumes

LAYOUT = 2  # raised when the cache's files change, so that old ones are left alone
CHUNK = 16  # cases decoded ahead at a time
READ = 64  # images read from the cache at a time
Advance = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, open on its cache file.

    `fingerprint` is a hash of all source files' contents and ids; `contents` a hash of each image's pixels; `masked`
    the ids of the cases that have a mask. `label_values` and `intensity` say how the source files were read.
    """

    path: Path
    fingerprint: str
    ids: tuple[str, ...]
    contents: tuple[str, ...]
    masked: frozenset[str]
    label_values: tuple[int, ...]
    intensity: Intensity

    def arrays(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, size, size, 3) and masks (N, size, size), both uint8, of some 2D cases in their order.

        A mask that is not there is background. In memory the channels lie outermost, and no image is there twice.
        """
        rows = np.array(self._rows(ids), dtype=int)
        with h5py.File(self.path) as file:
            size = file["image"].shape[1]
            images = np.empty((len(rows), 3, size, size), dtype=np.uint8)
            masks = np.empty((len(rows), size, size), dtype=np.uint8)
            for start in range(0, len(file["image"]), READ):
                here = np.flatnonzero((rows >= start) & (rows < start + READ))
                if len(here):
                    own = rows[here] - start
                    images[here] = file["image"][start : start + READ][own].transpose(0, 3, 1, 2)
                    masks[here] = file["mask"][start : start + READ][own]
        return images.transpose(0, 2, 3, 1), masks

    def images(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the images of a few 2D cases, (size, size, 3) uint8, without reading all others."""
        with h5py.File(self.path) as file:
            for row in self._rows(ids):
                yield file["image"][row]

    def truth_sizes(self, ids: Sequence[str]) -> list[tuple[int, int]]:
        """Return (H, W) of the original masks of some 2D cases."""
        with h5py.File(self.path) as file:
            sizes = file["shape"][:]
        return [(int(sizes[row, 0]), int(sizes[row, 1])) for row in self._rows(ids)]

    def sides(self, ids: Sequence[str]) -> dict[str, list[int]]:
        """Return the smallest and the largest length of each axis of some cases' original masks."""
        with h5py.File(self.path) as file:
            shapes = file["shape"][:][self._rows(ids)]
        return {"smallest": shapes.min(axis=0).tolist(), "largest": shapes.max(axis=0).tolist()}

    def truths(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the masks of some cases at their original sizes, (H, W) or (X, Y, Z) uint8 class numbers."""
        with h5py.File(self.path) as file:
            ends, shapes, bits = file["truth_end"][:], file["shape"][:], file["truth_bits"]
            planes = file.attrs["planes"]
            for i in self._rows(ids):
                shape = (planes, *(int(side) for side in shapes[i]))
                start = 0 if i == 0 else int(ends[i - 1])
                flat = np.unpackbits(bits[start : int(ends[i])], count=int(np.prod(shape)))
                yield _from_planes(flat.reshape(shape))

    def volumes(self, ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the images of some 3D cases, (X, Y, Z) float32."""
        with h5py.File(self.path) as file:
            ends, shapes, voxels = file["voxel_end"][:], file["shape"][:], file["voxel"]
            for i in self._rows(ids):
                start = 0 if i == 0 else int(ends[i - 1])
                yield voxels[start : int(ends[i])].reshape([int(side) for side in shapes[i]])

    def _rows(self, ids: Sequence[str]) -> list[int]:
        place = {name: i for i, name in enumerate(self.ids)}
        return [place[name] for name in ids]


def cache_folder() -> Path:
    """Return SSL_BENCH_CACHE, or the user's cache folder."""
    named = os.environ.get("SSL_BENCH_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("ssl-bench"))


def prepare(
    benchmark: Benchmark,
    data_root: Path | None,
    size: int | None,
    *,
    allow_partial: bool = False,
    advance: Advance | None = None,
) -> Dataset:
    """Return the data set at a size, from the cache where its source files have not changed, else decoded anew.

    Args:
        benchmark: the card.
        data_root: where the published folders lie; not needed for a drawn data set.
        size: 2D: side of the square that images (antialiased bilinear) and masks (nearest) are resized to; 3D: None.
        allow_partial: accept another number of cases than the card's.
        advance: told of progress while decoding.

    Raises:
        UserError: files are missing, unreadable, or not as many as the card says.
    """
    source = _source(benchmark, data_root, allow_partial)
    folder = cache_folder() / f"v{LAYOUT}"
    index = folder / f"{benchmark.name}-{source.state()}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{benchmark.name}.lock"):
            dataset = _open(folder, index, size, source)
            if dataset is None:
                for remains in folder.glob("*/.*.partial"):  # of a killed process, perhaps gigabytes
                    remains.unlink()
                path = _build(source, folder, size, len(benchmark.classes), advance)
                write_json(index, {"fingerprint": path.parent.name})
                dataset = _open(folder, index, size, source)
                assert dataset is not None
            return dataset
    except OSError as error:
        raise UserError(f"SSL_BENCH_CACHE: {folder} cannot be written: {error}") from None
    except MemoryError:
        raise UserError(f"{benchmark.name}: the decoded cases do not fit into this machine's memory") from None


# ------------------------------------------------------------------------------------------------------- where from


class _Source(Protocol):
    """Cases from somewhere; `reading` says how files are read, where that decides what comes out."""

    label_values: tuple[int, ...]
    intensity: Intensity
    reading: str

    def state(self) -> str:
        """Recognise the source without decoding it."""

    def __len__(self) -> int: ...

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Yield each case with the hash of its source."""


def _source(benchmark: Benchmark, data_root: Path | None, allow_partial: bool) -> _Source:
    if benchmark.generator is not None:
        return _Drawn(benchmark)
    classes = len(benchmark.classes)
    if benchmark.files is not None:
        files: Files | Volumes = benchmark.files
        cases = list_cases(benchmark, data_root)
        mask_name = benchmark.files.masks + ".*"
    else:
        files, cases = list_volumes(benchmark, data_root)
        mask_name = files.masks or files.images
    missing = [case for case in cases if case.mask is None]
    if missing and not files.masks_optional:
        names = [(case.image, mask_name.replace("{id}", case.id)) for case in missing[:10]]
        lines = [f"{image}: its mask {mask} is missing" for image, mask in names]
        raise UserError("\n".join(lines) + (f"\n... and {len(missing) - 10} more" if len(missing) > 10 else ""))
    if len(missing) == len(cases):
        raise UserError(f"{folder_of(cases)}: no case has a mask")
    if len(cases) != benchmark.cases and not allow_partial:
        raise UserError(
            f"{folder_of(cases)}: expected the {benchmark.cases} cases of {benchmark.title}, found {len(cases)}; "
            "--allow-partial goes on with these"
        )
    return _Folder(cases, files, classes)


class _Folder:
    """A data set in files: cheap to recognise by names, sizes and times, dear to decode."""

    def __init__(self, cases: list[CaseFiles], files: Files | Volumes, classes: int) -> None:
        self.cases, self.files, self.classes = cases, files, classes
        if isinstance(files, Files):
            self.label_values: tuple[int, ...] = files.mask_values or GREY
            self.intensity: Intensity = "rgb"
            self.reading = f"mask {'' if files.mask_values else '> '}{files.mask_values or files.mask_threshold}"
        else:
            self.label_values, self.intensity = files.mask_values or tuple(range(classes)), files.intensity
            self.reading = f"mask {self.label_values} intensity {files.intensity}"

    def state(self) -> str:
        """Recognise the source files without reading them: a hash of paths, sizes and times of change."""
        digest = hashlib.sha256(self.reading.encode())
        for case in self.cases:
            for path in (case.image, case.mask):
                if path is None:
                    continue
                try:
                    stat = path.stat()
                except OSError as error:
                    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
                digest.update(f"{case.id}|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.cases)

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Yield each case with the hash of its source bytes, decoding on several threads, a few cases ahead."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self.cases), CHUNK):
                yield from pool.map(self._decode, self.cases[start : start + CHUNK])

    def _decode(self, case: CaseFiles) -> tuple[Case, str]:
        try:
            image, mask = case.image.read_bytes(), b"" if case.mask is None else case.mask.read_bytes()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
        digest = hashlib.sha256(hashlib.sha256(image).digest() + hashlib.sha256(mask).digest()).hexdigest()
        if isinstance(self.files, Files):
            return pair(case, image, mask, self.files), digest
        read = {case.image: image} | ({} if case.mask is None else {case.mask: mask})
        return read_case(case, self.files, self.classes, read.__getitem__), digest


class _Drawn:
    """A data set that the package draws."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.count, self.module = benchmark.cases, {"demo": demo, "demo3d": demo3d}[str(benchmark.generator)]
        self.label_values: tuple[int, ...] = GREY if benchmark.dimensions == 2 else (0, 1)
        self.intensity: Intensity = "rgb" if benchmark.dimensions == 2 else "as-is"
        self.reading = ""

    def state(self) -> str:
        """Recognise the drawing by its version, its number of cases and numpy's version."""
        name = self.module.__name__.rpartition(".")[2]
        return hashlib.sha256(f"{name} {self.module.VERSION} {self.count} {np.__version__}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.count

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Draw each case."""
        for index in range(self.count):
            image, mask = self.module.draw(index)
            case = Case(f"{index:04d}", image, mask.astype(np.uint8))
            yield case, hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()


# ---------------------------------------------------------------------------------------------------------- the file


def _build(source: _Source, folder: Path, size: int | None, classes: int, advance: Advance | None) -> Path:
    """Decode every case into a file in memory, since HDF5 does not survive a full disk, and write it when whole."""
    buffer = io.BytesIO()
    count, planes = len(source), (classes - 1).bit_length()
    fingerprint = hashlib.sha256()
    ids, contents, masked, shapes, truth_ends, voxel_ends = [], [], [], [], [], []
    any_foreground = False
    with h5py.File(buffer, "w") as file:
        if size is not None:
            image_rows = file.create_dataset("image", (count, size, size, 3), "u1", chunks=(1, size, size, 3))
            mask_rows = file.create_dataset("mask", (count, size, size), "u1", chunks=(1, size, size))
        else:
            voxels = file.create_dataset("voxel", (0,), "f4", maxshape=(None,), chunks=(1 << 20,))
        bits = file.create_dataset("truth_bits", (0,), "u1", maxshape=(None,), chunks=(1 << 16,), compression="gzip")
        for i, (case, digest) in enumerate(source.decoded()):
            sides = case.image.shape[:2] if size is not None else case.image.shape
            mask = np.zeros(sides, np.uint8) if case.mask is None else case.mask
            if size is not None:
                image_rows[i] = resize(case.image, size)
                mask_rows[i] = resize(mask, size, nearest=True)
            else:
                voxel_ends.append(_append(voxels, case.image.ravel()))
            truth_ends.append(_append(bits, np.packbits(_to_planes(mask, planes))))
            any_foreground |= bool(mask.any())
            ids.append(case.id)
            masked.append(case.mask is not None)
            contents.append(hashlib.sha256(case.image.tobytes() + str(case.image.shape).encode()).hexdigest()[:16])
            shapes.append(sides)
            fingerprint.update(f"{case.id}|{digest}|".encode())
            if advance is not None:
                advance(i + 1, count)
        file["shape"], file["truth_end"] = np.array(shapes, np.int64), np.array(truth_ends, np.int64)
        file["voxel_end"] = np.array(voxel_ends, np.int64)
        file["id"], file["content"], file["masked"] = ids, contents, masked
        fingerprint.update(source.reading.encode())
        file.attrs["planes"] = planes
    if not any_foreground:
        raise UserError("every mask is empty: nothing to learn; see `ssl-bench data check`")
    path = _path(folder, fingerprint.hexdigest()[:16], size)
    write_bytes(path, buffer.getbuffer())
    write_bytes(path.with_suffix(".sha256"), hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    return path


def _open(folder: Path, index: Path, size: int | None, source: _Source) -> Dataset | None:
    """Open the cache file that the index names; None where there is none or it is not the one that was written."""
    try:
        fingerprint = json.loads(index.read_text())["fingerprint"]
        path = _path(folder, fingerprint, size)
        with path.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != path.with_suffix(".sha256").read_text():
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with h5py.File(path) as file:
        ids, contents = (tuple(value.decode() for value in file[name][:]) for name in ("id", "content"))
        masked = frozenset(name for name, has_mask in zip(ids, file["masked"][:], strict=True) if has_mask)
        return Dataset(path, fingerprint, ids, contents, masked, source.label_values, source.intensity)


def _path(folder: Path, fingerprint: str, size: int | None) -> Path:
    return folder / fingerprint / ("volumes.h5" if size is None else f"{size}.h5")


def _append(rows: h5py.Dataset, values: np.ndarray) -> int:
    """Append to a one-dimensional data set; returns its new length."""
    start = int(rows.shape[0])
    rows.resize((start + values.size,))
    rows[start:] = values
    return start + values.size


def _to_planes(mask: np.ndarray, planes: int) -> np.ndarray:
    """Bits of class numbers (*spatial) as (planes, *spatial), the lowest first."""
    return np.stack([(mask >> plane) & 1 for plane in range(planes)])


def _from_planes(bits: np.ndarray) -> np.ndarray:
    """Undo `_to_planes`."""
    mask = np.zeros(bits.shape[1:], np.uint8)
    for plane, values in enumerate(bits):
        mask |= values << plane
    return mask


def resize(pixels: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """Bring an image (H, W, 3) or mask (H, W), uint8, to (size, size): antialiased bilinear, or nearest."""
    if pixels.shape[:2] == (size, size):
        return pixels
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((size, size), how))

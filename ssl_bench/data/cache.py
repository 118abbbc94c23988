"""The cache: a data set's images, decoded and resized to one size, in one HDF5 file per content and size."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import platformdirs
from filelock import FileLock
from PIL import Image

from ssl_bench.data import demo
from ssl_bench.data.files import Case, CaseFiles, list_cases, pair
from ssl_bench.errors import UserError
from ssl_bench.files import write_bytes, write_json
from ssl_bench.spec import Benchmark, Files

LAYOUT = 1  # raised when the cache's files change, so that old ones are left alone
CHUNK = 16  # cases decoded ahead at a time
Advance = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, open on its cache file.

    `fingerprint` is a hash of all source files' contents and ids; `contents` a hash of each image's pixels.
    """

    path: Path
    fingerprint: str
    ids: tuple[str, ...]
    contents: tuple[str, ...]
    size: int

    def arrays(self, ids: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, size, size, 3) and masks (N, size, size), both uint8, of some cases in their order."""
        rows = self._rows(ids)
        with h5py.File(self.path) as file:
            return file["image"][:][rows], file["mask"][:][rows]

    def truth_sizes(self, ids: tuple[str, ...]) -> list[tuple[int, int]]:
        """Return (H, W) of the original masks of some cases."""
        with h5py.File(self.path) as file:
            sizes = file["truth_size"][:]
        return [(int(sizes[row, 0]), int(sizes[row, 1])) for row in self._rows(ids)]

    def truths(self, ids: tuple[str, ...]) -> Iterator[np.ndarray]:
        """Yield the masks (H, W) bool at their original sizes."""
        with h5py.File(self.path) as file:
            ends, sizes, bits = file["truth_end"][:], file["truth_size"][:], file["truth_bits"]
            for i in self._rows(ids):
                height, width = (int(side) for side in sizes[i])
                start = 0 if i == 0 else int(ends[i - 1])
                flat = np.unpackbits(bits[start : int(ends[i])], count=height * width)
                yield flat.reshape(height, width).astype(bool)

    def _rows(self, ids: tuple[str, ...]) -> list[int]:
        place = {name: i for i, name in enumerate(self.ids)}
        return [place[name] for name in ids]


def cache_folder() -> Path:
    """Return SSL_BENCH_CACHE, or the user's cache folder."""
    named = os.environ.get("SSL_BENCH_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("ssl-bench"))


def prepare(
    benchmark: Benchmark,
    data_root: Path | None,
    size: int,
    *,
    allow_partial: bool = False,
    advance: Advance | None = None,
) -> Dataset:
    """Return the data set at a size, from the cache where its source files have not changed, else decoded anew.

    Args:
        benchmark: the card.
        data_root: where the published folders lie; not needed for a drawn data set.
        size: side of the square that images (antialiased bilinear) and masks (nearest) are resized to.
        allow_partial: accept another number of cases than the card's.
        advance: told of progress while decoding.

    Raises:
        UserError: files are missing, unreadable, or not as many as the card says.
    """
    source = (
        _Drawn(benchmark) if benchmark.files is None else _Folder(benchmark, benchmark.files, data_root, allow_partial)
    )
    folder = cache_folder() / f"v{LAYOUT}"
    index = folder / f"{benchmark.name}-{source.state()}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{benchmark.name}.lock"):
            dataset = _open(folder, index, size)
            if dataset is None:
                for remains in folder.glob("*/.*.partial"):  # of a killed process, perhaps gigabytes
                    remains.unlink()
                dataset = _build(source, folder, size, advance)
                write_json(index, {"fingerprint": dataset.fingerprint})
            return dataset
    except OSError as error:
        raise UserError(f"SSL_BENCH_CACHE: {folder} cannot be written: {error}") from None


class _Folder:
    """A data set in files: cheap to recognise by names, sizes and times, dear to decode."""

    def __init__(self, benchmark: Benchmark, files: Files, data_root: Path | None, allow_partial: bool) -> None:
        self.files = files
        self.cases = list_cases(benchmark, data_root)
        missing = [case for case in self.cases if case.mask is None]
        if missing:
            raise UserError(
                "\n".join(
                    f"{case.image}: its mask {files.masks.format(id=case.id)}.* is missing" for case in missing[:10]
                )
                + (f"\n... and {len(missing) - 10} more" if len(missing) > 10 else "")
            )
        if len(self.cases) != benchmark.cases and not allow_partial:
            folder = self.cases[0].image.parent
            raise UserError(
                f"{folder}: expected the {benchmark.cases} cases of {benchmark.title}, found {len(self.cases)}; "
                "--allow-partial goes on with these"
            )

    def state(self) -> str:
        """Recognise the source files without reading them: a hash of paths, sizes and times of change."""
        digest = hashlib.sha256(str(self.files.mask_threshold).encode())
        for case in self.cases:
            assert case.mask is not None
            for path in (case.image, case.mask):
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
                yield from pool.map(partial(_decode, files=self.files), self.cases[start : start + CHUNK])


class _Drawn:
    """A data set that the package draws."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.count = benchmark.cases

    def state(self) -> str:
        """Recognise the drawing by its version, its number of cases and numpy's version."""
        return hashlib.sha256(f"demo {demo.VERSION} {self.count} {np.__version__}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.count

    def decoded(self) -> Iterator[tuple[Case, str]]:
        """Draw each case."""
        for index in range(self.count):
            image, mask = demo.draw(index)
            case = Case(f"{index:04d}", image, mask)
            yield case, hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()


def _decode(case: CaseFiles, files: Files) -> tuple[Case, str]:
    assert case.mask is not None
    try:
        image, mask = case.image.read_bytes(), case.mask.read_bytes()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(hashlib.sha256(image).digest() + hashlib.sha256(mask).digest()).hexdigest()
    return pair(case, image, mask, files), digest


def _build(source: _Folder | _Drawn, folder: Path, size: int, advance: Advance | None) -> Dataset:
    """Decode every case into a file in memory, since HDF5 does not survive a full disk, and write it when whole."""
    buffer = io.BytesIO()
    count = len(source)
    fingerprint = hashlib.sha256()
    ids, contents, ends, sizes = [], [], [], []
    any_foreground = False
    with h5py.File(buffer, "w") as file:
        image_rows = file.create_dataset("image", (count, size, size, 3), "u1", chunks=(1, size, size, 3))
        mask_rows = file.create_dataset("mask", (count, size, size), "u1", chunks=(1, size, size))
        bits = file.create_dataset("truth_bits", (0,), "u1", maxshape=(None,), chunks=(1 << 16,), compression="gzip")
        for i, (case, digest) in enumerate(source.decoded()):
            image_rows[i] = _resize(case.image, size, Image.Resampling.BILINEAR)
            mask_rows[i] = _resize(case.mask.astype(np.uint8), size, Image.Resampling.NEAREST)
            packed = np.packbits(case.mask)
            bits.resize((bits.shape[0] + packed.size,))
            bits[bits.shape[0] - packed.size :] = packed
            any_foreground |= bool(case.mask.any())
            ids.append(case.id)
            contents.append(hashlib.sha256(case.image.tobytes() + str(case.image.shape).encode()).hexdigest()[:16])
            ends.append(bits.shape[0])
            sizes.append(case.mask.shape)
            fingerprint.update(f"{case.id}|{digest}|".encode())
            if advance is not None:
                advance(i + 1, count)
        file["truth_end"], file["truth_size"] = np.array(ends, np.int64), np.array(sizes, np.int64)
        file["id"], file["content"] = ids, contents
        if isinstance(source, _Folder):
            fingerprint.update(f"mask > {source.files.mask_threshold}".encode())
        file.attrs["fingerprint"] = fingerprint.hexdigest()[:16]
    if not any_foreground:
        raise UserError("every mask is empty: nothing to learn; see `ssl-bench data check`")
    path = folder / fingerprint.hexdigest()[:16] / f"{size}.h5"
    write_bytes(path, buffer.getbuffer())
    write_bytes(path.with_suffix(".sha256"), hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    return Dataset(path, fingerprint.hexdigest()[:16], tuple(ids), tuple(contents), size)


def _open(folder: Path, index: Path, size: int) -> Dataset | None:
    """Open the cache file that the index names; None where there is none or it is not the one that was written."""
    try:
        path = folder / json.loads(index.read_text())["fingerprint"] / f"{size}.h5"
        with path.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != path.with_suffix(".sha256").read_text():
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with h5py.File(path) as file:
        ids, contents = (tuple(value.decode() for value in file[name][:]) for name in ("id", "content"))
        return Dataset(path, str(file.attrs["fingerprint"]), ids, contents, size)


def _resize(pixels: np.ndarray, size: int, how: Image.Resampling) -> np.ndarray:
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), how))

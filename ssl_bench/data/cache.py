"""The cache: a data set's cases, decoded (and, in 2D, resized to one size), in files per content and size.

Images and masks, or voxels and labels, are raw files; the originals of 2D masks and what is known of each case are in
one HDF5 file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from ssl_bench.atomic import write_bytes, write_json
from ssl_bench.cards import Benchmark
from ssl_bench.data.dataset import Dataset, resize
from ssl_bench.data.raw import writing_raw
from ssl_bench.data.slices import to_bytes, to_slices
from ssl_bench.data.sources import Source, find_source, touched
from ssl_bench.errors import UserError
from ssl_bench.folders import cache_folder
from ssl_bench.labels import IGNORED
from ssl_bench.locks import FileLock

ABANDONED = 3600.0  # seconds since a file was last written to, after which nobody is writing it
LAYOUT = 6  # increase when the file format or the reading changes, so that old files are not used


Advance = Callable[[int, int], None]  # (done, total)


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
        size: for 2D networks: side of the square that images (antialiased bilinear) and masks (nearest) are resized to,
            slices of volumes among them; for 3D networks None.
        allow_partial: accept another number of cases than the card's.
        advance: called with the progress while decoding.

    Raises:
        UserError: files are missing, unreadable, or not as many as the card says.
    """
    source = find_source(benchmark, data_root, allow_partial)
    folder = cache_folder() / f"v{LAYOUT}"
    index = folder / f"{benchmark.name}-{source.state()}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{benchmark.name}.lock"):
            dataset = _open(folder, index, size, source)
            if dataset is None:
                _clean(folder, benchmark.name)
                path = _build(source, folder, size, benchmark, advance)
                write_json(index, {"fingerprint": path.parent.name})
                dataset = _open(folder, index, size, source)
                assert dataset is not None
            return dataset
    except OSError as error:
        raise UserError(f"SSL_BENCH_CACHE: {folder} cannot be written: {error}") from None
    except MemoryError:
        raise UserError(f"{benchmark.name}: the decoded cases do not fit into this machine's memory") from None


def _clean(folder: Path, benchmark: str) -> None:
    """Delete what killed processes left, perhaps gigabytes: nobody else builds this data set, since its lock is ours.

    Younger files of other data sets may be another process's, being written.
    """
    own = [path for name in (*_raw_names(None), *_raw_names(1)) for path in folder.glob(f".{benchmark}.{name}.*")]
    for remains in {*folder.glob(".*.partial"), *folder.glob("*/.*.partial")}:
        with suppress(FileNotFoundError):  # another process cleans, too
            if remains in own or time.time() - remains.stat().st_mtime > ABANDONED:
                remains.unlink()


def _build(source: Source, folder: Path, size: int | None, benchmark: Benchmark, advance: Advance | None) -> Path:
    """Decode every case: images and masks of one size, or voxels and labels, into raw files, the rest into HDF5.

    The HDF5 file is written in memory, since HDF5 cannot recover from a full disk.
    """
    buffer = io.BytesIO()
    count, planes, channels = len(source), (len(benchmark.classes) - 1).bit_length(), benchmark.channel_count
    fingerprint = hashlib.sha256()
    ids, contents, masked, shapes, spacings, truth_ends = [], [], [], [], [], []
    image_ends = list[int]()
    any_foreground, sliced = False, source.slice_window is not None
    names = _raw_names(size)
    with (
        h5py.File(buffer, "w") as file,
        writing_raw(folder, *(f"{benchmark.name}.{name}" for name in names)) as (images, masks),
    ):
        bits = file.create_dataset("truth_bits", (0,), "u1", maxshape=(None,), chunks=(1 << 16,), compression="gzip")
        for i, (case, digest) in enumerate(source.decoded()):
            sides = case.image.shape[:2] if size is not None and not sliced else case.image.shape[-3:]
            mask = np.zeros(sides, np.uint8) if case.mask is None else case.mask
            if size is None:
                images.append(case.image.astype(np.float32, copy=False))
                masks.append(mask)
            else:
                if source.slice_window is None:
                    pixels, flat_masks = [case.image], [mask]
                else:
                    pixels = list(to_slices(to_bytes(case.image, source.slice_window, case.id)))
                    flat_masks = list(to_slices(mask))
                for one, own in zip(pixels, flat_masks, strict=True):
                    images.append(resize(one, size).transpose(2, 0, 1))
                    masks.append(resize(own, size, nearest=True))
                image_ends.append(len(pixels) + (image_ends[-1] if image_ends else 0))
                truth_ends.append(_append(bits, np.packbits(_to_planes(mask, planes, benchmark.ignores))))
            if len(sides) == 3:
                spacings.append(case.spacing or (math.nan,) * 3)
            any_foreground |= bool(((mask > 0) & (mask != IGNORED)).any())
            ids.append(case.id)
            masked.append(case.mask is not None)
            contents.append(hashlib.sha256(case.image.tobytes() + str(case.image.shape).encode()).hexdigest()[:16])
            shapes.append(sides)
            fingerprint.update(f"{case.id}|{digest}|".encode())
            if advance is not None:
                advance(i + 1, count)
        file["shape"], file["truth_end"] = np.array(shapes, np.int64), np.array(truth_ends, np.int64)
        file["image_end"] = np.array(image_ends, np.int64)
        file["spacing"] = np.array(spacings, np.float64)
        file["id"], file["content"], file["masked"] = ids, contents, masked
        fingerprint.update(source.reading.encode())
        file.attrs["planes"], file.attrs["channels"] = planes, channels
        if benchmark.ignores:
            file.attrs["ignores"] = True
        if not any_foreground:
            raise UserError(
                f"{benchmark.name}: every mask is empty, so there is nothing to learn; see `ssl-bench data check`"
            )
        path = _path(folder, fingerprint.hexdigest()[:16], size)
        path.parent.mkdir(exist_ok=True)
        digests = {
            name: raw.place(path.with_suffix(f".{name}")) for name, raw in zip(names, (images, masks), strict=True)
        }
    write_bytes(path, buffer.getbuffer())
    digests["h5"] = hashlib.sha256(buffer.getbuffer()).hexdigest()
    write_json(path.with_suffix(".sha256"), digests)
    return path


def _raw_names(size: int | None) -> tuple[str, str]:
    """Suffixes of the raw files beside the HDF5 file: images and masks of one size, or whole volumes."""
    return ("voxel", "label") if size is None else ("image", "mask")


def _open(folder: Path, index: Path, size: int | None, source: Source) -> Dataset | None:
    """Open the cache files that the index names; None if one does not exist or has changed since it was written."""
    try:
        fingerprint = json.loads(index.read_text())["fingerprint"]
        path = _path(folder, fingerprint, size)
        digests = json.loads(path.with_suffix(".sha256").read_text())
        if digests.keys() != {"h5", *_raw_names(size)} or not _is_whole(path, digests):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with h5py.File(path) as file:
        ids, contents = (tuple(value.decode() for value in file[name][:]) for name in ("id", "content"))
        masked = frozenset(name for name, has_mask in zip(ids, file["masked"][:], strict=True) if has_mask)
        return Dataset(
            path, fingerprint, ids, contents, masked, source.label_values, source.intensity, source.slice_window,
            source.axes, "ignores" in file.attrs, source.layout,
        )  # fmt: skip


def _is_whole(path: Path, digests: dict[str, str]) -> bool:
    """Whether the files have their digests. Files that had them are read again only if they were touched since."""
    stamp = path.with_suffix(".checked")
    files = [path.with_suffix(f".{name}") for name in digests]
    now = {file.name: touched(file) for file in files}
    with suppress(OSError, ValueError):
        checked = json.loads(stamp.read_text())
        # a file could change twice within one tick of its disk's clock
        if checked == now and max(one["st_ctime_ns"] for one in now.values()) < stamp.stat().st_mtime_ns - _TICK:
            return True
    for file, digest in zip(files, digests.values(), strict=True):
        with file.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != digest:
                return False
    with suppress(OSError):  # a cache that this process may only read
        write_json(stamp, now)
    return True


_TICK = 2 * 10**9  # nanoseconds


def _path(folder: Path, fingerprint: str, size: int | None) -> Path:
    return folder / fingerprint / ("volumes.h5" if size is None else f"{size}.h5")


def _append(rows: h5py.Dataset, values: np.ndarray) -> int:
    """Append rows to a data set; returns its new length."""
    start = int(rows.shape[0])
    rows.resize(start + len(values), axis=0)
    rows[start:] = values
    return start + len(values)


def _to_planes(mask: np.ndarray, planes: int, ignores: bool = False) -> np.ndarray:
    """Bits of class numbers (*spatial) as (planes, *spatial), the lowest first; with `ignores`, IGNORED comes last."""
    if ignores:
        ignored = mask == IGNORED
        return np.stack([*_to_planes(np.where(ignored, 0, mask), planes), ignored])
    return np.stack([(mask >> plane) & 1 for plane in range(planes)])

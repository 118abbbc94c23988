"""The cache: a data set's cases, decoded (and, in 2D, resized to one size), in one HDF5 file per content and size."""

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
from filelock import FileLock

from ssl_bench.atomic import write_bytes, write_json
from ssl_bench.cards import Benchmark
from ssl_bench.data.dataset import Dataset, resize
from ssl_bench.data.slices import to_bytes, to_slices
from ssl_bench.data.sources import Source, find_source
from ssl_bench.errors import UserError
from ssl_bench.folders import cache_folder
from ssl_bench.labels import IGNORED

ABANDONED = 3600.0  # seconds since a file was last written to, after which nobody is writing it
LAYOUT = 5  # increase when the file format or the reading changes, so that old files are not used


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
                _clean(folder)
                path = _build(source, folder, size, benchmark, advance)
                write_json(index, {"fingerprint": path.parent.name})
                dataset = _open(folder, index, size, source)
                assert dataset is not None
            return dataset
    except OSError as error:
        raise UserError(f"SSL_BENCH_CACHE: {folder} cannot be written: {error}") from None
    except MemoryError:
        raise UserError(f"{benchmark.name}: the decoded cases do not fit into this machine's memory") from None


def _clean(folder: Path) -> None:
    """Delete what killed processes left, perhaps gigabytes; younger files may be another process's, being written."""
    for remains in folder.glob("*/.*.partial"):
        with suppress(FileNotFoundError):  # another process cleans, too
            if time.time() - remains.stat().st_mtime > ABANDONED:
                remains.unlink()


def _build(source: Source, folder: Path, size: int | None, benchmark: Benchmark, advance: Advance | None) -> Path:
    """Decode every case into a file in memory, since HDF5 cannot recover from a full disk, then write it."""
    buffer = io.BytesIO()
    count, planes, channels = len(source), (len(benchmark.classes) - 1).bit_length(), benchmark.channel_count
    fingerprint = hashlib.sha256()
    ids, contents, masked, shapes, spacings, truth_ends, voxel_ends, image_ends = [], [], [], [], [], [], [], []
    any_foreground, sliced = False, source.slice_window is not None
    with h5py.File(buffer, "w") as file:
        if sliced and size is not None:
            for name, last in (("image", (channels,)), ("mask", ())):
                one = (size, size, *last)
                file.create_dataset(name, (0, *one), "u1", chunks=(1, *one), maxshape=(None, *one))
        elif size is not None:
            image_rows = file.create_dataset(
                "image", (count, size, size, channels), "u1", chunks=(1, size, size, channels)
            )
            mask_rows = file.create_dataset("mask", (count, size, size), "u1", chunks=(1, size, size))
        else:
            voxels = file.create_dataset("voxel", (0,), "f4", maxshape=(None,), chunks=(1 << 20,))
        bits = file.create_dataset("truth_bits", (0,), "u1", maxshape=(None,), chunks=(1 << 16,), compression="gzip")
        for i, (case, digest) in enumerate(source.decoded()):
            sides = case.image.shape[:2] if size is not None and not sliced else case.image.shape[-3:]
            mask = np.zeros(sides, np.uint8) if case.mask is None else case.mask
            if size is not None and source.slice_window is not None:
                pixels = to_slices(to_bytes(case.image, source.slice_window, case.id))
                _append(file["image"], np.stack([resize(one, size) for one in pixels]))
                resized = [resize(one, size, nearest=True) for one in to_slices(mask)]
                image_ends.append(_append(file["mask"], np.stack(resized)))
            elif size is not None:
                image_rows[i] = resize(case.image, size)
                mask_rows[i] = resize(mask, size, nearest=True)
            else:
                voxel_ends.append(_append(voxels, case.image.ravel()))
            if len(sides) == 3:
                spacings.append(case.spacing or (math.nan,) * 3)
            truth_ends.append(_append(bits, np.packbits(_to_planes(mask, planes, benchmark.ignores))))
            any_foreground |= bool(((mask > 0) & (mask != IGNORED)).any())
            ids.append(case.id)
            masked.append(case.mask is not None)
            contents.append(hashlib.sha256(case.image.tobytes() + str(case.image.shape).encode()).hexdigest()[:16])
            shapes.append(sides)
            fingerprint.update(f"{case.id}|{digest}|".encode())
            if advance is not None:
                advance(i + 1, count)
        file["shape"], file["truth_end"] = np.array(shapes, np.int64), np.array(truth_ends, np.int64)
        file["voxel_end"] = np.array(voxel_ends, np.int64)
        if sliced:
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
    write_bytes(path, buffer.getbuffer())
    write_bytes(path.with_suffix(".sha256"), hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    return path


def _open(folder: Path, index: Path, size: int | None, source: Source) -> Dataset | None:
    """Open the cache file that the index names; None if it does not exist or has changed since it was written."""
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
        return Dataset(
            path, fingerprint, ids, contents, masked, source.label_values, source.intensity, source.slice_window,
            source.axes, "ignores" in file.attrs, source.layout,
        )  # fmt: skip


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

"""Raw files of the cache: arrays one after the other, read from their place without a copy of the rest in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path

import numpy as np

from ssl_bench.errors import UserError

REACH = 2**30


class RawFile:
    """A raw file that is being written; it lies at `path` once it is placed."""

    def __init__(self, beside: Path) -> None:
        self.beside = beside
        self._file = beside.open("wb")
        self._digest = hashlib.sha256()

    def append(self, values: np.ndarray) -> None:
        """Write an array at the end."""
        content = np.ascontiguousarray(values).data
        self._digest.update(content)
        self._file.write(content)

    def place(self, path: Path) -> str:
        """Flush the file to the disk and move it to `path` in one step; returns the SHA-256 of its content."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.beside.replace(path)
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Delete what was not placed."""
        with suppress(OSError):  # a full disk takes no more bytes
            self._file.close()
        self.beside.unlink(missing_ok=True)


@contextmanager
def writing_raw(folder: Path, *names: str) -> Iterator[list[RawFile]]:
    """Open raw files in a folder; those that are not placed are deleted (context manager)."""
    files: list[RawFile] = []
    try:
        files.extend(RawFile(folder / f".{name}.{os.getpid()}.partial") for name in names)
        yield files
    finally:
        for file in files:
            file.discard()


class Rows:
    """Arrays of one shape and of uint8 in a raw file. Rows are read from the page cache, which all processes share.

    Args:
        path: the raw file.
        shape: of a row.

    """

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        self.path, self.shape, self.row_bytes = path, tuple(shape), prod(shape)
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return os.fstat(self._file.fileno()).st_size // self.row_bytes

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """Return some rows in their order, (rows, *shape) uint8.

        Raises:
            UserError: the file cannot be read, or ends before a row does.
        """
        result = np.empty((len(rows), *self.shape), np.uint8)
        flat = memoryview(result.reshape(-1))  # type: ignore[arg-type]
        for number, row in enumerate(rows):
            done = 0
            while done < self.row_bytes:
                place = flat[number * self.row_bytes + done : (number + 1) * self.row_bytes]
                try:
                    count = os.preadv(self._file.fileno(), [place], row * self.row_bytes + done)
                except OSError as error:
                    raise UserError(f"{self.path}: cannot be read: {error.strerror}") from None
                if count == 0:
                    raise UserError(f"{self.path}: ends before row {row}; delete it, and it is built again")
                done += count
        return result


class MappedArrays:
    """Arrays of a raw file whose pages are read when they are used.

    Writing to an array changes this process's copy of a page and never the file. Arrays that lie close to each other
    share a map of the file, since every map holds a file descriptor, of which a process has 256 on some systems. No map
    is much longer than `reach`, since a system may refuse to map more than it has memory.

    Args:
        path: the raw file.
        dtype: of the values.
        reach: bytes in which arrays begin that share a map.

    """

    def __init__(self, path: Path, dtype: type[np.generic], reach: int = REACH) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self._values = reach // self.dtype.itemsize
        self._maps: dict[int, np.ndarray] = {}

    def read(self, start: int, shape: Sequence[int]) -> np.ndarray:
        """Return the array whose first value has the number `start` in the file."""
        which, count = start // self._values, prod(shape)
        first = which * self._values
        own = self._maps.get(which)
        if own is None or start - first + count > len(own):
            whole = self.path.stat().st_size // self.dtype.itemsize
            length = max(min(self._values, whole - first), start - first + count)
            own = self._maps[which] = np.memmap(self.path, self.dtype, "c", first * self.dtype.itemsize, (length,))
        return own[start - first : start - first + count].reshape(shape)

"""Atomic writes: a file is written to a temporary file beside it, flushed and renamed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ssl_bench.errors import UserError

WEIGHT_FILES = (".pth", ".pt", ".safetensors")  # suffixes of weight files


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` in one step at the end, if nothing is raised (context manager).

    A reader sees the old file or the new one, also after a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by `content` in one step, as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def writing(option: str, folder: Path) -> Iterator[None]:
    """Make the folder that an option names; a failed write in it becomes a UserError (context manager).

    Raises:
        UserError: the folder cannot be made, or a file in it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{option}: {folder} cannot be written: {error.strerror}") from None


def require_folder(option: str, folder: Path) -> None:
    """Make the folder that an option names, before long work that writes its results there.

    Raises:
        UserError: the folder cannot be made, or a file in it cannot be written.
    """
    with writing(option, folder), tempfile.TemporaryFile(dir=folder):
        pass


def file_fingerprint(path: Path) -> str:
    """The first sixteen hexadecimal digits of the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def json_bytes(data: Any) -> bytes:
    """Indented JSON with a final newline."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, data: Any) -> None:
    """Write a file as `json_bytes` gives it."""
    write_bytes(path, json_bytes(data))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV; floats with the digits that read back to the same number, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a file as `csv_text` gives it."""
    write_bytes(path, csv_text(header, rows).encode())

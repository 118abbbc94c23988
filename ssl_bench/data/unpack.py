"""Unpacks zip and tar archives. Nothing is written outside the folder, and links are refused."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ssl_bench.errors import UserError, first_line

BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)


@dataclass(frozen=True)
class _Member:
    """A file or folder in an archive."""

    name: str
    size: int
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, advance: Callable[[int, int], None]) -> None:
    """Unpack an archive's files into a folder.

    Args:
        archive: a zip file (by its suffix) or a tar file, compressed or not.
        folder: where to; an existing folder.
        advance: called with the progress in bytes.

    Raises:
        UserError: the archive is damaged, or a member is a link or lies outside the folder; the folder may hold some
            of its files.
        OSError: a file cannot be written.
    """
    with _members(archive) as members:
        paths = [_inside(archive, member) for member in members]
        done, total = 0, sum(member.size for member in members)
        free = shutil.disk_usage(folder).free
        if total > free:
            raise UserError(f"--data-root: {folder} needs {total} bytes to unpack {archive.name}, found {free} free")
        for member, path in zip(members, paths, strict=True):
            target = folder / path
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                raise UserError(f"{archive}: expected files of different names, found '{member.name}' twice")
            with member.open() as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                done += copy.tell()
            advance(done, total)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Open an archive and list its members (context manager).

    Raises:
        UserError: the archive is damaged or something else, now or while it is read.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                yield [_of_zip(archive, file, info) for info in file.infolist()]
        else:
            with tarfile.open(archive) as tar:
                yield [_of_tar(tar, info) for info in tar.getmembers()]
    except BROKEN as error:
        raise UserError(f"{archive}: expected an archive, found {_found(archive)}: {first_line(error)}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{archive}: expected an archive, found a damaged one: {first_line(error)}") from None


def _of_zip(archive: Path, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    if info.flag_bits & 1:
        raise UserError(f"{archive}: '{info.filename}' is encrypted")
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
    return _Member(info.filename, info.file_size, info.is_dir(), is_file, lambda: file.open(info))


def _of_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def read() -> IO[bytes]:
        content = tar.extractfile(info)
        assert content is not None, "a regular file has content"
        return content

    return _Member(info.name, info.size, info.isdir(), info.isfile(), read)


def _inside(archive: Path, member: _Member) -> PurePosixPath:
    """Return a member's path below the folder.

    Raises:
        UserError: it is neither a file nor a folder, or its path leaves the folder.
    """
    if not (member.is_file or member.is_folder):
        raise UserError(f"{archive}: expected files and folders only, found '{member.name}', a link or device")
    path = PurePosixPath(member.name)
    is_odd = "\\" in member.name or "\0" in member.name or (path.parts and ":" in path.parts[0])
    if path.is_absolute() or ".." in path.parts or is_odd or not (path.parts or member.is_folder):
        raise UserError(f"{archive}: expected paths inside the archive's folder, found '{member.name}'")
    return path


def _found(archive: Path) -> str:
    with archive.open("rb") as file:
        beginning = file.read(512).lstrip().lower()
    return "a web page" if beginning.startswith((b"<!doctype html", b"<html")) else "a damaged one or another file"

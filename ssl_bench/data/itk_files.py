"""NRRD and MetaImage files: what is checked before ITK reads them, and where their voxels are.

ITK prints to stderr if voxels are missing, and takes damaged compressed voxels for good ones.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import Any

from ssl_bench.data.quiet import quiet_libraries
from ssl_bench.errors import UnreadableFileError

HEADER = 1 << 14  # bytes, in which a header ends
ELSEWHERE = {  # what a header says whose voxels are in a separate file
    ".nrrd": re.compile(rb"\A(?:.+\r?\n)*?data ?file:", re.IGNORECASE),
    ".mha": re.compile(rb"^ElementDataFile\s*=\s*(?!LOCAL)\S", re.IGNORECASE | re.MULTILINE),
}
FIELD = re.compile(rb"^\s*(\w+)\s*=[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE)
LAST = re.compile(rb"^\s*ElementDataFile\s*=[^\n]*\n?", re.MULTILINE)
SIZES = {  # of MetaImage's types in bytes
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "LONG_LONG": 8,
    "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip


def voxel_file(path: Path) -> Path | None:
    """Return the file beside a MetaImage header (`.mhd`) that holds its voxels; None for a file that holds its own.

    Raises:
        UnreadableFileError: the header cannot be read or names no file in its folder, or this file does not exist.
    """
    if path.suffix.lower() != ".mhd":
        return None
    fields, _ = _meta_header(path)
    name = fields.get("ElementDataFile", "")
    if name == "LOCAL":
        return None
    if not name or Path(name).name != name or name == "LIST":
        raise UnreadableFileError(f"{path}: expected the name of a file beside it as ElementDataFile, found '{name}'")
    beside = path.parent / name
    if not beside.is_file():
        count = _meta_bytes(path, fields)
        raise UnreadableFileError(
            f"{beside}: expected a file with the {count} bytes of voxels of {path.name}, found none"
        )
    return beside


def read_by_itk(path: Path) -> Any:
    """Return SimpleITK's image of an NRRD or MetaImage file.

    Raises:
        UnreadableFileError: the file is damaged or incomplete, or its voxels are in a file that is not supported.
    """
    import medpy.io  # here, since SimpleITK is slow to import

    with path.open("rb") as file:
        header = file.read(HEADER)
    elsewhere = ELSEWHERE.get(path.suffix.lower())
    if elsewhere is not None and elsewhere.search(header):
        raise UnreadableFileError(
            f"{path}: the voxel data is in a separate file, which is not supported; convert it to a single-file format"
        )
    if path.suffix.lower() != ".nrrd":
        _require_whole_meta(path)
    else:
        _require_whole_nrrd(path)
    try:
        with quiet_libraries():
            return medpy.io.load(str(path))[1].get_sitkimage()
    except RuntimeError as error:
        raise UnreadableFileError(f"{path}: not a readable volume: {_reason(error)}") from None


def itk_reader(path: Path) -> Any:
    """Return SimpleITK's reader of a file, which has read the header only."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_libraries():
        reader.ReadImageInformation()
    return reader


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a MetaImage header, and the bytes from the file's beginning to the header's end.

    Raises:
        UnreadableFileError: the header cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(HEADER)
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error.strerror}") from None
    last = LAST.search(content)
    header = content[: last.end()] if last else content
    return {key.decode(): value.decode(errors="replace") for key, value in FIELD.findall(header)}, len(header)


def _meta_bytes(path: Path, fields: dict[str, str]) -> int:
    """How many bytes the voxels of a MetaImage have when they are not compressed.

    Raises:
        UnreadableFileError: the header does not say it.
    """
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in SIZES:
        raise UnreadableFileError(
            f"{path}: expected a type of numbers as ElementType, found '{fields.get('ElementType', '')}'"
        )
    dimensions, *sides = (fields.get(key, "") for key in ("NDims", "DimSize"))
    lengths = sides[0].split()
    if not all(re.fullmatch("[1-9][0-9]*", length) for length in lengths) or str(len(lengths)) != dimensions:
        raise UnreadableFileError(
            f"{path}: expected NDims lengths as DimSize, found NDims = {dimensions or 'none'} and DimSize = "
            f"{sides[0] or 'none'}"
        )
    components = fields.get("ElementNumberOfChannels", "1")
    if not re.fullmatch("[1-9][0-9]*", components):
        raise UnreadableFileError(f"{path}: expected a number as ElementNumberOfChannels, found '{components}'")
    return math.prod(map(int, lengths)) * int(components) * SIZES[kind]


def _require_whole_meta(path: Path) -> None:
    """Check that the voxels of a MetaImage are as many bytes as its header says.

    Raises:
        UnreadableFileError: they are not, or they are compressed and damaged.
    """
    beside = voxel_file(path)
    fields, end = _meta_header(path)
    expected, own = _meta_bytes(path, fields), beside or path
    if fields.get("BinaryData", "True").lower() in ("false", "0"):
        return  # numbers as text, which ITK counts
    skipped = fields.get("HeaderSize", "0")
    content = own.read_bytes()[end if beside is None else 0 :]
    if fields.get("CompressedData", "False").lower() in ("true", "1"):
        content = _inflated(own, content)
    elif skipped == "-1":  # the voxels are at the end
        content = content[-expected:]
    elif skipped.isdigit():
        content = content[int(skipped) :]
    if len(content) != expected:
        of = f" of {path.name}" if beside is not None else ""
        raise UnreadableFileError(f"{own}: expected {expected} bytes of voxels{of}, found {len(content)}")


def _require_whole_nrrd(path: Path) -> None:
    """Check the compressed voxels of an NRRD file, whose checksum ITK ignores.

    Raises:
        UnreadableFileError: they are damaged.
    """
    content = path.read_bytes()
    header, _, voxels = content.partition(b"\n\n")
    if b"\r\n\r\n" in header:
        header, _, voxels = content.partition(b"\r\n\r\n")
    if re.search(rb"^encoding:\s*(gzip|gz)\s*$", header, re.MULTILINE) and not re.search(
        rb"^(byte|line) ?skip:\s*[^0\s]", header, re.MULTILINE
    ):
        _inflated(path, voxels)


def _inflated(path: Path, content: bytes) -> bytes:
    """Decompress the voxels (zlib or gzip) in a file, which checks their checksum.

    Raises:
        UnreadableFileError: they are damaged or incomplete.
    """
    stream = zlib.decompressobj(47)  # zlib or gzip by its header
    try:
        voxels = stream.decompress(content)
    except zlib.error as error:
        raise UnreadableFileError(
            f"{path}: not a readable volume: its compressed voxels are damaged ({error})"
        ) from None
    if not stream.eof:
        raise UnreadableFileError(
            f"{path}: not a readable volume: its compressed voxels end early, after {len(content)} bytes that give "
            f"{len(voxels)}"
        )
    return voxels


def _reason(error: RuntimeError) -> str:
    """What ITK says of a file, in one line."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if lines[-1].startswith("[nrrd]"):
        return lines[-1]
    said = next((line for line in lines if "ERROR: " in line), lines[-1])
    return re.sub(r"^\w+\(0x[0-9a-f]+\): ", "", said.rpartition("ERROR: ")[2])

"""`data download`: fetch a data set's archives, unpack them and count the cases, before any of it is in its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pooch
from filelock import Timeout

from ssl_bench.atomic import require_folder, write_json, writing
from ssl_bench.cards import Archive, Benchmark, Download
from ssl_bench.command import quantity
from ssl_bench.data.fetch import Advance, fetch
from ssl_bench.data.images import folder_of
from ssl_bench.data.sources import find_cases
from ssl_bench.data.unpack import unpack
from ssl_bench.errors import UserError
from ssl_bench.locks import FileLock


@dataclass(frozen=True)
class Received:
    """An archive that has come. `earlier` is the SHA-256 of the last download from this address, if it differs."""

    url: str
    bytes: int
    sha256: str
    checked_against: str | None
    earlier: str | None = None


@dataclass(frozen=True)
class Downloaded:
    """A data set in its place: its folder and number of cases, and the archives, which are empty if it was there."""

    folder: Path
    cases: int
    archives: tuple[Received, ...] = ()


def download(benchmark: Benchmark, data_root: Path, advance: Advance) -> Downloaded:
    """Fetch a data set whose card names its archives, unless it is there already.

    Archives and unpacked files lie in a hidden folder of the data root until every case is there. Then one rename
    brings them into their place. An interrupted call leaves the hidden folder, from which the next call continues.

    Args:
        benchmark: the card.
        data_root: made if it does not exist.
        advance: called with the progress: what is done, bytes so far, all bytes where they are known.

    Raises:
        UserError: the card has no archives, the data root cannot be written, something else lies in the place, or an
            archive cannot be had, is damaged, or holds another number of cases.
    """
    wanted = require_archives(benchmark)
    require_folder("--data-root", data_root)
    staging = data_root / f".download-{benchmark.name}"
    with writing("--data-root", staging), _locked(staging):
        there = existing(benchmark, data_root)
        if there is None:
            there = _fetch_all(benchmark, wanted, data_root, staging, advance)
        shutil.rmtree(staging, ignore_errors=True)
    return there


def require_archives(benchmark: Benchmark) -> Download:
    """Return the card's `download`, which has archives.

    Raises:
        UserError: the package draws the data set, or the card says nothing about archives.
    """
    if benchmark.generator is not None:
        raise UserError(f"{benchmark.name}: the package draws this data set; there is nothing to download")
    if benchmark.download is None and benchmark.option.endswith(".toml"):
        source = "their source" if benchmark.source == "unknown" else benchmark.source
        raise UserError(
            f"{benchmark.option}: this card names no download; get the files from {source} and put them below "
            "--data-root, or add [download] with page, unpack_to, and archives or instructions"
        )
    if benchmark.download is None or not benchmark.download.archives:
        raise UserError(
            f"{benchmark.name}: the card names no archives in [download]; get the data set from {benchmark.source}"
        )
    return benchmark.download


def existing(benchmark: Benchmark, data_root: Path) -> Downloaded | None:
    """Return the data set if it lies below the data root with all its cases; None if nothing is in its place.

    Raises:
        UserError: there are other files in its place, or it has another number of cases or lacks masks.
    """
    try:
        return _complete(benchmark, data_root)
    except _NoCasesError as error:
        place = None if benchmark.download is None else data_root / benchmark.download.unpack_to
        if place is None or not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return None
        raise UserError(f"{place}: expected no such folder or {benchmark.title}; move it away first: {error}") from None


class _NoCasesError(Exception):
    """No folder of the card's layout was found."""


def _complete(benchmark: Benchmark, data_root: Path) -> Downloaded:
    """Return the data set below a data root.

    Raises:
        UserError: it has another number of cases, or lacks masks.
        _NoCasesError: it is not there.
    """
    try:
        files, cases = find_cases(benchmark, data_root)
    except UserError as error:
        raise _NoCasesError(str(error)) from None
    masks = len(cases) if files.masks_optional else sum(case.mask is not None for case in cases)
    if (len(cases), masks) != (benchmark.cases, benchmark.cases):
        raise UserError(
            f"{folder_of(cases)}: expected {quantity(benchmark.cases, 'case')} of {benchmark.title} with masks, found "
            f"{quantity(len(cases), 'case')} and {quantity(masks, 'mask')}"
        )
    return Downloaded(folder_of(cases), len(cases))


def _fetch_all(benchmark: Benchmark, wanted: Download, data_root: Path, staging: Path, advance: Advance) -> Downloaded:
    """Fetch, unpack and count below `staging`, then rename."""
    paths = [fetch(archive, wanted.page, staging, advance) for archive in wanted.archives]
    new, place = staging / "unpacked", data_root / wanted.unpack_to
    shutil.rmtree(new, ignore_errors=True)  # of a killed process
    inner = new / wanted.unpack_to
    inner.mkdir(parents=True)
    try:
        for path in paths:
            _unpack(path, inner, advance)
        try:
            _complete(benchmark, new)
        except (UserError, _NoCasesError) as error:
            raise UserError(f"{error}; the archives are kept in {staging}, to unpack them by hand") from None
        record = place.with_name(f"{place.name}.download.json")
        received = [_received(archive, path, record) for archive, path in zip(wanted.archives, paths, strict=True)]
        _write_record(record, received)
        place.parent.mkdir(parents=True, exist_ok=True)
        inner.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    found = _complete(benchmark, data_root)
    return Downloaded(found.folder, found.cases, tuple(received))


def _unpack(path: Path, folder: Path, advance: Advance) -> None:
    """Unpack an archive; one that cannot be used is deleted, so that the next call fetches it again."""
    try:
        unpack(path, folder, lambda done, total: advance(f"unpacking {path.name}", done, total))
    except UserError as error:
        if not str(error).startswith("--data-root"):
            path.unlink()
        raise


def _received(archive: Archive, path: Path, record: Path) -> Received:
    sha256 = archive.sha256 or str(pooch.file_hash(str(path), alg="sha256"))
    before = next((entry["sha256"] for entry in reversed(_recorded(record)) if entry["url"] == archive.url), sha256)
    earlier = None if before == sha256 else str(before)
    return Received(archive.url, path.stat().st_size, sha256, archive.checksum_from, earlier)


def _recorded(record: Path) -> list[dict[str, str]]:
    """Return the archives of earlier downloads, oldest first.

    Raises:
        UserError: the file is damaged.
    """
    if not record.exists():
        return []
    try:
        entries: list[dict[str, str]] = json.loads(record.read_text())["archives"]
        return [{"url": entry["url"], "sha256": entry["sha256"], **entry} for entry in entries]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{record}: expected the record of earlier downloads, found a damaged file") from None


def _write_record(record: Path, received: list[Received]) -> None:
    """Append what has come to the record beside the data."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    new = [{**asdict(one), "received": when} for one in received]
    write_json(record, {"archives": [*_recorded(record), *new]})


@contextmanager
def _locked(staging: Path) -> Iterator[None]:
    """Hold the lock of a download's folder (context manager).

    Raises:
        UserError: another process holds it.
    """
    try:
        with FileLock(staging / "lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"--data-root: another process is downloading to {staging}") from None

"""Exports finished runs to a zip file and imports them into another store."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from ssl_bench.atomic import json_bytes, replacing, write_bytes
from ssl_bench.cards import RUN_ID, RunSpec
from ssl_bench.command import quantity
from ssl_bench.errors import UserError, first_line
from ssl_bench.store.convert import OLD_CASES, upgraded
from ssl_bench.store.run import Run
from ssl_bench.store.run_folder import FORMAT, RunFolder, cases_name
from ssl_bench.store.scores import read_cases, read_scores
from ssl_bench.store.store import Store, load_run

MANIFEST = "manifest.json"
DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # NotImplementedError among the last
CHUNK = 2**20  # bytes


SCORES = ("run.json", "splits.json", "cases-*.csv", "curves.csv", "test_curve.csv", "validation_curve.csv")


WEIGHTS = ("weights.safetensors",)


PICTURES = ("examples.npz", "moments-*.npz")  # parts of the data set's images, which its licence may not let travel


_MEMBER = re.compile(
    rf"runs/(?P<run>[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_+-]*/{RUN_ID})/"
    r"(?P<file>run\.json|splits\.json|(cases(-[0-9a-f]{8})?|curves|test_curve|validation_curve)\.csv"
    r"|weights\.safetensors|(examples|moments-[0-9]+)\.npz)"
)


@dataclass
class Imported:
    """Counts of an import; `conflicts` describe runs that were left unchanged."""

    added: int = 0
    already: int = 0
    conflicts: list[str] = field(default_factory=list)


def export_runs(runs: Sequence[Run], file: Path, *, weights: bool = False, pictures: bool = False) -> int:
    """Write finished runs into one zip with the SHA-256 of every file in it; the same runs give the same bytes.

    Args:
        runs: runs; unfinished ones are skipped.
        file: to write. An existing export is replaced only if all its files are in the new one, unchanged.
        weights: with the networks' weights.
        pictures: with the pictures of test cases and training images.

    Returns:
        The number of runs written.

    Raises:
        UserError: none is finished, the scores of one are damaged, or the file cannot be written or holds something
            else.
    """
    finished = [run for run in runs if run.status == "finished"]
    if not finished:
        raise UserError(f"expected finished runs to export, found none among {len(runs)}")
    for run in finished:
        run.require_whole()
    patterns = SCORES + (WEIGHTS if weights else ()) + (PICTURES if pictures else ())
    paths = [path for run in finished for path in sorted(found for one in patterns for found in run.path.glob(one))]
    try:
        with replacing(file) as content:
            digests = _write(content, paths)
            if file.exists():
                _require_replaceable(file, digests)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
    return len(finished)


def _write(content: BinaryIO, paths: Sequence[Path]) -> dict[str, str]:
    """Write the files of runs, one at a time in memory; returns each one's digest."""
    digests = dict[str, str]()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            data = _without_folder(path.read_bytes()) if path.name == "run.json" else path.read_bytes()
            name = "/".join(("runs", *path.parts[-4:]))
            digests[name] = hashlib.sha256(data).hexdigest()
            _add(archive, name, data)
        _add(archive, MANIFEST, json.dumps({"format": FORMAT, "files": digests}, indent=1).encode())
    return digests


def _without_folder(data: bytes) -> bytes:
    """A run.json whose split file has its name alone. Its folder is this machine's, and its hash stands beside it."""
    record = json.loads(data)
    split = record["spec"]["split"]
    if split.get("file") is None:
        return data
    split["file"] = Path(split["file"]).name
    return json_bytes(record)


def import_runs(file: Path, store: Store) -> Imported:
    """Merge an export into a store. A finished run in the store is never changed; an unfinished one is replaced.

    All runs of the file are checked first, so a damaged file changes nothing. Memory holds one run at a time.

    Raises:
        UserError: the file is not an export, is damaged, or would leave the store's folder, which may be unwritable.
    """
    result = Imported()
    with _opened(file) as (archive, members):
        for folder, own in members.items():
            _checked(file, archive, folder, own)
        for folder, own in members.items():
            try:
                _import(store, folder, *_checked(file, archive, folder, own), result)
            except OSError as error:
                counted = f"{result.added} of {quantity(len(members), 'run')} added"
                raise UserError(f"{store.root}: cannot be written: {error.strerror} ({counted})") from None
    return result


def _import(store: Store, folder: str, spec: RunSpec, contents: dict[str, bytes], result: Imported) -> None:
    """Import one run, which is `folder` in the file, and note why if it was not imported."""
    conflict = _merge(store, spec, contents, result)
    if conflict:
        result.conflicts.append(f"runs/{folder} ({spec.label}): {conflict}")


def _merge(store: Store, spec: RunSpec, contents: dict[str, bytes], result: Imported) -> str | None:
    """Import one run; returns the reason if it was not imported."""
    folder = store.own_folder(spec)
    with store.claim(spec, folder) as mine:
        if not mine:
            return "is being trained here; not imported"
        try:
            if not folder.is_finished:
                folder.adopt(contents)
                result.added += 1
                return None
            here, there = folder.read() or {}, json.loads(contents["run.json"])
            conflict = _conflict(folder, here, there, contents)
            if conflict:
                return f"{conflict}; not imported"
        except UserError as error:
            return f"is damaged here ({error}); not imported"
        result.already += 1
        for key, entry in there["scores"].items():
            if key not in here["scores"] and (content := contents.get(cases_name(key))) is not None:
                # in place of that of a scoring that was killed, if there is one
                write_bytes(folder.cases(key), content)
                folder.add_scores(key, entry)
        folder.add_missing({name: content for name, content in contents.items() if name != "run.json"})
        return None


def _conflict(folder: RunFolder, here: dict[str, Any], there: dict[str, Any], contents: dict[str, bytes]) -> str:
    """Say why a run of the file is another training than the run of the same id here; empty where it is the same."""
    load_run(folder.path).require_whole()
    common = [key for key in here["scores"] if key in there["scores"]]
    for key in common:
        if here["scores"][key]["cases_sha256"] != there["scores"][key]["cases_sha256"]:
            return f"has other scores here ({_headline(here)}) than in the file ({_headline(there)})"
    own_curves = folder.curves.read_bytes() if folder.curves.exists() else None
    if not common and (own_curves is None or own_curves != contents.get(folder.curves.name)):
        return "has no scores in common with the file, so it cannot be verified to be the same training"
    return ""


def _headline(record: dict[str, Any]) -> str:
    first = next(iter(record["scores"].values()))
    scores = first["networks"][record["result"]["predictor"]]
    return ", ".join(f"{metric} {value['mean']:.6g}" for metric, value in scores.items() if value["mean"] is not None)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # fixed, so that equal runs give equal bytes
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    entry.file_size = len(data)  # from which zipfile tells whether it needs the format for files above 2 GiB
    with archive.open(entry, "w") as member:
        for start in range(0, len(data), CHUNK):  # compressed at once, all of it would be in memory twice
            member.write(data[start : start + CHUNK])


def _chunks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """The content of a file in an archive, piece by piece."""
    with archive.open(name) as member:
        while chunk := member.read(CHUNK):
            yield chunk


@contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, dict[str, str]]]]:
    """Open an export and verify every file's digest; yields the archive and each run's files and digests."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            members = _members(file, archive)
        except UserError:
            raise
        except (*DAMAGED, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: cannot be read as an export: {error}") from None
        yield archive, members


def _members(file: Path, archive: zipfile.ZipFile) -> dict[str, dict[str, str]]:
    names = set(archive.namelist())
    if MANIFEST not in names:
        raise UserError(f"{file}: expected an export of `ssl-bench results export`, found no {MANIFEST} in it")
    manifest = json.loads(archive.read(MANIFEST))
    if manifest["format"] not in (1, FORMAT):
        raise UserError(f"{file}: expected format {FORMAT}, found {manifest['format']!r}")
    digests = dict(manifest["files"])
    unlike = sorted(names ^ {*digests, MANIFEST})
    if unlike:
        raise UserError(f"{file}: its manifest and its contents differ: {', '.join(unlike[:3])}")
    members: dict[str, dict[str, str]] = {}
    for name, digest in digests.items():
        match = _MEMBER.fullmatch(name)
        if match is None:
            raise UserError(f"{file}: expected files of runs, found '{name}'")
        found = hashlib.sha256()
        for chunk in _chunks(archive, name):
            found.update(chunk)
        if found.hexdigest() != digest:
            raise UserError(f"{file}: {name} is damaged (its SHA-256 is not the recorded one)")
        members.setdefault(match["run"], {})[match["file"]] = digest
    return members


def _require_replaceable(file: Path, digests: dict[str, str]) -> None:
    """Refuse to replace a file that may be the only copy of a run or of another training of it."""
    try:
        with _opened(file) as (_, members):
            held = {f"runs/{run}/{name}": digest for run, own in members.items() for name, digest in own.items()}
    except UserError as error:
        raise UserError(f"{error}; it is not replaced, give another name") from None
    lost = sorted(name for name, digest in held.items() if digests.get(name) != digest)
    if lost:
        raise UserError(
            f"{file}: holds {quantity(len(lost), 'file')} that this export lacks or changes, such as "
            f"{lost[0]}; give another name"
        )


def _checked(
    file: Path, archive: zipfile.ZipFile, folder: str, own: Collection[str]
) -> tuple[RunSpec, dict[str, bytes]]:
    """Return a run's specification and files; it must be finished, whole, and the run that its folder is named after.

    A run of an earlier version is converted.
    """
    where = f"{file}: runs/{folder}"
    if "run.json" not in own:
        raise UserError(f"{where} has no run.json")
    try:
        contents = {name: b"".join(_chunks(archive, f"runs/{folder}/{name}")) for name in own}
    except DAMAGED as error:
        raise UserError(f"{file}: cannot be read as an export: {error}") from None
    try:
        record = json.loads(contents["run.json"])
        if record["status"] != "finished":
            raise UserError(f"{where}: expected a finished run, found {record['status']!r}")
        if record["format"] == 1:
            spec, new = upgraded(record, contents.pop(OLD_CASES, None), where)
            return spec, contents | new
        if record["format"] != FORMAT:
            raise UserError(f"{where}: expected format {FORMAT}, found {record['format']!r}")
        spec = RunSpec.read(record["spec"])
        _ = _headline(record)
    except (ValidationError, ValueError, KeyError, TypeError, StopIteration) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}/run.json: not a run of this version: {first_line(error)}") from None
    if folder != f"{spec.benchmark}/{spec.method}/{spec.run_id}":
        raise UserError(f"{where}: its specification is that of {spec.benchmark}/{spec.method}/{spec.run_id}")
    for key, scores in read_scores(RunFolder(Path(folder)), record["scores"]).items():
        name = cases_name(key)
        if name not in contents:
            raise UserError(f"{where} has no {name}")
        read_cases(contents[name], scores.sha256, f"{where}/{name}")
    return spec, contents

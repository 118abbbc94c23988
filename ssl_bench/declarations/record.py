"""A record of what method files declare, in the cache folder under the hash of everything that decides it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from ssl_bench.atomic import write_bytes
from ssl_bench.declarations.declaration import Declaration
from ssl_bench.folders import IMPORTED, cache_folder
from ssl_bench.plugins import module_hash

FORMAT = 3  # raise it when the content of a record changes
KEPT = 50  # records of other texts that stay in the cache
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """A method file as it was read."""

    path: Path
    module: str
    sha256: str

    @property
    def is_imported(self) -> bool:
        """Whether the text that was imported is the one that was read."""
        return module_hash(self.module) == self.sha256


def record_path(sources: Sequence[Source]) -> Path | None:
    """Where the record of these files lies. None if a version is unknown.

    The name is a hash of the files, of this package's own files, and of the versions of Python, torch and pydantic.
    """
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    package = hashlib.sha256()
    for path in _package_files():
        package.update(f"{path}\0".encode() + path.read_bytes())
    files = [(str(one.path), one.module, one.sha256) for one in sources]
    decisive = [FORMAT, sys.version, torch, pydantic.VERSION, package.hexdigest(), files]
    return cache_folder() / "methods" / f"{hashlib.sha256(json.dumps(decisive).encode()).hexdigest()}.json"


@dataclass
class Record:
    """Declarations as plain data.

    Attributes:
        methods: what a class says of itself, by name.
        answers: all hyperparameters, by the method, the given ones and the dimensions (see `question`).
        is_new: whether the file lacks something.

    """

    methods: dict[str, dict[str, Any]]
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_new: bool = True

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Read a record; None where there is none that was written in full."""
        try:
            digest, _, body = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        content = json.loads(body)
        return cls(content["methods"], content["answers"], is_new=False)

    @classmethod
    def of(cls, methods: Mapping[str, Declaration]) -> Record:
        """The record of imported methods, without answers."""
        return cls({
            name: {
                "title": one.title, "version": one.version, "dimensions": sorted(one.dimensions),
                "components": sorted(one.components),
                "fields": sorted(one.fields), "authors": dict(one.authors),
                "reconstructed": one.reconstructed,
            }
            for name, one in methods.items()
        })  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the record if it can be written: without it, the next report imports the files again."""
        with suppress(OSError, TypeError, ValueError):
            content = {"methods": self.methods, "answers": self.answers}
            body = json.dumps(content, allow_nan=False).encode()
            write_bytes(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            self.is_new = False
            for old in sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)[:-KEPT]:
                old.unlink(missing_ok=True)


def question(name: str, given: Mapping[str, Any], dimensions: int) -> str | None:
    """The key of an answer; None for settings that JSON cannot hold, such as dates."""
    try:
        return json.dumps([name, dimensions, dict(given)], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        return None


def is_package_unchanged() -> bool:
    """Whether this package's files are older than this process, which then runs what the files say."""
    return all(path.stat().st_ctime < IMPORTED - 1 for path in _package_files())


def _package_files() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))

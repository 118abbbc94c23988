"""The declarations of all methods: from their record where there is one, else from their files."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ssl_bench.declarations.declaration import Declaration, declare
from ssl_bench.declarations.plain import is_plain
from ssl_bench.declarations.record import Record, Source, is_package_unchanged, question, record_path
from ssl_bench.errors import UserError
from ssl_bench.plugins import METHODS, has_entry_points, import_file, method_files, read_text

Declarations = Mapping[str, Declaration]


@contextmanager
def declared_methods(*folders: Path) -> Iterator[Declarations]:
    """Give what `load_methods` finds, as declarations (context manager).

    Torch is imported only if a file was edited, if hyperparameters are asked for that nobody asked for before, if a
    file is not plain (see `is_plain`) and imports torch, or if an installed package has methods.

    Raises:
        UserError: a folder is missing, or a file cannot be imported.
    """
    recorded = None if has_methods() else _Recorded.open(folders)
    if recorded is None:
        yield _imported(folders)
        return
    yield recorded.declarations
    recorded.close()


def has_methods() -> bool:
    """Whether this process has imported methods, and so torch. It may have more than the files of the folders."""
    return "ssl_bench.method" in sys.modules


def _imported(folders: tuple[Path, ...]) -> dict[str, Declaration]:
    from ssl_bench.method import load_methods

    return {name: declare(method) for name, method in load_methods(*folders).items()}


class _Recorded:
    """Declarations that are recorded, or will be."""

    def __init__(self, folders: tuple[Path, ...], sources: list[Source], path: Path) -> None:
        self.folders, self.sources, self.path = folders, sources, path
        self.live: dict[str, Declaration] | None = None
        known = Record.read(path)
        self.record = Record.of(self.imported) if known is None else known

    @classmethod
    def open(cls, folders: tuple[Path, ...]) -> _Recorded | None:
        """Read the record of the folders; import what a record cannot hold. None where more than that is needed."""
        if has_entry_points(METHODS):
            return None
        sources = []
        for path, module in method_files(*folders):
            text = read_text(path)
            if is_plain(text):
                sources.append(Source(path, module, hashlib.sha256(text).hexdigest()))
                continue
            try:
                import_file(path, module)  # a metric, which a report needs
            except UserError:
                return None  # it may need the other files
        place = record_path(sources)
        return None if place is None or has_methods() else cls(folders, sources, place)

    @property
    def declarations(self) -> dict[str, Declaration]:
        return {
            name: Declaration(
                name, one["title"], one["version"], frozenset(one["dimensions"]), frozenset(one["components"]),
                frozenset(one["fields"]), one["authors"], one["reconstructed"], partial(self.resolve, name),
            )
            for name, one in self.record.methods.items()
        }  # fmt: skip

    @property
    def imported(self) -> dict[str, Declaration]:
        """The declarations of the imported files.

        Raises:
            UserError: a file cannot be imported, or is no longer the one that was read.
        """
        if self.live is None:
            self.live = _imported(self.folders)
            for source in self.sources:
                if not source.is_imported:
                    raise UserError(f"{source.path}: changed while it was read; run the command again")
        return self.live

    def resolve(self, name: str, given: Mapping[str, Any], dimensions: int) -> dict[str, Any]:
        """As in `Declaration`."""
        asked = question(name, given, dimensions)
        if asked is None:
            return self.imported[name].resolve(given, dimensions)
        if asked not in self.record.answers:
            self.record.answers[asked] = self.imported[name].resolve(given, dimensions)
            self.record.is_new = True
        return copy.deepcopy(self.record.answers[asked])

    def close(self) -> None:
        """Write the record if it has something new."""
        if self.record.is_new and is_package_unchanged():
            self.record.write(self.path)

"""Imports files and entry points that register something: methods, networks, metrics, augmentations, launchers."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.folders import METHODS_DIR

METHODS = "ssl_bench.methods"  # the entry point group of methods
Registry = Callable[[], dict[str, Any]]
_REGISTRIES: list[tuple[Registry, Callable[[str, Any], str]]] = []
_TEXTS: dict[str, bytes] = {}  # of the imported files, by module


def keep_track(registry: Registry, module_of: Callable[[str, Any], str]) -> None:
    """Let an edited file replace its entries in a registry.

    Args:
        registry: returns the entries by name.
        module_of: returns the module that defined an entry, from its name and the entry.

    """
    _REGISTRIES.append((registry, module_of))


def import_file(path: Path, name: str) -> None:
    """Import a file as the module `name`, once for each of its texts: an edited file replaces what it registered.

    Raises:
        UserError: it cannot be imported.
    """
    text = read_text(path)
    if _TEXTS.get(name) == text:
        return
    for registry, module_of in _REGISTRIES:
        entries = registry()
        for entry in [key for key, value in entries.items() if module_of(key, value) == name]:
            del entries[entry]
    _TEXTS.pop(name, None)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {path.stem} cannot be imported: {type(error).__name__}: {error}") from error
    _TEXTS[name] = text


def read_text(path: Path) -> bytes:
    """Return the text of a file that can be imported.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def method_files(*extra_folders: Path) -> Iterator[tuple[Path, str]]:
    """Yield the built-in method files, then those in the folders: each path and the name of its module.

    Raises:
        UserError: there is no such folder.
    """
    for folder in (METHODS_DIR, *extra_folders):
        if not folder.is_dir():
            raise UserError(f"--methods-dir: expected a folder, found none at {folder}")
        for path in sorted(folder.resolve().glob("*.py")):
            if not path.name.startswith("_"):
                yield path, f"ssl_bench.methods.{path.stem}" if path.parent == METHODS_DIR else module_name(path)


def module_name(path: Path) -> str:
    """Return a module name for a user's file; two folders may have files of one name."""
    folder = hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]
    return f"ssl_bench_plugins_{folder}.{path.stem}"


def has_entry_points(group: str) -> bool:
    """Whether other packages register something under an entry point group."""
    return bool(_entry_points(group))


def load_entry_points(group: str) -> None:
    """Import what other packages register under an entry point group.

    Raises:
        UserError: one cannot be imported.
    """
    for point in _entry_points(group):
        try:
            point.load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{point.value}: {point.name} cannot be imported: {type(error).__name__}: {error}"
            ) from error


def _entry_points(group: str) -> importlib.metadata.EntryPoints:
    return _all_entry_points(importlib.metadata.entry_points, tuple(sys.path)).select(group=group)


@functools.cache
def _all_entry_points(
    read: Callable[[], importlib.metadata.EntryPoints],
    path: tuple[str, ...],  # noqa: ARG001
) -> importlib.metadata.EntryPoints:
    """Read the entry points of all packages on a path once, since that takes a file of each."""
    return read()


def source_file(module: str) -> Path:
    """The file of an imported module."""
    return Path(str(sys.modules[module].__file__))


def function_hash(function: Callable[..., Any]) -> str:
    """SHA-256 of a function's file, whatever its line ends; of its code where it has no file, as in a notebook."""
    module = function.__module__
    try:
        text = _TEXTS.get(module) or source_file(module).read_bytes()
    except (AttributeError, KeyError, OSError):
        code: CodeType = function.__code__
        constants = [one for one in code.co_consts if isinstance(one, int | float | str | bytes | None)]
        text = repr((code.co_code, code.co_names, constants)).encode()
    return hashlib.sha256(text.replace(b"\r\n", b"\n")).hexdigest()


def module_hash(module: str) -> str:
    """SHA-256 of the file of an imported module, as it was imported."""
    return hashlib.sha256(_TEXTS.get(module) or source_file(module).read_bytes()).hexdigest()

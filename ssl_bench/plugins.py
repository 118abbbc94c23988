"""Imports files and entry points that register something: methods, networks, metrics, augmentations, launchers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from ssl_bench.errors import UserError


def import_file(path: Path, name: str) -> None:
    """Import a file as the module `name`.

    Raises:
        UserError: it cannot be imported.
    """
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


def module_name(path: Path) -> str:
    """Return a module name for a user's file; two folders may have files of one name."""
    folder = hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]
    return f"ssl_bench_plugins_{folder}.{path.stem}"


def load_entry_points(group: str) -> None:
    """Import what other packages register under an entry point group.

    Raises:
        UserError: one cannot be imported.
    """
    for point in importlib.metadata.entry_points(group=group):
        try:
            point.load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{point.value}: {point.name} cannot be imported: {type(error).__name__}: {error}"
            ) from error


def source_file(module: str) -> Path:
    """The file of an imported module."""
    return Path(str(sys.modules[module].__file__))


def module_hash(module: str) -> str:
    """SHA-256 of the file of an imported module."""
    return hashlib.sha256(source_file(module).read_bytes()).hexdigest()

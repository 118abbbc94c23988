"""The registry of methods: found in methods/, in entry points and in a user's folders."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any, TypeVar

from ssl_bench import METHODS_DIR
from ssl_bench.cards import parse_card, protocol_keys
from ssl_bench.errors import UserError
from ssl_bench.method.contract import Hyperparameters, SSLMethod

_REGISTRY: dict[str, type[SSLMethod]] = {}


_LOADED: set[Path] = set()


MethodType = TypeVar("MethodType", bound=SSLMethod)


def register(method: type[MethodType]) -> type[MethodType]:
    """Add a method class to the registry under its `name` (class decorator)."""
    for attribute in ("name", "title", "reference"):
        if not isinstance(getattr(method, attribute, None), str):
            raise UserError(f"{_source_file(method)}: {method.__name__}: class attribute '{attribute}' is missing")
    known = _REGISTRY.get(method.name)
    if known is not None:
        raise UserError(f"{_source_file(method)}: method '{method.name}' is already defined in {_source_file(known)}")
    taken = set(method.hyperparameters.model_fields) & protocol_keys()
    if taken:
        raise UserError(
            f"{_source_file(method)}: hyperparameters {sorted(taken)} of '{method.name}' are protocol fields"
        )
    _REGISTRY[method.name] = method
    return method


def load_methods(*extra_folders: Path) -> dict[str, type[SSLMethod]]:
    """Import every method file (built in, from entry points, from `extra_folders`) and return the registry by name."""
    for folder in (METHODS_DIR, *extra_folders):
        if not folder.is_dir():
            raise UserError(f"--methods-dir: expected a folder of method files, found no folder at {folder}")
        for path in sorted(folder.resolve().glob("*.py")):
            if path not in _LOADED and not path.name.startswith("_"):
                _import_file(path)
                _LOADED.add(path)
    for entry_point in importlib.metadata.entry_points(group="ssl_bench.methods"):
        try:
            entry_point.load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{entry_point.value}: {_cannot_import(entry_point.name, error)}") from error
    return dict(_REGISTRY)


def find_method(name: str) -> type[SSLMethod]:
    """Return the method class called `name`."""
    if name not in _REGISTRY:
        raise UserError(f"--methods: expected some of {', '.join(sorted(_REGISTRY))}; found '{name}'")
    return _REGISTRY[name]


def parse_hyperparameters(method: type[SSLMethod], values: dict[str, Any]) -> Hyperparameters:
    """Validate a method's hyperparameters, all errors at once."""
    return parse_card(method.hyperparameters, values, f"--set ({method.name})")


def source_hash(method: type[SSLMethod]) -> str:
    """SHA-256 of the method's source file, for the run's provenance."""
    return hashlib.sha256(Path(_source_file(method)).read_bytes()).hexdigest()


def _source_file(method: type[SSLMethod]) -> str:
    return str(sys.modules[method.__module__].__file__)


def _import_file(path: Path) -> None:
    folder = hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]  # two folders may have files of one name
    name = f"ssl_bench.methods.{path.stem}" if path.parent == METHODS_DIR else f"ssl_bench_methods_{folder}.{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {_cannot_import(path.stem, error)}") from error


def _cannot_import(name: str, error: Exception) -> str:
    return f"methods '{name}' cannot be imported: {type(error).__name__}: {error}"

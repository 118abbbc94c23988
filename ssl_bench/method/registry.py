"""The registry of methods: found in methods/, in entry points and in a user's folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from ssl_bench.cards import parse_card, protocol_keys
from ssl_bench.errors import UserError
from ssl_bench.method.contract import Hyperparameters, SSLMethod
from ssl_bench.plugins import (
    METHODS,
    import_file,
    keep_track,
    load_entry_points,
    method_files,
    module_hash,
    source_file,
)

_REGISTRY: dict[str, type[SSLMethod]] = {}


keep_track(lambda: _REGISTRY, lambda _, method: method.__module__)


MethodType = TypeVar("MethodType", bound=SSLMethod)


def register(method: type[MethodType]) -> type[MethodType]:
    """Add a method class to the registry under its `name` (class decorator)."""
    where = source_file(method.__module__)
    for attribute in ("name", "title", "reference"):
        if not isinstance(getattr(method, attribute, None), str):
            raise UserError(f"{where}: {method.__name__}: class attribute '{attribute}' is missing")
    known = _REGISTRY.get(method.name)
    if known is not None:
        raise UserError(f"{where}: method '{method.name}' is already defined in {source_file(known.__module__)}")
    taken = set(method.hyperparameters.model_fields) & protocol_keys()
    if taken:
        raise UserError(f"{where}: hyperparameters {sorted(taken)} of '{method.name}' are protocol fields")
    _REGISTRY[method.name] = method
    return method


def load_methods(*extra_folders: Path) -> dict[str, type[SSLMethod]]:
    """Import every method file (built in, from entry points, from `extra_folders`) and return the registry by name.

    A file in an extra folder may register other things too: networks, metrics, augmentations.
    """
    for path, module in method_files(*extra_folders):
        import_file(path, module)
    load_entry_points(METHODS)
    return dict(_REGISTRY)


def find_method(name: str) -> type[SSLMethod]:
    """Return the method class called `name`."""
    if name not in _REGISTRY:
        known = ", ".join(sorted(_REGISTRY))
        raise UserError(f"--methods: expected one of {known}, or one of your own in a --methods-dir; found '{name}'")
    return _REGISTRY[name]


def parse_hyperparameters(method: type[SSLMethod], values: dict[str, Any]) -> Hyperparameters:
    """Validate a method's hyperparameters, all errors at once."""
    return parse_card(method.hyperparameters, values, f"--set ({method.name})")


def source_hash(method: type[SSLMethod]) -> str:
    """SHA-256 of the method's source file, for the run's provenance."""
    return module_hash(method.__module__)

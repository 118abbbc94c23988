"""The registry of methods: found in methods/, in entry points and in a user's folders."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from ssl_bench.cards import authors_in, authors_keys, parse_card, protocol_keys
from ssl_bench.cards.card import nearest, no_such_method
from ssl_bench.errors import UserError
from ssl_bench.method.contract import Group, Hyperparameters, SSLMethod
from ssl_bench.plugins import (
    METHODS,
    import_file,
    keep_track,
    load_entry_points,
    method_files,
    module_hash,
    source_file,
)

GROUPS: tuple[Group, ...] = get_args(Group)
NOT_A_USERS = {"ssl_bench", "torch", *sys.stdlib_module_names}  # packages whose classes are known by their versions
ALL = "all"  # every method, on the command line
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
    if method.name == ALL:
        raise UserError(f"{where}: name: expected another than '{ALL}', which means every method")
    taken = set(method.hyperparameters.model_fields) & protocol_keys()
    if taken:
        raise UserError(f"{where}: hyperparameters {sorted(taken)} of '{method.name}' are protocol fields")
    if method.group not in GROUPS:
        groups = ", ".join(GROUPS)
        raise UserError(f"{where}: group of '{method.name}': expected one of {groups}; found '{method.group}'")
    known_keys = authors_keys() | method.hyperparameters.model_fields.keys()
    for key in {**authors_in(method.authors, 2), **authors_in(method.authors, 3)}:
        if key not in known_keys:
            near = nearest(key, sorted(known_keys))
            raise UserError(
                f"{where}: authors of '{method.name}': expected protocol fields that decide the training, or its own "
                f"hyperparameters; found '{key}'" + (f"; did you mean {near}?" if near else "")
            )
    _REGISTRY[method.name] = method
    return method


def load_methods(*extra_folders: Path) -> dict[str, type[SSLMethod]]:
    """Import every method file (built in, from entry points, from `extra_folders`) and return the registry by name.

    A file in an extra folder may register other things too: networks, metrics, augmentations.
    """
    for path, module in method_files(*extra_folders):
        import_file(path, module)
    load_entry_points(METHODS)
    return registered()


def find_method(name: str) -> type[SSLMethod]:
    """Return the method class called `name`."""
    if name not in _REGISTRY:
        raise UserError(f"--methods: {no_such_method(name, _REGISTRY)}")
    return _REGISTRY[name]


def registered() -> dict[str, type[SSLMethod]]:
    """Return the methods that were loaded, by name."""
    return dict(_REGISTRY)


def by_group(methods: Mapping[str, type[SSLMethod]]) -> dict[str, list[type[SSLMethod]]]:
    """Return the methods of each group that has any, the oldest first, in the order in which groups are listed."""
    ordered = sorted(methods.values(), key=lambda one: (one.year or math.inf, one.name))
    found = {group: [one for one in ordered if one.group == group] for group in GROUPS}
    return {group: own for group, own in found.items() if own}


def parse_hyperparameters(method: type[SSLMethod], values: dict[str, Any]) -> Hyperparameters:
    """Validate a method's hyperparameters, all errors at once."""
    return parse_card(method.hyperparameters, values, f"--set ({method.name})")


def source_hash(method: type[SSLMethod]) -> str:
    """SHA-256 of the method's source file, for the run's provenance."""
    return module_hash(method.__module__)


def base_hashes(method: type[SSLMethod]) -> dict[str, str]:
    """SHA-256 of the files of a method's base classes that are neither the package's nor in the method's own file.

    Returns:
        By the module's name; empty for a method that derives from built-in classes alone.

    """
    modules = dict.fromkeys(one.__module__ for one in method.__mro__ if one.__module__ != method.__module__)
    return {
        module: module_hash(module)
        for module in modules
        if module.partition(".")[0] not in NOT_A_USERS and getattr(sys.modules.get(module), "__file__", None)
    }

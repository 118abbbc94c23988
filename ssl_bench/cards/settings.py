"""Settings: KEY=VALUE, read and written, and the keys that a protocol has."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ssl_bench.cards.protocol import PROTOCOLS, Role, fields_that
from ssl_bench.errors import UserError

NOT_SET = {"name", "title", "note", "dimensions"}
LENGTHS = {"epochs", "iterations"}  # of which one takes the other's place
AUTHORS_TABLES = ("2d", "3d")  # of a method's `authors`, as of a protocol's card
# What is trained and scored on is no method's own.
COMMON_TO_ALL = {"split", "labeled_scale", "validation", "validation_share"}
Tuned = Literal["common", "authors", "both"]
ROLES: tuple[Role, ...] = ("measures", "observes")
TUNED: tuple[Tuned, ...] = get_args(Tuned)


def protocol_keys(dimensions: int | None = None) -> set[str]:
    """Every key of a protocol's form (of both: None) that `--set` may name, dotted where it stands in a table."""
    if dimensions is None:
        return set.union(*(protocol_keys(d) for d in PROTOCOLS))
    keys = set()
    for name, field in PROTOCOLS[dimensions].model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        keys |= {name} if inner is None else {f"{name}.{key}" for key in inner}
    return keys - NOT_SET


@dataclass(frozen=True)
class Divided:
    """Settings of the protocol and of the method, in the given order. A key that both have belongs to both."""

    protocol: dict[str, Any]
    method: dict[str, Any]
    unknown: tuple[str, ...]  # keys that neither has


def divide(settings: Mapping[str, Any], fields: Collection[str]) -> Divided:
    """Divide settings between the protocol and a method, or several methods together.

    Args:
        settings: by key; whether a key fits the data's dimensions is left to `load_protocol`.
        fields: names of the hyperparameters.

    """
    known = protocol_keys()
    return Divided(
        protocol={key: value for key, value in settings.items() if key in known},
        method={key: value for key, value in settings.items() if key in fields},
        unknown=tuple(key for key in settings if key not in known and key not in fields),
    )


def require_known_keys(settings: Mapping[str, Any], fields: Collection[str], whose: str) -> None:
    """Refuse settings of `--set` that are neither the protocol's nor among the hyperparameters `fields` of `whose`.

    Raises:
        UserError: a key is neither.
    """
    for key in divide(settings, fields).unknown:
        raise UserError(f"--set {key}: neither a protocol field nor a hyperparameter of {whose}")


def authors_keys() -> set[str]:
    """Every key of a protocol that a method's `authors` may name: those that decide how a network is trained."""
    elsewhere = {key for form in PROTOCOLS.values() for role in ROLES for key in fields_that(role, form)}
    return protocol_keys() - elsewhere - COMMON_TO_ALL


def authors_in(authors: Mapping[str, Any], dimensions: int) -> dict[str, Any]:
    """Return a method's `authors` for 2D or 3D data: those of its tables "2d" and "3d" come after the others."""
    common = {key: value for key, value in authors.items() if key not in AUTHORS_TABLES}
    return {**common, **authors.get(f"{dimensions}d", {})}


def authors_settings(authors: Mapping[str, Any], given: Mapping[str, Any], dimensions: int) -> dict[str, Any]:
    """Return which of a method's `authors` settings hold: those for the data's dimensions that nothing overrides.

    Args:
        authors: what the method declares. Tables under "2d" and "3d" hold for data of these dimensions alone.
        given: settings that take precedence, by key.
        dimensions: 2 or 3.

    """
    if not authors:
        return {}
    other = protocol_keys(5 - dimensions) - protocol_keys(dimensions)
    left_out = other | given.keys() | (LENGTHS if LENGTHS & given.keys() else set())
    own = authors_in(authors, dimensions)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
    return {key: value for key, value in plain.items() if key not in left_out}


def parse_setting(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE; the value is read as TOML (`3`, `true`, `[0.5, 0.5]`) and otherwise as a string."""
    key, equals, value = text.partition("=")
    if not (key.strip() and equals and value.strip()):
        raise UserError(f"--set: expected KEY=VALUE, found '{text}'")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def dotted(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested data under keys with dots, as `--set` names them."""
    flat = {}
    for key, value in nested.items():
        flat.update(dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat

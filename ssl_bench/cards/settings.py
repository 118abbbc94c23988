"""Settings: KEY=VALUE, read and written, and the keys that a protocol has."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ssl_bench.cards.protocol import PROTOCOLS
from ssl_bench.errors import UserError

NOT_SET = {"name", "title", "note", "dimensions"}


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

"""Reading cards: by name from benchmarks/ or by path, their `extends`, their 2D and 3D tables, and `--set`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from ssl_bench.cards.benchmark import Benchmark
from ssl_bench.cards.card import nearest, parse_card, read_toml
from ssl_bench.cards.protocol import PROTOCOLS, ImageProtocol, VolumeProtocol
from ssl_bench.cards.settings import protocol_keys
from ssl_bench.cards.share import scaled
from ssl_bench.cards.split import Split
from ssl_bench.errors import UserError
from ssl_bench.folders import BENCHMARKS_DIR

TABLES = {2: "2d", 3: "3d"}  # of a protocol's card, for what its two forms do not share


KINDS: tuple[Literal["datasets", "protocols"], ...] = ("datasets", "protocols")


CARD_KEYS = ("extends", *TABLES.values())  # of a protocol's card, apart from its fields


def load_benchmark(name: str) -> Benchmark:
    """Read a data set's card by name (benchmarks/datasets/NAME.toml) or by path (a name that ends in .toml)."""
    path = _card_path("datasets", name, "--dataset")
    benchmark = parse_card(Benchmark, read_toml(path), str(path)).located(path.parent)
    benchmark._option = name
    return benchmark


def with_split_file(benchmark: Benchmark, split: str) -> Benchmark:
    """Return the benchmark with an additional split if the protocol's `split` names a .csv file."""
    if not split.endswith(".csv"):
        return benchmark
    added = parse_card(Split, {"file": split}, split).located(Path())
    return benchmark.model_copy(update={"splits": {**benchmark.splits, split: added}})


@overload
def load_protocol(name: str, overrides: dict[str, Any] | None = None) -> ImageProtocol: ...


@overload
def load_protocol(name: str, overrides: dict[str, Any] | None = None, *, dimensions: Literal[2]) -> ImageProtocol: ...


@overload
def load_protocol(name: str, overrides: dict[str, Any] | None = None, *, dimensions: Literal[3]) -> VolumeProtocol: ...


@overload
def load_protocol(
    name: str, overrides: dict[str, Any] | None = None, *, dimensions: int
) -> ImageProtocol | VolumeProtocol: ...


def load_protocol(
    name: str, overrides: dict[str, Any] | None = None, *, dimensions: int = 2
) -> ImageProtocol | VolumeProtocol:
    """Read a protocol's 2D or 3D form by name or path, follow its `extends`, and lay `overrides` (dotted) on top."""
    path = _card_path("protocols", name, "--protocol")
    data = _extended(path, dimensions, seen=())
    overrides = overrides or {}
    other = protocol_keys(5 - dimensions) - protocol_keys(dimensions)
    for key in overrides:
        if key in other:
            raise UserError(f"--set {key}: this data set is {dimensions}D, and {key} is a {5 - dimensions}D field")
    _lengthen(data, overrides)
    for key, value in overrides.items():
        _put(data, key, value)
    where = f"{path} with --set" if overrides else str(path)
    return parse_card(PROTOCOLS[dimensions], data, where, also=CARD_KEYS)


def share_under(
    share: str,
    benchmark: Benchmark,
    protocol: str,
    settings: Mapping[str, Any],
    load: Callable[..., ImageProtocol | VolumeProtocol] = load_protocol,
) -> str:
    """Return a share of a card times the protocol's `labeled_scale`, which `settings` may override.

    `load` reads the protocol, as `load_protocol` does.

    Raises:
        UserError: the settings name a data set that is neither this nor a built-in one.
    """
    own = {key: value for key, value in settings.items() if key == "labeled_scale"}
    scales = load(protocol, own, dimensions=benchmark.network_dimensions).labeled_scale
    unknown = sorted(set(scales) - {benchmark.name, *card_names("datasets")}) if own else []
    if unknown:
        known = f"expected names of data sets, such as {benchmark.name}"
        raise UserError(f"--set labeled_scale: {known}; found '{unknown[0]}'")
    return scaled(share, scales.get(benchmark.name, 1.0))


def card_names(kind: Literal["datasets", "protocols", "tables"]) -> list[str]:
    """Names of the built-in cards."""
    return sorted(path.stem for path in (BENCHMARKS_DIR / kind).glob("*.toml"))


def card_kinds(name: str) -> list[Literal["datasets", "protocols"]]:
    """The kinds of built-in cards with this name; for a file, the kind that defines more of the file's keys."""
    if not name.endswith(".toml"):
        return [kind for kind in KINDS if name in card_names(kind)]
    found = read_toml(Path(name)).keys()
    protocols = {*CARD_KEYS, *(key for model in PROTOCOLS.values() for key in model.model_fields)}
    return ["datasets" if len(found & Benchmark.model_fields.keys()) > len(found & protocols) else "protocols"]


def _card_path(kind: Literal["datasets", "protocols"], name: str, option: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    known = card_names(kind)
    if name not in known:
        near = f"{name}.toml" if Path(f"{name}.toml").is_file() else nearest(name, known, cutoff=0.6)
        hint = "" if near is None else f"; did you mean {near}?"
        raise UserError(f"{option}: expected {_listed(known)} or a .toml file, found '{name}'{hint}")
    return BENCHMARKS_DIR / kind / f"{name}.toml"


def _extended(path: Path, dimensions: int, seen: tuple[Path, ...]) -> dict[str, Any]:
    data = _form(path, dimensions)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    if path in seen:
        raise UserError(f"{path}: extends: the cards extend each other in a circle")
    parent_path = _card_path("protocols", str(parent), f"{path}: extends")
    base = _extended(path.parent / parent_path, dimensions, (*seen, path))  # a relative file lies beside the card
    _lengthen(base, data)
    return _merged(base, data)


def _form(path: Path, dimensions: int) -> dict[str, Any]:
    """The card's common keys with those of its table for these dimensions on top."""
    data = read_toml(path)
    tables = {d: data.pop(table, {}) for d, table in TABLES.items()}
    for d, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(f"{path}: {TABLES[d]}: expected a table, found {table!r}")
    return _merged(data, tables[dimensions])


def _merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_tables else value
    return merged


def _lengthen(base: dict[str, Any], top: dict[str, Any]) -> None:
    """Drop the length of `base` if `top` gives a length, so that epochs can replace iterations and vice versa."""
    if top.get("iterations") is not None or top.get("epochs") is not None:
        base.pop("iterations", None)
        base.pop("epochs", None)


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    table, _, leaf = key.rpartition(".")
    inner = data.setdefault(table, {}) if table else data
    if isinstance(inner, dict):  # a card with something else there is reported when it is validated
        inner[leaf] = value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

"""The reference of cards: every field with its values, unit, default and meaning, from the pydantic models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from site_pages.markdown import code, page, table
from ssl_bench.cards import (
    Archive,
    Benchmark,
    Card,
    Column,
    Download,
    Files,
    Grid,
    ImageAugmentation,
    ImageProtocol,
    Measurement,
    Protocol,
    Row,
    RunSpec,
    Split,
    Views,
    VolumeAugmentation,
    VolumeProtocol,
    Volumes,
    card_names,
    load_protocol,
)
from ssl_bench.cards.claims import AnyClaim, Claims, CurveClaim, DifferenceClaim, EquivalenceClaim, Side

HEADER = ("Field", "Values", "Unit", "Default", "Meaning")
ROLES = {
    "measures": "Decides how a network is scored: another value trains nothing.",
    "observes": "Decides how training is observed: the weights are the same.",
}
WORDS = {int: "whole number", float: "number", str: "text", bool: "true, false", Any: "any value"}
BOUNDS = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}


@dataclass(frozen=True)
class Section:
    """A card, or a table inside one; `without` are cards whose fields are left out."""

    title: str
    model: type[Card]
    about: str
    level: int = 3
    without: type[Card] | None = None

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """The fields that the section describes."""
        known = self.without.model_fields if self.without is not None else {}
        return {name: field for name, field in self.model.model_fields.items() if name not in known}


DATA_SET = (
    Section("Data set", Benchmark, "A file of `benchmarks/datasets/`, or your own `--dataset my_card.toml`.", 2),
    Section("`[files]`: images", Files, "Where the files of a 2D data set lie."),
    Section("`[[volumes]]`: volumes", Volumes, "Where the files of a 3D data set lie. There can be several layouts."),
    Section("`[splits.NAME]`", Split, "Training and test cases. Exactly one of `test`, `file` and `parts` is given."),
    Section("`[download]`", Download, "Where the files come from."),
    Section("`[[download.archives]]`", Archive, "One archive."),
)
PROTOCOL = (
    Section(
        "Protocol", Protocol,
        "A file of `benchmarks/protocols/`, or your own `--protocol my.toml`. A card with `extends = \"NAME\"` takes "
        "all other values from that protocol. `--set FIELD=VALUE` changes a field for one command. "
        "[The built-in protocols](protocols.md) shows the values of every built-in protocol.", 2,
    ),
    Section("`[2d]`: images", ImageProtocol, "Fields for images alone.", without=Protocol),
    Section("`[2d.augmentation]`", ImageAugmentation, "Random views of images."),
    Section("`[3d]`: volumes", VolumeProtocol, "Fields for volumes alone. Axes are x, y, z.", without=Protocol),
    Section("`[3d.augmentation]`", VolumeAugmentation, "Random views of volumes."),
    Section("`[2d.views]` and `[3d.views]`", Views, "Which view of an image each network sees. A view is `weak` "
            "(geometric changes), `strong1` or `strong2` (intensity changes too)."),
)  # fmt: skip
TABLE = (
    Section("Table or figure", Grid, "A file of `benchmarks/tables/`, `figures/` or `studies/`, or your own "
            "`--table my.toml`.", 2),
    Section("`[[columns]]`", Column, "A data set and a labelled share."),
    Section("`[[rows]]`", Row, "A method."),
)  # fmt: skip
CLAIMS = (
    Section(
        "Claims", Claims,
        "A file of `benchmarks/claims/`, or your own `--claims my.toml`. [Claims](../tables-and-figures.md#claims) "
        "explains the kinds and their verdicts.", 2,
    ),
    Section("`[[claims]]`", AnyClaim, "What every claim has."),
    Section("`kind = \"difference\"`", DifferenceClaim, "A claim of this kind also has:", without=AnyClaim),
    Section("`kind = \"equivalence\"`", EquivalenceClaim, "A claim of this kind also has:", without=AnyClaim),
    Section("`kind = \"curve\"`", CurveClaim, "A claim of this kind also has:", without=AnyClaim),
    Section("Sides of a claim", Side, "A text stands for `method` alone."),
)  # fmt: skip
RECORDS = (
    Section("Specification of a run", RunSpec, "`spec` in a run's `run.json`. The harness writes it.", 2),
    Section("Way of scoring", Measurement, "`scores` in a run's `run.json`. The harness writes it.", 2),
)
SECTIONS = (*DATA_SET, *PROTOCOL, *TABLE, *CLAIMS, *RECORDS)


def cards_page() -> str:
    """Return the page with every field of every card."""
    lines = [
        "A card is a TOML file. An unknown key is an error. This page is made from the models in `ssl_bench/cards/`.",
        "", "- **Values**: what the field takes. *absent* means that the key may be left out.",
        "- **Default**: the value of a key that is left out. *required* keys have none.", "",
    ]  # fmt: skip
    for one in SECTIONS:
        lines += ["#" * one.level + f" {one.title}", "", one.about, ""]
        lines += table(HEADER, [_row(name, field) for name, field in one.fields.items()])
    return page("Card fields", lines)


def protocols_page() -> str:
    """Return the page with the value of every protocol field in every built-in protocol."""
    names = card_names("protocols")
    about = (
        "Every value of every built-in protocol. [Card fields](cards.md#protocol) says what a field means. "
        "`ssl-bench benchmarks NAME` prints one protocol. The comments of `benchmarks/protocols/paper.toml` say which "
        "values the paper states."
    )
    lines = [about, ""]
    lines += table(["Protocol", "Title", "Note"], [
        [code(name), load_protocol(name, dimensions=2).title, load_protocol(name, dimensions=2).note] for name in names
    ])  # fmt: skip
    for dimensions, title in ((2, "Images (2D)"), (3, "Volumes (3D)")):
        values = {name: dict(_flat(load_protocol(name, dimensions=dimensions).model_dump())) for name in names}
        keys = [key for key in values[names[0]] if key not in ("name", "title", "note", "dimensions")]
        lines += [f"## {title}", ""]
        lines += table(["Field", *map(code, names)], [
            [code(key), *(in_toml(values[name].get(key)) for name in names)] for key in keys
        ])  # fmt: skip
    return page("The built-in protocols", lines)


def values_in_words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Say what values a type takes."""
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        inner = [item for one in arguments[1:] for item in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return values_in_words(arguments[0], (*inner, *metadata))
    if kind in (Union, UnionType):
        return " or ".join(dict.fromkeys("*absent*" if one is NoneType else values_in_words(one) for one in arguments))
    if kind is Literal:
        return ", ".join(in_toml(one) for one in arguments)
    if kind is tuple:
        lengths = [one for one in metadata if isinstance(one, MinLen | MaxLen)]
        if arguments[-1] is Ellipsis:
            few = next((f", at least {one.min_length}" for one in lengths if isinstance(one, MinLen)), "")
            return f"list of {values_in_words(arguments[0])}{few}"
        return f"{len(arguments)} values: {values_in_words(arguments[0])}"
    if kind is dict:
        return f"table of {values_in_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"table `{annotation.__name__}`"
    if annotation is NoneType:
        return "*absent*"
    return WORDS[annotation] + _bounds(metadata)


def in_toml(value: Any) -> str:
    """Return a value as a card has it, as inline code; nothing for an absent one."""
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    return code(json.dumps(value, ensure_ascii=False))


def _bounds(metadata: tuple[Any, ...]) -> str:
    limits = {type(one): one for one in metadata if type(one) in BOUNDS}
    if Ge in limits and Le in limits:
        return f", {limits[Ge].ge:g} to {limits[Le].le:g}"
    words = [f"{BOUNDS[kind]} {getattr(one, kind.__name__.lower()):g}" for kind, one in limits.items()]
    return ", " + " and ".join(words) if words else ""


def _row(name: str, field: FieldInfo) -> list[str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if field.is_required():
        default = "*required*"
    else:
        value = field.get_default(call_default_factory=True)
        default = "*absent*" if value is None else in_toml(value)
    meaning = (field.description or "").replace("*", r"\*").replace("<", "&lt;")
    role = ROLES.get(str(extra.get("role")), "")
    return [
        code(name), values_in_words(field.annotation, tuple(field.metadata)), str(extra.get("unit", "")), default,
        f"{meaning[:1].upper()}{meaning[1:]}. {role}".strip(),
    ]  # fmt: skip


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value

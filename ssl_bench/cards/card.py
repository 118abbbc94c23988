"""Card: a frozen, typed record read from TOML, with all its errors reported together."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from ssl_bench.command import quantity
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Card(BaseModel):
    """A frozen, typed record read from TOML; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


NAMED = 10  # maximum of missing keys named in the error about a card of another kind


OF_EVERY_KIND = {"name", "title", "note"}


CardType = TypeVar("CardType", bound=Card)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; invalid TOML raises UserError with the position of the error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None


def content_hash(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON, in hexadecimal digits."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def parse_card(model: type[CardType], data: dict[str, Any], where: str, also: Sequence[str] = ()) -> CardType:
    """Validate a card's data; every error is reported at once, one line each, with the file and the key.

    A card of another kind is reported as one error. Such a card lacks most of the required keys, and at least half of
    its keys are unknown and not mistyped. Keys that every kind has are not counted.

    Args:
        model: the card's kind.
        data: the card's content.
        where: the prefix of the error messages.
        also: further keys of the kind, which were taken out of `data`.

    Raises:
        UserError: the data is not a valid card of this kind.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = [*model.model_fields, *also]
        required = [name for name, field in model.model_fields.items() if field.is_required()]
        own, missing = data.keys() - OF_EVERY_KIND, set(required) - data.keys()
        unknown = own - model.model_fields.keys()
        is_mistyped = any(nearest(name, known) for name in unknown)
        if 2 * len(missing) > len(required) and 2 * len(unknown) >= len(own) and not is_mistyped:
            more = f" and {quantity(len(required) - NAMED, 'more key')}" if len(required) > NAMED else ""
            expected, found = ", ".join(required[:NAMED]) + more, ", ".join(data) or "no key"
            raise UserError(f"{where}: expected a card with {expected}; found one with {found}") from None
        lines = [f"{where}: {problem}" for problem in problems(error, model, known)]
        raise UserError("\n".join(dict.fromkeys(lines))) from None


def problems(error: ValidationError, model: type[BaseModel], known: Sequence[str]) -> list[str]:
    """Say each error of a pydantic validation as `key: what was expected, what was found`; missing keys last.

    For an unknown key, the most similar key of its table is added: one of `known`, or a field of the card's table.
    An error of this package already says what was found.
    """
    lines, missing = [], []
    details = error.errors(include_url=False)
    for detail in details:
        inside = any(other["loc"][: len(detail["loc"])] == detail["loc"] != other["loc"] for other in details)
        if detail["type"] == "too_short" and inside:  # it counts what is left without the items that are wrong
            continue
        key = ".".join(str(part) for part in detail["loc"] if not _is_union_branch(part)) or "card"
        if detail["type"] == "extra_forbidden":
            *table, leaf = detail["loc"]
            near = nearest(str(leaf), fields_at(model, table), 0.7) if table else nearest(key, known)
            lines.append(f"{key}: unknown key" + (f"; did you mean {near}?" if near else ""))
        elif detail["type"] == "missing":
            missing.append(key)
        elif isinstance(own := detail.get("ctx", {}).get("error"), UserError):
            last = str(detail["loc"][-1]) if detail["loc"] else ""
            lines.append(f"{key}: {str(own).removeprefix(f'{last}: ')}")
        elif detail["loc"]:
            lines.append(f"{key}: {' or '.join(_expected(detail, details))}, found {detail['input']!r}")
        else:
            lines.append(f"{key}: {detail['msg'].removeprefix('Value error, ')}")
    return list(dict.fromkeys(lines)) + ([f"{', '.join(missing)}: missing"] if missing else [])


def _expected(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> list[str]:
    """What pydantic says of a value; all that it says if each branch of a union was tried, its opening once."""
    place = _without_branch(detail)
    tried = [one["msg"].removeprefix("Value error, ") for one in details if _without_branch(one) == place]
    return tried[:1] + [message.removeprefix("Input should be ") for message in tried[1:]]


def _without_branch(detail: ErrorDetails) -> tuple[int | str, ...]:
    return detail["loc"][:-1] if detail["loc"] and _is_union_branch(detail["loc"][-1]) else detail["loc"]


def nearest(key: str, known: Sequence[str], cutoff: float = 0.8) -> str | None:
    """Return the known key that is most similar to an unknown key; None if none is as similar as `cutoff` (0 to 1)."""
    return next(iter(get_close_matches(key, known, 1, cutoff=cutoff)), None)


def no_such_method(name: str, known: Collection[str]) -> str:
    """Say that no method has this name, with the most similar one."""
    near = nearest(name.lower(), sorted(known), cutoff=0.6)
    return (
        f"expected one of the {quantity(len(known), 'method')} that `ssl-bench methods` lists, or one of your own in a "
        f"--methods-dir; found '{name}'" + (f"; did you mean {near}?" if near else "")
    )


def fields_at(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Return the keys of a table inside a card, such as those of `("splits", "random")`; empty if there is no card."""
    models, is_named = [model], False  # is_named: the next part is a person's own name in a table of tables
    for part in place:
        fields = [one.model_fields[part].annotation for one in models if part in one.model_fields]
        if isinstance(part, int) or is_named or not fields:
            is_named = False
            continue
        models = [inner for annotation in fields for inner in _models_in(annotation)]
        is_named = any(get_origin(annotation) is dict for annotation in fields)
    return [name for one in models for name in one.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The cards that a field's type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _is_union_branch(part: int | str) -> bool:
    """Pydantic puts the tried branch of a union ('literal[...]', 'int', 'constrained-str') into an error's place."""
    return isinstance(part, str) and (part in {"int", "float", "str", "bool"} or "[" in part or "constrained" in part)


def in_unit(unit: str) -> JsonDict:
    """Return what a field's `json_schema_extra` says of its unit; the reference of the cards prints it."""
    return {"unit": unit}


Count = Annotated[int, Field(ge=1)]


Positive = Annotated[float, Field(gt=0)]

"""Tables of the available methods, data sets and protocols."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pydantic.fields import FieldInfo

from ssl_bench.cards import card_kinds, card_names, load_benchmark, load_protocol
from ssl_bench.cards.settings import AUTHORS_TABLES
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.grids.signs import in_words, sign_notes, signed
from ssl_bench.method import SSLMethod
from ssl_bench.method.registry import by_group
from ssl_bench.reporting.table import Table

GROUP_WORDS = {
    "baseline": "what the others are held against",
    "consistency": "predictions agree under changes of the image, the features or the weights",
    "co-training": "several networks teach each other",
    "pseudo label": "confident predictions become labels",
    "adversarial": "a discriminator or adversarial noise shapes the predictions",
    "contrastive": "features of one class are drawn together, those of different classes apart",
    "mixing": "images are cut and pasted or blended, and labels with them",
    "other": "what fits no group above",
}
NONE = "—"
MOST_DIGITS = 8  # of a default that is printed as it is
UPDATES = "Updates per\niteration"
HEADER = ["Method", "Title", "Year", "Venue", "Data", UPDATES, "Hyperparameters"]


def methods_tables(methods: Mapping[str, type[SSLMethod]]) -> list[Table]:
    """List methods, a table for each group."""
    tables = [_group_table(group, own) for group, own in by_group(methods).items()]
    tables[-1].notes.append(
        f"{quantity(len(methods), 'method')}; `ssl-bench methods --methods NAME` describes one, --markdown all of them."
    )
    return tables


def _group_table(group: str, methods: Sequence[type[SSLMethod]]) -> Table:
    rows = [
        [
            one.name, _title(one), NONE if one.year is None else str(one.year), one.venue or NONE, _data(one),
            str(one.updates_per_iteration),
            ", ".join(f"{key} = {_default(field)}" for key, field in one.hyperparameters.model_fields.items()),
        ]
        for one in methods
    ]  # fmt: skip
    title = f"{group.capitalize()}: {GROUP_WORDS[group]}"
    return Table(title, HEADER, rows, frozenset({"Year", UPDATES}), _reconstructed(methods))


def methods_in_full(methods: Sequence[type[SSLMethod]]) -> list[Table]:
    """Describe methods, each with its paper, its hyperparameters and its authors' settings."""
    tables = []
    for one in methods:
        fields = one.hyperparameters.model_fields.items()
        rows = [[key, _default(field), field.description or ""] for key, field in fields]
        header, notes = ["Hyperparameter", "Default", "Meaning"], [*_facts(one), *_reconstructed([one])]
        tables.append(Table(f"{one.name}: {_title(one)}", header, rows or [["none", "", ""]], notes=notes))
    return tables


def description(method: type[SSLMethod]) -> str:
    """What the method's docstring says of its equations, and of what differs from the paper or its code."""
    return inspect.cleandoc(method.__doc__ or "")


def methods_markdown(methods: Mapping[str, type[SSLMethod]]) -> str:
    """Return all methods as a page of Markdown: a list by group, then each method in full."""
    groups = by_group(methods)
    lines = []
    for group, own in groups.items():
        table = _group_table(group, own)
        shown = replace(table, header=HEADER[:-1], rows=[row[:-1] for row in table.rows], notes=[])
        body = shown.markdown().partition("\n\n")[2].rstrip("\n")  # without the title
        lines += [f"## {group.capitalize()}", "", f"{GROUP_WORDS[group].capitalize()}.", "", body, ""]
        lines += [line for note in table.notes for line in (note, "")]
    lines += ["## Each method", ""]
    for own in groups.values():
        for one in own:
            (table,) = methods_in_full([one])
            lines += [f"### {_title(one)} (`{one.name}`)", "", *(f"- {note}" for note in table.notes), ""]
            lines += [line for part in (description(one),) if part for line in (part, "")]
            if one.hyperparameters.model_fields:
                lines += [table.markdown().partition("\n\n")[2].partition("\n\n")[0], ""]
    return "\n".join(lines)


def _facts(one: type[SSLMethod]) -> list[str]:
    """What a class says of itself, apart from its hyperparameters."""
    facts = [
        f"{one.reference}.",
        f"Group {one.group}; {_data(one)}; {quantity(one.updates_per_iteration, 'update')} per iteration.",
    ]
    facts += [f"Loss: {loss}" for loss in (_loss(one),) if loss]
    facts += [f"Table 4's components: {', '.join(sorted(one.components))}."] if one.components else []
    facts += [f"Its authors' settings (`--tuned authors`): {_authors(one)}."] if one.authors else []
    facts += ["Refused on cards with `ignore`."] if not one.handles_ignored else []
    facts += ["Needs a network with encoder, decoder and head."] if one.needs_parts else []
    return facts


def _loss(one: type[SSLMethod]) -> str:
    """The equation of its loss: what `updates` says of itself. What the contract says of every method is left out."""
    said = inspect.getdoc(one.updates)
    return "" if said is None or said == inspect.getdoc(SSLMethod.updates) else " ".join(said.split())


def _authors(one: type[SSLMethod]) -> str:
    """The settings of its authors, those for 2D or 3D data alone after the others."""
    common = {key: value for key, value in one.authors.items() if key not in AUTHORS_TABLES}
    parts = [in_words(common)] if common else []
    parts += [f"in {table[0]}D {in_words(one.authors[table])}" for table in AUTHORS_TABLES if table in one.authors]
    return "; ".join(parts)


def _title(one: type[SSLMethod]) -> str:
    return signed(one.title, reconstructed=one.reconstructed, tuned=False)


def _reconstructed(methods: Sequence[type[SSLMethod]]) -> list[str]:
    return sign_notes({}, [_title(one) for one in methods if one.reconstructed])


def _data(one: type[SSLMethod]) -> str:
    return " ".join(f"{d}D" for d in one.dimensions)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"{value:.4g}" if isinstance(value, float) and len(str(value)) > MOST_DIGITS else str(value)


def datasets_table() -> Table:
    """List the data sets."""
    sets = [load_benchmark(name) for name in card_names("datasets")]
    rows = [
        [
            b.name, b.title, f"{b.dimensions}D", str(b.cases), ", ".join(b.splits), ", ".join(b.labeled), b.protocol,
            b.license,
        ]
        for b in sets
    ]  # fmt: skip
    header = ["Data set", "Title", "Data", "Cases", "Splits", "Labelled", "Default protocol", "Licence"]
    return Table("Data sets", header, rows)


def protocols_table() -> Table:
    """List the protocols, each in its 2D and its 3D form."""
    rows = []
    for name in card_names("protocols"):
        images, volumes = load_protocol(name, dimensions=2), load_protocol(name, dimensions=3)
        rows.append([
            name, images.title, f"{images.network}, {images.encoder}; {volumes.network}",
            f"{times(images.sides)}; {times(volumes.sides)}", images.note,
        ])  # fmt: skip
    return Table("Protocols", ["Protocol", "Title", "Network, 2D; 3D", "Images; patches", "Note"], rows)


def card_text(card: str) -> str:
    """Return a data set's or protocol's card in full, every default in it.

    Raises:
        UserError: there is no such card.
    """
    kinds = card_kinds(card)
    if not kinds:
        known = ", ".join([*card_names("datasets"), *card_names("protocols")])
        raise UserError(f"benchmarks: expected one of {known}, or a .toml file; found '{card}'")
    found = [load_benchmark(card)] if "datasets" in kinds else []
    forms = [load_protocol(card, dimensions=d) for d in (2, 3)] if "protocols" in kinds else []
    lines = []
    for heading, one in [*(("data set", b) for b in found), *((f"protocol, {p.dimensions}D", p) for p in forms)]:
        lines += [f"# {heading}", *(f"{key} = {value!r}" for key, value in one.model_dump().items())]
    return "\n".join(lines)


def times(sides: Iterable[int]) -> str:
    """Sides as in 128x128."""
    return "x".join(map(str, sides))

"""Tables of the available methods, data sets and protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssl_bench.cards import card_kinds, card_names, load_benchmark, load_protocol
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.method import SSLMethod
from ssl_bench.reporting.table import Table


def methods_table(methods: Mapping[str, type[SSLMethod]]) -> Table:
    """List methods with their papers and hyperparameters."""
    rows = []
    for name, method in sorted(methods.items()):
        fields = method.hyperparameters.model_fields.items()
        hyper = "; ".join(f"{key} = {field.default} ({field.description})" for key, field in fields)
        rows.append(
            [
                name,
                " ".join(f"{d}D" for d in method.dimensions),
                " ".join(sorted(method.components)),
                str(method.updates_per_iteration),
                hyper,
                method.reference,
            ]
        )
    header = ["Method", "Data", "Components", "Updates per iteration", "Hyperparameters", "Paper"]
    return Table(quantity(len(rows), "method"), header, rows)


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

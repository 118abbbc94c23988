"""The paper's tables, published beside measured: what a table's card asks for, laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pandas as pd
from pydantic import Field

from ssl_bench import BENCHMARKS_DIR, PUBLISHED_DIR
from ssl_bench.cards import Card, parse_card, read_toml
from ssl_bench.errors import UserError
from ssl_bench.method import SSLMethod, parse_hyperparameters
from ssl_bench.report.select import (
    Cell,
    fill_command,
    mean_and_deviation,
    metric_title,
    origin,
    seed_scores,
    select,
    undefined,
)
from ssl_bench.report.table import Table
from ssl_bench.spec import Benchmark, Metric, Protocol, load_protocol, parse_share, protocol_keys, with_split_file
from ssl_bench.store import Run


class Grid(Card):
    """A table of the paper as the runs that it needs (a card in benchmarks/tables/)."""

    number: int
    title: str
    dataset: str
    labeled: str
    metric: Metric
    components: tuple[str, ...] = Field(description="check marks, read from the method classes")
    methods: tuple[str, ...]


def load_grid(number: int) -> Grid:
    """Read the card of a table."""
    path = BENCHMARKS_DIR / "tables" / f"table-{number}.toml"
    if not path.exists():
        known = sorted(int(card.stem.removeprefix("table-")) for card in path.parent.glob("table-*.toml"))
        raise UserError(f"--table: expected one of {known}, found {number}")
    return parse_card(Grid, read_toml(path), str(path))


def ablation_table(
    grid: Grid,
    runs: Sequence[Run],
    benchmark: Benchmark,
    labeled: str,
    protocol: str,
    settings: Mapping[str, Any],
    methods: Mapping[str, type[SSLMethod]],
    *,
    fingerprint: str | None = None,
    all_networks: bool = False,
    options: Sequence[str] = (),
) -> Table:
    """Lay out Table 4: a row per method with its components, the published number and the measured one.

    Above them stands the first method (the supervised baseline) with all labels, where it was run.

    Args:
        grid: the table's card.
        runs: the store's runs.
        benchmark: the data set to show, the card's own or another.
        labeled: labelled share to show.
        protocol: name of the protocol to show.
        settings: `--set` overrides of the runs to show.
        methods: the registry.
        fingerprint: beginning of the data fingerprint, where the store holds runs of several.
        all_networks: also show every other network of a run, not the one scored alone.
        options: further words of the command that fills empty cells.

    """
    card, cells = _cells(grid, benchmark, labeled, protocol, settings, methods)
    *chosen, full = select(runs, [*cells, replace(cells[0], labeled="100%")], fingerprint)
    published = _published(grid, benchmark, labeled)
    rows, missing = [], []
    for name, own in zip(grid.methods, chosen, strict=True):
        method = methods[name]
        marks = ["✓" if component in method.components else "" for component in grid.components]
        values = seed_scores(own, grid.metric)
        if not own:
            missing.append(name)
        rows.append([
            method.title, *marks, published.get(method.title, "—"), mean_and_deviation(values) if own else "no run",
            str(len(own)),
        ])  # fmt: skip
        if own and len(benchmark.classes) > 2:
            rows += _classes(own, grid, benchmark.classes)
        if all_networks and own:
            rows += _other_networks(own, grid)
    if full and labeled != "100%":
        value = mean_and_deviation(seed_scores(full, grid.metric))
        rows.insert(
            0, [f"{methods[cells[0].method].title}, 100%", *[""] * len(grid.components), "—", value, str(len(full))]
        )
    title = metric_title(grid.metric, benchmark.dimensions)
    columns = [f"Published {title}", f"Measured {title}", "Seeds"]
    together = [run for own in chosen for run in own]
    seeds = ",".join(str(seed) for seed in sorted({run.spec.seed for run in together})) or "1,2,3"
    own_settings = " ".join(f"{key}={value}" for key, value in settings.items())
    notes = [f"Protocol {protocol}{' with ' + own_settings if settings else ''}: {card.note}", *origin(together)]
    if published:
        notes.append(
            "Published: Shen et al., IJCAI 2023, Table 4; its network, image size and length are protocol paper's."
        )
    count = undefined(together, grid.metric)
    if count:
        notes.append(f"{count} values of {title} were undefined and are not in the means.")
    if missing:
        theirs = protocol_keys() | {key for name in missing for key in methods[name].hyperparameters.model_fields}
        kept = {key: value for key, value in settings.items() if key in theirs}
        command = fill_command(benchmark, labeled, protocol, kept, missing, seeds, options)
        notes.append(f"no run: filled by `{command}`")
    return Table(
        f"Table {grid.number}. {grid.title} ({benchmark.title}, {labeled} labelled)",
        ["Method", *grid.components, *columns], rows, frozenset(columns), notes,
    )  # fmt: skip


def _cells(
    grid: Grid, benchmark: Benchmark, labeled: str, protocol: str, settings: Mapping[str, Any],
    methods: Mapping[str, type[SSLMethod]],
) -> tuple[Protocol, list[Cell]]:  # fmt: skip
    known = protocol_keys()
    own_settings = {key: value for key, value in settings.items() if key in known}
    card = load_protocol(protocol, own_settings, dimensions=benchmark.dimensions)
    benchmark = with_split_file(benchmark, card.split)
    fields = {field for name in grid.methods for field in methods[name].hyperparameters.model_fields}
    unknown = [key for key in settings if key not in known | fields]
    if unknown:
        raise UserError(f"--set {unknown[0]}: neither a protocol field nor one of this table's methods")
    cells = []
    for name in grid.methods:
        method = methods[name]
        own = {key: value for key, value in settings.items() if key in method.hyperparameters.model_fields}
        hyper = parse_hyperparameters(method, own).resolved(benchmark.dimensions).model_dump(mode="json")
        cells.append(Cell(benchmark, labeled, card, name, method.version, hyper))
    return card, cells


def _published(grid: Grid, benchmark: Benchmark, labeled: str) -> dict[str, str]:
    """Published numbers by the method's title; none for a data set or share that the paper's table does not have."""
    frame = pd.read_csv(PUBLISHED_DIR / "tables_1_to_4.csv")
    own = frame[
        (frame["table"] == grid.number)
        & (frame["dataset"] == benchmark.name)
        & (frame["labeled"].map(_share) == _share(labeled))
        & (frame["metric"].str.lower() == grid.metric)
    ]
    return {str(row["method"]): f"{row['value']:.2f}" for _, row in own.iterrows()}


def _share(text: str) -> Fraction | int:
    return parse_share(text, "--labeled")


def _classes(runs: Sequence[Run], grid: Grid, classes: Sequence[str]) -> list[list[str]]:
    blanks = [""] * len(grid.components)
    return [
        [f"  {label}", *blanks, "", mean_and_deviation(seed_scores(runs, grid.metric, label=number)), ""]
        for number, label in enumerate(classes[1:], start=1)
    ]


def _other_networks(runs: Sequence[Run], grid: Grid) -> list[list[str]]:
    predictor = runs[0].result["predictor"]
    blanks = [""] * len(grid.components)
    return [
        [f"  its {network}", *blanks, "", mean_and_deviation(seed_scores(runs, grid.metric, network)), str(len(runs))]
        for network in runs[0].result["scores"]
        if network != predictor
    ]

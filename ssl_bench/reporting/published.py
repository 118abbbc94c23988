"""The paper's numbers, their sources, and the reasons why a measured number cannot be compared with them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ssl_bench.cards import (
    METRICS,
    SEEING,
    Column,
    Grid,
    MetricName,
    Row,
    all_grids,
    divide,
    load_protocol,
    measurement_of,
    share,
    training_fields,
)
from ssl_bench.command import listed
from ssl_bench.errors import UserError
from ssl_bench.folders import PUBLISHED_DIR
from ssl_bench.grids.aim import Place
from ssl_bench.store import Run

PROTOCOLS = ("paper", "released-code")  # under which a measured number may be compared with a published one
MOST = 4  # settings that a reason names
COPIED = "copied from the original paper"
DESCRIPTION = {"table", "dataset", "labeled", "method", "network", "metric", "value", "source"}  # not settings
NEUTRAL = {"precision", "compile", "channels_last"}  # no more than rounding
NETWORK = {"network", "encoder", "encoder_weights", "output_stride", "aspp", "aspp_dropout", "input_mean", "input_std",
           "filters", "dropout"}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A number of the paper: DSC and Jaccard in per cent, distances in voxels."""

    value: float
    source: str

    @property
    def is_copied(self) -> bool:
        """Whether the paper's authors took it from another paper, under another protocol."""
        return COPIED in self.source


def published(grid: Grid, row: Row, column: Column, metric: MetricName) -> Published | None:
    """Return the paper's number for a row and column of one of its tables, None where it has none."""
    if grid.exhibit != "table":
        return None
    settings = {**column.settings, **row.settings}
    for entry in _entries():
        if (
            int(entry["table"]) == grid.number
            and entry["dataset"] == column.dataset
            and share(entry["labeled"]) == share(column.published or column.labeled)
            and entry["method"] == (row.published or row.title)
            and entry["metric"].lower() == metric
            and (row.network is None or entry["network"] == row.network)
            and all(entry[key] == str(settings[key]) for key in entry.keys() - DESCRIPTION if key in settings)
        ):
            return Published(float(entry["value"]), entry.get("source", "UCMT paper, its own method"))
    return None


def published_numbers(
    method: str, settings: Mapping[str, Any], column: Column, metric: MetricName
) -> dict[int, Published]:
    """Return the paper's numbers for a method with these settings, by the number of the table."""
    found: dict[int, Published] = {}
    wanted = share(column.published or column.labeled)
    for grid, row, own in _table_cells():
        same_data = own.dataset == column.dataset and share(own.labeled) == wanted
        same_row = row.method == method and {**own.settings, **row.settings} == {**column.settings, **settings}
        if same_data and same_row and grid.number is not None:
            number = published(grid, row, own, metric)
            found |= {} if number is None else {grid.number: number}
    return found


@cache
def _table_cells() -> list[tuple[Grid, Row, Column]]:
    """Every cell of the paper's tables."""
    tables = [grid for grid in all_grids() if grid.exhibit == "table"]
    return [(grid, row, column) for grid in tables for row in grid.rows for column in grid.columns]


def differences(place: Place, runs: Sequence[Run]) -> dict[str, str]:
    """Say what keeps a cell's runs from being compared with the paper's number.

    By what it is of: network, protocol, hyperparameters, split, data.

    A protocol field that decides no more than rounding is no difference. Which images the paper tested on is not
    published, so its split is none either.
    """
    spec = runs[0].spec
    found: dict[str, str] = {}
    fields = min((_differing(place, runs[0], name) for name in PROTOCOLS), key=len)
    network, protocol = sorted(fields & NETWORK), sorted(fields - NETWORK)
    if network:
        found["network"] = listed([f"{key} = {getattr(spec.protocol, key)}" for key in network], MOST)
    if protocol:
        found["protocol"] = f"{spec.protocol.name}, which differs in {listed(protocol, MOST)}"
    hyper = _hyperparameters(place)
    unlike = [f"{key} = {value}" for key, value in spec.hyperparameters.items() if hyper.get(key) != value]
    if unlike:
        found["hyperparameters"] = listed(unlike, MOST)
    if place.column.published and share(place.column.published) != share(place.column.labeled):
        found["labels"] = f"{place.column.labeled} labelled, not {place.column.published}"
    usual = next(iter(place.benchmark.splits.values()))
    if spec.split.model_dump(exclude={"labeled", "file"}) != usual.model_dump(exclude={"labeled", "file"}):
        found["split"] = f"{spec.protocol.split}, not the data set's own"
    cases = spec.train_count + spec.test_count
    if cases != place.benchmark.cases:
        found["data"] = f"{cases} of {place.benchmark.cases} cases"
    sides = runs[0].result.get("test_sides")
    expected = place.benchmark.image_sides
    if sides is not None and expected is not None:
        smallest, largest = tuple(sides["smallest"]), tuple(sides["largest"])
        if smallest == largest if expected == "varying" else (smallest, largest) != (expected, expected):
            original = "of many sizes" if expected == "varying" else "x".join(map(str, expected))
            copies = f"images of {'x'.join(map(str, largest))}, the originals are {original}"
            found["data"] = f"{found['data']}; {copies}" if "data" in found else copies
    return found


def is_tested_alike(place: Place, runs: Sequence[Run]) -> bool:
    """Whether the runs' test cases are those of the literature, by the card's `literature_splits`."""
    splits = [place.benchmark.splits[name] for name in place.benchmark.literature_splits]
    return bool(runs) and all(
        any(run.spec.split.fingerprint == split.fingerprint is not None for split in splits) for run in runs
    )


def _hyperparameters(place: Place) -> dict[str, Any]:
    """The method's own defaults with the grid's settings in them, whatever else was asked for."""
    own = divide({**place.column.settings, **place.row.settings}, place.declaration.fields)
    return place.declaration.resolve(own.method, place.benchmark.network_dimensions)


def _differing(place: Place, run: Run, name: str) -> set[str]:
    """Protocol fields in which a run differs from a protocol of the paper, with the grid's own settings in it."""
    own = divide({**place.column.settings, **place.row.settings}, ())
    try:
        card = load_protocol(name, own.protocol, dimensions=place.benchmark.network_dimensions)
    except UserError as error:
        raise AssertionError(f"{name} cannot take the settings of {place.row.title}") from error
    reference = training_fields(card.resolved(place.benchmark, run.spec.train_images, "cpu"))
    actual = training_fields(run.spec.protocol)
    keys = (reference.keys() | actual.keys()) - NEUTRAL
    wanted, scored = measurement_of(card, place.benchmark), place.wanted.measurement
    differing = {key for key in SEEING if getattr(wanted, key) != getattr(scored, key)}
    return differing | {key for key in keys if reference.get(key) != actual.get(key)}


@cache
def _entries() -> tuple[dict[str, str], ...]:
    entries, paths = [], sorted(PUBLISHED_DIR.glob("*.csv"))
    if not paths:  # for example, deleted with a results folder
        raise UserError(
            f"{PUBLISHED_DIR}: expected the paper's numbers, found no .csv file; they are in the repository"
        )
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            own = list(csv.DictReader(file))
        for entry in own:
            if entry["metric"].lower() not in METRICS:
                raise UserError(f"{path}: metric: expected one of {', '.join(METRICS)}; found '{entry['metric']}'")
        entries += own
    return tuple(entries)

"""Grids: the paper's tables and figures as the runs that they need, aimed at its data sets or at others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from ssl_bench import BENCHMARKS_DIR
from ssl_bench.cards import Card, parse_card, read_toml
from ssl_bench.errors import UserError
from ssl_bench.method import SSLMethod, parse_hyperparameters
from ssl_bench.report.select import Cell
from ssl_bench.spec import (
    Benchmark,
    ImageProtocol,
    Metrics,
    VolumeProtocol,
    load_benchmark,
    load_protocol,
    parse_share,
    protocol_keys,
    with_split_file,
)

Exhibit = Literal["table", "figure"]
Protocols = dict[tuple[str, int, str], ImageProtocol | VolumeProtocol]  # by name, dimensions and settings


class Column(Card):
    """A data set and a labelled share, perhaps with settings of its own."""

    dataset: str
    labeled: str
    title: str = Field("", description="the heading, where data set and share do not make one")
    settings: dict[str, Any] = Field(default_factory=dict)


class Row(Card):
    """A method, perhaps with settings of its own; without one, a row that the paper copied from elsewhere."""

    title: str
    method: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    published: str = Field("", description="the method's name in results/published, where it is not the title")
    network: str | None = Field(None, description="the network's name there, where the method has several rows")
    dimensions: tuple[Literal[2, 3], ...] = (2, 3)


class Grid(Card):
    """A table or figure: those of the paper have a number (benchmarks/tables/, benchmarks/figures/)."""

    number: int | None = None
    kind: Literal["table", "curves", "shares", "examples", "moments"]
    title: str
    metrics: Metrics = ("dsc",)
    components: tuple[str, ...] = Field((), description="check marks, read from the method classes")
    comparisons: bool = Field(True, description="whether the rows compete with each other")
    baseline: str | None = Field(None, description="the method that the others are compared with, besides the best")
    upper_line: str | None = Field(None, description="the method that is shown with all labels, where it was run")
    protocol: str | None = Field(None, description="whose runs it shows by default, instead of each data set's own")
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    _path: str = PrivateAttr("")

    @property
    def option(self) -> str:
        """What names it on the command line."""
        return self._path if self.number is None else str(self.number)

    @property
    def label(self) -> str:
        """Its number, or the stem of its file."""
        return Path(self._path).stem if self.number is None else str(self.number)

    @property
    def exhibit(self) -> Exhibit:
        """Table or figure."""
        return "table" if self.kind == "table" else "figure"

    @property
    def name(self) -> str:
        """As in `Table 4`."""
        return f"{self.exhibit.capitalize()} {self.label}"

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.baseline is not None and self.baseline not in {row.method for row in self.rows}:
            raise ValueError(f"baseline '{self.baseline}' is no method of a row")
        for column in self.columns:
            parse_share(column.labeled, "labeled")
        shown = [(column.dataset, column.labeled) for column in self.columns]
        if self.kind == "shares" and len(set(shown)) < len(shown):
            raise ValueError("kind 'shares' has a place for one column of each data set and share")
        return self


@dataclass(frozen=True)
class Target:
    """Whose runs a grid is to show: by default its own data sets and shares, under its or each data set's protocol."""

    dataset: str | None = None
    labeled: tuple[str, ...] = ()
    protocol: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a row and a column meet: the runs wanted there, and what a command must say to train them."""

    row: Row
    column: Column
    benchmark: Benchmark
    protocol: str
    settings: dict[str, Any]
    cell: Cell

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.cell.method


def load_grid(exhibit: Exhibit, name: str) -> Grid:
    """Read the card of a table or figure: one of the paper's by its number, another one as a .toml file."""
    own = name.endswith(".toml")
    path = Path(name) if own else BENCHMARKS_DIR / f"{exhibit}s" / f"{exhibit}-{name}.toml"
    if not path.is_file():
        known = ", ".join(grid.label for grid in all_grids() if grid.exhibit == exhibit)
        found = f"no file {name}" if own else f"'{name}'"
        raise UserError(f"--{exhibit}: expected one of {known}, or a .toml file; found {found}")
    grid = parse_card(Grid, read_toml(path), str(path))
    if grid.exhibit != exhibit:
        raise UserError(f"--{exhibit}: {path} is a {grid.exhibit} (kind = '{grid.kind}')")
    if own:
        grid = grid.model_copy(update={"number": None})
        grid._path = name
    return grid


def all_grids() -> list[Grid]:
    """Every table, then every figure, by number."""
    paths = [*(BENCHMARKS_DIR / "tables").glob("*.toml"), *(BENCHMARKS_DIR / "figures").glob("*.toml")]
    grids = [parse_card(Grid, read_toml(path), str(path)) for path in paths]
    return sorted(grids, key=lambda grid: (grid.exhibit == "figure", grid.number or 0))


def shown(grids: Sequence[Grid], target: Target, methods: Mapping[str, type[SSLMethod]]) -> set[tuple[str, str]]:
    """Names of the data sets and methods whose runs these grids may show."""
    pairs = set()
    for grid in grids:
        aimed = aim(grid, target, methods)
        upper = upper_line(aimed, methods)
        for one in (aimed, *([] if upper is None else [upper])):
            cells = [place.cell for row in places(one, target, methods) for place in row if place is not None]
            pairs |= {(cell.benchmark.name, cell.method) for cell in cells}
    return pairs


def aim(grid: Grid, target: Target, methods: Mapping[str, type[SSLMethod]]) -> Grid:
    """Return the grid with its columns on the data set and shares of the target.

    A data set that the grid does not have takes the place of its first one, its own usual shares that of the grid's.

    Raises:
        UserError: a setting, of the target or of the grid's own, is of neither the protocol nor one of the methods that
            it is for; or a method or the data set is unknown.
    """
    _require_known(grid, target, methods)
    columns: list[Column] = []
    datasets = list(dict.fromkeys(column.dataset for column in grid.columns))
    for dataset in [target.dataset] if target.dataset is not None else datasets:
        own = [column for column in grid.columns if column.dataset == dataset]
        if not own:
            own = _transferred([c for c in grid.columns if c.dataset == datasets[0]], load_benchmark(dataset), dataset)
        if target.labeled:
            kinds = {column.model_copy(update={"labeled": ""}).model_dump_json(): column for column in own}.values()
            own = [column.model_copy(update={"labeled": share}) for share in target.labeled for column in kinds]
        columns += own
    return grid.model_copy(update={"columns": tuple(columns)})


def _require_known(grid: Grid, target: Target, methods: Mapping[str, type[SSLMethod]]) -> None:
    """Every method, and every setting by somebody: one that nobody takes would leave the numbers as they were."""
    where = f"--{grid.exhibit} {grid.option}"
    for name, method in [*((f"row '{row.title}'", row.method) for row in grid.rows), ("upper_line", grid.upper_line)]:
        if method is not None and method not in methods:
            raise UserError(f"{where}: {name}: expected one of {', '.join(sorted(methods))}; found '{method}'")
    protocol = protocol_keys()
    own = [set(methods[row.method].hyperparameters.model_fields) if row.method else set() for row in grid.rows]
    fields = set().union(*own)
    for key in target.settings:
        if key not in protocol | fields:
            raise UserError(f"--set {key}: neither a protocol field nor one of the methods of {grid.name}")
    for row, known in zip(grid.rows, own, strict=True):
        for key in row.settings:
            if key not in protocol | known:
                raise UserError(f"{where}: row '{row.title}': {key} is neither a protocol field nor one of its method")
    for column in grid.columns:
        for key in column.settings:
            if key not in protocol | fields:
                name = column.title or f"{column.dataset} {column.labeled}"
                raise UserError(
                    f"{where}: column '{name}': {key} is neither a protocol field nor one of a row's method"
                )


def _transferred(columns: Sequence[Column], benchmark: Benchmark, option: str) -> list[Column]:
    """The columns on another data set, as many of its shares as there were and as it has.

    The title of a column without settings goes, for what it names is the data set or the share that it had.
    """
    shares = dict(zip(dict.fromkeys(column.labeled for column in columns), benchmark.labeled, strict=False))
    return [
        column.model_copy(
            update={
                "dataset": option,
                "labeled": shares[column.labeled],
                "title": column.title if column.settings else "",
            }
        )
        for column in columns
        if column.labeled in shares
    ]


def places(grid: Grid, target: Target, methods: Mapping[str, type[SSLMethod]]) -> list[list[Place | None]]:
    """Return a list per row with a place per column of an aimed grid; None where the row has no method for the data.

    A row's and a column's own settings go before the target's, and each setting goes to the protocol or to the methods
    that know it.

    Raises:
        UserError: a card or a setting is wrong.
    """
    benchmarks = {column.dataset: load_benchmark(column.dataset) for column in grid.columns}
    target = target if target.protocol else replace(target, protocol=grid.protocol)
    protocols: Protocols = {}
    return [[_place(row, column, benchmarks[column.dataset], target, methods, protocols) for column in grid.columns]
            for row in grid.rows]  # fmt: skip


def upper_line(grid: Grid, methods: Mapping[str, type[SSLMethod]]) -> Grid | None:
    """Return the grid of one row that stands above the others: a method with all labels; None where there is none."""
    if grid.upper_line is None or all(_is_everything(column.labeled) for column in grid.columns):
        return None
    row = Row.model_validate({"title": f"{methods[grid.upper_line].title}, 100%", "method": grid.upper_line})
    columns = tuple(column.model_copy(update={"labeled": "100%"}) for column in grid.columns)
    return grid.model_copy(update={"rows": (row,), "columns": columns, "baseline": None})


def _place(
    row: Row,
    column: Column,
    benchmark: Benchmark,
    target: Target,
    methods: Mapping[str, type[SSLMethod]],
    protocols: Protocols,
) -> Place | None:
    """The place of a row and column; `protocols` are those that were read before."""
    if row.method is None or benchmark.dimensions not in row.dimensions:
        return None
    method, known = methods[row.method], protocol_keys()
    own = method.hyperparameters.model_fields
    settings = {
        key: value
        for key, value in {**target.settings, **column.settings, **row.settings}.items()
        if key in known or key in own
    }
    name = target.protocol or benchmark.protocol
    of_protocol = {key: value for key, value in settings.items() if key in known}
    key = (name, benchmark.dimensions, str(of_protocol))
    if key not in protocols:
        protocols[key] = load_protocol(name, of_protocol, dimensions=benchmark.dimensions)
    protocol = protocols[key]
    hyper = parse_hyperparameters(method, {key: value for key, value in settings.items() if key in own})
    resolved = hyper.resolved(benchmark.dimensions).model_dump(mode="json")
    benchmark = with_split_file(benchmark, protocol.split)
    cell = Cell(benchmark, column.labeled, protocol, row.method, method.version, resolved)
    return Place(row, column, benchmark, name, settings, cell)


def _is_everything(labeled: str) -> bool:
    """Whether a share is 100 %; 1 is a number of images."""
    value = share(labeled)
    return isinstance(value, Fraction) and value == 1


def share(text: str) -> Fraction | int:
    """A labelled share as a number, so that 5% and 5.0% are one."""
    return parse_share(text, "--labeled")

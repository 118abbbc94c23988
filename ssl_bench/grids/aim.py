"""Applies a data set, shares and a protocol to a grid, and resolves the grid's places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ssl_bench.cards import (
    TUNED,
    Benchmark,
    Column,
    Grid,
    ImageProtocol,
    Row,
    Tuned,
    VolumeProtocol,
    authors_settings,
    divide,
    load_benchmark,
    load_protocol,
    require_known_keys,
    share,
    share_under,
    with_split_file,
)
from ssl_bench.cards.card import no_such_method
from ssl_bench.declarations import Declaration, Declarations
from ssl_bench.errors import UserError
from ssl_bench.grids.match import Wanted
from ssl_bench.grids.signs import signed

Protocols = dict[tuple[str, int, str], ImageProtocol | VolumeProtocol]  # by name, dimensions and settings


@dataclass(frozen=True)
class Target:
    """Data sets, shares and protocol of the runs that a grid shows. By default these are the grid's own."""

    datasets: tuple[str, ...] = ()
    labeled: tuple[str, ...] = ()
    protocol: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    label_seeds: tuple[int, ...] = ()  # none: runs whose labelled cases their seed draws
    seeds: tuple[int, ...] = ()  # whose runs are shown; none: all
    tuned: Tuned = "common"  # as the card says; authors: rows at their authors' settings; both: a row for each
    _protocols: Protocols = field(default_factory=dict, compare=False, repr=False)

    def load_protocol(
        self, name: str, settings: Mapping[str, Any], *, dimensions: int
    ) -> ImageProtocol | VolumeProtocol:
        """Return a protocol with settings; each is read once for all grids."""
        key = (name, dimensions, str(settings))
        if key not in self._protocols:
            self._protocols[key] = load_protocol(name, dict(settings), dimensions=dimensions)
        return self._protocols[key]


def make_target(
    datasets: Sequence[str],
    labeled: Sequence[str] | None,
    protocol: str | None,
    settings: Mapping[str, Any],
    label_seeds: tuple[int, ...] = (),
    tuned: str = "common",
    seeds: tuple[int, ...] = (),
) -> Target:
    """Return the target of `report` and `reproduce`; 15% and 15.0% are one share.

    Raises:
        UserError: the list of shares is empty, a share is malformed, a data set is named twice, or there is no such
            choice of settings.
    """
    twice = next((name for name in datasets if list(datasets).count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--dataset: expected different data sets, found '{twice}' twice")
    if tuned not in TUNED:
        raise UserError(f"--tuned: expected one of {', '.join(TUNED)}; found '{tuned}'")
    if labeled is not None and not labeled:
        raise UserError("--labeled: expected shares such as 5%, found none")
    different: dict[object, str] = {}
    for text in labeled or ():
        different.setdefault(share(text), text)
    chosen = next(one for one in TUNED if one == tuned)
    return Target(
        tuple(datasets), tuple(different.values()), protocol, dict(settings), label_seeds, seeds=seeds, tuned=chosen
    )


@dataclass(frozen=True)
class Place:
    """A cell of a grid: the runs that it needs, and the command-line words that train them.

    `authors` are those of the `settings` that come from the method's authors; `settings_without_row` are those that the
    cell would have without its row's own.
    """

    row: Row
    column: Column
    benchmark: Benchmark
    protocol: str
    settings: dict[str, Any]
    wanted: Wanted
    declaration: Declaration
    authors: dict[str, Any] = field(default_factory=dict)
    settings_without_row: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The column's title, data set and share."""
        return f"{self.column.title} {self.benchmark.name} {self.column.labeled}".strip()

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.wanted.method


def shown(grids: Sequence[Grid], target: Target, methods: Declarations) -> set[tuple[str, str]]:
    """Names of the data sets and methods whose runs these grids may show."""
    pairs = set()
    for grid in grids:
        aimed = aim(grid, target, methods)
        upper = upper_line(aimed, methods)
        for one in (aimed, *([] if upper is None else [upper])):
            found = [place.wanted for row in places(one, target, methods) for place in row if place is not None]
            pairs |= {(one.benchmark.name, one.method) for one in found}
    return pairs


def aim(grid: Grid, target: Target, methods: Declarations) -> Grid:
    """Return the grid on the data sets and shares of the target, with its rows at the settings that it asks for.

    A data set that the grid does not have replaces the grid's first data set. Its usual shares replace the grid's. A
    row without a title has its method's. A title has a sign for each thing that tells its row from the others (see
    `signs`).

    Raises:
        UserError: a setting of the target or the grid is neither a protocol field nor a hyperparameter of its methods,
            or a method or the data set is unknown.
    """
    _require_known(grid, target, methods)
    grid = grid.model_copy(update={"rows": tuple(_titled(row, methods) for row in grid.rows)})
    columns: list[Column] = []
    datasets = list(dict.fromkeys(column.dataset for column in grid.columns))
    for dataset in target.datasets or datasets:
        own = [column for column in grid.columns if column.dataset == dataset]
        if not own:
            own = _transferred([c for c in grid.columns if c.dataset == datasets[0]], load_benchmark(dataset), dataset)
        if not target.labeled:
            own = [_scaled(column, target, grid) for column in own]
        else:
            kinds = {column.model_copy(update={"labeled": ""}).model_dump_json(): column for column in own}.values()
            own = [column.model_copy(update={"labeled": share}) for share in target.labeled for column in kinds]
        columns += own
    if target.label_seeds and all(_is_everything(column.labeled) for column in columns):
        raise UserError("--label-seeds: expected a share of labelled cases below 100%; found 100%, which draws none")
    aimed = grid.model_copy(update={"columns": tuple(columns)})
    return aimed.model_copy(update={"rows": _rows(aimed, target, methods)})


def _scaled(column: Column, target: Target, grid: Grid) -> Column:
    """The column at its share times the protocol's `labeled_scale`; it keeps the published numbers of its own share."""
    benchmark = load_benchmark(column.dataset)
    name = target.protocol or grid.protocol or benchmark.protocol
    labeled = share_under(column.labeled, benchmark, name, {**target.settings, **column.settings}, target.load_protocol)
    if labeled == column.labeled:
        return column
    return column.model_copy(update={"labeled": labeled, "published": column.published or column.labeled})


def _rows(grid: Grid, target: Target, methods: Declarations) -> tuple[Row, ...]:
    """The rows at the settings that the target asks for, with their signs.

    With `both`, a row is not repeated at its authors' settings if a row of the card needs these runs. A grid that is a
    part of a card of claims keeps its rows: a claim is about one choice of settings.
    """
    benchmarks = column_benchmarks(grid)
    rows, own = list[Row](), list[Row | None]()  # as the card says, and at its authors' settings
    for row in grid.rows:
        columns = zip(grid.columns, benchmarks, strict=True)
        has_own = row.method is not None and any(
            _authors_settings(row, column, card, target, methods[row.method]) for column, card in columns
        )
        rows.append(row if has_own or row.tuned == "common" else row.model_copy(update={"tuned": "common"}))
        own.append(row.model_copy(update={"tuned": "authors"}) if has_own and row.tuned == "common" else None)
    if target.tuned == "authors":
        rows = [row if other is None else other for row, other in zip(rows, own, strict=True)]
    if target.tuned == "both" and not grid.is_part and (added := [row for row in own if row is not None]):
        needs = [_needs(row) for row in places(grid.model_copy(update={"rows": (*rows, *added)}), target, methods)]
        new = [row for row, need in zip(added, needs[len(rows) :], strict=True) if need not in needs[: len(rows)]]
        rows = [one for row, other in zip(rows, own, strict=True) for one in (row, *([other] if other in new else []))]
    return tuple(_signed(row, methods) for row in rows)


def _titled(row: Row, methods: Declarations) -> Row:
    """The row with its method's title if it has none of its own."""
    if row.title or row.method is None:
        return row
    return row.model_copy(update={"title": methods[row.method].title})


def _needs(row: Sequence[Place | None]) -> list[str | None]:
    """The identities of the cells of a row."""
    return [None if place is None else place.wanted.identity for place in row]


def _signed(row: Row, methods: Declarations) -> Row:
    """A row with the signs at its title; the published numbers keep its name."""
    if row.method is None:
        return row
    title = signed(row.title, reconstructed=methods[row.method].reconstructed, tuned=row.tuned == "authors")
    if title == row.title:
        return row
    return row.model_copy(update={"title": title, "published": row.published or row.title})


def _authors_settings(
    row: Row, column: Column, benchmark: Benchmark, target: Target, method: Declaration
) -> dict[str, Any]:
    """The settings of a method's authors that row, column and target leave in a cell."""
    given = {**target.settings, **column.settings, **row.settings}
    if not _fits(row, benchmark, method):
        return {}
    return authors_settings(method.authors, given, benchmark.network_dimensions)


def _fits(row: Row, benchmark: Benchmark, method: Declaration) -> bool:
    """Whether the row and its method are for data of these dimensions."""
    return benchmark.network_dimensions in method.dimensions.intersection(row.dimensions)


def _require_known(grid: Grid, target: Target, methods: Declarations) -> None:
    """Raise UserError for an unknown method, and for a setting that no protocol or method has."""
    where = grid.where
    for name, method in [
        *((f"row '{row.name}'", row.method) for row in grid.rows),
        ("upper_line", grid.upper_line),
    ]:
        if method is not None and method not in methods:
            raise UserError(f"{where}: {name}: {no_such_method(method, methods)}")
    for row in grid.rows:
        if row.tuned == "authors" and not (row.method and methods[row.method].authors):
            raise UserError(
                f"{where}: row '{row.name}': tuned: expected a method that declares its authors' settings, found "
                f"'{row.method}'"
            )
    own = [set(methods[row.method].fields) if row.method else set() for row in grid.rows]
    fields = set().union(*own)
    require_known_keys(target.settings, fields | grid.fields_of_others, f"a method in {grid.name}")
    for row, known in zip(grid.rows, own, strict=True):
        if "labeled_scale" in row.settings:
            raise UserError(f"{where}: row '{row.name}': labeled_scale: expected it in a column or a protocol's card")
        for key in divide(row.settings, known).unknown:
            raise UserError(
                f"{where}: row '{row.name}': {key} is neither a protocol field nor a hyperparameter of its method"
            )
    for column in grid.columns:
        for key in divide(column.settings, fields).unknown:
            name = column.title or f"{column.dataset} {column.labeled}"
            raise UserError(
                f"{where}: column '{name}': {key} is neither a protocol field nor a hyperparameter of a row's method"
            )


def _transferred(columns: Sequence[Column], benchmark: Benchmark, option: str) -> list[Column]:
    """The columns on another data set: as many shares as the grid had, at most as many as the data set has.

    The title of a column without settings is removed, since it names the previous data set or share.
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


def places(grid: Grid, target: Target, methods: Declarations) -> list[list[Place | None]]:
    """Return a list per row with a place per column of an aimed grid; None where the row has no method for the data.

    The settings of a row and a column override the target's, and these the authors' of a row that is tuned so. Each
    setting goes to the protocol or to the methods that have it.

    Raises:
        UserError: a card or a setting is wrong.
    """
    benchmarks = column_benchmarks(grid)
    target = target if target.protocol else replace(target, protocol=grid.protocol)
    columns = list(zip(grid.columns, benchmarks, strict=True))
    return [[_place(row, column, benchmark, target, methods) for column, benchmark in columns]
            for row in grid.rows]  # fmt: skip


def column_benchmarks(grid: Grid) -> tuple[Benchmark, ...]:
    """Return the data set's card of each column."""
    cards = {name: load_benchmark(name) for name in dict.fromkeys(column.dataset for column in grid.columns)}
    return tuple(cards[column.dataset] for column in grid.columns)


def upper_line(grid: Grid, methods: Declarations) -> Grid | None:
    """Return the grid of the row above the others: a method with all labels. None if the grid has no such row."""
    if grid.upper_line is None or all(_is_everything(column.labeled) for column in grid.columns):
        return None
    title = f"{methods[grid.upper_line].title}, 100%"
    row = _signed(Row.model_validate({"title": title, "method": grid.upper_line}), methods)
    columns = tuple(column.model_copy(update={"labeled": "100%"}) for column in grid.columns)
    return grid.model_copy(update={"rows": (row,), "columns": columns, "baseline": None})


def _place(
    row: Row,
    column: Column,
    benchmark: Benchmark,
    target: Target,
    methods: Declarations,
) -> Place | None:
    """The place of a row and column."""
    if row.method is None or not _fits(row, benchmark, method := methods[row.method]):
        return None
    own = _authors_settings(row, column, benchmark, target, method) if row.tuned == "authors" else {}
    without_row = {**own, **target.settings, **column.settings}
    given = {**without_row, **row.settings}
    divided = divide(given, method.fields)
    settings = {key: value for key, value in given.items() if key not in divided.unknown}
    name = target.protocol or benchmark.protocol
    protocol = target.load_protocol(name, divided.protocol, dimensions=benchmark.network_dimensions)
    resolved = method.resolve(divided.method, benchmark.network_dimensions)
    benchmark = with_split_file(benchmark, protocol.split)
    label_seeds = () if _is_everything(column.labeled) else target.label_seeds
    split = protocol.split_of(benchmark)
    if label_seeds and benchmark.splits[split].labeled == "first":
        raise UserError(
            f"--label-seeds: expected data sets whose labelled cases are drawn; found {benchmark.name}, whose split "
            f"'{split}' takes the first training cases whatever the seed"
        )
    wanted = Wanted(benchmark, column.labeled, protocol, row.method, method.version, resolved, label_seeds)
    others = {key: value for key, value in without_row.items() if key in settings}
    return Place(row, column, benchmark, name, settings, wanted, method, own, others)


def _is_everything(labeled: str) -> bool:
    """Whether a share is 100 %; 1 is a number of images."""
    value = share(labeled)
    return isinstance(value, Fraction) and value == 1

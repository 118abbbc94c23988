"""Grid: a table or figure as the runs that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from ssl_bench.cards.card import Card, parse_card, read_toml
from ssl_bench.cards.metric import HEADLINE, Metrics
from ssl_bench.cards.share import parse_share
from ssl_bench.errors import UserError
from ssl_bench.folders import BENCHMARKS_DIR

Exhibit = Literal["table", "figure"]
COMPARISON = "comparison"  # label of a table that has no card
BASELINE = "supervised"  # of such a table, if it is one of its methods


class Column(Card):
    """A data set and a labelled share, with optional settings."""

    dataset: str = Field(description="a built-in data set by name, or a .toml card")
    labeled: str = Field(description="labelled share (5%) or number (90)")
    published: str = Field("", description="labelled share of the published numbers; default: `labeled`")
    title: str = Field("", description="the heading; default: made from data set and share")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="protocol fields or hyperparameters of this column, such as { k = 3 }"
    )

    @property
    def key(self) -> tuple[str, str]:
        """What is equal for two columns of the same data set and settings, which differ in their shares."""
        return self.dataset, str(sorted(self.settings.items()))


def columns_alike(columns: Sequence[Column]) -> list[list[int]]:
    """Return the positions of the columns of each data set with the same settings, which differ in their shares."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, column in enumerate(columns):
        found.setdefault(column.key, []).append(number)
    return list(found.values())


class Row(Card):
    """A method with optional settings; without a method, a row that the paper copied from another paper."""

    title: str = Field("", description="the row's name in the table; default: the method's title")
    method: str | None = Field(None, description="the method by name; absent: only published numbers are shown")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="protocol fields or hyperparameters of this row; they precede the column's"
    )
    published: str = Field("", description="the method's name in the published numbers; default: the title")
    network: str | None = Field(None, description="the network's name there, if the method has several rows")
    dimensions: tuple[Literal[2, 3], ...] = Field(
        (2, 3), description="of the data sets whose columns the row has cells in"
    )
    tuned: Literal["common", "authors"] = Field(
        "common",
        description="authors: at the method's `authors` settings, below those of row, column and --set",
    )

    @property
    def name(self) -> str:
        """The title, or else the method's name."""
        return self.title or self.method or ""


@dataclass(frozen=True)
class Part:
    """What a grid says about itself if it is a part of another card.

    Attributes:
        whole: name of the card, such as `Claims ucmt`.
        where: place of the grid in it, for messages.
        fields: hyperparameters of the methods of all its grids.

    """

    whole: str
    where: str
    fields: frozenset[str]


class Grid(Card):
    """A table or figure; the paper's have a number (benchmarks/tables/, benchmarks/figures/)."""

    number: int | None = Field(None, description="the paper's; a table of your own has none")
    kind: Literal["table", "curves", "shares", "examples", "moments"] = Field(
        description="a table; or a figure: training curves, scores by labelled share, pictures, uncertainty maps"
    )
    title: str = Field(description="the caption")
    metrics: Metrics = Field((HEADLINE,), description="shown in each column that is scored by them")
    components: tuple[str, ...] = Field((), description="check marks, read from the method classes")
    comparisons: bool = Field(True, description="whether the rows compete with each other")
    baseline: str | None = Field(
        None, description="the method that the others are compared with, in addition to the best"
    )
    upper_line: str | None = Field(None, description="the method that is also shown with all labels, if it was run")
    protocol: str | None = Field(
        None, description="the protocol whose runs are shown by default; none: that of each data set"
    )
    columns: tuple[Column, ...] = Field(min_length=1, description="data sets and labelled shares")
    rows: tuple[Row, ...] = Field(min_length=1, description="methods")
    _path: str = PrivateAttr("")
    _part: Part | None = PrivateAttr(None)
    _methods: tuple[str, ...] = PrivateAttr(())  # of a comparison that has no card

    @property
    def words(self) -> list[str]:
        """The option of `report` and `reproduce` that names it."""
        return ["--methods", ",".join(self._methods)] if self._methods else [f"--{self.exhibit}", self.option]

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return self._path if self.number is None else str(self.number)

    @property
    def label(self) -> str:
        """Its number, or the stem of its file."""
        if self._methods:
            return COMPARISON
        return Path(self._path).stem if self.number is None else str(self.number)

    @property
    def exhibit(self) -> Exhibit:
        """Table or figure."""
        return "table" if self.kind == "table" else "figure"

    @property
    def name(self) -> str:
        """The label, for example `Table 4`."""
        if self._part is not None:
            return self._part.whole
        if self._methods:
            return COMPARISON.capitalize()
        return f"{self.exhibit.capitalize()} {self.label}"

    @property
    def where(self) -> str:
        """Its place, for messages about its card."""
        if self._methods:
            return "--methods"
        return f"--{self.exhibit} {self.option}" if self._part is None else self._part.where

    @property
    def has_no_card(self) -> bool:
        """Whether it is a table of methods that options name."""
        return bool(self._methods)

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a card with several grids."""
        return self._part is not None

    @property
    def fields_of_others(self) -> frozenset[str]:
        """Hyperparameters of methods that its rows lack, and that `--set` may name."""
        return frozenset() if self._part is None else self._part.fields

    def as_part(self, part: Part) -> Self:
        """Return the grid as a part of a card with several grids."""
        grid = self.model_copy()
        grid._part = part
        return grid

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.baseline is not None and self.baseline not in {row.method for row in self.rows}:
            raise ValueError(f"baseline '{self.baseline}' is not the method of any row")
        if any(not row.title and row.method is None for row in self.rows):
            raise ValueError("a row without a title must have a method")
        titles = [row.title or f"method {row.method}" for row in self.rows]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:
            raise ValueError(f"rows must have different titles; found '{twice}' twice")
        for column in self.columns:
            parse_share(column.labeled, "labeled")
            if column.published:
                parse_share(column.published, "published")
        shown = [(column.dataset, column.labeled) for column in self.columns]
        if self.kind == "shares" and len(set(shown)) < len(shown):
            raise ValueError("kind 'shares' allows only one column for each data set and share")
        return self


def load_grid(exhibit: Exhibit, name: str) -> Grid:
    """Read the card of a table or figure: the paper's by number, any other by the path of its .toml file."""
    path = exhibit_path(
        exhibit, name, BENCHMARKS_DIR / f"{exhibit}s" / f"{exhibit}-{name}.toml",
        lambda: [grid.label for grid in all_grids() if grid.exhibit == exhibit],
    )  # fmt: skip
    grid = parse_card(Grid, read_toml(path), str(path))
    if grid.exhibit != exhibit:
        raise UserError(f"--{exhibit}: expected a {exhibit}, found the {grid.exhibit} {path} (kind = '{grid.kind}')")
    if name.endswith(".toml"):
        grid = grid.model_copy(update={"number": None})
        grid._path = name
    return grid


def comparison(methods: Sequence[str], columns: Sequence[Mapping[str, str]]) -> Grid:
    """Return a table of methods that has no card: a row for each, compared with the supervised network if it is there.

    Raises:
        UserError: a method is named twice, or there is none.
    """
    twice = next((name for name in methods if list(methods).count(name) > 1), None)
    if twice is not None or not methods:
        found = f"'{twice}' twice" if twice else "none"
        raise UserError(f"--methods: expected names of different methods, separated by commas; found {found}")
    grid = Grid.model_validate({
        "kind": "table", "title": "Methods", "columns": columns, "upper_line": BASELINE,
        "rows": [{"method": name} for name in methods], "baseline": BASELINE if BASELINE in methods else None,
    })  # fmt: skip
    grid._methods = tuple(methods)
    return grid


def exhibit_path(option: str, name: str, built_in: Path, known: Callable[[], Sequence[str]]) -> Path:
    """The file of a card that an option names: its own path if it ends in .toml, else that of the built-in one.

    Raises:
        UserError: there is no such file; `known` gives the names of the built-in cards.
    """
    own = name.endswith(".toml")
    path = Path(name) if own else built_in
    if not path.is_file():
        found = f"no file {name}" if own else f"'{name}'"
        raise UserError(f"--{option}: expected one of {', '.join(known())}, or a .toml file; found {found}")
    return path


def all_grids() -> list[Grid]:
    """Every table, then every figure, by number."""
    paths = [*(BENCHMARKS_DIR / "tables").glob("*.toml"), *(BENCHMARKS_DIR / "figures").glob("*.toml")]
    grids = [parse_card(Grid, read_toml(path), str(path)) for path in paths]
    return sorted(grids, key=lambda grid: (grid.exhibit == "figure", grid.number or 0))

"""The runs of every place of an aimed grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssl_bench.cards import Benchmark, Grid
from ssl_bench.declarations import Declarations
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Place, Target, column_benchmarks, places, upper_line
from ssl_bench.grids.match import complete_seeds, select
from ssl_bench.reporting.sound_runs import sound_runs
from ssl_bench.store import Run


@dataclass(frozen=True)
class ShownOptions:
    """Options of a table or figure that select no runs.

    Raises:
        UserError: there are no such rows, or they have no room for something that is asked for.
    """

    all_networks: bool = False
    costs: bool = False
    data: str | None = None  # the value of `--data`, for the command that trains everything
    options: tuple[str, ...] = ()  # further words of the commands that train what is missing
    rows: str = "method"  # what a table's rows are: method, or labeled

    def __post_init__(self) -> None:
        """Check the rows."""
        if self.rows not in ("method", "labeled"):
            raise UserError(f"--rows: expected method or labeled, found '{self.rows}'")
        for option, given in (("--all-networks", self.all_networks), ("--costs", self.costs)):
            if given and self.rows == "labeled":
                raise UserError(f"{option}: needs a row for each method; leave out --rows labeled")


@dataclass(frozen=True)
class Filled:
    """A place of a grid with its runs, one per seed and label draw.

    `place` is None where the row has no method for the data. `left_out` are runs that exist, but whose scores are
    damaged or of other test cases.
    """

    place: Place | None
    runs: list[Run]
    left_out: tuple[Run, ...] = ()


Body = list[list[Filled]]  # by row and column of a grid


@dataclass(frozen=True)
class Gathered:
    """An aimed grid with the runs of its places.

    Attributes:
        grid: the grid.
        benchmarks: the data set of each column.
        body: its rows.
        upper: the grid of the upper line; None where none of its runs is there.
        above: the rows of `upper`.
        damaged: messages about the runs that are left out.

    """

    grid: Grid
    benchmarks: tuple[Benchmark, ...]
    body: Body
    upper: Grid | None
    above: Body
    damaged: tuple[str, ...] = ()

    @property
    def rows(self) -> Body:
        """The upper line's rows, then those of the grid."""
        return [*self.above, *self.body]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, each once: an upper line has the same runs in several columns."""
        return tuple({run.path: run for row in self.rows for one in row for run in one.runs}.values())

    @property
    def cells(self) -> tuple[int, int]:
        """How many of the grid's cells have runs, and how many cells there are."""
        places = [one for row in self.body for one in row if one.place is not None]
        return sum(bool(one.runs) for one in places), len(places)


def gather(grid: Grid, target: Target, runs: Sequence[Run], methods: Declarations) -> Gathered:
    """Find the runs of a grid that was aimed at a target.

    Raises:
        UserError: a setting is wrong, or runs of different data or precision would stand in one exhibit.
    """
    upper = upper_line(grid, methods)
    above = [] if upper is None else places(upper, target, methods)
    rows, damaged = fill([*above, *places(grid, target, methods)], runs)
    head, body = rows[: len(above)], rows[len(above) :]
    has_run = any(one.runs for row in head for one in row)
    benchmarks = column_benchmarks(grid)
    return Gathered(grid, benchmarks, body, upper if has_run else None, head if has_run else [], damaged)


def fill(rows: Sequence[Sequence[Place | None]], runs: Sequence[Run]) -> tuple[Body, tuple[str, ...]]:
    """Find the runs of places.

    Returns:
        The rows with their runs, and messages about the runs that are left out.

    Raises:
        UserError: runs of different data or precision would stand in one exhibit.
    """
    wanted = {place.wanted.identity: place.wanted for row in rows for place in row if place is not None}
    chosen = select(runs, list(wanted.values()))
    sound, reasons = sound_runs(chosen)
    cells = dict(zip(wanted, zip(chosen, sound, strict=True), strict=True))
    return [[_filled(place, cells) for place in row] for row in rows], tuple(reasons.values())


def _filled(place: Place | None, cells: Mapping[str, tuple[list[Run], list[Run]]]) -> Filled:
    """A place with its runs, of the chosen and the sound runs by the identity of the cell."""
    if place is None:
        return Filled(None, [])
    chosen, sound = cells[place.wanted.identity]
    kept = {run.path for run in sound}
    shown = complete_seeds(sound, place.wanted)
    return Filled(place, shown, tuple(run for run in chosen if run.path not in kept))

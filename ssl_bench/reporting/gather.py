"""The runs of every cell of an aimed grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_bench.cards import Grid
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Place, Target, places, upper_line
from ssl_bench.grids.match import select
from ssl_bench.method import SSLMethod
from ssl_bench.store import Run


@dataclass(frozen=True)
class ShownOptions:
    """What a table shows besides."""

    all_networks: bool = False
    costs: bool = False
    data: str | None = None  # what `--data` said, for the command that trains everything
    options: tuple[str, ...] = ()  # further words of the commands that train what is missing


Body = list[list[tuple[Place | None, list[Run]]]]  # per row and column of a grid


@dataclass(frozen=True)
class Gathered:
    """An aimed grid with the runs of each of its cells, and those of its upper line, empty where it was not run.

    `damaged` names the files of the runs that had to be left out.
    """

    grid: Grid
    body: Body
    upper: Grid | None
    above: Body
    damaged: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of them."""
        return tuple(run for row in (*self.above, *self.body) for _, own in row for run in own)


def gather(grid: Grid, target: Target, runs: Sequence[Run], methods: Mapping[str, type[SSLMethod]]) -> Gathered:
    """Find the runs of a grid that was aimed at a target.

    Raises:
        UserError: a setting is wrong, or runs of different data or precision would stand in one exhibit.
    """
    upper = upper_line(grid, methods)
    above = [] if upper is None else places(upper, target, methods)
    wanted = [*above, *places(grid, target, methods)]
    chosen = iter(select(runs, [None if p is None else p.wanted for row in wanted for p in row]))
    damaged: dict[Path, str] = {}
    filled = [[(place, _whole(next(chosen), damaged)) for place in row] for row in wanted]
    head, body = filled[: len(above)], filled[len(above) :]
    has_run = any(own for row in head for _, own in row)
    return Gathered(grid, body, upper if has_run else None, head if has_run else [], tuple(damaged.values()))


def _whole(runs: Sequence[Run], damaged: dict[Path, str]) -> list[Run]:
    """Those whose scores can be read and are what the run wrote; `damaged` takes what is wrong with the others."""
    whole = []
    for run in runs:
        try:
            run.require_whole()
            whole.append(run)
        except UserError as error:
            damaged[run.path] = str(error)
    return whole

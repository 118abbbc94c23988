"""What tables and figures of the paper share: what is shown besides, and the lines below them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_bench.command import run_words, setting_words
from ssl_bench.errors import UserError
from ssl_bench.method import SSLMethod
from ssl_bench.report.grid import Grid, Place, Target, places, upper_line
from ssl_bench.report.select import select
from ssl_bench.store import Run


@dataclass(frozen=True)
class View:
    """What a table shows besides."""

    all_networks: bool = False
    costs: bool = False
    data: str | None = None  # what `--data` said, for the command that trains everything
    options: tuple[str, ...] = ()  # further words of the commands that train what is missing


SEEDS = [1, 2, 3]  # of every command by default
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
    chosen = iter(select(runs, [None if p is None else p.cell for row in wanted for p in row]))
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


def damage_notes(damaged: Sequence[str]) -> list[str]:
    """Say which runs are left out because their scores are not those that they wrote."""
    return [f"Left out: {text}. Moved out of the store, the run is trained again." for text in damaged]


def missing_notes(grid: Grid, target: Target, body: Body, commands: Sequence[str], view: View) -> list[str]:
    """Say how what is missing of a body is trained: all at once, and data set by data set."""
    if not commands:
        return []
    seeds = _seeds(body)
    words = ["ssl-bench", "reproduce", f"--{grid.exhibit}", grid.option]
    words += [] if target.dataset is None else ["--dataset", target.dataset]
    words += ["--labeled", ",".join(target.labeled)] if target.labeled else []
    words += [] if target.protocol is None else ["--protocol", target.protocol]
    words += [] if seeds == SEEDS else ["--seeds", ",".join(map(str, seeds))]
    words += [] if view.data is None else ["--data", view.data]
    everything = shlex.join([*words, *setting_words(target.settings), *view.options])
    return [f"missing runs: all of them by `{everything}`", *(f"missing runs: `{command}`" for command in commands)]


def protocol_notes(target: Target, body: Body) -> list[str]:
    """Say under which protocols the runs were trained."""
    protocols = {place.protocol: place.cell.protocol for row in body for place, _ in row if place is not None}
    settings = " ".join(f"{key}={value}" for key, value in target.settings.items())
    return [
        f"Protocol {name}{' with ' + settings if settings else ''}: {card.note}" for name, card in protocols.items()
    ]


def _seeds(body: Body) -> list[int]:
    """The seeds of its runs; where there is no run, those that commands take by themselves."""
    return sorted({run.spec.seed for row in body for _, own in row for run in own}) or SEEDS


def fill_commands(body: Body, view: View) -> list[str]:
    """Commands that train what is missing: one for all methods of a data set, share and settings.

    A cell lacks a run where it has none of a seed that another cell has.
    """
    seeds = _seeds(body)
    groups: dict[str, tuple[Place, list[str]]] = {}
    for row in body:
        for place, own in row:
            if place is not None and not {run.spec.seed for run in own}.issuperset(seeds):
                key = f"{place.column.dataset} {place.column.labeled} {place.protocol} {sorted(place.settings.items())}"
                groups.setdefault(key, (place, []))[1].append(place.method)
    commands = [
        run_words(
            list(dict.fromkeys(names)), place.benchmark.option, place.column.labeled, place.protocol, seeds,
            place.settings,
        )
        for place, names in groups.values()
    ]  # fmt: skip
    return [shlex.join(["ssl-bench", *words, *view.options]) for words in commands]

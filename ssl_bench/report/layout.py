"""What tables and figures of the paper share: what is shown besides, and the lines below them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ssl_bench.report.grid import Grid, Place, Target
from ssl_bench.report.select import fill_command, toml_value
from ssl_bench.store import Run


@dataclass(frozen=True)
class View:
    """What a table shows besides."""

    all_networks: bool = False
    costs: bool = False
    fingerprint: str | None = None
    options: tuple[str, ...] = ()  # further words of the commands that fill empty cells


def missing_notes(grid: Grid, target: Target, commands: Sequence[str], view: View) -> list[str]:
    """Say how what is missing is trained: all at once, and cell by cell."""
    if not commands:
        return []
    words = ["ssl-bench", "reproduce", f"--{grid.exhibit}", str(grid.number)]
    words += [] if target.dataset is None else ["--dataset", target.dataset]
    words += ["--labeled", ",".join(target.labeled)] if target.labeled else []
    words += [] if target.protocol is None else ["--protocol", target.protocol]
    words += [word for key, value in target.settings.items() for word in ("--set", f"{key}={toml_value(value)}")]
    everything = shlex.join([*words, *view.options])
    return [f"no run: all of them by `{everything}`", *(f"no run: filled by `{command}`" for command in commands)]


def protocol_notes(target: Target, body: Sequence[Sequence[tuple[Place | None, Sequence[Run]]]]) -> list[str]:
    """Say under which protocols the runs were trained."""
    protocols = {place.protocol: place.cell.protocol for row in body for place, _ in row if place is not None}
    settings = " ".join(f"{key}={value}" for key, value in target.settings.items())
    return [
        f"Protocol {name}{' with ' + settings if settings else ''}: {card.note}" for name, card in protocols.items()
    ]


def fill_commands(body: Sequence[Sequence[tuple[Place | None, Sequence[Run]]]], view: View) -> list[str]:
    """Commands that train what is missing: one for all methods of a data set, share and settings."""
    seeds = sorted({run.spec.seed for row in body for _, own in row for run in own}) or [1, 2, 3]
    groups: dict[str, tuple[Place, list[str]]] = {}
    for row in body:
        for place, own in row:
            if place is not None and not own:
                key = f"{place.column.dataset} {place.column.labeled} {place.protocol} {sorted(place.settings.items())}"
                groups.setdefault(key, (place, []))[1].append(place.method)
    return [
        fill_command(
            place.benchmark, place.column.labeled, place.protocol, place.settings, list(dict.fromkeys(names)),
            ",".join(map(str, seeds)), view.options,
        )
        for place, names in groups.values()
    ]  # fmt: skip

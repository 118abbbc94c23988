"""The table of missing runs, with an estimate of the time that they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.cards import Benchmark
from ssl_bench.cards.protocol import ResolvedProtocol
from ssl_bench.command import quantity
from ssl_bench.grids.missing import Lack, Operations, estimate
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.store import Run

if TYPE_CHECKING:
    from ssl_bench.training.costs import RunOperations

RUN, SCORES = "run", "scores"
SCALED = "≈ "


def lack_table(
    lacks: Sequence[Lack],
    wanted: int,
    runs: Sequence[Run],
    operations: Operations | None = None,
    advance: Callable[[int, int], None] = lambda _, __: None,
) -> Table:
    """List the missing runs by data set, share, protocol and method, with an estimate of the time that they take.

    Args:
        lacks: the missing runs.
        wanted: how many runs are wanted, with those that exist.
        runs: all runs of the store.
        operations: predicts the operations of a run, for methods of which no similar run has finished.
        advance: is called with the lines that are estimated, and their total.

    """
    groups: dict[tuple[str, str, str, str, str, str], list[Lack]] = {}
    for lack in lacks:
        place = lack.place
        settings = " ".join(f"{key}={value}" for key, value in place.settings.items())
        key = (
            place.benchmark.name,
            place.column.labeled,
            place.protocol,
            place.method,
            settings,
            SCORES if lack.is_trained else RUN,
        )
        groups.setdefault(key, []).append(lack)
    rows: list[list[str | Cell]] = []
    seconds, counts = dict.fromkeys((False, True), 0.0), dict.fromkeys((False, True, None), 0)
    for line, (key, own) in enumerate(groups.items()):
        advance(line, len(groups))
        each = estimate(own[0], runs, operations)
        counts[None if each is None else each.is_scaled] += len(own)
        hours = "unknown"
        if each is not None:
            seconds[each.is_scaled] += each.seconds * len(own)
            hours = f"{SCALED * each.is_scaled}{each.seconds * len(own) / 3600:.2f}"
        rows.append([*key, _seeds(own), hours])
    verb = "is" if wanted == 1 else "are"
    notes = [f"{len(lacks)} of {quantity(wanted, 'run')} {verb} missing; {wanted - len(lacks)} exist."]
    scores = sum(lack.is_trained for lack in lacks)
    if scores:
        notes.append(f"{scores} of them are already trained and only need scoring.")
    known, scaled, unknown = counts[False], counts[True], counts[None]
    if known:
        notes.append(
            f"Estimated time of {quantity(known, 'run')}, one after the other: {seconds[False] / 3600:.2f} hours (from "
            "similar finished runs)."
        )
    if scaled:
        notes.append(
            f"{SCALED}Estimated time of {quantity(scaled, 'run')} of methods without a similar finished run: "
            f"{seconds[True] / 3600:.2f} hours (from another method's runs, by the operations that an iteration is "
            "predicted to need)."
        )
    if unknown:
        notes.append(f"{unknown} of them cannot be estimated, since no similar run has finished.")
    header = ["Data set", "Labelled", "Protocol", "Method", "Settings", "Missing", "Seeds", "Hours"]
    return Table("Missing runs", header, rows, frozenset({"Hours"}), notes)


def predicted_operations(folders: Sequence[Path]) -> Operations:
    """Return what predicts the operations of a run. The first prediction imports torch and the methods.

    Args:
        folders: with methods of the user's own.

    """
    made: list[RunOperations] = []

    def operations(
        benchmark: Benchmark, method: str, hyper: Mapping[str, Any], protocol: ResolvedProtocol
    ) -> float | None:
        from ssl_bench.method import load_methods
        from ssl_bench.training.costs import RunOperations
        from ssl_bench.training.device import keeping_torch_state

        with keeping_torch_state():
            if not made:
                load_methods(*folders)
                made.append(RunOperations())
            return made[0](benchmark, method, hyper, protocol)

    return operations


def _seeds(lacks: Sequence[Lack]) -> str:
    """The seeds, each with its label seeds: "1, 2", or "1 (labels 1, 2), 2 (labels 2)"."""
    labels: dict[int, list[str]] = {}
    for lack in lacks:
        labels.setdefault(lack.seed, []).extend([] if lack.label_seed is None else [str(lack.label_seed)])
    return ", ".join(f"{seed} (labels {', '.join(own)})" if own else str(seed) for seed, own in labels.items())

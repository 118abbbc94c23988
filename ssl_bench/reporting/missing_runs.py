"""The table of missing runs, with an estimate of the time that they take."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_bench.grids.missing import Lack, estimated_seconds
from ssl_bench.reporting.table import Table
from ssl_bench.store import Run

RUN, SCORES = "run", "scores"


def lack_table(lacks: Sequence[Lack], wanted: int, runs: Sequence[Run]) -> Table:
    """List the missing runs by data set, share, protocol and method, with an estimate of the time that they take."""
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
    rows, known, unknown = [], 0.0, 0
    for key, own in groups.items():
        each = estimated_seconds(own[0], runs)
        known, unknown = known + (each or 0) * len(own), unknown + (each is None) * len(own)
        time = "unknown" if each is None else f"{each * len(own) / 3600:.2f}"
        rows.append([*key, _seeds(own), time])
    notes = [f"{len(lacks)} of {wanted} runs are missing; {wanted - len(lacks)} exist."]
    scores = sum(lack.is_trained for lack in lacks)
    if scores:
        notes.append(f"{scores} of them are already trained and only need scoring.")
    if len(lacks) > unknown:
        notes.append(f"Estimated time, one run after the other: {known / 3600:.2f} hours (from similar finished runs).")
    if unknown:
        notes.append(f"{unknown} of them cannot be estimated, since no similar run has finished.")
    header = ["Data set", "Labelled", "Protocol", "Method", "Settings", "Missing", "Seeds", "Hours"]
    return Table("Missing runs", header, rows, frozenset({"Hours"}), notes)


def _seeds(lacks: Sequence[Lack]) -> str:
    """The seeds, each with its label seeds: "1, 2", or "1 (labels 1, 2), 2 (labels 2)"."""
    labels: dict[int, list[str]] = {}
    for lack in lacks:
        labels.setdefault(lack.seed, []).extend([] if lack.label_seed is None else [str(lack.label_seed)])
    return ", ".join(f"{seed} (labels {', '.join(own)})" if own else str(seed) for seed, own in labels.items())

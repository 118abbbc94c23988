"""Names the processors of rows that are compared but were not all trained on one kind."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ssl_bench.reporting.claim_cells import ClaimCells
from ssl_bench.reporting.gather import Gathered
from ssl_bench.reporting.notes import provenances
from ssl_bench.store import Run

Rows = dict[str, list[Run]]  # by the row's title
Compared = dict[str, Rows]  # by the name of the data that the rows are compared on


def processor_kind(device: str) -> str:
    """Return a device without its number of threads: "CPU (AMD EPYC, AVX512)" of "CPU (AMD EPYC, AVX512), 1 thread"."""
    return re.sub(r", \d+ threads?$", "", device)


def processor_notes(found: Gathered) -> list[str]:
    """Say which rows of a table or figure were trained on which processors, of the columns where they differ."""
    compared: Compared = {}
    for c, (column, benchmark) in enumerate(zip(found.grid.columns, found.benchmarks, strict=True)):
        rows = compared.setdefault(f"{benchmark.name} {column.title or column.labeled}", {})
        for one in (row[c] for row in found.rows):
            if one.place is not None:
                rows.setdefault(one.place.row.title, []).extend(one.runs)
    return _notes(compared)


def claim_processor_notes(cells: ClaimCells) -> list[str]:
    """Say which sides of claims were trained on which processors, of the data sets where they differ."""
    compared: Compared = {}
    different = {one.place.wanted.identity: (one.place, one.runs) for one in cells.filled if one.place is not None}
    for place, runs in different.values():
        rows = compared.setdefault(place.benchmark.name, {})
        rows.setdefault(f"{place.row.title} {place.column.labeled}", []).extend(runs)
    return _notes(compared)


def _notes(compared: Compared) -> list[str]:
    each = {data: text for data, rows in compared.items() if (text := _text(rows))}
    texts: dict[str, list[str]] = {}
    for data, text in each.items():
        texts.setdefault(text, []).append(data)
    return [f"Trained on different processors ({', '.join(data)}): {text}." for text, data in texts.items()]


def _text(rows: Rows) -> str:
    """Which rows were trained on which processors; empty if all were on one kind."""
    kinds = {title: _kinds(runs) for title, runs in rows.items() if runs}
    if len({kind for own in kinds.values() for kind in own}) < 2:
        return ""
    titles: dict[str, list[str]] = {}
    for title, own in kinds.items():
        where = " and ".join(
            f"{kind} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" if len(own) > 1 else kind
            for kind, seeds in own.items()
        )
        titles.setdefault(where, []).append(title)
    return "; ".join(f"{', '.join(own)} on {where}" for where, own in titles.items())


def _kinds(runs: Sequence[Run]) -> dict[str, list[int]]:
    """Seeds by the processor that they were trained on; a run that moved has several."""
    found: dict[str, set[int]] = {}
    for run in runs:
        for one in provenances(run):
            found.setdefault(processor_kind(str(one["device"])), set()).add(run.spec.seed)
    return {kind: sorted(found[kind]) for kind in sorted(found)}

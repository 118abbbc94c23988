"""Leaves out runs whose scores cannot be averaged: altered after they were written, or of other test cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_bench.errors import UserError
from ssl_bench.store import Run

TestCases = frozenset[tuple[str, ...]]  # the ids of each of a run's measurements


def sound_runs(cells: Sequence[Sequence[Run]]) -> tuple[list[list[Run]], dict[Path, str]]:
    """Split off the runs of each cell that cannot stand in its mean.

    A cell's runs must have the same test cases. Those of most of its runs count; of several equally frequent ones,
    those of most runs on the data set in all cells, and then those of the first run.

    Args:
        cells: runs that differ in their seeds alone, for each cell.

    Returns:
        The runs that remain in each cell, and the reason for each run that was left out.
    """
    reasons: dict[Path, str] = {}
    distinct = {run.path: run for cell in cells for run in cell}
    tested: dict[Path, TestCases] = {}
    for path, run in distinct.items():
        try:
            tested[path] = _tested(run)
        except UserError as error:
            reasons[path] = str(error)
    everywhere = Counter((distinct[path].spec.benchmark, cases) for path, cases in tested.items())
    remaining = []
    for cell in cells:
        whole = [run for run in cell if run.path in tested]
        usual = _usual(whole, tested, everywhere)
        alike = [run for run in whole if tested[run.path] == usual]
        reasons |= {run.path: _difference(run, alike[0], tested) for run in whole if tested[run.path] != usual}
        remaining.append(alike)
    return remaining, reasons


def _tested(run: Run) -> TestCases:
    """Read all scores of a run; returns the test cases.

    Raises:
        UserError: some scores are not those that were written.
    """
    run.require_whole()
    return frozenset(tuple(sorted(map(str, scores.cases["case"].unique()))) for scores in run.scores.values())


def _usual(
    runs: Sequence[Run], tested: Mapping[Path, TestCases], everywhere: Mapping[tuple[str, TestCases], int]
) -> TestCases | None:
    """The test cases that count in a cell; None without runs."""
    counts = Counter(tested[run.path] for run in runs)
    order = {tested[run.path]: run.spec.benchmark for run in runs}  # by the first run, as dicts keep their order
    return max(order, key=lambda cases: (counts[cases], everywhere[order[cases], cases]), default=None)


def _difference(run: Run, other: Run, tested: Mapping[Path, TestCases]) -> str:
    own, expected = ({case for cases in tested[one.path] for case in cases} for one in (run, other))
    return (
        f"{run.path}: expected the {len(expected)} test cases of {other.path}, "
        f"found {len(own)}, {len(own & expected)} of them in common"
    )

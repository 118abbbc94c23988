"""Inflation of the scores if the checkpoint or the seed were chosen on the test set."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from ssl_bench.cards import METRICS, Grid, MetricName
from ssl_bench.grids.aim import Place
from ssl_bench.reporting.gather import Body
from ssl_bench.reporting.kept_files import test_curve_of
from ssl_bench.reporting.scores import cell_scores, complete_crossing, mean_and_deviation, plus_minus
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.store import Run

HEADER = [
    "Method", "Data", "Metric", "Seeds", "Scored\ncheckpoint", "ORACLE: best\ncheckpoint", "Inflation",
    "ORACLE: best of\ncheckpoints, seeds", "Inflation\nof both",
]  # fmt: skip
NOTE = (
    "ORACLE: the best checkpoint of each run, among those scored on the test set during training (score_every), and "
    "the best seed. The test set selected these numbers: they show what such a selection claims, not how good a method "
    "is. Checkpoints are at the method's own iterations: a method with two updates per iteration has half as many."
)


def oracle_table(grid: Grid, body: Body) -> Table | None:
    """Lay out, per method and column, the scored checkpoint's number beside those that the test set would choose.

    By the grid's first metric; None where no run scored the test set on the way, as the grid measures it. Cells with
    the same runs, as of a method without the setting that the columns differ in, are one row.
    """
    metric = grid.metrics[0]
    alike: dict[tuple[object, ...], list[tuple[Place, list[Run]]]] = {}
    for place, runs in [(one.place, one.runs) for row in body for one in row if one.place is not None]:
        column, hashes = place.column, tuple(run.path for run in runs)
        key = (place.row.title, column.dataset, column.labeled, place.wanted.measurement.key, hashes)
        alike.setdefault(key, []).append((place, runs))
    found = [_cells(*own[0], metric, is_alone=len(own) == 1) for own in alike.values()]
    rows = [cells for cells in found if cells]
    if not rows:
        return None
    return Table(
        f"{grid.name}, ORACLE: choosing on the test set", HEADER, rows, frozenset(HEADER[3:]), [NOTE], "oracle"
    )


def _cells(place: Place, runs: Sequence[Run], metric: MetricName, *, is_alone: bool) -> list[str | Cell]:
    """A row of the table; no cells where no run has scored the test set on the way, in the cell's measurement.

    `is_alone` says that no other column has these runs: the row then names the column.
    """
    measurement, best = place.wanted.measurement, max if METRICS[metric].larger_is_better else min
    found = dict[Path, float]()
    for run in runs:
        own, curve = cell_scores([run], metric, measurement), test_curve_of(run)
        if own is None or own.mean is None or curve is None or metric not in curve:
            continue
        if run.headline.measurement.measures_like(measurement, metric):  # the curve has the scores of the training
            found[run.path] = best(own.mean, *(curve[metric].dropna() * METRICS[metric].scale))
    shown = complete_crossing([run for run in runs if run.path in found])
    chosen = [found[run.path] for run in shown]
    scores = cell_scores(shown, metric, measurement)
    if scores is None or scores.mean is None:
        return []
    mean, luckiest, hashes = statistics.fmean(chosen), best(chosen), tuple(run.path.name for run in shown)
    deviation = statistics.stdev(chosen) if len(chosen) > 1 else None
    return [
        place.row.title,
        f"{place.column.title if is_alone else ''} {place.benchmark.name} {place.column.labeled}".strip(),
        place.benchmark.heading(metric),
        str(len(shown)),
        Cell(mean_and_deviation(scores), scores.mean, runs=hashes),
        Cell(plus_minus(mean, deviation), mean, runs=hashes),
        Cell(f"{mean - scores.mean:+.2f}", mean - scores.mean),
        Cell(f"{luckiest:.2f}", luckiest),
        Cell(f"{luckiest - scores.mean:+.2f}", luckiest - scores.mean),
    ]

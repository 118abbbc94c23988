"""What choosing the checkpoint, or the seed, on the test set would have claimed: the field's inflation, measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ssl_bench.cards import METRICS, Grid, MetricName
from ssl_bench.grids.aim import Place
from ssl_bench.reporting.gather import Body
from ssl_bench.reporting.scores import mean_and_deviation, seed_scores
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.store import Run

HEADER = [
    "Method", "Data", "Metric", "Seeds", "Scored\ncheckpoint", "ORACLE: best\ncheckpoint", "Inflation",
    "ORACLE: best of\ncheckpoints, seeds", "Inflation\nof both",
]  # fmt: skip
NOTE = (
    "ORACLE: of each run the best of the checkpoints that were scored on the test set on the way (score_every), and of "
    "the seeds the best one. The test set chose these numbers: they say what such a choice claims, not what a method "
    "is worth. Intervals are the method's own iterations: one that updates twice an iteration has half as many "
    "checkpoints to choose from."
)


def oracle_table(grid: Grid, body: Body) -> Table | None:
    """Lay out, per method and column, the scored checkpoint's number beside those that the test set would choose.

    By the grid's first metric; None where no run scored the test set on the way.
    """
    metric = grid.metrics[0]
    rows = []
    for row in body:
        for place, own in row:
            if place is None:
                continue
            measurement = place.wanted.measurement
            with_curve = [run for run in own if run.test_curve is not None and metric in run.test_curve]
            scored = [run for run in with_curve if seed_scores([run], metric, measurement)]
            if scored:
                rows.append(_row(place, scored, metric))
    if not rows:
        return None
    return Table(
        f"{grid.name}, ORACLE: choosing on the test set", HEADER, rows, frozenset(HEADER[3:]), [NOTE], "oracle"
    )


def _row(place: Place, runs: Sequence[Run], metric: MetricName) -> list[str | Cell]:
    best = max if METRICS[metric].larger_is_better else min
    scored = seed_scores(runs, metric, place.wanted.measurement)
    chosen = [best(own, *_on_the_way(run, metric)) for run, own in zip(runs, scored, strict=True)]
    mean, mean_chosen, luckiest = statistics.fmean(scored), statistics.fmean(chosen), best(chosen)
    hashes = tuple(run.path.name for run in runs)
    return [
        place.row.title,
        f"{place.column.title} {place.benchmark.name} {place.column.labeled}".strip(),
        place.benchmark.heading(metric),
        str(len(runs)),
        Cell(mean_and_deviation(scored), mean, runs=hashes),
        Cell(mean_and_deviation(chosen), mean_chosen, runs=hashes),
        Cell(f"{mean_chosen - mean:+.2f}", mean_chosen - mean),
        Cell(f"{luckiest:.2f}", luckiest),
        Cell(f"{luckiest - mean:+.2f}", luckiest - mean),
    ]


def _on_the_way(run: Run, metric: MetricName) -> list[float]:
    curve = run.test_curve
    assert curve is not None
    return [float(value) * METRICS[metric].scale for value in curve[metric].dropna()]

"""A cell's scores over seeds and cases, from the cases files of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssl_bench.cards import METRICS, Measurement, MetricName
from ssl_bench.errors import UserError
from ssl_bench.reporting.statistics import CellScores
from ssl_bench.store import Run, Scores

if TYPE_CHECKING:
    import pandas as pd


def cell_scores(
    runs: Sequence[Run],
    metric: MetricName,
    measurement: Measurement | None = None,
    network: str | None = None,
    label: int | None = None,
) -> CellScores | None:
    """Gather the scores per case of runs that differ in their seed alone.

    Args:
        runs: finished; those without such scores are left out.
        metric: one of the measurement's.
        measurement: how the runs are scored; None takes each run's first scores.
        network: of the run; None for the predictor.
        label: number of a foreground class; None for all of them.

    Returns:
        Per cent for shares, the measurement's unit for distances; None for no runs.

    """
    if measurement is not None:
        runs = [run for run in runs if run.scored(measurement, metric) is not None]
    if not runs:
        return None
    scale = METRICS[metric].scale
    sums, counts, cases = [], [], None
    for run in runs:
        grouped = _rows(run, metric, measurement, network, label).groupby("case", sort=True)[metric]
        summed = grouped.sum()
        names = tuple(summed.index)
        cases = names if cases is None else cases
        if names != cases:
            raise UserError(f"{run.path}: other test cases than {runs[0].path}")
        sums.append(summed.to_numpy(dtype=float) * scale)
        counts.append(grouped.count().to_numpy(dtype=np.int64))
    assert cases is not None
    return CellScores(tuple(run.spec.seed for run in runs), cases, np.stack(sums), np.stack(counts))


def seed_scores(
    runs: Sequence[Run],
    metric: MetricName,
    measurement: Measurement | None = None,
    network: str | None = None,
    label: int | None = None,
) -> list[float]:
    """Return each run's mean over the defined scores, as `cell_scores` gathers them; none for a run without any."""
    scores = cell_scores(runs, metric, measurement, network, label)
    return [] if scores is None else [float(mean) for mean in scores.seed_means if np.isfinite(mean)]


def undefined(runs: Sequence[Run], metric: MetricName, measurement: Measurement | None = None) -> int:
    """Count the predictor's values, over all runs, that are undefined and not averaged in."""
    return sum(int(_rows(run, metric, measurement)[metric].isna().sum()) for run in runs)


def scores_of(run: Run, metric: MetricName, measurement: Measurement | None) -> Scores:
    """Return a run's scores in a measurement, its first ones where none is named."""
    scores = run.headline if measurement is None else run.scored(measurement, metric)
    assert scores is not None, "runs are chosen by their scores"
    return scores


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation over seeds; the mean alone for one seed, a dash for none."""
    if not values:
        return "—"
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _rows(
    run: Run, metric: MetricName, measurement: Measurement | None, network: str | None = None, label: int | None = None
) -> pd.DataFrame:
    frame = scores_of(run, metric, measurement).cases
    own = frame[frame["network"] == (network or run.result["predictor"])]
    return own if label is None else own[own["class"] == run.spec.classes[label]]

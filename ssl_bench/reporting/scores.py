"""A cell's scores over seeds and cases, from the cases files of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssl_bench.cards import METRICS, Measurement, MetricName
from ssl_bench.errors import UserError
from ssl_bench.seeds import derive_seed
from ssl_bench.statistics.cell import CellScores
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
    """Gather the scores per case of runs that differ in seed and label draw alone: the one source of a cell's mean.

    Args:
        runs: finished; those without such scores are left out.
        metric: one of the measurement's.
        measurement: how the runs are scored; None takes each run's first scores.
        network: of the run; None for the predictor.
        label: number of a foreground class; None for all of them.

    Returns:
        Per cent for shares, the measurement's unit for distances; None for no runs.

    Raises:
        UserError: the runs were scored on different test cases.

    """
    found = _scored(runs, metric, measurement)
    if not found:
        return None
    grouped = [_rows(run, own, network, label).groupby("case", sort=True)[metric] for run, own in found]
    sums, counts = [one.sum() for one in grouped], [one.count() for one in grouped]
    cases = tuple(sums[0].index)
    for (run, _), own in zip(found, sums, strict=True):
        if tuple(own.index) != cases:
            raise UserError(f"{run.path}: expected the same test cases as {found[0][0].path}, found others")
    return CellScores(
        tuple(training_number(run) for run, _ in found),
        cases,
        np.stack([one.to_numpy(dtype=float) * METRICS[metric].scale for one in sums]),
        np.stack([one.to_numpy(dtype=np.int64) for one in counts]),
        draws=tuple(label_and_seed(run) for run, _ in found) if _has_label_seeds(run for run, _ in found) else None,
    )


def scored_runs(runs: Sequence[Run], metric: MetricName, measurement: Measurement | None = None) -> list[Run]:
    """Return the runs with such scores, of these `complete_crossing`."""
    return complete_crossing([run for run, _ in _scored(runs, metric, measurement)])


def undefined(runs: Sequence[Run], metric: MetricName, measurement: Measurement) -> int:
    """Count the predictor's values, over all runs, that are undefined and not averaged in."""
    found = _scored(runs, metric, measurement)
    return sum(int(_rows(run, own)[metric].isna().sum()) for run, own in found)


def mean_and_deviation(scores: CellScores | None) -> str:
    """Mean ± sample standard deviation over seeds; the mean alone for one seed, a dash for none."""
    return "—" if scores is None or scores.mean is None else plus_minus(scores.mean, scores.sd_over_seeds)


def plus_minus(mean: float, deviation: float | None) -> str:
    """Return a mean and its deviation as they are printed."""
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def complete_crossing(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of seeds that have a run for every labelled draw; all runs where the seeds draw the labels.

    So the trainings of a cell are a complete crossing of labelled draws and seeds, which statistics suppose.
    """
    if not _has_label_seeds(runs):
        return list(runs)
    there, labels = {run.spec.draws for run in runs}, {run.spec.label_draw for run in runs}
    return [run for run in runs if all((run.spec.seed, label) in there for label in labels)]


def label_and_seed(run: Run) -> tuple[int, int]:
    """Labelled draw and seed of a run."""
    return run.spec.label_draw, run.spec.seed


def training_number(run: Run) -> int:
    """Return a number that two runs of one cell share if they have the same seed and labelled draw, and no others.

    It is the seed where the seed draws the labels, and a negative number elsewhere.
    """
    return run.spec.seed if run.spec.label_seed is None else -1 - derive_seed("training", *run.spec.draws)


def _scored(runs: Sequence[Run], metric: MetricName, measurement: Measurement | None) -> list[tuple[Run, Scores]]:
    """The runs that have such scores, with them."""
    return [(run, scores) for run in runs if (scores := _scores_of(run, metric, measurement)) is not None]


def _has_label_seeds(runs: Iterable[Run]) -> bool:
    return any(run.spec.label_seed is not None for run in runs)


def _scores_of(run: Run, metric: MetricName, measurement: Measurement | None) -> Scores | None:
    """A run's scores in a measurement, its first ones where none is named."""
    return run.headline if measurement is None else run.scored(measurement, metric)


def _rows(run: Run, scores: Scores, network: str | None = None, label: int | None = None) -> pd.DataFrame:
    frame = scores.cases
    own = frame[frame["network"] == (network or run.result["predictor"])]
    return own if label is None else own[own["class"] == run.spec.classes[label]]

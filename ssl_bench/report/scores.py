"""A cell's scores over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ssl_bench.cards import METRICS, MetricName
from ssl_bench.store import Run


def seed_scores(
    runs: Sequence[Run], metric: MetricName, network: str | None = None, label: int | None = None
) -> list[float]:
    """Each run's mean over cases (and classes, unless the number of one is given), as printed: shares in per cent.

    Of the predictor, unless a network is named.
    """
    values = []
    for run in runs:
        scores = run.result["scores"][network or run.result["predictor"]][metric]
        mean = (scores if label is None else list(scores["classes"].values())[label - 1])["mean"]
        if mean is not None:
            values.append(METRICS[metric].scale * mean)
    return values


def heading(run: Run, metric: MetricName) -> str:
    """Return a metric's title with the unit in which a run was measured."""
    measured = run.result.get("measurement", {})  # not in runs of earlier versions, which were measured in voxels
    return METRICS[metric].heading(run.spec.protocol.dimensions, measured.get("distance_unit"))


def undefined(runs: Sequence[Run], metric: MetricName) -> int:
    """How many cases, over all runs, had no defined value of the predictor and were not averaged in."""
    return sum(run.result["scores"][run.result["predictor"]][metric]["undefined"] for run in runs)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation over seeds; the mean alone for one seed, a dash for none."""
    if not values:
        return "—"
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean

"""The metrics that a table shows: those of its card that every data set is scored by. A note names the others."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from ssl_bench.cards import HEADLINE, METRICS, MetricName
from ssl_bench.command import written
from ssl_bench.reporting.gather import Filled, Gathered


def with_shown_metrics(found: Gathered) -> tuple[Gathered, list[str]]:
    """Leave out the metrics of the grid that a data set is not scored by.

    A data set is scored by a metric if its card or a setting asks for it, or if a run in its column has such scores.

    Returns:
        The exhibit, and a note that names the metrics that are left out.
    """
    scored = [_scored_by(found, column) for column in range(len(found.grid.columns))]
    shown = [metric for metric in found.grid.metrics if all(metric in own for own in scored)]
    left_out = [metric for metric in found.grid.metrics if metric not in shown]
    update = {"metrics": tuple(shown) or (HEADLINE,)}
    upper = None if found.upper is None else found.upper.model_copy(update=update)
    notes = _notes(found, scored, shown, left_out) if left_out else []
    return replace(found, grid=found.grid.model_copy(update=update), upper=upper), notes


def _scored_by(found: Gathered, column: int) -> list[MetricName]:
    """The metrics by which a column's data set is scored."""
    places = [row[column] for row in found.body]
    metrics = dict.fromkeys(found.benchmarks[column].metrics)
    for one in places:
        if one.place is not None:
            metrics |= dict.fromkeys(one.place.wanted.measurement.metrics)
    metrics |= dict.fromkeys(metric for metric in found.grid.metrics if any(_has(one, metric) for one in places))
    return list(metrics)


def _has(one: Filled, metric: MetricName) -> bool:
    """Whether a cell has a run with scores by a metric."""
    place = one.place
    return place is not None and any(run.scored(place.wanted.measurement, metric) is not None for run in one.runs)


def _notes(
    found: Gathered, scored: Sequence[Sequence[MetricName]], shown: Sequence[MetricName], left_out: Sequence[MetricName]
) -> list[str]:
    lacking = {
        benchmark.name: _titles(own)
        for benchmark, own in zip(found.benchmarks, scored, strict=True)
        if not set(left_out).issubset(own)
    }
    each = "; ".join(f"{name}: {titles}" for name, titles in lacking.items())
    setting = shlex.join(["--set", f"metrics={written(list(found.grid.metrics))}"])
    instead = "" if shown else f" {METRICS[HEADLINE].title} is shown instead."
    left = _titles(left_out)
    note = (
        f"Not shown: {left}, by which not every data set here is scored ({each}).{instead} `ssl-bench score RUN "
        f"--metrics {','.join(left_out)}` scores finished runs by them, and `{setting}` makes run, reproduce and "
        "report ask for them."
    )
    return [note]


def _titles(metrics: Sequence[MetricName]) -> str:
    return ", ".join(METRICS[metric].title for metric in metrics)

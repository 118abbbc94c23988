"""Runs that a table or figure does not show because they were trained with other settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_bench.cards import RunSpec, dotted, training_fields
from ssl_bench.command import quantity
from ssl_bench.grids.match import Wanted
from ssl_bench.reporting.gather import Body
from ssl_bench.store import Run

NAMED = 4  # settings that a line names
MOST = 3  # lines


def unlike_notes(body: Body, runs: Sequence[Run]) -> list[str]:
    """Say for the empty places which finished runs of their data set, method and share have other settings.

    Args:
        body: of an exhibit.
        runs: the store's.

    """
    found: dict[tuple[str, str], dict[str, str]] = {}  # data set and difference -> method by run
    shown = {run.path for row in body for one in row for run in one.runs}
    wanted = [one.place.wanted for row in body for one in row if one.place is not None and not one.runs]
    sought = {(one.benchmark.name, one.method) for one in wanted}
    left = [run for run in runs if (run.spec.benchmark, run.spec.method) in sought and run.path not in shown]
    settings = [(run, dotted(training_fields(run.spec.protocol)) | run.spec.hyperparameters) for run in left]
    for place in wanted:
        for run, own in settings:
            spec = run.spec
            same = (spec.benchmark, spec.method) == (place.benchmark.name, place.method)
            if same and run.status == "finished" and (difference := _difference(spec, own, place)):
                found.setdefault((spec.benchmark, difference), {})[run.path.name] = spec.method
    lines = [
        f"Not shown: {quantity(len(own), 'finished run')} of {', '.join(dict.fromkeys(own.values()))} on {benchmark} "
        f"with {difference}; --protocol, --set and --tuned choose what is shown."
        for (benchmark, difference), own in found.items()
    ]
    more = len(lines) - MOST
    return lines[:MOST] + [f"Not shown: runs with {quantity(more, 'other choice')} of settings."] * (more > 0)


def _difference(spec: RunSpec, own: dict[str, Any], wanted: Wanted) -> str:
    """The settings of a run, `own`, that keep it out of a place: its protocol, or the values that differ."""
    if spec.protocol.name != wanted.protocol.name:
        return f"protocol {spec.protocol.name}"
    expected = [dotted(one) | dict(wanted.hyperparameters) for one in wanted.trainings(spec.train_images)]
    nearest = min((_unequal(own, one) for one in expected), key=len)
    values = dotted(spec.protocol.model_dump(mode="json")) | own  # `own` lacks what came later
    shown = [f"{key}={values.get(key, 'none')}" for key in nearest]
    return ", ".join(shown[:NAMED]) + (", ..." if len(shown) > NAMED else "")


def _unequal(own: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    missing = object()
    return [key for key in own | expected if own.get(key, missing) != expected.get(key, missing)]

"""Runs that a table or figure does not show because they were trained with other settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_bench.cards import dotted, training_fields
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
    for place in (one.place for row in body for one in row if one.place is not None and not one.runs):
        for run in runs:
            spec, wanted = run.spec, place.wanted
            same = (spec.benchmark, spec.method) == (wanted.benchmark.name, wanted.method)
            if same and run.status == "finished" and run.path not in shown:
                difference = _difference(run, wanted)
                if difference:
                    found.setdefault((spec.benchmark, difference), {})[run.path.name] = spec.method
    lines = [
        f"Not shown: {quantity(len(own), 'finished run')} of {', '.join(dict.fromkeys(own.values()))} on {benchmark} "
        f"with {difference}; --protocol and --set choose what is shown."
        for (benchmark, difference), own in found.items()
    ]
    more = len(lines) - MOST
    return lines[:MOST] + [f"Not shown: runs with {quantity(more, 'other choice')} of settings."] * (more > 0)


def _difference(run: Run, wanted: Wanted) -> str:
    """The settings of a run that keep it out of a place: its protocol, or the values that differ."""
    spec, protocol = run.spec, wanted.protocol
    if spec.protocol.name != protocol.name:
        return f"protocol {spec.protocol.name}"
    own = dotted(training_fields(spec.protocol)) | spec.hyperparameters
    expected = [dotted(one) | dict(wanted.hyperparameters) for one in wanted.trainings(spec.train_images)]
    nearest = min((_unequal(own, one) for one in expected), key=len)
    shown = [f"{key}={value}" for key, value in nearest.items()]
    return ", ".join(shown[:NAMED]) + (", ..." if len(shown) > NAMED else "")


def _unequal(own: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in own.items() if key not in expected or expected[key] != value}

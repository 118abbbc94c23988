"""The curves and pictures that runs keep beside their scores. A file that cannot be read is named in a note."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from ssl_bench.errors import UserError
from ssl_bench.store import Example, Moment, Run

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")
Kept = Literal["curves", "test_curve", "examples", "moments"]
Axis = Literal["iteration", "update"]
AXES: tuple[Axis, ...] = get_args(Axis)


def curves_of(run: Run) -> pd.DataFrame | None:
    """Return the training curves, a row per logged iteration; None if they cannot be read."""
    return _readable(lambda: run.curves, None)


def curve_against(run: Run, name: str, axis: Axis) -> pd.Series[float] | None:
    """Return a column of the training curves by iteration or by update; None if the run has no such curve."""
    frame = curves_of(run)
    if frame is None or name not in frame:
        return None
    curve = frame.set_index("iteration")[name].dropna()
    return curve.set_axis(curve.index * (run.result["updates"] / run.iterations if axis == "update" else 1))


def test_curve_of(run: Run) -> pd.DataFrame | None:
    """Return the test scores during training; None if the run has none or they cannot be read."""
    return _readable(lambda: run.test_curve, None)


def examples_of(run: Run) -> list[Example]:
    """Return the pictures of test cases; empty if the run has none or they cannot be read."""
    return _readable(lambda: run.examples, [])


def moments_of(run: Run) -> list[Moment]:
    """Return the uncertainty maps; empty if the run has none or they cannot be read."""
    return _readable(lambda: run.moments, [])


def unreadable_notes(runs: Sequence[Run], *kept: Kept) -> list[str]:
    """Name the files of these kinds that cannot be read."""
    notes = []
    for run in runs:
        for name in kept:
            try:
                getattr(run, name)
            except UserError as error:
                notes.append(f"Not shown: {error}.")
    return notes


def _readable(read: Callable[[], Value], otherwise: Value) -> Value:
    try:
        return read()
    except UserError:
        return otherwise

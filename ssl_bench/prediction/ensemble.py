"""Which networks can be averaged: those that say the same of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_bench.cards import RunSpec
from ssl_bench.errors import UserError
from ssl_bench.prediction.predictor import Predictor


def require_alike(predictors: Sequence[Predictor]) -> None:
    """Check that the mean of networks' probabilities has a meaning.

    They have the same classes, values of masks, channels, axes and rule of the largest component, and are different.
    Sides, networks, protocols and data sets may differ.

    Raises:
        UserError: two networks are one, or differ in this.
    """
    first = predictors[0]
    expected = _of(first)
    for number, one in enumerate(predictors):
        twin = any((one.run.resolve(), one.name) == (other.run.resolve(), other.name) for other in predictors[:number])
        if twin:
            raise UserError(f"--ensemble: {one.run}: expected each network once, found '{one.name}' twice")
        for what, found in _of(one).items():
            if found != expected[what]:
                raise UserError(
                    f"--ensemble: {one.run}: expected the {what} of {first.run}, {_text(expected[what])}, found "
                    f"{_text(found)}"
                )


def _of(one: Predictor) -> dict[str, Any]:
    spec = one.spec
    return {
        "dimensions": spec.dimensions,
        "classes": spec.classes,
        "values in masks": spec.label_values,
        "channels": one.reading.channel_names or spec.channel_count,
        "axes": one.reading.axes,
        "largest_component": _keeps_largest(spec),
    }


def _keeps_largest(spec: RunSpec) -> bool:
    """Whether of each class of a mask the largest component is kept, which volumes by slices never do."""
    return bool(getattr(spec.protocol, "largest_component", False))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

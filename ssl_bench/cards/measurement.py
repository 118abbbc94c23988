"""Measurement: how a run's networks are scored. Nothing in it decides the weights."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from ssl_bench.cards.benchmark import Benchmark
from ssl_bench.cards.card import Card, Count
from ssl_bench.cards.metric import Metric, Metrics
from ssl_bench.cards.protocol import ImageProtocol, Sides3D, VolumeProtocol

SEEING = ("score_size", "stride", "largest_component")  # fields that decide every metric's value


class Measurement(Card):
    """A frozen, complete description of one way of scoring. A run can be scored in several.

    A field that does not apply (a stride in 2D, a tolerance without a metric that has one) is None, so that equal
    measurements have equal keys.
    """

    metrics: Metrics
    score_size: Literal["original"] | Count | None = Field(None, description="2D: side at which masks are compared")
    stride: Sides3D | None = Field(None, description="3D: step from one window to the next, in voxels")
    window_batch: Count | None = Field(None, description="3D: windows predicted at once; decides rounding alone")
    largest_component: bool | None = Field(None, description="3D: keep the largest component of each class")

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of SHA-256 over the canonical JSON: the name of its files in a run's folder."""
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def settings(self) -> dict[str, Any]:
        """Its fields but the metrics, those that apply."""
        return self.model_dump(mode="json", exclude={"metrics"}, exclude_none=True)

    def applied_to(self, protocol: ImageProtocol | VolumeProtocol) -> ImageProtocol | VolumeProtocol:
        """Return a protocol that measures so."""
        own = {name: value for name in type(protocol).model_fields if (value := getattr(self, name, None)) is not None}
        return protocol.model_copy(update=own)

    def measures_like(self, other: Measurement, metric: Metric) -> bool:
        """Whether both measurements give a metric the same value, but for rounding."""
        return metric in other.metrics and all(getattr(self, name) == getattr(other, name) for name in SEEING)


def measurement_of(protocol: ImageProtocol | VolumeProtocol, benchmark: Benchmark | None = None) -> Measurement:
    """Return the measurement that a protocol (with `--set`) and a data set's card ask for together.

    A run's resolved protocol names its metrics and needs no card: this is how runs were scored before measurements.
    """
    metrics = protocol.metrics
    if metrics == "auto":
        assert benchmark is not None, "a protocol that is not resolved needs the card"
        metrics = benchmark.metrics
    is_3d = isinstance(protocol, VolumeProtocol)
    names = ["stride", "window_batch", "largest_component"] if is_3d else ["score_size"]
    return Measurement.model_validate({"metrics": metrics} | {name: getattr(protocol, name) for name in names})

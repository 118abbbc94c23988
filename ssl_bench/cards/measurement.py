"""Measurement: how a run's networks are scored. No field affects the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field

from ssl_bench.cards.benchmark import Benchmark
from ssl_bench.cards.card import Card, Count, Positive, content_hash, in_unit
from ssl_bench.cards.metric import METRICS, DistanceUnit, MetricName, Metrics, UndefinedDistances, length_unit
from ssl_bench.cards.protocol import (
    ImageProtocol,
    ResolvedImageProtocol,
    ResolvedVolumeProtocol,
    Sides3D,
    VolumeProtocol,
    fields_that,
)
from ssl_bench.errors import UserError

SEEING = ("score_size", "stride", "largest_component")  # fields that decide every metric's value


class Measurement(Card):
    """A frozen, complete description of one way of scoring. A run can be scored in several.

    A field that does not apply (a stride in 2D, a tolerance without a metric that has one) is None, so that equal
    measurements have equal keys. A metric's parameter that has the default of a data set's card is None too:
    measurements from before the parameter existed keep their keys.
    """

    metrics: Metrics = Field(description="by name")
    score_size: Literal["original"] | Count | None = Field(
        None, json_schema_extra=in_unit("px"), description="2D: side at which masks are compared"
    )
    stride: Sides3D | None = Field(
        None, json_schema_extra=in_unit("voxels"), description="3D: step from one window to the next"
    )
    window_batch: Count | None = Field(
        None, json_schema_extra=in_unit("windows"), description="3D: windows predicted at once; affects rounding only"
    )
    largest_component: bool | None = Field(None, description="3D: keep the largest component of each class")
    slices: Literal[True] | None = Field(None, description="2D networks: a case is a volume, put together from slices")
    nsd_tolerance: Positive | None = Field(
        None, json_schema_extra=in_unit("distance_unit"), description="largest distance that NSD accepts"
    )
    distance_unit: DistanceUnit | None = Field(None, description="of distances and tolerances; None: voxel")
    undefined_distances: UndefinedDistances | None = Field(
        None, description="value of a distance from or to an empty mask; None: left-out"
    )
    sources: dict[str, str] | None = Field(None, description="hash of the file of each metric that is not built in")

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of SHA-256 over the canonical JSON: the name of its files in a run's folder."""
        return content_hash(self.model_dump(mode="json", exclude_none=True))[:8]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self | None:
        """Validate a recorded measurement, keeping only the registered metrics; None if no metric is registered."""
        known = [metric for metric in data["metrics"] if metric in METRICS]
        sources = {name: source for name, source in (data.get("sources") or {}).items() if name in known}
        return cls.model_validate({**data, "metrics": known, "sources": sources or None}) if known else None

    @property
    def settings(self) -> dict[str, Any]:
        """The applicable fields, without the metrics."""
        return self.model_dump(mode="json", exclude={"metrics"}, exclude_none=True)

    def heading(self, metric: MetricName) -> str:
        """Return a metric's title with the unit in which it is measured."""
        return METRICS[metric].heading(self._dimensions, self.distance_unit)

    def remarks(self, metric: MetricName) -> list[str]:
        """Return the parameters that a reader of a metric's values must know, a sentence each."""
        parameters, unit = METRICS[metric].parameters, length_unit(self._dimensions, self.distance_unit)
        remarks = []
        if "nsd_tolerance" in parameters and self.nsd_tolerance is not None:
            remarks.append(f"{self.heading(metric)}: tolerance {self.nsd_tolerance:g} {unit}.")
        if "undefined_distances" in parameters and self.undefined_distances == "worst":
            remarks.append(f"{self.heading(metric)}: the image's diagonal where one of the two masks is empty.")
        return remarks

    @property
    def _dimensions(self) -> int:
        return 3 if self.slices or self.score_size is None else 2

    def applied_to(self, protocol: ImageProtocol | VolumeProtocol) -> ImageProtocol | VolumeProtocol:
        """Return the protocol with this measurement's fields."""
        own = {name: value for name in type(protocol).model_fields if (value := getattr(self, name, None)) is not None}
        return protocol.model_copy(update=own)

    def measures_like(self, other: Measurement, metric: MetricName) -> bool:
        """Whether both measurements give a metric the same value up to rounding."""
        fields = (*SEEING, *METRICS[metric].parameters)
        own, others = ((one.sources or {}).get(metric) for one in (self, other))
        is_alike = own == others and all(getattr(self, name) == getattr(other, name) for name in fields)
        return metric in other.metrics and is_alike

    def is_covered_by(self, made: Iterable[Measurement]) -> bool:
        """Whether measurements that were made give the value of each metric."""
        there = list(made)
        return all(any(self.measures_like(own, metric) for own in there) for metric in self.metrics)


def recorded_measurement(protocol: ResolvedImageProtocol | ResolvedVolumeProtocol) -> Measurement:
    """Return the measurement by which a run of an earlier version was scored: metrics had no parameters then."""
    return Measurement.model_validate({"metrics": protocol.metrics} | _fields(protocol))


def measurement_of(protocol: ImageProtocol | VolumeProtocol, benchmark: Benchmark) -> Measurement:
    """Return the measurement that a protocol (with `--set`) and a data set's card ask for together.

    Raises:
        UserError: a metric needs a parameter that the card does not have.
    """
    metrics = benchmark.metrics if protocol.metrics == "auto" else protocol.metrics
    for metric, name in benchmark.missing_parameters(metrics):
        unit = length_unit(benchmark.dimensions, benchmark.distance_unit)
        raise UserError(
            f"--set metrics: {metric} needs {name} (in {unit}) on the card of {benchmark.option}, which has none"
        )
    parameters = dict.fromkeys(name for metric in metrics for name in METRICS[metric].parameters)
    given = {name: getattr(benchmark, name) for name in parameters}
    changed = {name: value for name, value in given.items() if value != Benchmark.model_fields[name].default}
    sliced = {"slices": True} if benchmark.slices else {}
    if benchmark.slices and benchmark.distance_unit == "mm" and getattr(protocol, "score_size", None) != "original":
        raise UserError(
            f"--set score_size: expected original on {benchmark.option}, whose distances are in mm, found "
            f"{getattr(protocol, 'score_size', None)}"
        )
    sources = {metric: METRICS[metric].source for metric in metrics if METRICS[metric].source}
    return Measurement.model_validate(
        {"metrics": metrics, "sources": sources or None} | _fields(protocol) | sliced | changed
    )


def _fields(protocol: ImageProtocol | VolumeProtocol) -> dict[str, Any]:
    """The fields of a protocol that every measurement of its dimensions has."""
    return {name: getattr(protocol, name) for name in fields_that("measures", type(protocol)) - {"metrics"}}

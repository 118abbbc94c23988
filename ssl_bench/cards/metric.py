"""Metric: the description of a metric; its computation is in ssl_bench/scoring/metrics.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

DistanceUnit = Literal["voxel", "mm"]  # in 2D a voxel is a pixel


UndefinedDistances = Literal["left-out", "worst"]  # worst: the image's diagonal


def length_unit(dimensions: int, distance_unit: DistanceUnit | None = None) -> str:
    """Return the unit in which distances are printed: px, voxel or mm."""
    return "mm" if distance_unit == "mm" else "px" if dimensions == 2 else "voxel"


@dataclass(frozen=True)
class Metric:
    """A metric. A user's own is registered with its function: `ssl_bench.scoring.register_metric`.

    Attributes:
        name: in cards, on the command line and as a column of the cases files.
        title: in tables and figures, without its unit.
        kind: share: a number from 0 to 1, printed in per cent. distance: a length.
        function: its name in ssl_bench/scoring/metrics.py; empty for a metric that is registered with its function.
        larger_is_better: the direction in which results are ranked.
        always_defined: whether every pair of masks has a value, empty ones too.
        parameters: fields of Measurement that its value depends on, apart from those that decide the prediction. A
            data set's card has a field of the same name.
        suggested_for: numbers of dimensions of the data for which `data init` writes it into a card.
        source: hash of its file, added when it is registered; empty for a built-in one.

    """

    name: str
    title: str
    kind: Literal["share", "distance"]
    function: str = ""
    larger_is_better: bool = True
    always_defined: bool = True
    parameters: tuple[str, ...] = ()
    suggested_for: tuple[int, ...] = ()
    source: str = ""

    @property
    def scale(self) -> float:
        """Factor from the stored value to the printed one: 100 for a share, which is printed in per cent."""
        return 100.0 if self.kind == "share" else 1.0

    def heading(self, dimensions: int, distance_unit: DistanceUnit | None = None) -> str:
        """Return the title with its unit, for data of 2 or 3 dimensions; without a unit, distances are in voxels."""
        if self.kind == "share":
            return f"{self.title} [%]"
        return f"{self.title} [{length_unit(dimensions, distance_unit)}]"


LENGTHS = ("distance_unit", "undefined_distances")  # parameters of a distance


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dsc", "DSC", "share", "dice", True, True, suggested_for=(2, 3)),
        Metric("jaccard", "Jaccard", "share", "jaccard", True, True, suggested_for=(2, 3)),
        Metric("95hd", "95HD", "distance", "hausdorff_95", False, False, LENGTHS, suggested_for=(3,)),
        Metric("asd", "ASD", "distance", "average_surface_distance", False, False, LENGTHS, suggested_for=(3,)),
        Metric("nsd", "NSD", "share", "surface_dice", True, True, ("nsd_tolerance", "distance_unit")),
        Metric("precision", "Precision", "share", "precision", True, True),
        Metric("recall", "Recall", "share", "recall", True, True),
    )
}

HEADLINE = "dsc"  # shown where no metric is named: in lists of runs, and in a table that names none


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"expected one of {', '.join(METRICS)}")
    return name


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("expected each metric once")
    return names


MetricName = Annotated[str, AfterValidator(_known)]


Metrics = Annotated[tuple[MetricName, ...], Field(min_length=1), AfterValidator(_different)]


# A list or "auto", told apart before either is tried, so that a wrong name in a list is one error and not two.
MetricsOrAuto = Annotated[
    Annotated[Metrics, Tag("list[str]")] | Annotated[Literal["auto"], Tag("str")],
    Discriminator(lambda value: "str" if isinstance(value, str) else "list[str]"),
]

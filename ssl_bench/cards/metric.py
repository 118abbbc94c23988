"""The metrics: names, titles and units."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

METRICS = ("dsc", "jaccard", "95hd", "asd")


Metric = Literal["dsc", "jaccard", "95hd", "asd"]


def _different(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    if len(set(metrics)) < len(metrics):
        raise ValueError("expected different metrics")
    return metrics


Metrics = Annotated[tuple[Metric, ...], Field(min_length=1), AfterValidator(_different)]


FRACTIONS = frozenset({"dsc", "jaccard"})  # from 0 to 1, larger is better; the other metrics are distances


METRIC_TITLES = {"dsc": "DSC [%]", "jaccard": "Jaccard [%]", "95hd": "95HD", "asd": "ASD"}


def metric_title(metric: Metric, dimensions: int) -> str:
    """How a metric is printed, with its unit."""
    if metric in FRACTIONS:
        return METRIC_TITLES[metric]
    return f"{METRIC_TITLES[metric]} [{'px' if dimensions == 2 else 'voxel'}]"

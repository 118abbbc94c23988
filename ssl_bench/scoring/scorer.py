"""Scores a run's networks on a fixed set of cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ssl_bench.cards import Measurement, MetricName, RunSpec, VolumeProtocol
from ssl_bench.data.batches import channels_first
from ssl_bench.data.dataset import Dataset, resize
from ssl_bench.scoring.inference import class_map, image_scores, volume_scores
from ssl_bench.scoring.metrics import Spacing, score_case


class Scorer:
    """The cases `ids` of a run's data set; networks are scored in evaluation mode, which is set here."""

    def __init__(
        self, dataset: Dataset, ids: tuple[str, ...], spec: RunSpec, measurement: Measurement, device: torch.device
    ) -> None:
        self.dataset, self.ids, self.spec, self.protocol, self.device = dataset, ids, spec, spec.protocol, device
        self.measurement = measurement
        self.spacings = dataset.spacings(ids) if measurement.distance_unit == "mm" else None

    def score(self, networks: dict[str, nn.Module], seen: Seen) -> list[Row]:
        """Score networks on every case and foreground class; `seen` is told after each case."""
        return score_networks(
            networks, self._predictions(), self._truths, self.ids, self.spec.classes, self.measurement, seen,
            self.spacings,
        )  # fmt: skip

    def images(self, ids: list[str]) -> Iterator[np.ndarray]:
        """Yield the images of some cases as the cache has them: (S, S, 3) uint8 or (X, Y, Z) float32."""
        return self.dataset.volumes(ids) if isinstance(self.protocol, VolumeProtocol) else self.dataset.images(ids)

    def _predictions(self) -> Callable[[nn.Module], Iterator[np.ndarray]]:
        """What gives a network's masks of the cases."""
        protocol, dataset, device = self.protocol, self.dataset, self.device
        if isinstance(protocol, VolumeProtocol):
            return lambda network: (
                class_map(scores, protocol)
                for scores in volume_scores(network, dataset.volumes(self.ids), protocol, device)
            )
        size = protocol.score_size
        sizes = dataset.truth_sizes(self.ids) if size == "original" else [(size, size)] * len(self.ids)
        images = channels_first(dataset.arrays(self.ids)[0])
        return lambda network: (
            class_map(scores, protocol) for scores in image_scores(network, images, sizes, protocol, device)
        )

    def _truths(self) -> Iterator[np.ndarray]:
        for truth in self.dataset.truths(self.ids):
            if isinstance(self.protocol, VolumeProtocol) or self.protocol.score_size == "original":
                yield truth
            else:
                yield resize(truth, self.protocol.score_size, nearest=True)


Seen = Callable[[str, str, np.ndarray, np.ndarray], None]  # network, case, truth, prediction


Row = tuple[str, str, str, *tuple[float | None, ...]]  # network, case, class, a value per metric


def score_networks(
    networks: dict[str, nn.Module],
    predictions: Callable[[nn.Module], Iterable[np.ndarray]],
    truths: Callable[[], Iterable[np.ndarray]],
    ids: Sequence[str],
    classes: Sequence[str],
    measurement: Measurement,
    seen: Seen | None = None,
    spacings: Sequence[Spacing] | None = None,
) -> list[Row]:
    """Score every network on every test case and foreground class, in order.

    Args:
        networks: by name.
        predictions: gives a network's class numbers (*spatial) for each case.
        truths: called once per network, gives the masks, likewise.
        ids: the cases' ids.
        classes: names, background first.
        measurement: its metrics are the columns.
        seen: told after each case.
        spacings: each case's, where distances are in mm.

    """
    rows: list[Row] = []
    for name, network in networks.items():
        own = [None] * len(ids) if spacings is None else spacings
        for case, truth, predicted, spacing in zip(ids, truths(), predictions(network), own, strict=True):
            for number, label in enumerate(classes[1:], start=1):
                values = score_case(predicted == number, truth == number, measurement, spacing)
                rows.append((name, case, label, *values))
            if seen is not None:
                seen(name, case, truth, predicted)
    return rows


def summary(rows: list[Row], metrics: Sequence[MetricName]) -> dict[str, dict[str, Any]]:
    """Mean over cases and classes per network and metric, and how many were undefined (they are not averaged in).

    Where there are several foreground classes, `classes` holds the same for each of them.
    """
    result: dict[str, dict[str, Any]] = {}
    labels = list(dict.fromkeys(row[2] for row in rows))
    for network in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == network]
        result[network] = {}
        for column, metric in enumerate(metrics, start=3):
            result[network][metric] = _mean([row[column] for row in own])
            if len(labels) > 1:
                result[network][metric]["classes"] = {
                    label: _mean([row[column] for row in own if row[2] == label]) for label in labels
                }
    return result


def _mean(values: Sequence[Any]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    mean = math.fsum(defined) / len(defined) if defined else None
    return {"mean": mean, "undefined": len(values) - len(defined)}

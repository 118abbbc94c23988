"""Scores a run's networks on a fixed set of cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ssl_bench.cards import ImageProtocol, Measurement, MetricName, RunSpec, VolumeProtocol
from ssl_bench.data.batches import channels_first
from ssl_bench.data.dataset import Dataset, resize
from ssl_bench.data.slices import to_slices, to_volume
from ssl_bench.errors import UserError
from ssl_bench.ops import IGNORED
from ssl_bench.scoring.inference import BATCH, class_map, image_scores, volume_scores
from ssl_bench.scoring.metrics import Spacing, score_case

ScoreRow = tuple[str, str, str, *tuple[float | None, ...]]  # network, case, class, a value per metric


class Prediction(NamedTuple):
    """A network's prediction for one case; both masks are class numbers (*spatial) uint8, the truth with IGNORED."""

    network: str
    case: str
    truth: np.ndarray
    mask: np.ndarray


class Scorer:
    """The cases `ids` of a run's data set; networks are set to evaluation mode.

    Args:
        dataset: the run's.
        ids: of the cases to score.
        spec: the run.
        measurement: how its networks are scored.
        device: where the networks are.

    """

    def __init__(
        self, dataset: Dataset, ids: tuple[str, ...], spec: RunSpec, measurement: Measurement, device: torch.device
    ) -> None:
        self.dataset, self.ids, self.spec, self.measurement, self.device = dataset, ids, spec, measurement, device
        self.protocol = measurement.applied_to(spec.protocol)
        in_mm = measurement.distance_unit == "mm"
        self.spacings: dict[str, Spacing] = dict(zip(ids, dataset.spacings(ids), strict=True)) if in_mm else {}

    @property
    def header(self) -> tuple[str, ...]:
        """Column names of a row."""
        return ("network", "case", "class", *self.measurement.metrics)

    def predictions(self, networks: Mapping[str, nn.Module], skip: int = 0) -> Iterator[Prediction]:
        """Yield the predictions of every network in turn, for every case in order.

        Args:
            networks: by name.
            skip: predictions to leave out at the beginning, as `repeatable` gives it.

        """
        for number, (name, network) in enumerate(networks.items()):
            start = max(skip - number * len(self.ids), 0)
            ids = self.ids[start:]
            if ids:
                masks = self._masks(network, ids)
                truths = truths_to_score(self.dataset, ids, self.protocol)
                for case, truth, mask in zip(ids, truths, masks, strict=True):
                    yield Prediction(name, case, truth, mask)

    def repeatable(self, done: int) -> int:
        """Return the largest number of predictions, at most `done`, that can be skipped without changing the rest.

        2D images go through a network in batches of BATCH; volumes one by one.
        """
        if self.spec.dimensions == 3:
            return done
        networks, cases = divmod(done, len(self.ids))
        return networks * len(self.ids) + cases // BATCH * BATCH

    def rows(self, one: Prediction) -> list[ScoreRow]:
        """Score a prediction: a row for each foreground class.

        Raises:
            UserError: the truth has no pixel of a known class.
        """
        known = one.truth != IGNORED
        if not known.any():
            raise UserError(f"{one.case}: expected a pixel with a known class to score, found ignored ones alone")
        spacing = self.spacings.get(one.case)
        rows: list[ScoreRow] = []
        for number, label in enumerate(self.spec.classes[1:], start=1):
            values = score_case((one.mask == number) & known, one.truth == number, self.measurement, spacing)
            rows.append((one.network, one.case, label, *values))
        return rows

    def images(self, ids: list[str]) -> Iterator[np.ndarray]:
        """Yield the images of some cases as the cache has them: (S, S, C) uint8, or (C, X, Y, Z) float32 or uint8."""
        if isinstance(self.protocol, VolumeProtocol):
            return self.dataset.volumes(ids)
        return self.dataset.images(ids) if self.spec.dimensions == 2 else (one.T for one in self.dataset.stacks(ids))

    def _masks(self, network: nn.Module, ids: tuple[str, ...]) -> Iterator[np.ndarray]:
        protocol, device = self.protocol, self.device
        if isinstance(protocol, VolumeProtocol):
            scores = volume_scores(network, self.dataset.volumes(ids), protocol, device)
        elif self.spec.dimensions != 2:
            return self._sliced_masks(network, ids, protocol)
        else:
            images, size = map(torch.from_numpy, self.dataset.batches(ids, BATCH)), protocol.score_size
            sizes = self.dataset.truth_sizes(ids) if size == "original" else [(size, size)] * len(ids)
            scores = image_scores(network, images, sizes, protocol, device)
        return (class_map(one, protocol) for one in scores)

    def _sliced_masks(self, network: nn.Module, ids: tuple[str, ...], protocol: ImageProtocol) -> Iterator[np.ndarray]:
        """Yield each volume's mask (X, Y, Z), slice by slice along z."""
        for stack, own in zip(self.dataset.stacks(ids), self.dataset.truth_sizes(ids), strict=True):
            size = own if protocol.score_size == "original" else (protocol.score_size, protocol.score_size)
            images = torch.split(channels_first(stack), BATCH)
            scores = image_scores(network, images, repeat(size, len(stack)), protocol, self.device)
            yield to_volume(class_map(one, protocol) for one in scores)


def truths_to_score(
    dataset: Dataset, ids: Sequence[str], protocol: ImageProtocol | VolumeProtocol
) -> Iterator[np.ndarray]:
    """Yield the masks of some cases at the size at which they are scored, with IGNORED."""
    for truth in dataset.truths(ids):
        if isinstance(protocol, VolumeProtocol) or protocol.score_size == "original":
            yield truth
        elif truth.ndim == 2:
            yield resize(truth, protocol.score_size, nearest=True)
        else:
            yield to_volume(resize(one, protocol.score_size, nearest=True) for one in to_slices(truth))


def summary(rows: Sequence[ScoreRow], metrics: Sequence[MetricName]) -> dict[str, dict[str, Any]]:
    """Mean over cases and classes per network and metric, and the number of undefined values (excluded from the mean).

    With several foreground classes, `classes` holds the same for each class.
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

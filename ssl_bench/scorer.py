"""Cases of a run, at hand to score its networks on, and to take pictures of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from ssl_bench.data.cache import Dataset, resize
from ssl_bench.data.stream import channels_first
from ssl_bench.evaluate import Row, Seen, class_map, image_scores, score_networks, volume_scores
from ssl_bench.spec import RunSpec, VolumeProtocol


class Scorer:
    """The cases `ids` of a run's data set; networks are scored in evaluation mode, which is set here."""

    def __init__(self, dataset: Dataset, ids: tuple[str, ...], spec: RunSpec, device: torch.device) -> None:
        self.dataset, self.ids, self.spec, self.protocol, self.device = dataset, ids, spec, spec.protocol, device

    def score(self, networks: dict[str, nn.Module], seen: Seen) -> list[Row]:
        """Score networks on every case and foreground class; `seen` is told after each case."""
        metrics = self.protocol.metrics
        assert metrics != "auto"
        return score_networks(networks, self._predictions(), self._truths, self.ids, self.spec.classes, metrics, seen)

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

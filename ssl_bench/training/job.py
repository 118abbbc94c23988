"""A run with everything at hand to train it, and the networks it begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ssl_bench.cards import ImageProtocol, Measurement, RunSpec
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.split import Splits
from ssl_bench.method import Hyperparameters, Setup, SSLMethod
from ssl_bench.networks import build_network
from ssl_bench.seeds import derive_seed


@dataclass(frozen=True)
class Job:
    """A run with everything at hand to train it."""

    spec: RunSpec
    method: type[SSLMethod]
    hyper: Hyperparameters
    dataset: Dataset
    splits: Splits
    measurement: Measurement

    @property
    def iterations(self) -> int:
        """Iterations of this method: the protocol's, divided by the method's updates per iteration."""
        assert self.spec.protocol.iterations is not None
        return math.ceil(self.spec.protocol.iterations / self.method.updates_per_iteration)

    @property
    def rampup_length(self) -> float:
        """Iterations over which lambda grows to its full value."""
        protocol = self.spec.protocol
        if protocol.rampup_epochs == "run":
            return float(self.iterations)
        return protocol.rampup_epochs * protocol.iterations_per_epoch(self.spec.train_count)


def build_method(
    spec: RunSpec,
    method_class: type[SSLMethod],
    hyper: Hyperparameters,
    device: torch.device,
    *,
    pretrained: bool = True,
) -> SSLMethod:
    """Build a run's networks, whose first weights are a function of the seed, on a device.

    `pretrained = False` leaves encoder weights out, where all weights are about to be loaded.
    """
    protocol, built = spec.protocol, 0

    def build() -> nn.Module:
        nonlocal built
        torch.manual_seed(derive_seed(spec.seed, "network", built))
        built += 1
        return build_network(protocol, classes=len(spec.classes), pretrained=pretrained)

    method = method_class(Setup(protocol, build), hyper).to(device)
    if protocol.channels_last:
        is_2d = isinstance(protocol, ImageProtocol)
        method = method.to(memory_format=torch.channels_last if is_2d else torch.channels_last_3d)
    if protocol.compile:
        for network in method.networks.values():
            network.compile()
    return method

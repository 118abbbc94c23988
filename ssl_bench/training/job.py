"""A run that is ready to train, and its networks: newly initialised, or with trained weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ssl_bench.cards import ImageProtocol, Measurement, RunSpec, Upsampling, VolumeProtocol
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.split import Splits
from ssl_bench.errors import UserError, first_line
from ssl_bench.method import Hyperparameters, Setup, SSLMethod, parse_hyperparameters
from ssl_bench.networks import build_network
from ssl_bench.ops import gaussian_ramp_up
from ssl_bench.seeds import derive_seed
from ssl_bench.store import RunFolder

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Job:
    """A run that is ready to train: its specification, method, data and splits, and how it will be scored."""

    spec: RunSpec
    method: type[SSLMethod]
    hyper: Hyperparameters
    dataset: Dataset
    splits: Splits
    measurement: Measurement

    @property
    def iterations(self) -> int:
        """Iterations of this method: the protocol's, divided by the method's updates per iteration."""
        return math.ceil(self.spec.protocol.iterations / self.method.updates_per_iteration)

    def ramp(self, iteration: int) -> float:
        """Return lambda in an iteration, as a share of lambda_max; iterations count from 1."""
        if self.rampup_length == 0:
            return 1.0
        return gaussian_ramp_up(self.spec.protocol.ramp_time(iteration), self.rampup_length)

    @property
    def rampup_length(self) -> float:
        """Iterations over which lambda grows to its full value; 0 without a ramp-up."""
        protocol = self.spec.protocol
        if protocol.rampup_epochs == "none":
            return 0.0
        if protocol.rampup_epochs == "run":
            return float(self.iterations)
        return protocol.rampup_epochs * protocol.iterations_per_epoch(self.spec.train_images)


def build_method(
    spec: RunSpec,
    method_class: type[SSLMethod],
    hyper: Hyperparameters,
    device: torch.device,
    *,
    pretrained: bool = True,
    ignores: bool = False,
) -> SSLMethod:
    """Build a run's networks on a device; the initial weights are a function of the seed.

    `pretrained = False` skips the encoder weights, for a method whose weights are loaded afterwards. `ignores` is that
    of the data set that the method trains on.
    """
    protocol, built = spec.protocol, 0
    classes, channels = len(spec.classes), spec.channel_count

    def build(*, upsampling: Upsampling = "default", **changes: str) -> nn.Module:
        nonlocal built
        torch.manual_seed(derive_seed(spec.seed, "network", built))
        built += 1
        return build_network(
            protocol.changed(changes), classes=classes, channels=channels, pretrained=pretrained,
            upsampling=upsampling,
        )  # fmt: skip

    setup = Setup(protocol, build, classes, channels, ignores)
    method = laid_out(method_class(setup, hyper).to(device), protocol)
    if protocol.compile:
        for network in method.networks.values():
            network.compile()
    return method


def laid_out(module: Module, protocol: ImageProtocol | VolumeProtocol) -> Module:
    """Return a module with its weights in the protocol's memory format."""
    if not protocol.channels_last:
        return module
    is_2d = isinstance(protocol, ImageProtocol)
    return module.to(memory_format=torch.channels_last if is_2d else torch.channels_last_3d)


def method_of(
    folder: Path, spec: RunSpec, methods: Mapping[str, type[SSLMethod]]
) -> tuple[type[SSLMethod], Hyperparameters]:
    """Return the method of a run and its hyperparameters.

    Raises:
        UserError: the method is not registered, or not in the run's version.
    """
    if spec.method not in methods:
        raise UserError(f"{folder}: unknown method '{spec.method}'; give its folder with --methods-dir")
    method_class = methods[spec.method]
    if method_class.version != spec.method_version:
        raise UserError(
            f"{folder}: expected version {spec.method_version} of method '{spec.method}', as the run was trained with, "
            f"found version {method_class.version}"
        )
    return method_class, parse_hyperparameters(method_class, spec.hyperparameters)


def trained_method(
    folder: RunFolder, spec: RunSpec, method_class: type[SSLMethod], hyper: Hyperparameters, device: torch.device
) -> SSLMethod:
    """Build a finished run's networks with their trained weights, in evaluation mode.

    Raises:
        UserError: the weights are not there or do not fit.
    """
    method = build_method(spec, method_class, hyper, device, pretrained=False).eval()
    path = folder.weights
    if not path.exists():
        raise UserError(
            f"{path}: no such file; it was deleted, or the run was imported from an export without --weights"
        )
    try:
        method.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: not the run's weights: {first_line(error)}") from None
    return method

"""Checks before any training that a request's network exists, fits the images and methods, and can be built."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from ssl_bench.cards import ImageProtocol, Request, VolumeProtocol
from ssl_bench.command import setting_words
from ssl_bench.errors import UnfitError, UserError, first_line
from ssl_bench.method import Hyperparameters, SSLMethod
from ssl_bench.networks import build_network, find_network, require_sides
from ssl_bench.networks.registry import NetworkEntry

log = logging.getLogger(__name__)


def require_network(request: Request, protocol: ImageProtocol | VolumeProtocol) -> NetworkEntry:
    """Return the protocol's network.

    Raises:
        UserError: it is unknown; UnfitError: it does not fit the images.
    """
    try:
        entry = find_network(protocol.network, protocol.dimensions)
        require_sides(entry, protocol)
    except UserError as error:
        given = " ".join(setting_words(request.settings))
        raise type(error)(f"--protocol {request.protocol}{' with ' * bool(given)}{given}: {error}") from None
    return entry


def require_parts(entry: NetworkEntry, methods: Sequence[type[SSLMethod]]) -> None:
    """Check that a network has the parts that methods need.

    Raises:
        UnfitError: it has not.
    """
    needy = [method.name for method in methods if method.needs_parts]
    if needy and not entry.parts:
        raise UnfitError(
            f"network = '{entry.name}': expected a network with encoder, decoder and segmentation_head, which "
            f"{', '.join(needy)} needs; found one without"
        )
    needy = [method.name for method in methods if method.needs_pyramid]
    if needy and not entry.pyramid:
        raise UnfitError(
            f"network = '{entry.name}': expected a network whose decoder gives maps of several scales, which "
            f"{', '.join(needy)} needs (deeplabv3plus, unet, unet-small, vnet); found one without"
        )


def require_architectures(
    method: type[SSLMethod], hyper: Hyperparameters, protocol: ImageProtocol | VolumeProtocol
) -> None:
    """Check that the further architectures of a method exist and fit the images.

    Raises:
        UserError: one does not.
    """
    for changes in method.architectures(hyper):
        try:
            changed = protocol.changed(changes)
            require_sides(find_network(changed.network, changed.dimensions), changed)
        except UserError as error:
            raise UserError(f"--methods: {method.name}'s second network: {error}") from None


def require_buildable(
    request: Request,
    protocol: ImageProtocol | VolumeProtocol,
    methods: Sequence[type[SSLMethod]],
    hyperparameters: Sequence[Hyperparameters],
) -> None:
    """Build the network, and every further architecture, once. This imports its library, which takes seconds.

    Raises:
        UserError: it cannot be built, or cannot be trained on the protocol's batches.
    """
    for method, hyper in zip(methods, hyperparameters, strict=True):
        for changes in method.architectures(hyper):
            build_network(
                protocol.changed(changes), channels=request.benchmark.channel_count,
                classes=len(request.benchmark.classes),
            )  # fmt: skip
    network = build_network(protocol, channels=request.benchmark.channel_count, classes=len(request.benchmark.classes))
    uses_both = any(method.uses_unlabeled for method in methods)
    if protocol.labeled_batch == 1 or (uses_both and protocol.unlabeled_batch == 1):
        _require_batches_of_one(network, protocol, request.benchmark.channel_count)


def _require_batches_of_one(network: nn.Module, protocol: ImageProtocol | VolumeProtocol, channels: int) -> None:
    """Check that a network trains on one image: batch norm over a feature map of one pixel needs two.

    Raises:
        UserError: it does not.
    """
    image = torch.empty(1, channels, *protocol.sides, device="meta")
    try:
        network.to("meta").train()(image)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"--set labeled_batch, unlabeled_batch: expected at least 2 for network = '{protocol.network}', whose "
            f"batch norm cannot train on one image ({first_line(error)}); found 1"
        ) from None
    except NotImplementedError:
        log.info(
            "note: network '%s' cannot be tried without values; a batch of one may fail in training", protocol.network
        )

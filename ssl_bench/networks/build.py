"""build_network: a network of a protocol, by the registry."""

from __future__ import annotations

from typing import Any

from torch import nn

from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.networks import from_monai, from_smp, unet, vnet  # noqa: F401  (they register their networks)
from ssl_bench.networks.registry import Build, find_network
from ssl_bench.networks.weights import load_encoder_weights

CHANNELS = {2: 3, 3: 1}  # of an image whose data set does not say otherwise


def build_network(
    protocol: ImageProtocol | VolumeProtocol, *, channels: int | None = None, classes: int = 2, pretrained: bool = True
) -> nn.Module:
    """Build one network of a protocol: images (B, C, H, W) or volumes (B, C, X, Y, Z) -> logits (B, K, *spatial).

    What is not pretrained is drawn from torch's global generator.

    Args:
        protocol: the network and its settings.
        channels: C; None: 3 in 2D, 1 in 3D.
        classes: K.
        pretrained: whether to load the protocol's encoder weights; not needed where other weights follow.

    Raises:
        UserError: the network or its encoder is unknown, or the weights cannot be had.
    """
    entry = find_network(protocol.network, protocol.dimensions)
    network: Any = entry.build(Build(protocol, channels or CHANNELS[protocol.dimensions], classes))
    if isinstance(protocol, ImageProtocol) and pretrained and protocol.encoder_weights != "none":
        load_encoder_weights(network.encoder, protocol)
    built: nn.Module = network
    return built

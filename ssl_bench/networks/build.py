"""build_network: a network of a protocol, by the registry."""

from __future__ import annotations

from torch import nn

from ssl_bench.cards import CHANNELS, ImageProtocol, Upsampling, VolumeProtocol
from ssl_bench.errors import UserError, first_line
from ssl_bench.networks import from_monai, from_smp, unet, vnet  # noqa: F401  (they register their networks)
from ssl_bench.networks.registry import PARTS, PYRAMID, Build, find_network
from ssl_bench.networks.weights import load_encoder_weights
from ssl_bench.plugins import source_file


def build_network(
    protocol: ImageProtocol | VolumeProtocol,
    *,
    channels: int | None = None,
    classes: int = 2,
    pretrained: bool = True,
    upsampling: Upsampling = "default",
) -> nn.Module:
    """Build one network of a protocol: images (B, C, H, W) or volumes (B, C, X, Y, Z) -> logits (B, K, *spatial).

    Weights that are not pretrained are drawn from torch's global generator.

    Args:
        protocol: the network and its settings.
        channels: C; None: 3 in 2D, 1 in 3D.
        classes: K.
        pretrained: whether to load the protocol's encoder weights; not needed where other weights follow.
        upsampling: how the decoder doubles the sides of a map; networks without the choice ignore it.

    Raises:
        UserError: the network or its encoder is unknown, it cannot be built, it lacks the parts that it was registered
            with, or the weights cannot be had.
    """
    entry = find_network(protocol.network, protocol.dimensions)
    where = f"{source_file(entry.build.__module__)}: network '{entry.name}'"
    try:
        network = entry.build(Build(protocol, channels or CHANNELS[protocol.dimensions], classes, upsampling))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where} cannot be built: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{where}: expected an nn.Module, found {type(network).__name__}")
    if entry.parts and (missing := _missing_parts(network)):
        raise UserError(f"{where}: registered with parts, but has no {', '.join(missing)}")
    lacking = [name for name in PYRAMID if entry.pyramid and not hasattr(network.get_submodule("decoder"), name)]
    if lacking:
        raise UserError(f"{where}: registered with a pyramid, but has no decoder.{', decoder.'.join(lacking)}")
    if isinstance(protocol, ImageProtocol) and pretrained and entry.takes_encoder:
        load_encoder_weights(network.get_submodule("encoder"), protocol)
    return network


def _missing_parts(network: nn.Module) -> list[str]:
    missing = [part for part in PARTS if not hasattr(network, part)]
    sized = [part for part in ("encoder", "decoder") if part not in missing]
    return missing + [f"{part}.out_channels" for part in sized if not hasattr(getattr(network, part), "out_channels")]

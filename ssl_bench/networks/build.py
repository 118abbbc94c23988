"""build_network: segmentation-models-pytorch's DeepLabV3+ and U-Net, the literature's small U-Net and V-Net."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn

from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.errors import UserError, first_line
from ssl_bench.networks.depthwise import use_fast_gradient
from ssl_bench.networks.unet import SmallUNet
from ssl_bench.networks.vnet import VNet
from ssl_bench.networks.weights import load_encoder_weights


def build_network(protocol: ImageProtocol | VolumeProtocol, *, classes: int = 2, pretrained: bool = True) -> nn.Module:
    """Build one network of a protocol: images (B, 3, H, W) or volumes (B, 1, X, Y, Z) -> logits (B, K, *spatial).

    What is not pretrained is drawn from torch's global generator. Every network has the parts `encoder` (images ->
    list of feature maps, the finest first), `decoder` (that list -> one map) and `segmentation_head` (map -> logits).

    Args:
        protocol: the network and what it is made of.
        classes: K.
        pretrained: whether to load the protocol's encoder weights; not needed where other weights follow.

    Raises:
        UserError: the encoder is unknown, cannot have the output stride, or its weights cannot be had.
    """
    if isinstance(protocol, VolumeProtocol):
        return VNet(classes=classes, filters=protocol.filters, dropout=protocol.dropout)
    if protocol.network == "unet-small":
        return SmallUNet(classes=classes, filters=protocol.filters)
    try:
        if protocol.network == "deeplabv3plus":
            network = smp.DeepLabV3Plus(
                protocol.encoder,
                encoder_weights=None,
                encoder_output_stride=protocol.output_stride,
                decoder_aspp_separable=protocol.aspp == "separable",
                decoder_aspp_dropout=protocol.aspp_dropout,
                in_channels=3,
                classes=classes,
            )
        else:
            network = smp.Unet(protocol.encoder, encoder_weights=None, in_channels=3, classes=classes)
    except (KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        message = first_line(error).strip("'\"")
        raise UserError(f"encoder = '{protocol.encoder}' with network = '{protocol.network}': {message}") from None
    if pretrained:
        load_encoder_weights(network.encoder, protocol)
    use_fast_gradient(network)
    built: nn.Module = network
    return built

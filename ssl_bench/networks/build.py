"""build_network: segmentation-models-pytorch's DeepLabV3+ and U-Net."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn

from ssl_bench.errors import UserError
from ssl_bench.networks.depthwise import use_fast_gradient
from ssl_bench.networks.weights import load_encoder_weights
from ssl_bench.spec import Protocol


def build_network(protocol: Protocol, *, in_channels: int = 3, classes: int = 2) -> nn.Module:
    """Build one network of a protocol: images (B, C, H, W) -> logits (B, K, H, W).

    The decoder is drawn from torch's global generator; the encoder too where `encoder_weights` is none.

    Raises:
        UserError: the encoder is unknown, cannot have the output stride, or its weights cannot be had.
    """
    try:
        if protocol.network == "deeplabv3plus":
            network = smp.DeepLabV3Plus(
                protocol.encoder,
                encoder_weights=None,
                encoder_output_stride=protocol.output_stride,
                decoder_aspp_separable=protocol.aspp == "separable",
                decoder_aspp_dropout=protocol.aspp_dropout,
                in_channels=in_channels,
                classes=classes,
            )
        else:
            network = smp.Unet(protocol.encoder, encoder_weights=None, in_channels=in_channels, classes=classes)
    except (KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        message = str(error).strip("'\"").splitlines()[0]
        raise UserError(f"encoder = '{protocol.encoder}' with network = '{protocol.network}': {message}") from None
    load_encoder_weights(network.encoder, protocol)
    use_fast_gradient(network)
    built: nn.Module = network
    return built

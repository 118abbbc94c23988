"""A further decoder on the features of a network's encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class AuxiliaryDecoder(nn.Module):
    """Decoder and head of a network, without its encoder: feature maps -> logits (B, K, *spatial).

    Args:
        network: a network with parts, built for this decoder alone.

    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.decoder, self.segmentation_head = network.decoder, network.segmentation_head

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits of the image that has these features, finest first."""
        logits: Tensor = self.segmentation_head(self.decoder(features))
        return logits

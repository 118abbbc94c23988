"""The mean prediction of several networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Networks that predict together: its softmax is the mean of theirs.

    For a method that tests the mean of its networks (MCF, SDCL). It holds no weights: the networks are attributes of
    the method too, and stand in checkpoints under their own names.

    Args:
        networks: each from images (B, C, *spatial) to logits (B, K, *spatial).

    """

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self._members = networks  # a tuple, so that torch does not register them twice

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks that predict together."""
        return self._members

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, *spatial) of images (B, C, *spatial), float32: the logarithm of the mean softmax."""
        shares = torch.stack([network(images).float().log_softmax(1) for network in self._members])
        mean: Tensor = shares.logsumexp(0) - math.log(len(self._members))
        return mean

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the networks too."""
        for network in self._members:
            network.train(mode)
        return super().train(mode)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of the networks."""
        for network in self._members:
            yield from network.parameters(recurse)

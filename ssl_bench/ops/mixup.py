"""Mixup: weighted means of two images of a batch (Zhang et al., ICLR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta


class LinearMix:
    """A mix of a batch: (1 - w_i) times sample i plus w_i times its partner, sample (i + 1) mod B.

    Args:
        weight: (B,), the w_i from 0 to 1.

    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, tensor: Tensor) -> Tensor:
        """Mix (B, ...), of a floating type."""
        weight = self.weight.to(tensor.dtype).view(-1, *(1 for _ in tensor.shape[1:]))
        return tensor * (1 - weight) + tensor.roll(-1, 0) * weight


def mixup(like: Tensor, alpha: float) -> LinearMix:
    """Draw w_i ~ Beta(alpha, alpha) for each sample of a batch (B, ...), on the CPU from torch's global generator."""
    return LinearMix(beta_draws(len(like), alpha, alpha).to(like.device, non_blocking=True))


def beta_draws(count: int, a: float, b: float) -> Tensor:
    """Draw numbers from Beta(a, b): (count,) float32 on the CPU, from torch's global generator."""
    return Beta(torch.tensor(a), torch.tensor(b), validate_args=False).sample((count,))

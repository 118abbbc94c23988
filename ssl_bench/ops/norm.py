"""Batch norm over some of the rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_bench.ops.precision import at_least_float32


class MaskedBatchNorm(nn.Module):
    """Batch norm of rows (N, width) by the statistics of the rows that are kept, as if the others were not there.

    The number of rows stays the same, so that nothing waits for the device. A batch with fewer than two kept rows
    leaves the running statistics as they are; torch's batch norm refuses it.

    Args:
        width: of a row.
        momentum: weight of a batch in the running statistics.
        eps: added to the variance.

    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Normalise all rows; float32 at least.

        Args:
            rows: (N, width).
            kept: (N,) bool, the rows that the statistics are of. In evaluation mode they are the running ones.

        """
        rows = at_least_float32(rows)
        if self.training:
            count = kept.sum()
            share = (kept / count.clamp(min=1)).unsqueeze(1)
            mean = (rows * share).sum(0)
            variance = ((rows - mean).square() * share).sum(0)
            self._note(mean.detach(), variance.detach(), count)
        else:
            mean, variance = self.running_mean, self.running_var
        return (rows - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        momentum = self.momentum * (count > 1)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)

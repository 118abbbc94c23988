"""The teacher: a network that follows the exponential moving average of its students and never has a gradient."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn


class ExponentialMovingAverage(nn.Module):
    """theta <- alpha theta + (1 - alpha) sum_m w_m theta_m (Tarvainen and Valpola 2017; UCMT paper, equation 6).

    Args:
        network: the teacher's network; its parameters stop requiring gradients.
        decay: alpha.
        warmup: alpha = min(1 - 1/(t+1), decay) at 0-based iteration t, so that the first step copies the students.
        source: w_m, one weight per student, summing to 1.
        average_buffers: average the floating-point buffers (batch norm's running statistics) like the parameters and
            copy the integer ones from student 1; otherwise buffers stay the network's own.
        always_eval: stay in evaluation mode; `train` has no effect.

    """

    def __init__(
        self,
        network: nn.Module,
        *,
        decay: float,
        warmup: bool,
        source: tuple[float, ...],
        average_buffers: bool,
        always_eval: bool,
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(requires_grad=False)
        self.decay, self.warmup, self.source = decay, warmup, source
        self.average_buffers, self.always_eval = average_buffers, always_eval
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode as `nn.Module.train` does, unless the teacher is always in evaluation mode."""
        return super().train(mode and not self.always_eval)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, *spatial) of images (B, C, *spatial), without gradient."""
        logits: Tensor = self.network(images)
        return logits

    @torch.no_grad()
    def follow(self, *students: nn.Module, iteration: int) -> None:
        """Update from the students; `iteration` is 0-based. Each tensor is read before any student changes again."""
        alpha = min(1 - 1 / (iteration + 1), self.decay) if self.warmup else self.decay
        _average(list(self.network.parameters()), [list(s.parameters()) for s in students], self.source, alpha)
        if not self.average_buffers:
            return
        own = list(self.network.buffers())
        theirs = [list(s.buffers()) for s in students]
        floating = [i for i, buffer in enumerate(own) if buffer.is_floating_point()]
        _average([own[i] for i in floating], [[b[i] for i in floating] for b in theirs], self.source, alpha)
        for i, buffer in enumerate(own):
            if not buffer.is_floating_point():
                buffer.copy_(theirs[0][i])

    @torch.no_grad()
    def restart(self, student: nn.Module) -> None:
        """Take over a student's parameters and buffers, for a method whose teacher begins in the course of training."""
        own, theirs = ((*one.parameters(), *one.buffers()) for one in (self.network, student))
        for mine, other in zip(own, theirs, strict=True):
            mine.copy_(other)


def _average(own: list[Tensor], theirs: list[list[Tensor]], source: tuple[float, ...], alpha: float) -> None:
    """In place: own <- alpha own + (1 - alpha) sum_m source_m theirs_m, for whole lists of tensors at once."""
    if not own:
        return
    torch._foreach_mul_(own, alpha)
    for weight, tensors in zip(source, theirs, strict=True):
        torch._foreach_add_(own, tensors, alpha=(1 - alpha) * weight)

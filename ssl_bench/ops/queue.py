"""A queue of feature vectors per class, for contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """The latest `size` vectors of each class, first in, first out. Its buffers are part of a checkpoint.

    Attributes:
        features: (classes, size, width); places that nothing was pushed into hold zeros.
        count: (classes,) int64, how many places of each class are filled.

    """

    features: Tensor
    count: Tensor
    head: Tensor

    def __init__(self, classes: int, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(classes, size, width))
        self.register_buffer("count", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("head", torch.zeros(classes, dtype=torch.long))  # where the next vector goes

    @property
    def filled(self) -> Tensor:
        """(classes, size) bool, the places that hold a vector."""
        return torch.arange(self.features.shape[1], device=self.count.device) < self.count.unsqueeze(1)

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor) -> None:
        """Add vectors in their order; of more than `size` of one class, the last `size` stay.

        Args:
            features: (N, width), any floating type.
            labels: (N,) int64, the class of each; a vector of any other value than [0, classes) is left out.

        """
        classes, size, width = self.features.shape
        member = labels.unsqueeze(1) == torch.arange(classes, device=labels.device)  # (N, classes)
        counts = member.sum(0)
        rank = (member.cumsum(0) * member).sum(1) - 1  # among those of its class; -1 of none
        own = (member * torch.arange(classes, device=labels.device)).sum(1)
        stays = member.any(1) & (rank >= counts[own] - size)
        place = own * size + (self.head[own] + rank) % size
        place = place.where(stays, classes * size)  # one row more, for vectors that are left out
        table = torch.cat([self.features.view(-1, width), self.features.new_zeros(1, width)])
        table = table.index_copy(0, place, features.detach().to(table.dtype))
        self.features.copy_(table[:-1].view_as(self.features))
        self.head.copy_((self.head + counts) % size)
        self.count.copy_((self.count + counts).clamp(max=size))

"""The largest connected component of each class, without asking the device for a value."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_component(labels: Tensor, classes: int, *, rounds: int = 10) -> Tensor:
    """Set pixels outside of each foreground class's largest component to 0 (BCP's filter of pseudo labels).

    Pixels are connected through faces, edges and corners, as scikit-image's `label` does by default. In each round a
    component's pixels take the largest index among their neighbours, and follow it. Random masks of 256 x 256 and
    112 x 112 x 80 need up to 6 rounds, a spiral of 12 turns 10, one of 64 turns 40: it is taken for several components.

    Args:
        labels: (B, *spatial) int64 in [0, K).
        classes: K, background included.
        rounds: how often neighbours are joined.

    Returns:
        (B, *spatial) int64. Of two components of equal size, one is kept.

    """
    batch, sides = labels.shape[0], labels.shape[1:]
    kept = torch.zeros_like(labels)
    for c in range(1, classes):
        inside = labels == c
        roots = _roots(inside, rounds).flatten(1)
        size = roots.shape[1]
        # one long row: torch's scatter_add is deterministic on a GPU for one dimension alone
        flat = (roots.clamp(min=0) + size * torch.arange(batch, device=labels.device).unsqueeze(1)).flatten()
        counts = torch.zeros(batch * size, dtype=torch.long, device=labels.device)
        counts.scatter_add_(0, flat, inside.flatten().long())
        largest = counts.view(batch, size).max(1).indices.unsqueeze(1)
        kept = kept.where(~((roots == largest) & inside.flatten(1)).view(batch, *sides), c)
    return kept


def _roots(inside: Tensor, rounds: int) -> Tensor:
    """For each pixel inside, the index of one pixel of its component, the same for all of them; -1 outside."""
    batch, sides = inside.shape[0], inside.shape[1:]
    size = sides.numel()
    places = torch.arange(size, device=inside.device).view(1, *sides)
    roots = places.expand(batch, *sides).where(inside, -1)
    for _ in range(rounds):
        nearby = roots
        for axis in range(1, inside.dim()):
            nearby = _largest_along(nearby, axis)
        nearby = nearby.where(inside, -1).flatten(1)
        parents = places.flatten(1).repeat(batch, 1)
        own = roots.flatten(1)
        # every pixel tells its root of the largest index it has seen; pixels outside tell pixel 0 nothing
        parents.scatter_reduce_(1, own.clamp(min=0), nearby, "amax")
        for _ in range(4):
            parents = parents.gather(1, parents)
        roots = parents.gather(1, own.clamp(min=0)).view(batch, *sides).where(inside, -1)
    return roots


def _largest_along(values: Tensor, axis: int) -> Tensor:
    """The largest of a pixel and its two neighbours along an axis."""
    side = values.shape[axis]
    largest = values.clone()
    before, after = values.narrow(axis, 0, side - 1), values.narrow(axis, 1, side - 1)
    inner = largest.narrow(axis, 1, side - 1)
    inner.copy_(torch.maximum(inner, before))
    inner = largest.narrow(axis, 0, side - 1)
    inner.copy_(torch.maximum(inner, after))
    return largest

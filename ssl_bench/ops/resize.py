"""Labels at the pixels of a smaller map."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


def nearest_labels(labels: Tensor, maps: Tensor) -> Tensor:
    """Labels (B, *spatial) int64 at the pixels of maps (B, C, *sides), by nearest neighbour: (B, *sides)."""
    if labels.shape[1:] == maps.shape[2:]:
        return labels
    return interpolate(labels.unsqueeze(1).float(), maps.shape[2:], mode="nearest").squeeze(1).long()

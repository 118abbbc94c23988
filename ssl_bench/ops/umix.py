"""UMIX: replace an image's most uncertain regions by its most certain ones (UCMT paper, section 3.4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


class RegionMix:
    """A rearrangement of an image's regions: region j of the result is region `source[b, j]` of sample b's input.

    Args:
        source: (B, R^d) int64, R regions along each of the d spatial sides, in row-major order.
        r: R.
        dimensions: d.

    """

    def __init__(self, source: Tensor, r: int, dimensions: int) -> None:
        self.source, self.r, self.dimensions = source, r, dimensions

    def __call__(self, tensor: Tensor) -> Tensor:
        """Rearrange (B, *spatial) or (B, C, *spatial)."""
        without_channels = tensor.dim() == self.dimensions + 1
        images = tensor.unsqueeze(1) if without_channels else tensor
        batch, channels, *sides = images.shape
        patch = [side // self.r for side in sides]
        # (B, C, r, p, r, p, ...) -> (B, r, r, ..., C, p, p, ...): one row per region
        split = images.reshape(batch, channels, *(n for p in patch for n in (self.r, p)))
        region_axes = [2 + 2 * i for i in range(self.dimensions)]
        pixel_axes = [3 + 2 * i for i in range(self.dimensions)]
        order = [0, *region_axes, 1, *pixel_axes]
        regions = self.source.shape[1]
        rows = split.permute(order).reshape(batch * regions, -1)
        first = torch.arange(0, batch * regions, regions, device=self.source.device)
        mixed = rows.index_select(0, (self.source + first.unsqueeze(1)).flatten())
        inverse = [order.index(axis) for axis in range(len(order))]
        mixed = mixed.reshape([split.shape[axis] for axis in order]).permute(inverse).reshape(images.shape)
        return mixed.squeeze(1) if without_channels else mixed


def umix(
    uncertainty1: Tensor, uncertainty2: Tensor, *, k: int, r: int, order: Literal["simultaneous", "in-place"]
) -> RegionMix:
    """Plan UMIX: the i-th most uncertain region of V1 takes the i-th most certain of V2, and V2's that of V1.

    A region's uncertainty is its mean entropy; sorting is stable, so of equal regions the first in row-major order
    comes first. `simultaneous` (the paper) reads every source from the original image, and V1's choice wins where both
    maps name the same target. `in-place` (the released code) writes V1's regions first and V2's after, which may
    overwrite or read the first.

    Args:
        uncertainty1: (B, *spatial), map of student 1 and the teacher; every side divisible by r.
        uncertainty2: (B, *spatial), map of student 2 and the teacher.
        k: regions replaced per map; 2k regions must exist.
        r: regions along each side.
        order: see above.

    Returns:
        The rearrangement, to be applied to images and labels alike.

    """
    regions1, regions2 = _region_means(uncertainty1, r), _region_means(uncertainty2, r)
    if 2 * k > regions1.shape[1]:
        raise ValueError(f"UMIX needs 2k regions: k = {k} and r = {r} give {regions1.shape[1]}")
    uncertain1, uncertain2 = (m.sort(dim=1, descending=True, stable=True).indices[:, :k] for m in (regions1, regions2))
    certain1, certain2 = (m.sort(dim=1, stable=True).indices[:, :k] for m in (regions1, regions2))
    source = torch.arange(regions1.shape[1], device=regions1.device).repeat(len(regions1), 1)
    if order == "simultaneous":
        source.scatter_(1, uncertain2, certain1)
        source.scatter_(1, uncertain1, certain2)
    else:
        source.scatter_(1, uncertain1, certain2)
        source.scatter_(1, uncertain2, source.gather(1, certain1))
    return RegionMix(source, r, uncertainty1.dim() - 1)


def _region_means(uncertainty: Tensor, r: int) -> Tensor:
    """Mean over each region: (B, *spatial) -> (B, r^d)."""
    batch, *sides = uncertainty.shape
    if any(side % r for side in sides):
        raise ValueError(f"UMIX: sides {sides} must be divisible by r = {r}")
    split = uncertainty.reshape(batch, *(n for side in sides for n in (r, side // r)))
    return split.mean(dim=[2 + 2 * i for i in range(len(sides))]).flatten(1)

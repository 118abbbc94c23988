"""UMIX: replace an image's most uncertain regions by its most certain ones (UCMT paper, section 3.4)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


class RegionMix:
    """A mix of regions: each image's `target[b, i]` is replaced by `source[b, i]` of the same or another image.

    Args:
        target: (B, N) int64, numbers in row-major order among R^d regions, R along each of the d spatial sides; one
            that is named twice has the same source both times.
        source: (B, N) int64, as `target`.
        r: R.
        dimensions: d.

    """

    def __init__(self, target: Tensor, source: Tensor, r: int, dimensions: int) -> None:
        self.target, self.source, self.r, self.dimensions = target, source, r, dimensions

    def __call__(self, tensor: Tensor, other: Tensor | None = None) -> Tensor:
        """Mix (B, *spatial) or (B, C, *spatial); sources are regions of `other`, of the same shape, if it is there."""
        mixed = tensor.clone()
        source = tensor if other is None else other
        self._regions(mixed)[self._index(self.target)] = self._regions(source)[self._index(self.source)]
        return mixed

    def _regions(self, tensor: Tensor) -> Tensor:
        """View (B, C, R p, R p, ...) as (B, R, R, ..., C, p, p, ...); without channels, C is missing."""
        first = tensor.dim() - self.dimensions
        region_axes = [first + 2 * axis for axis in range(self.dimensions)]
        for axis in region_axes:
            tensor = torch.unflatten(tensor, axis, (self.r, tensor.shape[axis] // self.r))
        return tensor.movedim(region_axes, list(range(1, self.dimensions + 1)))

    def _index(self, regions: Tensor) -> tuple[Tensor, ...]:
        """Numbers (B, N) as indices of what `_regions` gives: sample, then place along each side."""
        samples = torch.arange(len(regions), device=regions.device).unsqueeze(1)
        # torch.unravel_index would build a tensor on the device, and wait for it
        return samples, *(regions // self.r**axis % self.r for axis in reversed(range(self.dimensions)))


def umix(
    uncertainty1: Tensor,
    uncertainty2: Tensor,
    *,
    k: int,
    r: int,
    order: Literal["simultaneous", "in-place"],
    known: Tensor | None = None,
) -> RegionMix:
    """Plan UMIX: the i-th most uncertain region of V1 takes the i-th most certain of V2, and V2's that of V1.

    A region's uncertainty is its mean entropy; sorting is stable, so of equal regions the first in row-major order
    comes first. `simultaneous` (the paper) reads every source from the original image, and V1's choice wins where both
    maps name the same target. `in-place` (the released code) writes V1's regions first and V2's after, which may
    overwrite or read the first.

    With `known`, a region's uncertainty is the mean over its known pixels. A region without known pixels is neither
    replaced nor copied, since the loss does not see it: it comes last in both orders. Of an image with m < k other
    regions, m are replaced per map.

    Args:
        uncertainty1: (B, *spatial), map of student 1 and the teacher; every side divisible by r.
        uncertainty2: (B, *spatial), map of student 2 and the teacher.
        k: regions replaced per map; 2k regions must exist.
        r: regions along each side.
        order: see above.
        known: (B, *spatial) bool, the pixels that count; all of them if absent.

    Returns:
        The rearrangement, to be applied to both images and labels.

    """
    if known is None:
        regions1, regions2 = region_means(uncertainty1, r), region_means(uncertainty2, r)
        lowest1, lowest2 = regions1, regions2
    else:
        count = region_means(known.float(), r)
        regions1, regions2 = (
            (region_means(u.where(known, 0), r) / count).masked_fill(count == 0, -math.inf)
            for u in (uncertainty1, uncertainty2)
        )
        lowest1, lowest2 = (m.masked_fill(count == 0, math.inf) for m in (regions1, regions2))
    if 2 * k > regions1.shape[1]:
        raise ValueError(f"UMIX needs 2k regions: k = {k} and r = {r} give {regions1.shape[1]}")
    uncertain1, uncertain2 = (m.sort(dim=1, descending=True, stable=True).indices[:, :k] for m in (regions1, regions2))
    certain1, certain2 = (m.sort(dim=1, stable=True).indices[:, :k] for m in (lowest1, lowest2))
    source = torch.arange(regions1.shape[1], device=regions1.device).repeat(len(regions1), 1)
    if order == "simultaneous":
        source.scatter_(1, uncertain2, certain1)
        source.scatter_(1, uncertain1, certain2)
    else:
        source.scatter_(1, uncertain1, certain2)
        source.scatter_(1, uncertain2, source.gather(1, certain1))
    target = torch.cat((uncertain1, uncertain2), dim=1)
    return RegionMix(target, source.gather(1, target), r, uncertainty1.dim() - 1)


def random_maps(like: Tensor, r: int) -> Tensor:
    """Maps in uncertainty's place: in each, one number of U(0, 1) for each of r regions along each side.

    Every choice of regions is as likely. All is drawn on the CPU from torch's global generator.

    Args:
        like: (N, B, *spatial); its shape and device count, and every side is divisible by r.
        r: regions along each side.

    """
    sides = like.shape[2:]
    drawn = torch.rand(*like.shape[:2], *(r for _ in sides))
    for axis, side in enumerate(sides, start=2):
        drawn = drawn.repeat_interleave(side // r, axis)
    return drawn.to(like.device, non_blocking=True)


def region_means(values: Tensor, r: int) -> Tensor:
    """Mean of values (B, *spatial) over each of r regions along each of d sides, in row-major order: (B, r^d)."""
    batch, *sides = values.shape
    if any(side % r for side in sides):
        raise ValueError(f"sides {sides} must be divisible by r = {r}")
    split = values.reshape(batch, *(n for side in sides for n in (r, side // r)))
    return split.mean(dim=[2 + 2 * i for i in range(len(sides))]).flatten(1)

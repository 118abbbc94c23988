"""Structure of a prediction: how similar its pixels are to each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ssl_bench.ops.precision import at_least_float32


def region_similarity_distance(first: Tensor, second: Tensor, region: int) -> Tensor:
    """Mean squared difference between two predictions' similarities of pixels within the same region.

    Regions are cubes (in 2D squares) of `region` pixels a side, in a grid that begins at the first pixel; those at the
    far borders may be smaller. A similarity is the cosine between the vectors of two pixels. The mean is over all
    ordered pairs of pixels that share a region, of all samples.

    The similarities themselves are not formed. With the unit vectors of a region's pixels as the rows of Q and R, and
    D = Q - R, the sum of the squared differences is |Q Q^T - R R^T|^2 = |D Q^T + R D^T|^2, which needs products of the
    size K x K alone. Each of its terms is small where the predictions are close, so that nothing cancels.

    Args:
        first: (B, K, *sides), floating; the gradient flows through it, and through `second`.
        second: the same shape.
        region: side of a region in pixels, at least 1.

    Returns:
        A scalar, float32 at least, computed without autocast: 0 where all similarities are equal.

    """
    with torch.autocast(first.device.type, enabled=False):
        q, r = (_rows(at_least_float32(one), region) for one in (first, second))
        d = q - r
        dq, dr = d.mT @ q, d.mT @ r
        total = ((d.mT @ d) * (q.mT @ q + r.mT @ r)).sum() + 2 * (dr * dq.mT).sum()
    return total / _pairs(first.shape, region)


def _rows(maps: Tensor, region: int) -> Tensor:
    """Unit vectors of each region's pixels: (B, K, *sides) -> (B, regions, pixels, K); zeros beyond the borders."""
    maps = normalize(maps, dim=1)
    missing = [-side % region for side in maps.shape[2:]]
    maps = pad(maps, [margin for side in reversed(missing) for margin in (0, side)])
    dimensions = maps.dim() - 2
    for axis in range(dimensions):
        maps = torch.unflatten(maps, 2 + 2 * axis, (-1, region))
    places = [2 + 2 * axis for axis in range(dimensions)]
    rows = maps.permute(0, *places, *(place + 1 for place in places), 1)
    return rows.flatten(1, dimensions).flatten(2, 1 + dimensions)


def _pairs(shape: torch.Size, region: int) -> int:
    """Ordered pairs of pixels that share a region, in all samples of (B, K, *sides)."""
    count = shape[0]
    for side in shape[2:]:
        whole, rest = divmod(side, region)
        count *= whole * region**2 + rest**2
    return count

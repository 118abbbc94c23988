"""Signed distance maps of label maps, exact and on the labels' device."""

from __future__ import annotations

import torch
from torch import Tensor


def signed_distance(labels: Tensor, classes: int) -> Tensor:
    """Distance to each foreground class's boundary, negative inside: SASSNet's and DTC's target (Li et al. 2020).

    d_out / max(d_out) - d_in / max(d_in), where d_out is the Euclidean distance of a pixel outside the object to its
    nearest pixel inside, d_in that of a pixel inside to its nearest pixel outside. Pixels of the object with a face
    neighbour outside are 0. Distances are in pixels of the patch; what lies beyond its border counts as neither.

    A class that is absent has the value 0 everywhere, as in the authors' code. One that fills the patch has -1
    everywhere: the authors' code divides 0 by 0 there.

    Args:
        labels: (B, *spatial) int64. Pixels labelled IGNORED are outside of every class.
        classes: K, background included.

    Returns:
        (B, K - 1, *spatial) float32 in [-1, 1], without gradient.

    """
    inside = torch.stack([labels == c for c in range(1, classes)], dim=1)
    axes = tuple(range(2, inside.dim()))
    to_object, to_background = (_distance(targets, axes) for targets in (inside, ~inside))
    outer, inner = (_scaled(distance, axes) for distance in (to_object, to_background))
    fills = inside.flatten(2).all(2).view(*inside.shape[:2], *(1 for _ in axes))
    return (outer - inner).masked_fill(_inner_boundary(inside, axes), 0.0).masked_fill(fills, -1.0)


def _distance(targets: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Euclidean distance to the nearest target, infinite where there is none: bool to float32 of the same shape.

    Squared distances are separable: min over j of f(j) + (k - j)^2 along one axis after the other (Felzenszwalb and
    Huttenlocher 2012). They are whole numbers below 2^24, so float32 holds them exactly.
    """
    squares = torch.zeros(targets.shape, device=targets.device).masked_fill(~targets, torch.inf)
    for axis in axes:
        side = squares.shape[axis]
        places = torch.arange(side, device=squares.device, dtype=squares.dtype)
        nearest = torch.full_like(squares, torch.inf)
        shape = [side if other == axis else 1 for other in range(squares.dim())]
        for j in range(side):
            nearest = torch.minimum(nearest, squares.narrow(axis, j, 1) + (places - j).square().view(shape))
        squares = nearest
    return squares.sqrt()


def _scaled(distance: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Divide by the largest distance; 0 where distances are infinite or all 0."""
    largest = distance.amax(axes, keepdim=True)
    return torch.where((largest > 0) & (largest < torch.inf), distance / largest, 0.0)


def _inner_boundary(inside: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Pixels inside with a face neighbour outside."""
    touches = torch.zeros_like(inside)
    for axis in axes:
        side = inside.shape[axis]
        differs = inside.narrow(axis, 1, side - 1) ^ inside.narrow(axis, 0, side - 1)
        touches.narrow(axis, 1, side - 1).logical_or_(differs)
        touches.narrow(axis, 0, side - 1).logical_or_(differs)
    return inside & touches

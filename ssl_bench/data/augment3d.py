"""Weak (turned, flipped, cropped) and strong (blurred) random views of 3D patches, on the volumes' device.

Every random number is drawn from a CPU generator, the same count whatever the values, so the draws are the same on any
device and need no synchronisation with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ssl_bench.cards import VolumeAugmentation

Sides = tuple[int, int, int]
SPATIAL = (-3, -2, -1)  # axes x, y, z


def random_patches(
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    patch: Sides,
    settings: VolumeAugmentation,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Turn each volume in its x-y plane, flip it along x or y, and crop it at random. Image and mask get the same crop.

    A side that is shorter than the patch is padded with zeros, half of them (rounded down) before it. Only the crop is
    turned, which comes to the same as cropping the turned volume.

    Args:
        images: B volumes (C, X, Y, Z) float32, of any sizes.
        masks: B masks (X, Y, Z) uint8.
        patch: sides of the crops.
        settings: probability that a volume is turned (by 0 to 3 right angles) and flipped.
        generator: on the CPU; 6 B numbers are drawn.

    Returns:
        Images (B, C, *patch) and masks (B, *patch).

    """
    draws = torch.rand((len(images), 6), generator=generator, dtype=torch.float64).tolist()
    crops = [
        (_view(image, patch, settings, draw), _view(mask, patch, settings, draw))
        for image, mask, draw in zip(images, masks, draws, strict=True)
    ]
    return torch.stack([image for image, _ in crops]), torch.stack([mask for _, mask in crops])


def blur_view(images: Tensor, settings: VolumeAugmentation, generator: torch.Generator) -> Tensor:
    """Blur patches at random, each with a Gaussian of its own standard deviation, edges repeated.

    Args:
        images: (B, C, X, Y, Z) float32.
        settings: the blur's probability and range of standard deviations, in voxels.
        generator: on the CPU; 2 B numbers are drawn.

    Returns:
        The view, of the same shape.

    """
    chosen, strength = torch.rand((len(images), 2), generator=generator, dtype=torch.float64).unbind(1)
    low, high = settings.blur_sigma
    sigmas = low + (high - low) * strength
    numbers = (chosen < settings.blur).nonzero().flatten()
    if len(numbers) == 0:
        return images.clone()
    blurred = gaussian_blur(images[numbers.to(images.device, non_blocking=True)], sigmas[numbers])
    view = images.clone()
    view[numbers.to(images.device, non_blocking=True)] = blurred
    return view


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur (B, C, X, Y, Z) by Gaussians of standard deviations (B,), on the CPU, up to int(4 sigma + 0.5) voxels."""
    radii = (4 * sigmas + 0.5).long()
    radius = int(radii.max())
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2) * (offsets.abs() <= radii[:, None])
    weights = (weights / weights.sum(1, keepdim=True)).to(images.device, images.dtype, non_blocking=True)
    first, *others = weights.view(*weights.shape, 1, 1, 1, 1).unbind(1)
    for axis in (2, 3, 4):
        side = images.shape[axis]
        margins = [0] * 6
        margins[2 * (4 - axis)] = margins[2 * (4 - axis) + 1] = radius
        padded = pad(images, margins, mode="replicate")
        images = padded.narrow(axis, 0, side) * first
        for shift, weight in enumerate(others, start=1):  # shifted sums: a cuDNN convolution could round to TF32
            images.addcmul_(padded.narrow(axis, shift, side), weight)
    return images


def _view(volume: Tensor, patch: Sides, settings: VolumeAugmentation, draw: list[float]) -> Tensor:
    """Apply the view to an image or mask (..., X, Y, Z)."""
    chosen, quarter, axis, *places = draw
    moved = chosen < settings.rotate_flip
    turns = int(4 * quarter) if moved else 0
    wanted = (patch[1], patch[0], patch[2]) if turns % 2 else patch
    crop = volume
    for dim, side, full, place in zip(SPATIAL, wanted, volume.shape[-3:], places, strict=True):
        start = int(place * (max(full - side, 0) + 1))
        crop = crop.narrow(dim, start, min(side, full))
    crop = torch.rot90(crop, turns, SPATIAL[:2])
    crop = crop.flip(SPATIAL[int(2 * axis)]) if moved else crop
    margins: list[int] = []
    for side, full in zip(patch, crop.shape[-3:], strict=True):
        margins = [(side - full) // 2, side - full - (side - full) // 2, *margins]  # pad wants the last axis first
    return pad(crop, margins)

"""Weak (turned, flipped, cropped) and strong (blurred, changed intensities) views of 3D patches, on their device.

Every random number is drawn from a CPU generator, the same count whatever the values, so the draws are the same on any
device and need no synchronisation with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def strong_patches(images: Tensor, settings: VolumeAugmentation, generator: torch.Generator) -> Tensor:
    """Change each patch's sharpness and intensities at random: Gaussian blur, jitter, Gaussian noise.

    Args:
        images: (B, C, X, Y, Z) float32.
        settings: probabilities and strengths.
        generator: on the CPU; 8 B numbers are drawn.

    Returns:
        The view, of the same shape.

    """
    blurred, blur_strength = _draws(images, 2, generator)  # apart, so that the blur is that of runs without the others
    jittered, noisy, shift, scale, strength, seeds = _draws(images, 6, generator)
    view = images.clone()
    _change(view, blurred < settings.blur, gaussian_blur, _between(blur_strength, *settings.blur_sigma))
    shifts, scales = _symmetric(shift, settings.brightness), 1 + _symmetric(scale, settings.contrast)
    _change(view, jittered < settings.jitter, change_intensities, shifts, scales)
    _change(view, noisy < settings.noise, add_noise, _between(strength, *settings.noise_sigma), seeds)
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


def change_intensities(images: Tensor, shifts: Tensor, scales: Tensor) -> Tensor:
    """Scale each channel's distances from its mean, shift it, and clip it to the range that it had.

    Args:
        images: (B, C, X, Y, Z).
        shifts: (B,), on the CPU, as shares of the channel's mean above its lowest intensity.
        scales: (B,), on the CPU.

    Returns:
        Images of the same shape.

    """
    lowest, highest = images.amin(SPATIAL, keepdim=True), images.amax(SPATIAL, keepdim=True)
    mean = images.mean(SPATIAL, keepdim=True)
    shift, scale = _per_sample(shifts, images), _per_sample(scales, images)
    return ((images - mean) * scale + mean + shift * (mean - lowest)).clamp(lowest, highest)


def add_noise(images: Tensor, sigmas: Tensor, seeds: Tensor) -> Tensor:
    """Add Gaussian noise that is clipped to two of its standard deviations.

    Args:
        images: (B, C, X, Y, Z).
        sigmas: (B,), on the CPU, standard deviations as shares of the channel's own.
        seeds: (B,) in [0, 1), float64 on the CPU; each sample's noise is drawn from a generator of its own.

    Returns:
        Images of the same shape.

    """
    noise = torch.empty(images.shape, dtype=images.dtype)
    for one, seed in zip(noise, (seeds * 2**53).long().tolist(), strict=True):
        one.normal_(generator=torch.Generator().manual_seed(seed))
    spread = images.std(SPATIAL, correction=0, keepdim=True)
    return images + noise.clamp_(-2, 2).to(images.device, non_blocking=True) * (_per_sample(sigmas, images) * spread)


def _change(view: Tensor, chosen: Tensor, change: Callable[..., Tensor], *draws: Tensor) -> None:
    """Change the chosen samples of a view in place; `chosen` and `draws` are (B,) on the CPU."""
    numbers = chosen.nonzero().flatten()
    if len(numbers) > 0:
        places = numbers.to(view.device, non_blocking=True)
        view[places] = change(view[places], *(one[numbers] for one in draws))


def _draws(images: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """`count` tensors of one number in [0, 1) for each sample, on the CPU."""
    return torch.rand((len(images), count), generator=generator, dtype=torch.float64).unbind(1)


def _between(draws: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * draws


def _symmetric(draws: Tensor, limit: float) -> Tensor:
    return _between(draws, -limit, limit)


def _per_sample(numbers: Tensor, images: Tensor) -> Tensor:
    """(B,) on the CPU to (B, 1, 1, 1, 1) on the images' device."""
    return numbers.view(-1, 1, 1, 1, 1).to(images.device, images.dtype, non_blocking=True)


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

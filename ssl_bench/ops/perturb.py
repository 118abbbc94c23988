"""Perturbations of feature maps and images, and switches of a network's modes.

A feature map is (B, C, *sides) in 2D or 3D, and every sample has its own random draws. The few numbers that
place a box or a threshold come from torch's generator on the CPU; noise as large as a feature map is drawn on
the map's device, as dropout is, since drawing it on the CPU and copying it would take longer than the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, kl_div
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def feature_noise(features: Tensor, limit: float) -> Tensor:
    """z + z n with n ~ U(-limit, limit), drawn for every element (CCT's F-Noise)."""
    return features * torch.empty_like(features).uniform_(-limit, limit).add_(1)


def feature_dropout(features: Tensor, low: float, high: float) -> Tensor:
    """Zero all channels where a sample's activation is at least gamma ~ U(low, high) of its largest (CCT's F-Drop).

    The activation is the mean over the channels; a sample whose largest is not positive stays as it is.
    """
    activation = features.mean(1, keepdim=True)
    sides = tuple(range(2, features.dim()))
    gamma = low + (high - low) * _draws((len(features), *(1 for _ in features.shape[1:])), features.device)
    return features * (activation < gamma * activation.amax(sides, keepdim=True))


def complementary_dropout(features: list[Tensor]) -> list[Tensor]:
    """Drop channels of two views of the same images, each channel in one of them and doubled in the other.

    UniMatch V2's complementary dropout. For each image, map and channel a fair coin says which view loses the channel.
    Half of the images (rounded down), drawn at random, keep all channels as they are.

    Args:
        features: maps of both views, each (2B, C, *sides); view 2 of image i is B places after its view 1.

    Returns:
        One map for each, of the same shape.

    """
    batch, device = len(features[0]) // 2, features[0].device
    whole = (torch.randperm(batch) < batch // 2).to(device, non_blocking=True).unsqueeze(1)
    changed = []
    for z in features:
        first = (
            torch.empty(batch, z.shape[1], device=device, dtype=z.dtype).bernoulli_(0.5).mul_(2).masked_fill_(whole, 1)
        )
        factors = torch.cat([first, 2 - first])
        changed.append(z * factors.view(*factors.shape, *(1 for _ in z.shape[2:])))
    return changed


def keep_only(features: Tensor, kept: Tensor) -> Tensor:
    """Zero all channels outside of `kept`, (B, *spatial) bool, brought to the map's size by nearest neighbour."""
    return features * interpolate(kept.unsqueeze(1).to(features.dtype), size=features.shape[2:], mode="nearest")


def cutout_box(foreground: Tensor, share: float) -> Tensor:
    """Place a box at random inside the bounding box of each sample's foreground (CCT's guided cutout).

    Args:
        foreground: (B, *spatial) bool.
        share: the box's length along each axis, as a share of the bounding box's; rounded down to whole pixels.

    Returns:
        (B, *spatial) bool, true inside the box; nowhere true for a sample without foreground.

    """
    axes = range(1, foreground.dim())
    draws = _draws((len(foreground), len(axes)), foreground.device)
    box = torch.ones_like(foreground)
    for axis, draw in zip(axes, draws.unbind(1), strict=True):
        side = foreground.shape[axis]
        places = torch.arange(side, device=foreground.device)
        seen = foreground.amax([other for other in axes if other != axis])
        first, last = places.where(seen, side).amin(1), places.where(seen, -1).amax(1)
        extent = last - first + 1  # negative without foreground, and so is the length
        length = (extent * share).floor()
        start = first + (draw * (extent - length + 1)).floor()
        inside = (places >= start[:, None]) & (places < (start + length)[:, None])
        box &= inside.view(-1, *(side if other == axis else 1 for other in axes))
    return box


def _divergence(logits: Tensor, prediction: Tensor) -> Tensor:
    return kl_div(logits.log_softmax(1), prediction, reduction="sum")


def adversarial_noise(
    decode: Callable[[list[Tensor]], Tensor],
    features: list[Tensor],
    *,
    xi: float,
    eps: float,
    distance: Callable[[Tensor, Tensor], Tensor] = _divergence,
    prediction: Tensor | None = None,
) -> list[Tensor]:
    """Find the noise that changes a decoder's prediction most (virtual adversarial training, CCT's I-VAT).

    One power iteration: the gradient of KL(p(z) || p(z + xi d)) with respect to d, a random direction. A sample's maps
    count as one vector. Computed in float32 at least, without autocast, and no parameter's `.grad` is touched.
    An xi below the resolution of float32 serves too: rounding then takes the place of the random direction.

    Args:
        decode: feature maps to logits (B, K, *spatial); deterministic, so dropout must be off.
        features: the maps z, each (B, C, *sides); a map that the decoder does not read gets no noise.
        xi: norm of the random direction's step.
        eps: norm of each sample's noise over all its maps.
        distance: in KL's place, a scalar of the moved logits and of the prediction p(z), both (B, K, *spatial).
        prediction: p(z), where it is known; otherwise a pass finds it.

    Returns:
        One tensor per map, of its shape, without gradient; zeros where the prediction does not change at all.

    """
    features = [z.detach() if z.dtype == torch.float64 else z.detach().float() for z in features]
    with torch.autocast(features[0].device.type, enabled=False):
        if prediction is None:
            with torch.no_grad():
                prediction = decode(features).softmax(1)
        directions = [d.requires_grad_() for d in _unit([torch.rand_like(z).sub_(0.5) for z in features])]
        moved = decode([z + xi * d for z, d in zip(features, directions, strict=True)])
        gradients = torch.autograd.grad(
            distance(moved, prediction), directions, allow_unused=True, materialize_grads=True
        )
    return [eps * d for d in _unit(list(gradients))]


def image_noise(images: Tensor, deviation: float, limit: float) -> Tensor:
    """Add Gaussian noise of a standard deviation, clipped to +-limit, to images (B, C, *sides).

    The same for every memory layout; on a CPU 8 times faster if contiguous.
    """
    noise = torch.randn_like(images, memory_format=torch.contiguous_format)
    return images + noise.mul_(deviation).clamp_(-limit, limit)


def fast_gradient_sign(images: Tensor, loss: Callable[[Tensor], Tensor], epsilon: float) -> Tensor:
    """Adversarial examples by one step of a gradient's sign (Goodfellow et al., ICLR 2015).

    Args:
        images: (B, C, *sides).
        loss: of images; the step raises it. No parameter's `.grad` is touched.
        epsilon: the step in every pixel and channel. A pixel without a gradient stays as it is.

    Returns:
        images + epsilon sign(gradient), without gradient.

    """
    attacked = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(attacked), [attacked])
    return images.detach() + epsilon * gradient.sign()


@contextmanager
def dropout_switched(network: nn.Module, *, on: bool) -> Iterator[None]:
    """Switch a network's dropout modules on or off in any mode of the network; restore them afterwards."""
    before = [(module, module.training) for module in network.modules() if isinstance(module, _DropoutNd)]
    try:
        for module, _ in before:
            module.train(on)
        yield
    finally:
        for module, mode in before:
            module.train(mode)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode; restore the mode of each of its modules afterwards."""
    before = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def batch_norm_paused(network: nn.Module) -> Iterator[None]:
    """Keep batch norm's running statistics as they are; in training mode, batches are still normalised by their own."""
    before = [(module, module.track_running_stats) for module in network.modules() if isinstance(module, _BatchNorm)]
    try:
        for module, _ in before:
            module.track_running_stats = False
        yield
    finally:
        for module, tracks in before:
            module.track_running_stats = tracks


def _draws(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.rand(shape).to(device, non_blocking=True)


def _unit(tensors: list[Tensor]) -> list[Tensor]:
    """Divide each sample by its norm over all tensors."""
    squares = torch.stack([t.flatten(1).square().sum(1) for t in tensors]).sum(0)
    norms = squares.sqrt().clamp(min=torch.finfo(squares.dtype).tiny)
    return [t / norms.view(-1, *(1 for _ in t.shape[1:])) for t in tensors]

"""Weak (geometric) and strong (photometric) random views of a whole batch of uint8 images, on the batch's device.

Images have C channels, usually 3 (RGB). With another number, saturation and hue, which need RGB, are left out; their
random numbers are drawn all the same. Every other operation treats each channel by itself.

Every random number is drawn from a CPU generator, all of a view's at once and the same count whatever their values, so
the draws are the same on every device and which samples an operation takes is known without asking the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ssl_bench.cards import ImageAugmentation
from ssl_bench.data.photometry import (
    RGB,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    autocontrast,
    equalize,
    gaussian_blur,
    posterize,
)
from ssl_bench.data.portions import portions


def weak_view(
    images: Tensor, masks: Tensor, settings: ImageAugmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flip and rotate each sample at random, image and mask together: nearest neighbour, filled with zeros.

    Args:
        images: (B, C, H, W) uint8, H = W.
        masks: (B, H, W) uint8.
        settings: probabilities, and the largest angle in degrees.
        generator: on the CPU; 4 B numbers are drawn.

    Returns:
        Images and masks, of the same shapes, as uint8.
    """
    horizontal, vertical, rotated, turn = _draws(images, 4, generator)
    flip_x, flip_y = horizontal < settings.horizontal_flip, vertical < settings.vertical_flip
    turned = rotated < settings.rotation
    samples = list(torch.cat((images, masks.unsqueeze(1)), dim=1).unbind())
    _apply(samples, _places(flip_x & ~turned), partial(torch.flip, dims=(-1,)))
    _apply(samples, _places(flip_y & ~turned), partial(torch.flip, dims=(-2,)))
    radians = _between(turn, -settings.rotation_degrees, settings.rotation_degrees).deg2rad()
    mirror_x, mirror_y = 1 - 2 * flip_x.double(), 1 - 2 * flip_y.double()
    cos, sin = radians.cos(), radians.sin()
    matrix = torch.stack((mirror_x * cos, -mirror_x * sin, mirror_y * sin, mirror_y * cos), dim=1).view(-1, 2, 2)
    _apply(samples, _places(turned), _rotate, matrix)
    return torch.stack([sample[:-1] for sample in samples]), torch.stack([sample[-1] for sample in samples])


def strong_view(images: Tensor, settings: ImageAugmentation, generator: torch.Generator) -> Tensor:
    """Change each image's colours and sharpness at random: jitter, posterize, autocontrast, equalize, Gaussian blur.

    Args:
        images: (B, C, H, W) uint8; for another C than 3 without changes of saturation and hue.
        settings: probabilities and strengths; the four changes of jitter come in a random order for each sample.
        generator: on the CPU; 14 B numbers are drawn.

    Returns:
        The view, of the same shape, as uint8.
    """
    jittered, posterized, contrasted, equalized, blurred, *strengths = _draws(images, 14, generator)
    brightness, contrast, saturation, hue, sigma, *order_keys = strengths
    jitters: tuple[tuple[Callable[[Tensor, Tensor], Tensor], Tensor], ...] = (
        (adjust_brightness, _between(brightness, 1 - settings.brightness, 1 + settings.brightness)),
        (adjust_contrast, _between(contrast, 1 - settings.contrast, 1 + settings.contrast)),
        (adjust_saturation, _between(saturation, 1 - settings.saturation, 1 + settings.saturation)),
        (adjust_hue, _between(hue, -settings.hue, settings.hue)),
    )
    samples = list(images.unbind())
    order = torch.stack(order_keys).argsort(0)  # a random permutation for each sample: keys are independent and uniform
    known = range(4) if images.shape[1] == RGB else range(2)
    rows = {
        place: [number for number in order[:, place].tolist() if number in known]
        for place in _places(jittered < settings.jitter)
    }
    for number, places in _grouped(rows):
        _apply(samples, places, *jitters[number])
    _apply(samples, _places(posterized < settings.posterize), partial(posterize, bits=settings.posterize_bits))
    _apply(samples, _places(contrasted < settings.autocontrast), autocontrast)
    _apply(samples, _places(equalized < settings.equalize), equalize)
    blur = partial(gaussian_blur, kernel_size=settings.blur_kernel)
    _apply(samples, _places(blurred < settings.blur), blur, _between(sigma, *settings.blur_sigma))
    return torch.stack(samples)


def _draws(images: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """`count` tensors of one number in [0, 1) for each sample, on the CPU."""
    return torch.rand((len(images), count), generator=generator, dtype=torch.float64).unbind(1)


def _between(draws: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * draws


def _places(chosen: Tensor) -> list[int]:
    return [place for place, is_chosen in enumerate(chosen.tolist()) if is_chosen]


def _grouped(rows: dict[int, list[int]]) -> Iterator[tuple[int, list[int]]]:
    """Yield (operation, samples) until each sample has had its operations, one after the other in its own order.

    The operation that most samples wait for comes next, so that there are few groups and few calls of torch.
    """
    while rows := {place: row for place, row in rows.items() if row}:
        ((number, _),) = Counter(row[0] for row in rows.values()).most_common(1)
        places = [place for place, row in rows.items() if row[0] == number]
        yield number, places
        rows |= {place: rows[place][1:] for place in places}


def _apply(
    samples: list[Tensor], places: list[int], operation: Callable[..., Tensor], strengths: Tensor | None = None
) -> None:
    """Replace the samples at these indices, each (C, H, W), by the operation's result for all of them.

    `strengths` (B, ...) are on the CPU. Only these samples are copied: to rebuild the batch after every operation takes
    as long as the operations themselves.
    """
    for portion in portions(len(places), samples[0]) if places else ():
        some = places[portion]
        arguments = () if strengths is None else (_picked(strengths, some).to(samples[0].device, non_blocking=True),)
        before = samples[some[0]].unsqueeze(0) if len(some) == 1 else torch.stack([samples[place] for place in some])
        changed = operation(before, *arguments)
        for place, sample in zip(some, changed.unbind(), strict=True):
            samples[place] = sample


def _picked(strengths: Tensor, places: list[int]) -> Tensor:
    numbers = strengths.tolist()
    return torch.tensor([numbers[place] for place in places], dtype=torch.float32)


def _rotate(images: Tensor, matrix: Tensor) -> Tensor:
    """Take each pixel of (B, C, S, S) from its nearest source pixel, or 0 where that lies outside.

    `matrix` (B, 2, 2) takes an output position (x, y), measured from the centre, to the source position.
    """
    side = images.shape[-1]
    centre = (side - 1) / 2
    position = torch.arange(side, device=matrix.device) - centre
    along_x = matrix[:, :, 0, None, None] * position
    along_y = matrix[:, :, 1, None, None] * position[:, None]
    source = (along_x + along_y).add_(centre).round_().clamp_(-1, side)  # positions outside: on a border of zeros
    column, row = source.to(torch.int32).unbind(1)
    index = row.mul_(side + 2).add_(column).add_(side + 3).long().flatten(1)
    bordered = torch.nn.functional.pad(images, (1, 1, 1, 1)).flatten(2)
    return bordered.gather(2, index[:, None].expand(-1, images.shape[1], -1)).view_as(images)

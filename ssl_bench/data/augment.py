"""Weak (geometric) and strong (photometric) random views of a whole batch of uint8 images, on the batch's device.

Images have C channels, usually 3 (RGB). With another number, saturation and hue, which need RGB, are left out; their
random numbers are drawn all the same. Every other operation treats each channel by itself.

Every random number is drawn from a CPU generator, all of a view's at once and the same count whatever their values, so
the draws are the same on every device and which samples an operation takes is known without asking the device.
The operations give what their namesakes in `torchvision.transforms.v2.functional` give for one uint8 image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ssl_bench.cards import ImageAugmentation

RGB = 3  # channels


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
    radians = _between(turn, -settings.rotation_degrees, settings.rotation_degrees).deg2rad()
    radians = radians * (rotated < settings.rotation)
    mirror_x = 1 - 2 * (horizontal < settings.horizontal_flip).double()
    mirror_y = 1 - 2 * (vertical < settings.vertical_flip).double()
    cos, sin = radians.cos(), radians.sin()
    matrix = torch.stack((mirror_x * cos, -mirror_x * sin, mirror_y * sin, mirror_y * cos), dim=1)
    index, inside = _source_pixels(matrix.view(-1, 2, 2).float().to(images.device, non_blocking=True), images.shape[-1])
    image_index = index[:, None].expand(-1, images.shape[1], -1)
    view = images.flatten(2).gather(2, image_index) * inside[:, None]
    mask_view = masks.flatten(1).gather(1, index) * inside
    return view.view_as(images), mask_view.view_as(masks)


def strong_view(images: Tensor, settings: ImageAugmentation, generator: torch.Generator) -> Tensor:
    """Change each image's colours and sharpness at random: jitter, posterize, autocontrast, equalize, Gaussian blur.

    Args:
        images: (B, C, H, W) uint8; for another C than 3 without changes of saturation and hue.
        settings: probabilities and strengths; the four changes of jitter come in a random order for each sample.
        generator: on the CPU; 14 B numbers are drawn.

    Returns:
        The view, of the same shape, as uint8.
    """
    jitter, posterized, contrasted, equalized, blurred, *strengths = _draws(images, 14, generator)
    brightness, contrast, saturation, hue, sigma, *order_keys = strengths
    jitters: tuple[tuple[Callable[[Tensor, Tensor], Tensor], Tensor], ...] = (
        (adjust_brightness, _between(brightness, 1 - settings.brightness, 1 + settings.brightness)),
        (adjust_contrast, _between(contrast, 1 - settings.contrast, 1 + settings.contrast)),
        (adjust_saturation, _between(saturation, 1 - settings.saturation, 1 + settings.saturation)),
        (adjust_hue, _between(hue, -settings.hue, settings.hue)),
    )
    samples, jittered = list(images.unbind()), _chosen(jitter, settings.jitter)
    order = torch.stack(order_keys).argsort(0)  # a random permutation for each sample: keys are independent and uniform
    coloured = images.shape[1] == RGB
    for turn in order.tolist():
        for number, (adjust, strength) in enumerate(jitters):
            if adjust in (adjust_saturation, adjust_hue) and not coloured:
                continue
            _apply(samples, [place for place in jittered if turn[place] == number], adjust, strength)
    _apply(samples, _chosen(posterized, settings.posterize), partial(posterize, bits=settings.posterize_bits))
    _apply(samples, _chosen(contrasted, settings.autocontrast), autocontrast)
    _apply(samples, _chosen(equalized, settings.equalize), equalize)
    blur = partial(gaussian_blur, kernel_size=settings.blur_kernel)
    _apply(samples, _chosen(blurred, settings.blur), blur, _between(sigma, *settings.blur_sigma))
    return torch.stack(samples)


# ---------------------------------------------------------------------------------------------- photometric changes


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image of (B, C, H, W) with black; a factor of (B,) of 1 keeps the image, 0 gives black."""
    return _to_uint8(images.float().mul_(factors.view(-1, 1, 1, 1)))


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image of (B, C, H, W) with its mean luminance, or each channel with its mean; factors of (B,)."""
    if images.shape[1] != RGB:
        return _blend(images, images.float().mean((2, 3), keepdim=True), factors)
    return _blend(images, _luminance(images).mean((1, 2, 3), keepdim=True), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image of (B, 3, H, W) with its luminance; factors of (B,)."""
    return _blend(images, _luminance(images), factors)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue of each image of (B, 3, H, W) by its shift of (B,), in turns of the colour circle, -0.5 to 0.5.

    Value and chroma stay, so only the hue is computed. Its distance from red, in sixths of the circle, is
    2 + (green + blue - red - value) / chroma, whichever channel is the largest; green > blue says on which side.
    """
    planes = images.transpose(0, 1).contiguous().float()
    red, green, blue = planes
    value = planes.amax(0)
    chroma = value - planes.amin(0)
    distance = (green + blue).sub_(red).sub_(value).div_(chroma.clamp(min=1)).add_(2)
    turns = distance.copysign_(green - blue).div_(6).add_(shifts.view(-1, 1, 1))
    hue = turns.sub_(turns.floor()).mul_(6)  # 0 to 6: red at 0, green at 2, blue at 4
    red_lack = (hue - 3).abs_().neg_().add_(2)
    green_lack = (hue - 2).abs_().sub_(1)
    blue_lack = (hue - 4).abs_().sub_(1)
    for plane, lack in zip(planes, (red_lack, green_lack, blue_lack), strict=True):
        torch.addcmul(value, chroma, lack.clamp_(0, 1), value=-1, out=plane)
    return _to_uint8(planes.mul_(255.999 / 255)).transpose(0, 1)  # torchvision's conversion of [0, 1] to uint8


def posterize(images: Tensor, bits: int) -> Tensor:
    """Keep the highest bits of each uint8 value."""
    return images & (256 - (1 << (8 - bits)))


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of (B, C, H, W) to the range 0 to 255; a channel of one value stays."""
    low = images.amin((2, 3), keepdim=True).float()
    span = images.amax((2, 3), keepdim=True) - low
    constant = span == 0
    return _to_uint8((images - low.masked_fill(constant, 0)) / (span * (1 / 255)).masked_fill(constant, 1))


def equalize(images: Tensor) -> Tensor:
    """Equalize the histogram of each channel of (B, C, H, W) as Pillow does.

    A channel stays if fewer than 255 of its pixels lie below its largest value.
    """
    pixels = images.flatten(2).long()
    histogram = torch.zeros((*pixels.shape[:2], 256), dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, pixels, torch.ones_like(pixels, dtype=torch.int32))
    below = histogram.cumsum(2) - histogram
    step = (below * (histogram > 0)).amax(2, keepdim=True) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step == 0, torch.arange(256, device=images.device), table).to(torch.uint8)
    return table.gather(2, pixels).view_as(images)


def gaussian_blur(images: Tensor, sigmas: Tensor, kernel_size: int) -> Tensor:
    """Blur each image of (B, C, H, W) with a Gaussian of its standard deviation of (B,), in pixels, edges reflected."""
    radius = kernel_size // 2
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    weights = (-0.5 * (offsets / sigmas[:, None]) ** 2).softmax(1)
    padded = torch.nn.functional.pad(images.float(), (radius,) * 4, mode="reflect")
    return _to_uint8(_convolve(_convolve(padded, weights, 2), weights, 3).round_())


# ----------------------------------------------------------------------------------------------------------- helpers


def _draws(images: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """`count` tensors of one number in [0, 1) for each sample, on the CPU."""
    return torch.rand((len(images), count), generator=generator, dtype=torch.float64).unbind(1)


def _between(draws: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * draws


def _chosen(draws: Tensor, probability: float) -> list[int]:
    return [place for place, draw in enumerate(draws.tolist()) if draw < probability]


def _apply(
    samples: list[Tensor], places: list[int], operation: Callable[..., Tensor], strengths: Tensor | None = None
) -> None:
    """Replace the samples at these indices, each (C, H, W), by the operation's result for all of them.

    `strengths` (B,) are on the CPU. Only these samples are copied: to rebuild the batch after every operation takes as
    long as the operations themselves.
    """
    if not places:
        return
    device = samples[0].device
    arguments = () if strengths is None else (_picked(strengths, places).to(device, non_blocking=True),)
    changed = operation(torch.stack([samples[place] for place in places]), *arguments)
    for place, sample in zip(places, changed.unbind(), strict=True):
        samples[place] = sample


def _picked(strengths: Tensor, places: list[int]) -> Tensor:
    numbers = strengths.tolist()
    return torch.tensor([numbers[place] for place in places], dtype=torch.float32)


def _source_pixels(matrix: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Where each output pixel comes from: its index (B, side * side) in the source, and whether it lies inside.

    `matrix` (B, 2, 2) takes an output position (x, y), measured from the centre, to the source position.
    """
    centre = (side - 1) / 2
    position = torch.arange(side, device=matrix.device) - centre
    along_x = matrix[:, :, 0, None, None] * position
    along_y = matrix[:, :, 1, None, None] * position[:, None]
    source = (along_x + along_y).add_(centre).round_()
    clipped = source.clamp(0, side - 1)
    column, row = clipped.unbind(1)
    inside = (column == source[:, 0]) & (row == source[:, 1])
    index = (row * side).add_(column).long()
    return index.flatten(1), inside.flatten(1)


def _convolve(padded: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Weighted sum of shifted images: unlike a convolution, cuDNN cannot round it to TF32 or choose its algorithm."""
    size = padded.shape[axis] - weights.shape[1] + 1
    first, *others = weights.view(*weights.shape, 1, 1, 1).unbind(1)
    result = padded.narrow(axis, 0, size) * first
    for shift, weight in enumerate(others, start=1):
        result.addcmul_(padded.narrow(axis, shift, size), weight)
    return result


def _luminance(images: Tensor) -> Tensor:
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    factors = factors.view(-1, 1, 1, 1)
    return _to_uint8(images.float().mul_(factors).add_(others * (1 - factors)))


def _to_uint8(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)  # through int16: vectorised on the CPU, 3 times faster

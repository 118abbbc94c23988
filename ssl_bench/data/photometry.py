"""Photometric changes of a batch of uint8 images: colours, histogram and sharpness.

Each gives what its namesake in `torchvision.transforms.v2.functional` gives for one uint8 image. A sample's result
depends on neither its neighbours nor the number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

RGB = 3  # channels


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image of (B, C, H, W) with black; a factor of (B,) of 1 keeps the image, 0 gives black."""
    return _to_uint8(images.float().mul_(factors.view(-1, 1, 1, 1)))


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image of (B, C, H, W) with its mean luminance, or each channel with its mean; factors of (B,)."""
    return _blend(images, _means(_luminance(images) if images.shape[1] == RGB else images.float()), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image of (B, 3, H, W) with its luminance; factors of (B,)."""
    return _blend(images, _luminance(images), factors)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue of each image of (B, 3, H, W) by its shift of (B,), in turns of the colour circle, -0.5 to 0.5.

    Value and chroma stay, so only the hue is computed. Its distance from red, in sixths of the circle, is
    2 + (green + blue - red - value) / chroma, whichever channel is the largest; green > blue says on which side.
    """
    value = images.amax(1)
    chroma = value - images.amin(1)
    red, green, blue = images.to(torch.int16).unbind(1)
    side = (green - blue).float()
    distance = green.add_(blue).sub_(red).sub_(value).float()  # whole numbers so far, exact in 16 bits
    value, chroma = value.float(), chroma.float()
    distance.div_(chroma.clamp(min=1)).add_(2)
    turns = distance.copysign_(side).div_(6).add_(shifts.view(-1, 1, 1))
    hue = turns.sub_(turns.floor()).mul_(6)  # 0 to 6: red at 0, green at 2, blue at 4
    red_lack = (hue - 3).abs_().neg_().add_(2)
    green_lack = (hue - 2).abs_().sub_(1)
    blue_lack = hue.sub_(4).abs_().sub_(1)
    turned = torch.empty_like(images)
    for channel, lack in enumerate((red_lack, green_lack, blue_lack)):
        plane = torch.addcmul(value, chroma, lack.clamp_(0, 1), value=-1, out=lack)
        # torchvision's conversion of [0, 1] to uint8; without a clamp, since the plane lies within 0 and 255
        turned[:, channel] = plane.mul_(255.999 / 255).to(torch.int16)
    return turned


def posterize(images: Tensor, bits: int) -> Tensor:
    """Keep the highest bits of each uint8 value."""
    return images & (256 - (1 << (8 - bits)))


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of (B, C, H, W) to the range 0 to 255; a channel of one value stays."""
    low = images.amin((2, 3), keepdim=True).float()
    span = images.amax((2, 3), keepdim=True) - low
    constant = span == 0
    return _to_uint8((images - low.masked_fill(constant, 0)).div_((span * (1 / 255)).masked_fill(constant, 1)))


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
    padded = torch.nn.functional.pad(images, (radius,) * 4, mode="reflect").float()
    return _to_uint8(_convolve(_convolve(padded, weights, 2), weights, 3).round_())


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


def _means(values: Tensor) -> Tensor:
    """Mean of each channel of (B, C, H, W), as (B, C, 1, 1).

    torch divides the sum of a single row among its threads, so the last bits would depend on their number. It never
    divides a row of two.
    """
    rows = values if len(values) * values.shape[1] > 1 else values.expand(2, -1, -1, -1)
    return rows.mean((2, 3), keepdim=True)[: len(values)]


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    factors = factors.view(-1, 1, 1, 1)
    return _to_uint8(images.float().mul_(factors).add_(others * (1 - factors)))


def _to_uint8(values: Tensor) -> Tensor:
    """Cut off the fraction of values from -2^15 to 2^15, and what lies outside of 0 to 255."""
    return values.to(torch.int16).clamp_(0, 255).to(torch.uint8)  # int16 first: vectorised on the CPU, 3 times faster

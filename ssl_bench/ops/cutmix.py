"""CutMix: replace random boxes of an image by those of another image of the batch (French et al., BMVC 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


class BoxMix:
    """A mix of a batch: sample i with the pixels inside its boxes taken from its partner, sample (i + 1) mod B.

    Where boxes overlap, each undoes the one below: a pixel inside an even number of boxes stays sample i's own.

    Args:
        start: (B, N, d) int64, the first pixel of each of N boxes per sample along each of the d spatial sides.
        stop: (B, N, d) int64, the first pixel after it.
        sides: the d sides, in pixels.

    """

    def __init__(self, start: Tensor, stop: Tensor, sides: tuple[int, ...]) -> None:
        self.start, self.stop = start, stop
        batch, boxes, _ = start.shape
        inside = torch.ones(batch, boxes, 1, dtype=torch.uint8, device=start.device)
        for axis in reversed(range(len(sides))):  # the last axis first, so that rows grow long
            places = torch.arange(sides[axis], device=start.device)
            within = (places >= start[..., axis, None]) & (places < stop[..., axis, None])
            inside = (within.to(torch.uint8).unsqueeze(-1) & inside.unsqueeze(2)).flatten(2)
        first, *others = inside.unbind(1)  # (B, sides in a row); bytes, since torch does not vectorise Booleans' "and"
        parity = first.clone()
        for other in others:
            parity ^= other
        self.mask = parity.view(torch.bool).view(batch, *sides)  # where the partner's pixels go

    def __call__(self, tensor: Tensor) -> Tensor:
        """Mix (B, *spatial) or (B, C, *spatial)."""
        mixed = torch.empty_like(tensor)
        has_channels = tensor.dim() > self.mask.dim()
        planes = zip(tensor.unbind(1), mixed.unbind(1), strict=True) if has_channels else [(tensor, mixed)]
        for own, out in planes:  # one channel at a time: with channels innermost, rows of three would be slow
            torch.where(self.mask[:-1], own[1:], own[:-1], out=out[:-1])
            torch.where(self.mask[-1:], own[:1], own[-1:], out=out[-1:])
        return mixed


def cutmix(like: Tensor, *, boxes: int, low: float, high: float, probability: float = 1.0) -> BoxMix:
    """Draw boxes of random shape and place, all within the image.

    A box covers a share s / `boxes` of the image, s ~ U(low, high). How log s is split over the axes is uniform on the
    simplex; in 2D that is the authors' random aspect ratio. Sides and places are rounded to whole pixels. All is drawn
    on the CPU from torch's global generator, and the boxes alone are copied to the device.

    Args:
        like: (B, C, *spatial), a batch of the images to be mixed; its shape and device count.
        boxes: N, boxes per sample.
        low: smallest s, above 0.
        high: largest s, at most 1.
        probability: that a sample is mixed at all; below 1, one more number per sample is drawn.

    Returns:
        The mix, to be applied to both images and labels.

    """
    batch, _, *sides = like.shape
    d = len(sides)
    draws = torch.rand(batch, boxes, 2 * d)
    share, cuts, places = low + (high - low) * draws[..., :1], draws[..., 1:d], draws[..., d:]
    edges = torch.cat((torch.zeros_like(share), cuts.sort(dim=2).values, torch.ones_like(share)), dim=2)
    whole = torch.tensor(sides)
    lengths = (share ** edges.diff(dim=2) * boxes ** (-1 / d) * whole).round()
    start = ((whole - lengths) * places).round()
    if probability < 1:
        lengths = lengths * (torch.rand(batch, 1, 1) < probability)
    start, stop = torch.stack((start, start + lengths)).long().to(like.device, non_blocking=True)
    return BoxMix(start, stop, tuple(sides))

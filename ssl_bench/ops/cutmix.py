"""CutMix: replace random boxes of an image by those of another image (French et al., BMVC 2020; AugSeg, CVPR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_bench.labels import IGNORED
from ssl_bench.ops.mixup import beta_draws


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


def random_box(sides: tuple[int, ...], share: float, device: torch.device) -> Tensor:
    """Place a box with `share` of each side, rounded down, at random within the image (BCP's mask).

    Its place is drawn on the CPU from torch's global generator; every place is as likely.

    Returns:
        (*sides) bool, true inside the box.

    """
    lengths = torch.tensor([int(side * share) for side in sides])
    start = (torch.rand(len(sides)) * (torch.tensor(sides) - lengths + 1)).long()
    start, stop = torch.stack((start, start + lengths)).view(2, 1, 1, -1).to(device, non_blocking=True)
    return BoxMix(start, stop, sides).mask[0]


class AdaptiveMix:
    """A mix of unlabelled images, each with a box of another one, which may itself hold a box of a labelled image.

    Args:
        partner: (B,) int64, the sample whose pixels go into each sample's box.
        box: (B, *spatial) bool, where the partner's pixels go.
        labeled: (B,) int64, the labelled image whose pixels each sample, as a partner, may hold.
        paste: (B, *spatial) bool, where they are.

    """

    def __init__(self, partner: Tensor, box: Tensor, labeled: Tensor, paste: Tensor) -> None:
        self.partner, self.box = partner, box
        self.labeled = labeled.index_select(0, partner)  # the labelled image that each sample can get pixels of
        self.from_labeled = box & paste.index_select(0, partner)  # (B, *spatial), where it does

    def __call__(self, tensor: Tensor, labeled: Tensor | None = None) -> Tensor:
        """Mix (B, *spatial) or (B, C, *spatial); without a tensor of the labelled images, a partner's own pixels stay.

        `labeled` is of the labelled images and has as many axes as `tensor`.
        """
        mixed = torch.where(self._over(self.box, tensor), tensor.index_select(0, self.partner), tensor)
        if labeled is None:
            return mixed
        return torch.where(self._over(self.from_labeled, tensor), labeled.index_select(0, self.labeled), mixed)

    def pasted(self, labels: Tensor) -> Tensor:
        """Give the pixels of labelled images their labels, those of (B', *spatial), and all others IGNORED."""
        return torch.where(self.from_labeled, labels.index_select(0, self.labeled), IGNORED)

    def _over(self, mask: Tensor, tensor: Tensor) -> Tensor:
        return mask.unsqueeze(1) if tensor.dim() > mask.dim() else mask


def adaptive_cutmix(
    like: Tensor, labeled: int, certainty: Tensor, *, paste: tuple[float, float], box: tuple[float, float]
) -> AdaptiveMix:
    """Plan AugSeg's adaptive CutMix (Zhao et al., CVPR 2023).

    First each sample gets a box of a labelled image with probability 1 - its certainty. Then each gets a box of its
    partner in a random order of the batch, as the partner is after the first step; outside of its box it stays as it
    was before. So labelled pixels are within boxes alone. One permutation chooses the partner and the labelled image.
    All is drawn on the CPU from torch's global generator.

    Args:
        like: (B, C, *spatial), the unlabelled images; its shape and device count.
        labeled: how many labelled images there are.
        certainty: (B,), from 0 (a labelled box in any case) to 1 (in no case).
        paste: a and b; the box of a labelled image covers a share 1 - l of the image, l ~ Beta(a, b) for all samples.
        box: a and b of the partners' boxes.

    """
    order, chances = torch.randperm(len(like)), torch.rand(len(like))
    from_labeled, from_partner = (clipped_boxes(like, 1 - beta_draws(1, a, b)) for a, b in (paste, box))
    partner, source, chances = (draw.to(like.device, non_blocking=True) for draw in (order, order % labeled, chances))
    chosen = (chances >= certainty).view(-1, *(1 for _ in like.shape[2:]))
    return AdaptiveMix(partner, from_partner, source, from_labeled & chosen)


def clipped_boxes(like: Tensor, share: Tensor) -> Tensor:
    """Draw a box for each sample, of one size, around a random pixel, cut off at the image's border (AugSeg).

    A box's sides are the image's times share^(1/d), with half of them rounded down to whole pixels. As in the authors'
    code, no centre lies in the first eighth of an axis. Drawn on the CPU from torch's global generator.

    Args:
        like: (B, C, *spatial) with d spatial sides; its shape and device count.
        share: (1,) on the CPU, of the image that a whole box covers.

    Returns:
        (B, *spatial) bool, true inside the box.

    """
    batch, _, *sides = like.shape
    whole = torch.tensor(sides)
    half = (share ** (1 / len(sides)) * whole).floor().div(2).floor()
    first = whole // 8
    centre = first + (torch.rand(batch, len(sides)) * (whole - first)).floor()
    start, stop = (centre - half).clamp(min=0), torch.minimum(centre + half, whole)
    start, stop = torch.stack((start, stop)).long().unsqueeze(2).to(like.device, non_blocking=True)
    return BoxMix(start, stop, tuple(sides)).mask

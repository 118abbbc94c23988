"""(c) UMIX and CutMix of a whole batch against a loop over its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from timing import Ratio, Settings, compare
from torch import Tensor

from ssl_bench.ops import cutmix, umix

BATCH, K = 8, 2
SHAPES = {"2D": ((3, 128, 128), 16), "3D": ((1, 64, 64, 32), 8)}  # channels and sides; regions along each side


def ratios(settings: Settings) -> Iterator[Ratio]:
    """Plan and mix, images and labels."""
    for name, (shape, r) in SHAPES.items():
        images = torch.randn(BATCH, *shape, device=settings.device)
        if name == "2D":  # as the batches come
            images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(0, 2, (BATCH, *shape[1:]), device=settings.device)
        maps = torch.rand(2, BATCH, *shape[1:], device=settings.device)
        yield compare(
            "mixing", f"UMIX of {BATCH} images, {name}", ("at once", umix_at_once(images, labels, maps, r)),
            ("sample by sample", lambda a=images, b=labels, c=maps, r=r: umix_loop(a, b, c, r)), settings, ">= 5",
        )  # fmt: skip
        yield compare(
            "mixing", f"CutMix of {BATCH} images, {name}", ("at once", cutmix_at_once(images, labels)),
            ("sample by sample", lambda a=images, b=labels: cutmix_loop(a, b)), settings, ">= 5",
        )  # fmt: skip


def umix_at_once(images: Tensor, labels: Tensor, maps: Tensor, r: int) -> Callable[[], object]:
    """The harness's."""

    def work() -> tuple[Tensor, Tensor]:
        mix = umix(maps[0], maps[1], k=K, r=r, order="simultaneous")
        return mix(images), mix(labels)

    return work


def umix_loop(images: Tensor, labels: Tensor, maps: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The same, region by region."""
    mixed, truth = images.clone(), labels.clone()
    sides = [side // r for side in labels.shape[1:]]
    corners = list(product(*(range(0, side, step) for side, step in zip(labels.shape[1:], sides, strict=True))))
    boxes = [tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True)) for corner in corners]
    for b in range(len(images)):
        means = [[float(own[(b, *box)].mean()) for box in boxes] for own in maps]
        falling = [sorted(range(len(boxes)), key=lambda j, own=own: -own[j]) for own in means]  # type: ignore[misc]
        for i in range(K):
            for uncertain, certain in ((falling[1][i], falling[0][-1 - i]), (falling[0][i], falling[1][-1 - i])):
                mixed[(b, slice(None), *boxes[uncertain])] = images[(b, slice(None), *boxes[certain])]
                truth[(b, *boxes[uncertain])] = labels[(b, *boxes[certain])]
    return mixed, truth


def cutmix_at_once(images: Tensor, labels: Tensor) -> Callable[[], object]:
    """The harness's."""

    def work() -> tuple[Tensor, Tensor]:
        mix = cutmix(images, boxes=3, low=0.25, high=0.5)
        return mix(images), mix(labels)

    return work


def cutmix_loop(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes of the same sizes, drawn and cut one by one."""
    mixed, truth = images.clone(), labels.clone()
    sides = labels.shape[1:]
    for b in range(len(images)):
        mask = torch.zeros(sides, dtype=torch.bool, device=images.device)
        for _ in range(3):
            share = 0.25 + 0.25 * float(torch.rand(()))
            cuts = [0.0, *sorted(torch.rand(len(sides) - 1).tolist()), 1.0]
            box = []
            for axis, side in enumerate(sides):
                length = round(side * share ** (cuts[axis + 1] - cuts[axis]) * 3 ** (-1 / len(sides)))
                start = round((side - length) * float(torch.rand(())))
                box.append(slice(start, start + length))
            mask[tuple(box)] = ~mask[tuple(box)]
        other = (b + 1) % len(images)
        mixed[b] = torch.where(mask, images[other], images[b])
        truth[b] = torch.where(mask, labels[other], labels[b])
    return mixed, truth

"""Predictions: 2D images at their original size, volumes by sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.data.batches import input_statistics, normalise
from ssl_bench.scoring.metrics import keep_largest_components

BATCH = 16


@torch.no_grad()
def image_scores(
    network: nn.Module,
    batches: Iterable[Tensor],
    sizes: Iterable[tuple[int, int]],
    protocol: ImageProtocol,
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield each 2D image's logits (K, H, W) float32, brought from the network's size to (H, W) bilinearly.

    Args:
        network: in evaluation mode while this runs.
        batches: images (B, C, A, A) uint8 that go through the network at once.
        sizes: (H, W) of each image's result.
        protocol: the resolved protocol.
        device: where the network is.

    """
    network.eval()
    size_of = iter(sizes)
    for chunk in batches:
        mean, std = input_statistics(protocol, chunk.shape[1], device)
        inputs = normalise(chunk.to(device), protocol.image_size, mean, std, protocol.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
            logits = network(inputs)
        for one in logits.float():
            yield interpolate(one[None], size=next(size_of), mode="bilinear", align_corners=False)[0]


@torch.no_grad()
def volume_scores(
    network: nn.Module, volumes: Iterable[np.ndarray], protocol: VolumeProtocol, device: torch.device
) -> Iterator[Tensor]:
    """Yield each volume's mean softmax (K, X, Y, Z) float32 over sliding windows.

    Args:
        network: in evaluation mode while this runs.
        volumes: (C, X, Y, Z) float32 each.
        protocol: the resolved protocol; its patch, stride and windows at once.
        device: where the network is.

    """
    network.eval()
    for volume in volumes:
        with torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
            scores = predict_windows(
                network, torch.from_numpy(volume).to(device), patch=protocol.patch_size, stride=protocol.stride,
                batch=protocol.window_batch,
            )  # fmt: skip
        yield scores


def class_map(scores: Tensor, protocol: ImageProtocol | VolumeProtocol) -> np.ndarray:
    """Turn logits or probabilities (K, *spatial) into class numbers (*spatial) uint8 as the protocol says."""
    labels: np.ndarray = scores.max(0).indices.to(torch.uint8).cpu().numpy()
    if isinstance(protocol, VolumeProtocol) and protocol.largest_component:
        return keep_largest_components(labels, classes=len(scores))
    return labels


def window_positions(side: int, patch: int, stride: int) -> list[int]:
    """Return the start of each window along one axis: 0, stride, 2 stride, ..., and the last at side - patch.

    A side no longer than the patch has one window, at 0. Raises ValueError for a stride above the patch, which would
    leave holes, or below 1.
    """
    if not 1 <= stride <= patch:
        raise ValueError(f"a window's stride must be from 1 to its patch, {patch}, not {stride}")
    last = max(side - patch, 0)
    return [*range(0, last, stride), last]


def predict_windows(
    network: Callable[[Tensor], Tensor],
    volume: Tensor,
    *,
    patch: tuple[int, int, int],
    stride: tuple[int, int, int],
    batch: int,
) -> Tensor:
    """Mean softmax of all windows that see a voxel, on the grid that the LA literature uses (UA-MT, MICCAI 2019).

    A side shorter than the patch is padded with zeros, half of them (rounded down) in front. The windows are added one
    after the other in a fixed order, so a second call gives the same bits. The caller sets the network's mode, autocast
    and no_grad.

    Args:
        network: (B, C, *patch) -> logits (B, K, *patch), any floating type; the softmax is taken in float32.
        volume: (C, X, Y, Z) float32.
        patch: the windows' sides, in voxels.
        stride: the step between neighbouring windows along each axis, in voxels, from 1 to the patch.
        batch: windows that go through the network at once; the last batch may have fewer.

    Returns:
        (K, X, Y, Z) float32, on the volume's device.

    """
    sides = volume.shape[1:]
    missing = [max(size - side, 0) for size, side in zip(patch, sides, strict=True)]
    before = [n // 2 for n in missing]
    padding = [n for b, m in zip(before, missing, strict=True) for n in (m - b, b)]
    padded = pad(volume, padding[::-1])  # pad counts from the last axis
    positions = [window_positions(*axis) for axis in zip(padded.shape[1:], patch, stride, strict=True)]
    windows = [
        (slice(None), *(slice(start, start + size) for start, size in zip(corner, patch, strict=True)))
        for corner in product(*positions)
    ]
    total = None
    for first in range(0, len(windows), batch):
        some = windows[first : first + batch]
        probabilities = network(torch.stack([padded[window] for window in some])).float().softmax(1)
        if total is None:
            total = padded.new_zeros((probabilities.shape[1], *padded.shape[1:]))
        for window, own in zip(some, probabilities, strict=True):
            total[window].add_(own)
    assert total is not None
    count = padded.new_ones(())
    for starts, size, side in zip(positions, patch, padded.shape[1:], strict=True):
        covered = torch.zeros(side)
        for start in starts:
            covered[start : start + size] += 1
        count = count.unsqueeze(-1) * covered.to(volume.device)
    return total.div_(count)[(slice(None), *(slice(b, b + side) for b, side in zip(before, sides, strict=True)))]

"""Uncertainty maps early and late in training (Figure 5)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssl_bench.cards import ImageProtocol, RunSpec, VolumeProtocol
from ssl_bench.data.batches import channels_first, input_statistics, normalise
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.split import Splits
from ssl_bench.method import SSLMethod
from ssl_bench.seeds import shuffled
from ssl_bench.store import Moment
from ssl_bench.training.examples import grey

IMAGES = 2


def moment_iterations(iterations: int) -> tuple[int, int]:
    """Return the iterations of the maps: after a tenth of training, and at its end."""
    return max(1, iterations // 10), iterations


@torch.no_grad()
def take_moments(
    method: SSLMethod, dataset: Dataset, splits: Splits, spec: RunSpec, iteration: int, device: torch.device
) -> list[Moment]:
    """Take the method's uncertainty maps of two unlabelled training images, drawn by id, without augmentation.

    The method is in evaluation mode, and in training mode afterwards. Of a volume the central patch is used and its
    middle slice kept. Empty for a method that does not mix images by uncertainty.
    """
    if type(method).snapshot is SSLMethod.snapshot:
        return []  # without reading any image
    ids = shuffled(splits.unlabeled or splits.labeled, "moments")[:IMAGES]
    protocol = spec.protocol
    method.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
        seen = method.snapshot(_inputs(dataset, ids, protocol, device))
    method.train()
    if seen is None:
        return []
    originals = list(_inputs(dataset, ids, protocol, device).float().cpu())
    scale = math.log(len(spec.classes))
    return [
        Moment(
            case=case, iteration=iteration,
            image=_picture(original, original, protocol), mixed=_picture(mixed, original, protocol),
            uncertainty=_map(uncertainty / scale), uncertainty_mixed=_map(uncertainty_mixed / scale),
        )
        for case, original, mixed, uncertainty, uncertainty_mixed in zip(
            ids, originals, seen.mixed.float().cpu(), seen.uncertainty.cpu(), seen.uncertainty_mixed.cpu(), strict=True
        )
    ]  # fmt: skip


def _inputs(dataset: Dataset, ids: list[str], protocol: ImageProtocol | VolumeProtocol, device: torch.device) -> Tensor:
    """Some images as the networks take them, (B, C, *sides)."""
    if isinstance(protocol, VolumeProtocol):
        patches = [_centre(volume, protocol.patch_size) for volume in dataset.volumes(ids)]
        return torch.from_numpy(np.stack(patches)).to(device)
    images = channels_first(np.stack(list(dataset.images(ids)))).to(device)
    mean, std = input_statistics(protocol, images.shape[1], device)
    return normalise(images, protocol.image_size, mean, std, protocol.channels_last)


def _centre(volume: np.ndarray, patch: tuple[int, int, int]) -> np.ndarray:
    """The patch in the middle of a volume (C, X, Y, Z), padded with zeros where the volume is smaller."""
    missing = [max(want - side, 0) for side, want in zip(volume.shape[1:], patch, strict=True)]
    padded = np.pad(volume, [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing)])
    starts = [(side - want) // 2 for side, want in zip(padded.shape[1:], patch, strict=True)]
    return padded[:, *(slice(start, start + want) for start, want in zip(starts, patch, strict=True))]


def _picture(image: Tensor, original: Tensor, protocol: ImageProtocol | VolumeProtocol) -> np.ndarray:
    """A network's input (C, *sides) as uint8, (H, W, 3) of RGB or (h, w) of the first channel.

    A mixed patch has the original's window of greys.
    """
    if isinstance(protocol, VolumeProtocol):
        middle = image.shape[-1] // 2
        return grey(image[0, :, :, middle].T.numpy(), original[0].numpy())
    mean, std = (one[0] for one in input_statistics(protocol, len(image), image.device))
    pixels = ((image * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    shown = pixels.permute(1, 2, 0) if len(image) == 3 else pixels[0]
    return shown.contiguous().numpy()


def _map(uncertainty: Tensor) -> np.ndarray:
    """A map (*sides) as (h, w) float16."""
    if uncertainty.dim() == 3:
        uncertainty = uncertainty[:, :, uncertainty.shape[-1] // 2].T
    return uncertainty.half().numpy()

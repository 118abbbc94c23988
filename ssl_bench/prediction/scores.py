"""Scores of images and volumes in memory, at their own sizes: of one network, over flips, and of several networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.data.batches import channels_first
from ssl_bench.data.dataset import resize
from ssl_bench.data.slices import to_bytes, to_slices
from ssl_bench.errors import UserError
from ssl_bench.prediction.predictor import Predictor
from ssl_bench.scoring.inference import BATCH, image_scores, volume_scores

Flip = tuple[int, ...]  # of the first two axes of space: rows and columns of an image, x and y of a volume
UNFLIPPED: tuple[Flip, ...] = ((),)
FLIPS: tuple[Flip, ...] = ((), (0,), (1,), (0, 1))


class Scores(NamedTuple):
    """What networks say of an image (K, *spatial), float32: logits, or probabilities."""

    values: Tensor
    are_logits: bool

    @property
    def probabilities(self) -> Tensor:
        """(K, *spatial), from 0 to 1."""
        return self.values.softmax(0) if self.are_logits else self.values


def flips_of(tta: str | None) -> tuple[Flip, ...]:
    """Return the flips that `--tta` averages over; none of them for None.

    Raises:
        UserError: the word is not known.
    """
    if tta not in (None, "flips"):
        raise UserError(f"--tta: expected flips; found '{tta}'")
    return UNFLIPPED if tta is None else FLIPS


def mean_of(parts: Iterator[Scores], count: int) -> Scores:
    """Return the mean of `count` predictions' probabilities; a single prediction as it is."""
    if count == 1:
        return next(parts)
    total = next(parts).probabilities.clone()
    for one in parts:
        total += one.probabilities
    return Scores(total.div_(count), are_logits=False)


def pixel_scores(predictor: Predictor, images: Sequence[np.ndarray], flips: Sequence[Flip]) -> Iterator[Scores]:
    """Yield the scores (K, H, W) of each image (H, W, C) uint8; the images go through the network at once."""
    protocol = predictor.spec.protocol
    assert isinstance(protocol, ImageProtocol), "2D data are for 2D networks"
    streams = []
    for flip in flips:
        squares = channels_first(np.stack([resize(_flipped(one, flip), protocol.augment_size) for one in images]))
        sizes = [(one.shape[0], one.shape[1]) for one in images]
        streams.append(image_scores(predictor.network, [squares], sizes, protocol, predictor.device))
    for _ in images:
        parts = (Scores(_back(next(own), flip), True) for own, flip in zip(streams, flips, strict=True))
        yield mean_of(parts, len(flips))


def voxel_scores(predictor: Predictor, voxels: np.ndarray, name: object, flips: Sequence[Flip]) -> Scores:
    """Return the scores (K, X, Y, Z) of a volume: logits where the network sees slices, else the windows' mean softmax.

    Args:
        predictor: the network.
        voxels: (C, X, Y, Z) float32, scaled to the network's range; of slices the intensities of the file.
        name: of the volume, for errors.
        flips: to average over.

    Raises:
        UserError: the intensities of a volume for slices do not differ.
    """
    return mean_of((_of_one_flip(predictor, voxels, name, flip) for flip in flips), len(flips))


def _of_one_flip(predictor: Predictor, voxels: np.ndarray, name: object, flip: Flip) -> Scores:
    spec, protocol = predictor.spec, predictor.spec.protocol
    turned = np.moveaxis(_flipped(np.moveaxis(voxels, 0, -1), flip), -1, 0) if flip else voxels
    turned = np.ascontiguousarray(turned)
    if isinstance(protocol, VolumeProtocol):
        (scores,) = volume_scores(predictor.network, [turned], protocol, predictor.device)
        return Scores(_back(scores, flip), are_logits=False)
    assert spec.slice_window is not None, "else the protocol is for volumes"
    scores = _by_slices(predictor, to_slices(to_bytes(turned, spec.slice_window, name)), protocol)
    return Scores(_back(scores, flip), are_logits=True)


def _by_slices(predictor: Predictor, slices: np.ndarray, protocol: ImageProtocol) -> Tensor:
    """The logits (K, X, Y, Z) of slices (Z, Y, X, C) uint8."""
    squares = channels_first(np.stack([resize(one, protocol.augment_size) for one in slices]))
    sizes = repeat(slices.shape[1:3], len(slices))
    logits = image_scores(predictor.network, torch.split(squares, BATCH), sizes, protocol, predictor.device)
    return torch.stack([one.mT for one in logits], dim=-1)


def _flipped(image: np.ndarray, flip: Flip) -> np.ndarray:
    """An image (H, W, ...) or volume (X, Y, ...) with some of its first two axes reversed."""
    return np.ascontiguousarray(np.flip(image, flip)) if flip else image


def _back(scores: Tensor, flip: Flip) -> Tensor:
    """Scores (K, H, W) or (K, X, Y, Z) of a flipped image on the image's own axes."""
    return scores.flip([1 + axis for axis in flip]) if flip else scores

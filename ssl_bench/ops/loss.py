"""The soft Dice loss, and the Dice loss between two hard labellings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def dice_loss(logits: Tensor, labels: Tensor, smooth: float) -> Tensor:
    """Soft Dice loss over all classes, background included, of each sample; mean over classes and samples.

    1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth), with p the softmax of the logits and y the one-hot labels
    (L_seg of the UCMT paper, section 3.3, with the smoothing of its released code). Computed in float32 at least.

    Args:
        logits: (B, K, *spatial), any floating type.
        labels: (B, *spatial), int64 in [0, K).
        smooth: added to numerator and denominator.

    Returns:
        A scalar.

    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return _dice_loss(logits.softmax(1), _one_hot(labels, logits.shape[1], logits.dtype), smooth)


def hard_labels(logits: Tensor) -> Tensor:
    """The largest class of logits or probabilities (B, K, *spatial), the first of equal ones: (B, *spatial) int64.

    Equal to argmax; 17 times faster on the CPU if the classes are not contiguous in memory. No gradient.
    """
    return logits.detach().max(1).indices


def hard_label_dice_loss(first: Tensor, second: Tensor, classes: int, smooth: float) -> Tensor:
    """Dice loss between two hard labellings (B, *spatial), int64: Figure 1d's disagreement of two branches."""
    return _dice_loss(_one_hot(first, classes, torch.float32), _one_hot(second, classes, torch.float32), smooth)


def _dice_loss(probabilities: Tensor, truth: Tensor, smooth: float) -> Tensor:
    probabilities, truth = probabilities.flatten(2), truth.flatten(2)
    overlap = (probabilities * truth).sum(2)
    size = probabilities.sum(2) + truth.sum(2)
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


def _one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    return one_hot(labels, classes).movedim(-1, 1).to(dtype)

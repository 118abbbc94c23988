"""Entropy of predictions, the uncertainty that UMIX sorts regions by."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """-sum_c p_c ln p_c of probabilities (B, K, *spatial), in nats; returns (B, *spatial). 0 ln 0 is 0."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(1)


def mean_prediction_entropy(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Uncertainty map of a student and the teacher: the entropy of their mean softmax (UCMT paper, equation 8).

    Args:
        student_logits: (B, K, *spatial).
        teacher_logits: (B, K, *spatial).

    Returns:
        (B, *spatial), float32, in nats; without gradient.

    """
    with torch.no_grad():
        return entropy((student_logits.float().softmax(1) + teacher_logits.float().softmax(1)) / 2)

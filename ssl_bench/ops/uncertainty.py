"""Entropy of predictions, and the divergence between two of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_bench.ops.precision import at_least_float32


def entropy(probabilities: Tensor) -> Tensor:
    """-sum_c p_c ln p_c of probabilities (B, K, *spatial), in nats; returns (B, *spatial). 0 ln 0 is 0."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(1)


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax of logits (B, K, *spatial), in nats; returns (B, *spatial), float32 at least.

    Equal to `entropy` of the softmax. Its gradient is finite where a probability rounds to 0; that of `entropy` is not.
    """
    return _entropy_of_logarithms(_log_softmax(logits))


def self_information(logits: Tensor) -> Tensor:
    """-p_c ln p_c of each class of the softmax of logits (B, K, *spatial), in nats; (B, K, *spatial), float32 at least.

    ADVENT's weighted self-information map (Vu et al., CVPR 2019). Its sum over the classes is `prediction_entropy`, and
    its gradient is finite too where a probability rounds to 0.
    """
    return _self_information(_log_softmax(logits))


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two predictions, H((p + q) / 2) - (H(p) + H(q)) / 2, in nats.

    Args:
        first: logits (B, K, *spatial), whose softmax is p.
        second: logits (B, K, *spatial), whose softmax is q.

    Returns:
        (B, *spatial), float32 at least: 0 where p = q, ln 2 where p and q share no class.

    """
    log_p, log_q = _log_softmax(first), _log_softmax(second)
    log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
    return _entropy_of_logarithms(log_mean) - (_entropy_of_logarithms(log_p) + _entropy_of_logarithms(log_q)) / 2


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


def _log_softmax(logits: Tensor) -> Tensor:
    return at_least_float32(logits).log_softmax(1)


def _entropy_of_logarithms(log_p: Tensor) -> Tensor:
    return _self_information(log_p).sum(1)


def _self_information(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p)

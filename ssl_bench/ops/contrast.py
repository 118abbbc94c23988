"""A supervised contrastive loss of pixels against remembered vectors of each class."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_bench.ops.precision import at_least_float32


def queue_contrast(anchors: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Contrast of anchors with the keys of their own class and of the others (Khosla et al., NeurIPS 2020).

    -log(e^(a k / t) / (e^(a k / t) + sum_n e^(a n / t))), the mean over the keys k of the anchor's class; n runs over
    the keys of all other classes.

    Args:
        anchors: (B, K, W), an anchor a of each class c.
        keys: (K, S, W), S keys of each class.
        temperature: t.

    Returns:
        (B, K), of each anchor, computed in float32 at least whatever autocast says.

    """
    with torch.autocast(anchors.device.type, enabled=False):
        anchors = at_least_float32(anchors)
        classes, size, width = keys.shape
        scores = anchors.flatten(0, 1) @ keys.to(anchors.dtype).view(-1, width).T / temperature
        scores = scores.view(-1, classes, classes, size)  # (B, class of the anchor, class of the key, S)
        own = torch.eye(classes, dtype=torch.bool, device=anchors.device).unsqueeze(2)
        others = scores.masked_fill(own, -torch.inf).flatten(2).logsumexp(2, keepdim=True)
        alike = scores.diagonal(dim1=1, dim2=2).transpose(1, 2)  # (B, K, S)
        worse = others - alike
        return torch.logaddexp(worse, torch.zeros_like(worse)).mean(2)

"""The contrastive loss against a loop over anchors and keys in float64, and its limits."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ssl_bench.ops import queue_contrast


def naive(anchors: np.ndarray, keys: np.ndarray, temperature: float) -> np.ndarray:
    batch, classes, _ = anchors.shape
    losses = np.zeros((batch, classes))
    for b in range(batch):
        for c in range(classes):
            powers = np.exp(np.einsum("w,csw->cs", anchors[b, c], keys) / temperature)
            others = sum(powers[other].sum() for other in range(classes) if other != c)
            losses[b, c] = np.mean([-math.log(own / (own + others)) for own in powers[c]])
    return losses


@pytest.mark.parametrize("temperature", [0.07, 0.5, 3.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_loop(classes: int, temperature: float) -> None:
    torch.manual_seed(0)
    anchors, keys = normalize(torch.randn(3, classes, 5), dim=2), normalize(torch.randn(classes, 7, 5), dim=2)
    expected = naive(anchors.double().numpy(), keys.double().numpy(), temperature)
    np.testing.assert_allclose(queue_contrast(anchors, keys, temperature).numpy(), expected, rtol=2e-5)
    exact = queue_contrast(anchors.double(), keys, temperature)
    np.testing.assert_allclose(exact.numpy(), expected, rtol=1e-12)


def test_at_a_high_temperature_every_key_is_as_likely() -> None:
    anchors, keys = normalize(torch.randn(2, 4, 5), dim=2), normalize(torch.randn(4, 7, 5), dim=2)
    losses = queue_contrast(anchors, keys, 1e7)
    torch.testing.assert_close(losses, torch.full((2, 4), math.log(1 + 3 * 7)))


def test_keys_of_zeros_repel_an_anchor_from_all_others() -> None:
    anchors = torch.zeros(1, 2, 3)
    anchors[0, 0] = torch.tensor([0.6, 0.8, 0.0])
    keys = torch.zeros(2, 2, 3)
    keys[1] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    anchors.requires_grad_()
    loss = queue_contrast(anchors, keys, 0.5)[0, 0]
    assert loss.item() == pytest.approx(math.log(1 + math.exp(1.2) + math.exp(1.6)))
    loss.backward()
    assert anchors.grad is not None
    assert (anchors.grad[0, 0, :2] > 0).all()


def test_a_similar_key_of_large_weight_does_not_overflow_and_autocast_changes_nothing() -> None:
    anchors, keys = torch.ones(1, 2, 4), torch.ones(2, 3, 4)
    expected = queue_contrast(anchors, keys, 0.01)  # e^400 is infinite in float32
    torch.testing.assert_close(expected, torch.full((1, 2), math.log(1 + 3)), atol=1e-4, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(queue_contrast(anchors, keys, 0.01), expected)

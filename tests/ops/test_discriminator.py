"""The discriminator of pixels: its layers and its loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv3d, interpolate, leaky_relu

from ssl_bench.ops import FullyConvolutionalDiscriminator, truth_loss


@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_is_five_halving_convolutions_and_an_interpolation(dimensions: int) -> None:
    torch.manual_seed(0)
    judge = FullyConvolutionalDiscriminator(3, dimensions, 2)
    maps = torch.rand(2, 3, *(32,) * dimensions)
    weights = list(judge.parameters())
    assert [w.shape[0] for w in weights[::2]] == [2, 4, 8, 16, 1]
    features, convolve = maps, conv2d if dimensions == 2 else conv3d
    for number, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        features = convolve(features if number == 0 else leaky_relu(features, 0.2), weight, bias, stride=2, padding=1)
    assert features.shape == (2, 1, *(1,) * dimensions)
    mode = "bilinear" if dimensions == 2 else "trilinear"
    expected = interpolate(features, maps.shape[2:], mode=mode, align_corners=True)[:, 0]
    torch.testing.assert_close(judge(maps), expected)


@pytest.mark.parametrize("sides", [(8, 8), (33, 20), (1, 5), (8, 16, 8), (3, 1, 40)])
def test_it_judges_every_pixel_of_maps_of_any_sides(sides: tuple[int, ...]) -> None:
    judged = FullyConvolutionalDiscriminator(2, len(sides), 4)(torch.rand(3, 2, *sides))
    assert judged.shape == (3, *sides)
    assert judged.isfinite().all()


def test_the_loss_is_a_cross_entropy_of_two_answers() -> None:
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    shares = [1 / (1 + math.exp(-v)) for v in logits.double().flatten().tolist()]
    assert truth_loss(logits, true=True).item() == pytest.approx(-np.mean(np.log(shares)), rel=1e-5)
    assert truth_loss(logits, true=False).item() == pytest.approx(-np.mean(np.log1p(-np.array(shares))), rel=1e-5)


@pytest.mark.parametrize(("logit", "true", "expected"), [
    (0.0, True, math.log(2)), (0.0, False, math.log(2)), (100.0, True, 0.0), (100.0, False, 100.0), (-90.0, True, 90.0),
])  # fmt: skip
def test_losses_by_hand(logit: float, true: bool, expected: float) -> None:
    assert truth_loss(torch.full((2, 3, 3), logit), true=true).item() == pytest.approx(expected, abs=1e-6)

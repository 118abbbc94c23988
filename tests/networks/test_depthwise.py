"""The faster gradient of dilated depthwise convolutions is the plain one's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ssl_bench.networks.depthwise import DilatedDepthwiseConv2d, use_fast_gradient


def depthwise(size: int, dilation: int, channels: int = 3) -> nn.Conv2d:
    padding = dilation * (size // 2)
    return nn.Conv2d(channels, channels, size, padding=padding, dilation=dilation, groups=channels, bias=False).double()


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("dilation", [2, 3, 12])  # 12: all taps but the middle one read padding alone
@pytest.mark.parametrize("sides", [(4, 4), (8, 5), (15, 13)])
def test_output_and_gradients_equal_the_library_s(size: int, dilation: int, sides: tuple[int, int]) -> None:
    plain = depthwise(size, dilation)
    fast = copy.deepcopy(plain)
    use_fast_gradient(fast)
    assert type(fast) is DilatedDepthwiseConv2d
    images = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, *sides, dtype=torch.float64)
    found = torch.autograd.grad((fast(images) * weights).sum(), (images, fast.weight))
    expected = torch.autograd.grad((plain(images) * weights).sum(), (images, plain.weight))
    assert torch.equal(fast(images), plain(images))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_numerical_gradient() -> None:
    fast = depthwise(3, 2)
    use_fast_gradient(fast)
    assert torch.autograd.gradcheck(fast, torch.randn(1, 3, 6, 7, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=True),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, stride=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=4, bias=False),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4, bias=False),
    ],
    ids=["not dilated", "not depthwise", "with bias", "strided", "not same", "two filters a channel"],
)
def test_other_convolutions_stay_as_they_are(other: nn.Conv2d) -> None:
    use_fast_gradient(other)
    assert type(other) is nn.Conv2d

"""Similarities within regions against a loop over all pairs of pixels in float64, and values computed by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from ssl_bench.ops import region_similarity_distance

CASES = [
    ((2, 2, 6, 4), 2),
    ((1, 4, 5, 7), 3),  # smaller regions at both borders
    ((2, 3, 4, 4), 8),  # one region, which is larger than the image
    ((1, 2, 4, 5, 3), 2),
    ((2, 4, 3, 3, 4), 4),
]


def naive(first: Tensor, second: Tensor, region: int) -> float:
    """A loop over the ordered pairs of pixels of each sample."""
    total, count = 0.0, 0
    places = list(itertools.product(*(range(side) for side in first.shape[2:])))
    for p, q in zip(first.double(), second.double(), strict=True):
        for i, j in itertools.product(places, places):
            if [a // region for a in i] != [a // region for a in j]:
                continue
            of_first, of_second = (cosine(one[(slice(None), *i)], one[(slice(None), *j)]) for one in (p, q))
            total += (of_first - of_second) ** 2
            count += 1
    return total / count


def cosine(a: Tensor, b: Tensor) -> float:
    x, y = a.tolist(), b.tolist()
    product = sum(v * w for v, w in zip(x, y, strict=True))
    return product / math.sqrt(sum(v * v for v in x) * sum(w * w for w in y))


def predictions(shape: tuple[int, ...], seed: int) -> Tensor:
    return (2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).softmax(1)


@pytest.mark.parametrize(("shape", "region"), CASES)
def test_it_is_the_mean_over_the_pairs_of_pixels_that_share_a_region(shape: tuple[int, ...], region: int) -> None:
    first, second = predictions(shape, 0), predictions(shape, 1)
    found = region_similarity_distance(first, second, region)
    assert found.item() == pytest.approx(naive(first, second, region), rel=1e-5)
    assert region_similarity_distance(second, first, region).item() == pytest.approx(found.item(), rel=1e-5)


@pytest.mark.parametrize(("shape", "region"), CASES)
def test_it_is_exact_where_predictions_are_close(shape: tuple[int, ...], region: int) -> None:
    """A difference of |Q Q^T|^2 and |R R^T|^2 would lose all digits in float32."""
    first = predictions(shape, 0)
    second = (first.log() + 1e-4 * torch.randn(shape, generator=torch.Generator().manual_seed(2))).softmax(1)
    expected = naive(first, second, region)
    assert expected < 1e-8
    assert region_similarity_distance(first, second, region).item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("shape", "region"), CASES)
def test_equal_predictions_have_no_distance_and_no_gradient(shape: tuple[int, ...], region: int) -> None:
    first = predictions(shape, 0).requires_grad_()
    distance = region_similarity_distance(first, first.detach(), region)
    distance.backward()
    assert first.grad is not None
    assert distance.item() == 0
    assert first.grad.count_nonzero() == 0


@pytest.mark.parametrize(("shape", "region"), CASES)
def test_the_gradient_is_that_of_the_similarities_themselves(shape: tuple[int, ...], region: int) -> None:
    def direct(first: Tensor, second: Tensor) -> Tensor:
        places = torch.stack(
            torch.meshgrid(*(torch.arange(side) // region for side in shape[2:]), indexing="ij")
        ).flatten(1)
        together = (places.unsqueeze(2) == places.unsqueeze(1)).all(0)
        rows = [torch.nn.functional.normalize(one.flatten(2), dim=1) for one in (first, second)]
        of_first, of_second = (one.mT @ one for one in rows)
        return ((of_first - of_second).square() * together).sum() / (len(first) * together.sum())

    first, second = predictions(shape, 0).double().requires_grad_(), predictions(shape, 1).double()
    found, expected = (
        torch.autograd.grad(distance, first)[0]
        for distance in (region_similarity_distance(first, second, region), direct(first, second))
    )
    torch.testing.assert_close(found, expected)


def test_by_hand() -> None:
    """Two pixels of one class against two of different ones: similarity 1 against 0, in two of four ordered pairs."""
    same, different = (torch.tensor(rows).T.view(1, 2, 1, 2) for rows in ([[1.0, 0], [1, 0]], [[1.0, 0], [0, 1]]))
    assert region_similarity_distance(same, different, 2).item() == pytest.approx(0.5, abs=1e-7)
    assert region_similarity_distance(same, different, 1).item() == 0  # a pixel is as similar to itself as can be
    assert region_similarity_distance(same, same.flip(1), 2).item() == pytest.approx(
        0, abs=1e-7
    )  # another class, but one


def test_low_precision_is_computed_in_float32_whatever_autocast_says() -> None:
    first, second = predictions((2, 3, 5, 4), 0), predictions((2, 3, 5, 4), 1)
    expected = region_similarity_distance(first, second, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(region_similarity_distance(first, second, 3), expected)
    found = region_similarity_distance(first.bfloat16(), second.bfloat16(), 3)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=0.05)

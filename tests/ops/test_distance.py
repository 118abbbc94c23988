"""Signed distance maps against loops over all pairs of pixels, and against scipy and scikit-image."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from ssl_bench.ops import IGNORED, signed_distance

SHAPES = [(7, 9), (1, 6), (5, 4, 6)]


def naive(inside: np.ndarray) -> np.ndarray:
    """Of one object, by the nearest of all pixels."""
    places = list(np.ndindex(*inside.shape))
    if not inside.any():
        return np.zeros(inside.shape)
    if inside.all():
        return -np.ones(inside.shape)
    distance = np.zeros(inside.shape)
    for place in places:
        distance[place] = min(math.dist(place, other) for other in places if inside[other] != inside[place])
    result = distance * ~inside / distance[~inside].max() - distance * inside / distance[inside].max()
    for place in places:
        if not inside[place]:
            continue
        for axis, step in itertools.product(range(inside.ndim), (-1, 1)):
            other = tuple(p + step * (a == axis) for a, p in enumerate(place))
            if all(0 <= o < side for o, side in zip(other, inside.shape, strict=True)) and not inside[other]:
                result[place] = 0
    return result


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), share=st.sampled_from([0.05, 0.5, 0.95]))
def test_it_is_the_distance_to_the_nearest_pixel_of_the_other_kind(
    shape: tuple[int, ...], data: st.DataObject, share: float
) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    labels = (torch.rand(2, *shape, generator=generator) < share) * torch.randint(
        1, 4, (2, *shape), generator=generator
    )
    found = signed_distance(labels, 4)
    assert found.shape == (2, 3, *shape)
    assert found.dtype == torch.float32
    for b, c in itertools.product(range(2), range(1, 4)):
        np.testing.assert_allclose(found[b, c - 1].numpy(), naive(labels[b].numpy() == c), atol=1e-6)


@pytest.mark.parametrize("sides", [(40, 32), (24, 20, 16)])
def test_a_ball_has_scipys_distances_and_scikit_images_boundary(sides: tuple[int, ...]) -> None:
    places = np.indices(sides)
    inside = sum((axis - side / 2.3) ** 2 for axis, side in zip(places, sides, strict=True)) < (min(sides) / 3) ** 2
    outer, inner = distance_transform_edt(~inside), distance_transform_edt(inside)
    expected = outer / outer.max() - inner / inner.max()
    expected[find_boundaries(inside, mode="inner")] = 0
    (found,) = signed_distance(torch.from_numpy(inside).long()[None], 2)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_row_computed_by_hand() -> None:
    # Outside at distances 2, 1 of the object (of at most 3), inside at 1, 2, 1, of which the ends are boundary.
    labels = torch.tensor([[[0, 0, 1, 1, 1, 0, 0, 0]]])
    expected = torch.tensor([2 / 3, 1 / 3, 0, -1, 0, 1 / 3, 2 / 3, 1])
    torch.testing.assert_close(signed_distance(labels, 2).flatten(), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_absent_and_filling_classes_are_finite(shape: tuple[int, ...]) -> None:
    found = signed_distance(torch.stack([torch.zeros(shape), torch.full(shape, 2.0)]).long(), 3)
    assert (found[0] == 0).all()
    assert (found[1, 0] == 0).all()
    assert (found[1, 1] == -1).all()


def test_ignored_pixels_are_outside_of_every_class() -> None:
    labels = torch.tensor([[[1, 1, IGNORED, 0]]])
    torch.testing.assert_close(signed_distance(labels, 2), signed_distance(labels.where(labels != IGNORED, 0), 2))

"""The largest component of each class against scikit-image's labelling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from ssl_bench.ops import largest_component


def sizes_and_masks(inside: np.ndarray) -> list[tuple[int, np.ndarray]]:
    numbered = label(inside, connectivity=inside.ndim)
    return [((numbered == n).sum(), numbered == n) for n in range(1, numbered.max() + 1)]


def assert_largest(labels: np.ndarray, kept: np.ndarray, classes: int) -> None:
    """Of each class and sample, exactly one component of the largest size is kept."""
    for before, after in zip(labels, kept, strict=True):
        for c in range(1, classes):
            found = sizes_and_masks(before == c)
            most = max((size for size, _ in found), default=0)
            expected = [mask for size, mask in found if size == most] or [np.zeros_like(before, dtype=bool)]
            assert any(np.array_equal(after == c, mask) for mask in expected)


@pytest.mark.parametrize("shape", [(12, 15), (1, 9), (7, 6, 8)])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), share=st.sampled_from([0.1, 0.3, 0.45, 0.6, 0.9]))
def test_it_is_scikit_images_largest(shape: tuple[int, ...], data: st.DataObject, share: float) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    labels = (torch.rand(2, *shape, generator=generator) < share) * torch.randint(
        1, 4, (2, *shape), generator=generator
    )
    assert_largest(labels.numpy(), largest_component(labels, 4).numpy(), 4)


def test_of_two_blobs_the_larger_stays() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[0, 1:4, 1:4], labels[0, 6:8, 6:8] = 1, 1
    expected = labels.clone()
    expected[0, 6:8, 6:8] = 0
    assert torch.equal(largest_component(labels, 2), expected)


def spiral(side: int) -> np.ndarray:
    """A path of one pixel's width from a corner to the middle, with gaps of one pixel."""
    image, place, step = np.zeros((side, side), dtype=np.int64), np.array([0, 0]), np.array([0, 1])
    image[0, 0] = 1

    def is_free(step: np.ndarray) -> bool:
        near, far = place + step, place + 2 * step
        inside = [((one >= 0) & (one < side)).all() for one in (near, far)]
        return inside[0] and not image[tuple(near)] and not (inside[1] and image[tuple(far)])

    while True:
        if not is_free(step):
            step = np.array([step[1], -step[0]])
            if not is_free(step):
                return image
        place = place + step
        image[tuple(place)] = 1


@pytest.mark.parametrize("turned", range(4))
def test_a_spiral_is_one_component(turned: int) -> None:
    """Its path is 1200 pixels long; cut in two, it would be smaller than the block beside it."""
    labels = np.zeros((1, 48, 64), dtype=np.int64)
    labels[0, :, :48] = np.rot90(spiral(48), turned)
    labels[0, :, 50:] = 1
    assert labels[0, :, :48].sum() > 1100 > labels[0, :, 50:].sum() > 600
    assert_largest(labels, largest_component(torch.from_numpy(labels), 2).numpy(), 2)


def test_nothing_stays_nothing() -> None:
    labels = torch.zeros(2, 5, 5, dtype=torch.long)
    assert torch.equal(largest_component(labels, 3), labels)

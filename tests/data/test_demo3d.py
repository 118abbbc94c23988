"""The drawn volumes: pure functions of their number, with an atrium that brightness alone does not find."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from ssl_bench.data import demo3d

CASES = [demo3d.draw(number) for number in range(6)]


def test_a_volume_is_a_pure_function_of_its_number() -> None:
    image, mask = demo3d.draw(3)
    assert np.array_equal(image, CASES[3][0])
    assert np.array_equal(mask, CASES[3][1])
    assert len({image.tobytes() for image, _ in CASES}) == len(CASES)


@pytest.mark.parametrize("number", range(6))
def test_volumes_are_as_the_card_says(number: int) -> None:
    image, mask = CASES[number]
    assert (image.dtype, mask.dtype, image.shape) == (np.float32, np.uint8, mask.shape)
    for side, low, high in zip(image.shape, (44, 40, 32), (56, 52, 40), strict=True):
        assert low <= side <= high
    assert abs(image.mean()) < 1e-4
    assert abs(image.std() - 1) < 1e-4
    assert set(np.unique(mask)) == {0, 1}
    assert 0.04 < mask.mean() < 0.16
    assert label(mask, return_num=True)[1] == 1


def test_no_threshold_finds_the_atrium() -> None:
    best = 0.0
    for threshold in np.linspace(-1, 3, 41):
        scores = [2 * ((i > threshold) & (m > 0)).sum() / ((i > threshold).sum() + m.sum()) for i, m in CASES]
        best = max(best, float(np.mean(scores)))
    assert best < 0.7

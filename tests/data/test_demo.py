"""The demo data set: deterministic, varied, and not solved by a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from ssl_bench.data.demo import draw


@pytest.fixture(scope="module")
def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw(index) for index in range(40)]


def test_the_same_number_draws_the_same_case(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    image, mask = draw(7)
    assert np.array_equal(image, cases[7][0])
    assert np.array_equal(mask, cases[7][1])


def test_different_numbers_draw_different_images(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len({image.tobytes() for image, _ in cases}) == len(cases)


def test_images_are_rgb_and_masks_fit_them(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for image, mask in cases:
        assert image.dtype == np.uint8
        assert mask.dtype == bool
        assert image.shape == (*mask.shape, 3)


def test_sizes_are_not_square_and_vary(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    sizes = {mask.shape for _, mask in cases}
    assert len(sizes) > 30
    assert all(height != width for height, width in sizes)
    assert {height > width for height, width in sizes} == {True, False}


def test_lesions_are_there_and_vary_in_size(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    areas = [mask.mean() for _, mask in cases]
    assert min(areas) > 0.01
    assert max(areas) < 0.5
    assert max(areas) > 4 * min(areas)


def test_a_threshold_does_not_solve_it(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    scores = []
    for image, mask in cases:
        grey = image.mean(-1)
        dark = grey < threshold_otsu(grey)
        scores.append(2 * np.count_nonzero(dark & mask) / (np.count_nonzero(dark) + np.count_nonzero(mask)))
    assert np.mean(scores) < 0.65


def test_lesions_are_darker_than_what_is_around_them_on_average(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    darker = [image[mask].mean() < image[~mask].mean() for image, mask in cases]
    assert np.mean(darker) > 0.8

"""Drawing by portions: the same bits whatever their size and the number of threads, against naive references."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from test_augment import USUAL, edge_cases, random_images, seeded, settings
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_bench.cards import ImageAugmentation
from ssl_bench.data import augment
from ssl_bench.data.augment import strong_view, weak_view
from ssl_bench.data.batches import normalise
from ssl_bench.data.photometry import adjust_contrast, adjust_hue
from ssl_bench.data.portions import CACHED, portions

NUMBER = torch.zeros(CACHED // 4)  # a sample of which four fit


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 12])
def test_portions_divide_the_samples_in_order(count: int) -> None:
    parts = [list(range(count))[portion] for portion in portions(count, NUMBER)]
    assert [number for part in parts for number in part] == list(range(count))
    assert all(1 <= len(part) <= 4 for part in parts)
    assert len(parts) == -(-count // 4)


def test_a_portion_has_a_sample_at_least_and_no_samples_are_one_empty_portion() -> None:
    large = torch.zeros(1).expand(2 * CACHED)
    assert [len(range(3)[portion]) for portion in portions(3, large)] == [1, 1, 1]
    assert [len(range(0)[portion]) for portion in portions(0, NUMBER[:0])] == [0]


def test_another_device_than_a_cpu_has_one_portion() -> None:
    assert len(list(portions(100, NUMBER.to("meta")))) == 1


def test_views_do_not_depend_on_the_size_of_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.cat((edge_cases(40), random_images(6, 40)))
    chosen = settings(**USUAL)
    seen = []
    for size in (CACHED, 3 * 3 * 40 * 40, 1):
        monkeypatch.setattr("ssl_bench.data.portions.CACHED", size)
        weak, masks = weak_view(images, images[:, 0], chosen, seeded(3))
        strong = strong_view(weak, chosen, seeded(4))
        inputs = normalise(strong, 20, torch.full((1, 3, 1, 1), 0.4), torch.full((1, 3, 1, 1), 0.3), True)
        seen.append((weak, masks, strong, inputs))
    for others in seen[1:]:
        assert all(torch.equal(one, other) for one, other in zip(seen[0], others, strict=True))
        assert seen[0][3].stride() == others[3].stride()


def test_an_empty_batch_is_normalised() -> None:
    mean = torch.zeros(1, 3, 1, 1)
    for side in (32, 64):
        images = torch.empty(0, 3, side, side, dtype=torch.uint8)
        assert normalise(images, 32, mean, mean + 1, True).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.usefixtures("threads")
def test_contrast_does_not_depend_on_the_number_of_threads(channels: int, count: int) -> None:
    # The sum of 512 x 512 bright pixels is above 2^24, so its last bits depend on the order of addition.
    images = torch.randint(150, 256, (24, channels, 512, 512), generator=seeded(), dtype=torch.uint8)
    factors = torch.full((count,), 0.7)
    seen = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        seen.append([_mean_of(images[at : at + count], factors) for at in range(0, len(images), count)])
    assert seen[0] == seen[1] == seen[2]


def _mean_of(images: Tensor, factors: Tensor) -> list[float]:
    """The means that contrast blends with, which the test below takes from its blend."""
    caught: list[float] = []

    def catch(_: Tensor, others: Tensor, __: Tensor) -> Tensor:
        caught.extend(others.flatten().tolist())
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_bench.data.photometry._blend", catch)
        adjust_contrast(images, factors)
    return caught


def test_contrast_blends_with_the_mean() -> None:
    images = random_images(3, 64)
    red, green, blue = images.double().unbind(1)
    expected = (0.2989 * red + 0.587 * green + 0.114 * blue).floor().mean((1, 2))
    found = [mean for one in images for mean in _mean_of(one[None], torch.ones(1))]
    assert found == pytest.approx(expected.tolist(), abs=1e-2)  # a whole luminance may be rounded to the one below


# ------------------------------------------------------------------------------------------------ naive references


@pytest.mark.parametrize("side", [24, 33])
def test_the_weak_view_takes_each_pixel_from_its_nearest_source(side: int) -> None:
    images, masks = random_images(16, side), random_images(16, side)[:, 2].flip(1)
    chosen = settings(horizontal_flip=0.5, vertical_flip=0.5, rotation=0.6, rotation_degrees=170)
    view, mask_view = weak_view(images, masks, chosen, seeded(5))
    found = torch.cat((view, mask_view[:, None]), dim=1).numpy()
    expected = _naive_weak(torch.cat((images, masks[:, None]), dim=1).numpy(), chosen)
    np.testing.assert_array_equal(found, expected)


def _naive_weak(images: np.ndarray, chosen: ImageAugmentation) -> np.ndarray:
    """Pixel by pixel in float32: mirror the position, turn it, round, and take 0 outside."""
    draws = torch.rand((len(images), 4), generator=seeded(5), dtype=torch.float64).numpy()
    side = images.shape[-1]
    centre = np.float32((side - 1) / 2)
    result = np.zeros_like(images)
    for sample, (across, down, rotated, turn) in enumerate(draws):
        degrees = (2 * turn - 1) * chosen.rotation_degrees if rotated < chosen.rotation else 0.0
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        mirror_x, mirror_y = 1 - 2 * (across < chosen.horizontal_flip), 1 - 2 * (down < chosen.vertical_flip)
        xx, xy, yx, yy = np.float32([mirror_x * cos, -mirror_x * sin, mirror_y * sin, mirror_y * cos])
        for row in range(side):
            for column in range(side):
                x, y = np.float32(column) - centre, np.float32(row) - centre
                from_x, from_y = np.rint(xx * x + xy * y + centre), np.rint(yx * x + yy * y + centre)
                if 0 <= from_x < side and 0 <= from_y < side:
                    result[sample, :, row, column] = images[sample, :, int(from_y), int(from_x)]
    return result


def test_hue_in_whole_numbers_equals_hue_in_floating_point() -> None:
    images = torch.cat((edge_cases(64), random_images(10, 64)))
    shifts = torch.linspace(-0.5, 0.5, len(images))
    found = adjust_hue(images, shifts)
    for image, shift, turned in zip(images.float(), shifts, found, strict=True):
        red, green, blue = image
        value, low = image.amax(0), image.amin(0)
        distance = (green + blue - red - value) / (value - low).clamp(min=1) + 2
        turns = distance.copysign(green - blue) / 6 + shift
        hue = (turns - turns.floor()) * 6
        lacks = torch.stack((2 - (hue - 3).abs(), (hue - 2).abs() - 1, (hue - 4).abs() - 1)).clamp(0, 1)
        expected = (torch.addcmul(value, value - low, lacks, value=-1) * (255.999 / 255)).clamp(0, 255)
        assert torch.equal(turned, expected.to(torch.int16).to(torch.uint8))


def test_flips_without_rotation_move_no_pixel_through_a_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_rotate", None)
    images = random_images(20, 16)
    view, _ = weak_view(images, images[:, 0], settings(horizontal_flip=1, vertical_flip=1), seeded())
    assert torch.equal(view, images.flip(2, 3))


def test_a_resized_view_is_resized_between_the_division_and_the_statistics() -> None:
    images, mean, std = random_images(3, 64), torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1) + 0.1
    expected = interpolate(images.float() / 255, size=(20, 20), mode="bilinear", antialias=True)
    assert torch.equal(normalise(images, 20, mean, std, False), (expected - mean) / std)


def test_operations_are_grouped_and_each_sample_keeps_its_order() -> None:
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        rows = {place: torch.randperm(4, generator=generator).tolist() for place in (0, 2, 3, 5, 6, 7)}
        done: dict[int, list[int]] = {place: [] for place in rows}
        groups = list(augment._grouped(rows))
        for number, places in groups:
            assert places
            for place in places:
                done[place].append(number)
        assert done == rows
        assert len(groups) <= sum(len({row[turn] for row in rows.values()}) for turn in range(4))
    assert list(augment._grouped({})) == list(augment._grouped({4: []})) == []

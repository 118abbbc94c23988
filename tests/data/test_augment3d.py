"""3D views: the weak one against numpy on whole volumes, the blur against scipy, intensities against numpy."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ssl_bench.cards import VolumeAugmentation
from ssl_bench.data.augment3d import add_noise, change_intensities, gaussian_blur, random_patches, strong_patches


def settings(**changes: Any) -> VolumeAugmentation:
    plain = {"rotate_flip": 0.0, "blur": 0.0, "blur_sigma": (0.5, 2.0), "strong2_from": "weak"}
    return VolumeAugmentation.model_validate(plain | changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def volumes(*shapes: tuple[int, int, int]) -> tuple[list[Tensor], list[Tensor]]:
    """Volumes whose every voxel has a number of its own, from 1, and masks that hold it modulo 251."""
    images = [torch.arange(1, 1 + int(np.prod(shape)), dtype=torch.float32).reshape(shape) for shape in shapes]
    return images, [(image % 251).byte() for image in images]


def crops(volume: np.ndarray, patch: tuple[int, int, int]) -> list[np.ndarray]:
    """Every crop of a volume, zero-padded where a side is short, by whole-volume operations."""
    lacks = [max(side - full, 0) for side, full in zip(patch, volume.shape, strict=True)]
    padded = np.pad(volume, [(lack // 2, lack - lack // 2) for lack in lacks])
    starts = [range(full - side + 1) for side, full in zip(patch, padded.shape, strict=True)]
    return [padded[x : x + patch[0], y : y + patch[1], z : z + patch[2]] for x, y, z in itertools.product(*starts)]


def views(volume: np.ndarray, patch: tuple[int, int, int], turns: range, flips: list[int | None]) -> set[bytes]:
    """Every crop of every turned and flipped whole volume."""
    found = set()
    for quarter, axis in itertools.product(turns, flips):
        turned = np.rot90(volume, quarter, (0, 1))
        turned = turned if axis is None else np.flip(turned, axis)
        found |= {np.ascontiguousarray(crop).tobytes() for crop in crops(turned, patch)}
    return found


@pytest.mark.parametrize(
    ("changes", "turns", "flips"),
    [
        ({}, range(1), [None]),
        ({"rotate_flip": 1.0}, range(4), [0, 1]),
    ],
)
def test_views_are_all_the_crops_of_the_turned_and_flipped_volume_and_no_others(
    changes: dict[str, float], turns: range, flips: list[int | None]
) -> None:
    (image,), _ = volumes((4, 5, 3))
    patch = (2, 4, 3)
    drawn = random_patches([image[None]] * 3000, [image.byte()] * 3000, patch, settings(**changes), generator())[0]
    assert {view.numpy().tobytes() for view in drawn} == views(image.numpy(), patch, turns, flips)


def test_one_draw_decides_on_turn_and_flip_together() -> None:
    (image,), _ = volumes((5, 5, 5))
    count = 4000
    drawn = random_patches(
        [image[None]] * count, [image.byte()] * count, (5, 5, 5), settings(rotate_flip=0.5), generator()
    )[0]
    found = Counter(view.numpy().tobytes() for view in drawn)
    assert abs(found[image.numpy().tobytes()] / count - 0.5) < 0.03
    others = views(image.numpy(), (5, 5, 5), range(4), [0, 1])
    assert set(found) - {image.numpy().tobytes()} == others
    assert len(others) == 4  # a turn with a flip is one of four mirrorings, never a turn alone


@pytest.mark.parametrize("patch", [(6, 4, 8), (7, 7, 7), (4, 9, 5), (16, 16, 16)])
def test_short_sides_are_padded_with_zeros_on_both_sides(patch: tuple[int, int, int]) -> None:
    (image,), _ = volumes((5, 6, 5))
    drawn = random_patches([image[None]] * 400, [image.byte()] * 400, patch, settings(), generator())[0]
    assert {view.numpy().tobytes() for view in drawn} == {
        np.ascontiguousarray(crop).tobytes() for crop in crops(image.numpy(), patch)
    }
    everything = settings(rotate_flip=1.0)
    drawn = random_patches([image[None]] * 4000, [image.byte()] * 4000, patch, everything, generator())[0]
    assert {view.numpy().tobytes() for view in drawn} == views(image.numpy(), patch, range(4), [0, 1])


def test_image_and_mask_move_alike_whatever_the_sizes() -> None:
    images, masks = volumes((9, 5, 7), (4, 8, 3), (6, 6, 6))
    everything = settings(rotate_flip=0.7)
    for seed in range(30):
        views_, labels = random_patches(
            [image[None] for image in images], masks, (6, 4, 5), everything, generator(seed)
        )
        assert views_.shape == (3, 1, 6, 4, 5)
        assert (views_.dtype, labels.dtype) == (torch.float32, torch.uint8)
        assert torch.equal((views_[:, 0] % 251).byte(), labels)
        assert views_.is_contiguous()


def test_every_place_is_as_likely() -> None:
    (image,), _ = volumes((4, 3, 5))
    count = 6000
    drawn = random_patches([image[None]] * count, [image.byte()] * count, (2, 2, 2), settings(), generator(3))[0]
    places = Counter(float(view.min()) for view in drawn)
    expected = count / (3 * 2 * 4)
    assert len(places) == 24
    assert sum((n - expected) ** 2 / expected for n in places.values()) < 50  # chi-square, 23 degrees: p = 0.001


def test_as_many_numbers_are_drawn_whatever_the_settings() -> None:
    images, masks = volumes((9, 5, 7), (4, 8, 3))
    states = []
    everything = dict.fromkeys(["rotate_flip", "blur", "jitter", "noise"], 1.0)
    for own in (settings(), settings(**everything)):
        random_numbers = generator(4)
        weak, _ = random_patches([image[None] for image in images], masks, (4, 4, 4), own, random_numbers)
        strong_patches(weak, own, random_numbers)
        states.append(random_numbers.get_state())
    assert torch.equal(*states)


# ------------------------------------------------------------------------------------------------------------- blur


def test_the_blur_is_scipys_for_each_sample() -> None:
    images = torch.randn(4, 1, 11, 20, 9, generator=generator())
    sigmas = torch.tensor([0.1, 0.6, 1.3, 2.0], dtype=torch.float64)
    blurred = gaussian_blur(images, sigmas)
    for image, sigma, found in zip(images, sigmas, blurred, strict=True):
        expected = gaussian_filter(image[0].double().numpy(), float(sigma), mode="nearest")
        np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-6)


def test_each_sample_is_blurred_or_not_with_a_sigma_in_the_range() -> None:
    point = torch.zeros(400, 1, 17, 17, 17)
    point[:, 0, 8, 8, 8] = 1
    before = point.clone()
    view = strong_patches(point, settings(blur=0.3, blur_sigma=(0.8, 1.6)), generator(5))
    assert torch.equal(point, before)
    peaks = view[:, 0, 8, 8, 8].double()
    changed = peaks < 1
    assert 0.2 < changed.double().mean() < 0.4
    assert torch.equal(view[~changed], point[~changed])
    widest, narrowest = (gaussian_filter(point[0, 0].double().numpy(), s).max() for s in (1.6, 0.8))
    assert peaks[changed].min() >= widest - 1e-6
    assert peaks[changed].max() <= narrowest + 1e-6
    assert len(set(peaks[changed].tolist())) > 0.9 * int(changed.sum())


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_probabilities_zero_and_one(probability: float, share: float) -> None:
    images = torch.randn(20, 1, 6, 6, 6, generator=generator())
    view = strong_patches(images, settings(blur=probability), generator(1))
    changed = (view != images).flatten(1).any(1).double().mean()
    assert float(changed) == share


# ------------------------------------------------------------------------------- brightness, contrast and noise


def test_intensities_are_numpys_for_each_sample_and_channel() -> None:
    images = 3 + 2 * torch.randn(3, 2, 5, 6, 4, generator=generator())
    shifts, scales = (torch.tensor(row, dtype=torch.float64) for row in ([0.0, 0.4, -0.3], [1.5, 1.0, 0.6]))
    found = change_intensities(images, shifts, scales)
    for sample, channel in itertools.product(range(3), range(2)):
        x = images[sample, channel].double().numpy()
        moved = x.mean() + (x - x.mean()) * float(scales[sample]) + float(shifts[sample]) * (x.mean() - x.min())
        expected = np.clip(moved, x.min(), x.max())
        np.testing.assert_allclose(found[sample, channel].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0], images[0], atol=0.1)


def test_noise_is_a_share_of_each_channels_spread_and_clipped_at_twice_its_sigma() -> None:
    images = torch.randn(2, 2, 20, 20, 20, generator=generator()) * torch.tensor([1.0, 30.0]).view(1, 2, 1, 1, 1)
    seeds = torch.tensor([0.1, 0.2], dtype=torch.float64)
    noise = add_noise(images, torch.tensor([0.5, 0.1], dtype=torch.float64), seeds) - images
    shares = noise / images.double().std(dim=(2, 3, 4), correction=0, keepdim=True)
    for sample, sigma in enumerate((0.5, 0.1)):
        assert shares[sample].abs().max().item() == pytest.approx(2 * sigma, rel=1e-3)
        clipped = (shares[sample].abs() > 1.999 * sigma).double().mean().item()
        assert clipped == pytest.approx(0.0455, abs=0.006)  # beyond two standard deviations
        assert shares[sample].std().item() == pytest.approx(0.956 * sigma, rel=0.02)  # of a normal clipped there
    assert not torch.allclose(shares[0, 0] / 0.5, shares[1, 0] / 0.1, atol=0.1)
    assert not torch.allclose(shares[0, 0], shares[0, 1], atol=0.1)


@pytest.mark.parametrize("constant", [0.0, -2.5])
def test_a_patch_of_one_intensity_stays_as_it_is(constant: float) -> None:
    images = torch.full((2, 1, 4, 4, 4), constant)
    own = settings(jitter=1.0, noise=1.0)
    assert torch.equal(strong_patches(images, own, generator()), images)


@pytest.mark.parametrize("change", ["jitter", "noise"])
def test_each_change_is_made_with_its_probability_and_no_other(change: str) -> None:
    images = torch.randn(1000, 1, 4, 4, 4, generator=generator())
    before = images.clone()
    view = strong_patches(images, settings(**{change: 0.3}), generator(5))
    assert torch.equal(images, before)
    changed = (view != images).flatten(1).any(1)
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.06)  # four standard deviations
    assert torch.equal(strong_patches(images, settings(), generator(5)), images)


def test_draws_of_brightness_and_contrast_fill_their_ranges() -> None:
    """Of a patch with an outlier at both ends, whose other values a change never takes out of the range."""
    images = torch.tensor([-90.0, 5.0, 4.0, 5.0, 4.0, 5.0, 4.0, 99.0]).view(1, 1, 2, 2, 2).repeat(2000, 1, 1, 1, 1)
    mean, lowest = 36 / 8, -90.0
    view = strong_patches(images, settings(jitter=1.0, brightness=0.2, contrast=0.0), generator(6)).flatten(1)
    shifts = (view[:, 1] - 5.0) / (mean - lowest)
    assert shifts.abs().max() <= 0.2 + 1e-6
    assert (shifts.min(), shifts.max()) == (pytest.approx(-0.2, abs=0.001), pytest.approx(0.2, abs=0.001))
    assert shifts.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.05)
    view = strong_patches(images, settings(jitter=1.0, brightness=0.0, contrast=0.5), generator(7)).flatten(1)
    scales = view[:, 1] - view[:, 2]
    assert (scales.min(), scales.max()) == (pytest.approx(0.5, abs=0.002), pytest.approx(1.5, abs=0.002))
    assert scales.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.05)


def test_sigmas_of_the_noise_fill_their_range() -> None:
    images = torch.randn(1, 1, 8, 8, 8, generator=generator()).repeat(400, 1, 1, 1, 1)
    view = strong_patches(images, settings(noise=1.0, noise_sigma=(0.2, 0.6)), generator(8))
    sigmas = (view - images).flatten(1).std(1) / images[0].std(correction=0) / 0.956
    assert (sigmas.min(), sigmas.max()) == (pytest.approx(0.2, abs=0.03), pytest.approx(0.6, abs=0.06))


def test_the_blur_is_the_same_beside_other_changes() -> None:
    """Runs from before these changes keep their bits: the blur's numbers are drawn first."""
    images = torch.randn(6, 1, 7, 7, 7, generator=generator())
    draws = torch.rand((6, 2), generator=generator(3), dtype=torch.float64)
    sigmas = 0.5 + 1.5 * draws[:, 1]
    expected = torch.where((draws[:, 0] < 0.6).view(-1, 1, 1, 1, 1), gaussian_blur(images, sigmas), images)
    alone = strong_patches(images, settings(blur=0.6), generator(3))
    torch.testing.assert_close(alone, expected, rtol=0, atol=0)
    changed = strong_patches(images, settings(blur=0.6, jitter=1.0, noise=1.0), generator(3))
    still = strong_patches(images, settings(blur=0.6, jitter=1.0, brightness=0.0, contrast=0.0), generator(3))
    assert not torch.allclose(changed, alone, atol=0.1)
    torch.testing.assert_close(still, alone)

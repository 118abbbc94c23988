"""The random views: each operation against torchvision, one image at a time, and the draws that choose them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor

from ssl_bench.cards import ImageAugmentation
from ssl_bench.data import augment
from ssl_bench.data.augment import strong_view, weak_view

CHANGES = ("jitter", "posterize", "autocontrast", "equalize", "blur")
OFF = {
    "horizontal_flip": 0, "vertical_flip": 0, "rotation": 0, "rotation_degrees": 180,
    "jitter": 0, "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.25,
    "posterize": 0, "posterize_bits": 5, "autocontrast": 0, "equalize": 0,
    "blur": 0, "blur_kernel": 3, "blur_sigma": (0.1, 2.0), "strong2_from": "strong1",
}  # fmt: skip
USUAL = {
    "horizontal_flip": 0.5, "vertical_flip": 0.5, "rotation": 0.5,
    "jitter": 0.8, "posterize": 0.2, "autocontrast": 0.2, "equalize": 0.2, "blur": 0.5,
}  # fmt: skip


def settings(**changes: object) -> ImageAugmentation:
    return ImageAugmentation.model_validate(OFF | changes)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, side: int, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, (count, 3, side, side), generator=seeded(7), dtype=torch.uint8)


def edge_cases(side: int = 36) -> Tensor:
    """Constant, black, white, one colour only, grey, few values, a ramp, a narrow range, and noise of all values."""
    noise, narrow = random_images(1, side)[0], random_images(1, side, 90, 140)[0]
    ramp = torch.arange(side * side).mul(255).div(side * side - 1).to(torch.uint8).view(1, side, side)
    constant = torch.tensor([200, 30, 77], dtype=torch.uint8).view(3, 1, 1).expand_as(noise)
    red = torch.cat((noise[:1], torch.zeros_like(noise[1:])))
    black = torch.zeros_like(noise)
    one_bright_pixel = black.clone()
    one_bright_pixel[:, 3, 5] = 255
    colours = torch.tensor([0, 128, 255], dtype=torch.uint8)[noise.long() % 3]
    cases = (constant, black, black + 255, red, noise[:1].expand_as(noise), colours, ramp.expand_as(noise), narrow)
    return torch.stack((*cases, one_bright_pixel, noise))


def per_image(operation: Callable[..., Tensor], images: Tensor, *parameters: Tensor) -> Tensor:
    return torch.stack([operation(image, *(p[i].item() for p in parameters)) for i, image in enumerate(images)])


def largest_difference(a: Tensor, b: Tensor) -> int:
    assert a.dtype == b.dtype == torch.uint8
    assert a.shape == b.shape
    return int((a.int() - b.int()).abs().max())


# -------------------------------------------------------------------------------------------------- one operation


@pytest.mark.parametrize(
    ("name", "strengths"),
    [
        *itertools.product(
            ("adjust_brightness", "adjust_contrast", "adjust_saturation"), ((0, 0), (0.5, 0.5), (1, 1), (0, 2))
        ),
        *itertools.product(("adjust_hue",), ((-0.5, -0.5), (0, 0), (0.5, 0.5), (-0.5, 0.5), (0.25, 0.25))),
    ],
)
def test_jitter_matches_torchvision_within_one_level(name: str, strengths: tuple[float, float]) -> None:
    images = torch.cat((edge_cases(), random_images(12, 48)[:, :, :36, :36]))
    values = torch.linspace(*strengths, len(images))[torch.randperm(len(images), generator=seeded())]
    found = getattr(augment, name)(images, values)
    expected = per_image(getattr(reference, name), images, values)
    assert largest_difference(found, expected) <= 1
    assert (found != expected).double().mean() < 0.01  # and that level only where rounding turns on the last bit


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_matches_torchvision(bits: int) -> None:
    images = edge_cases()
    assert torch.equal(augment.posterize(images, bits), reference.posterize(images, bits))


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_histogram_changes_match_torchvision(name: str) -> None:
    for images in (edge_cases(), edge_cases(10), random_images(8, 64, 20, 90)):
        assert torch.equal(getattr(augment, name)(images), per_image(getattr(reference, name), images))


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_gaussian_blur_matches_torchvision_within_one_level(kernel_size: int) -> None:
    images = edge_cases()
    sigmas = torch.linspace(0.1, 3, len(images))
    found = augment.gaussian_blur(images, sigmas, kernel_size)
    expected = per_image(
        lambda image, sigma: reference.gaussian_blur(image, [kernel_size] * 2, [sigma]), images, sigmas
    )
    assert largest_difference(found, expected) <= 1
    assert (found != expected).double().mean() < 0.01


# ------------------------------------------------------------------------------------------------------ weak view


def _fix_draws(monkeypatch: pytest.MonkeyPatch, *draws: Tensor) -> None:
    monkeypatch.setattr(augment, "_draws", lambda images, count, generator: draws)


@pytest.mark.parametrize("side", [33, 128])
@pytest.mark.parametrize("degrees", [None, 0, 7.3, 44.6, -90, 90, 123.4, -179, 180])
def test_flip_and_rotation_match_torchvision(monkeypatch: pytest.MonkeyPatch, side: int, degrees: float | None) -> None:
    images, masks = random_images(4, side), random_images(4, side)[:, 1]
    flips = [(False, False), (True, False), (False, True), (True, True)]
    horizontal, vertical = 1 - torch.tensor(flips, dtype=torch.float64).T  # a draw of 0 is below p, one of 1 is not
    rotated = torch.full((4,), 0.0 if degrees is not None else 1.0)
    turn = torch.full((4,), ((degrees or 0) / 180 + 1) / 2, dtype=torch.float64)
    _fix_draws(monkeypatch, horizontal, vertical, rotated, turn)
    found = torch.cat([x.view(4, -1, side, side) for x in weak_view(images, masks, settings(**USUAL), seeded())], dim=1)
    expected = torch.cat((images, masks[:, None]), dim=1)
    for i, (flip_x, flip_y) in enumerate(flips):
        image = reference.horizontal_flip(expected[i]) if flip_x else expected[i]
        image = reference.vertical_flip(image) if flip_y else image
        expected[i] = image if degrees is None else reference.rotate(image, degrees)
    if degrees in (None, 0):
        assert torch.equal(found, expected)
    assert (found != expected).double().mean() < 0.005


def test_mask_stays_aligned_with_the_image() -> None:
    images = random_images(64, 40)
    masks = images[:, 1].clone()
    view, mask_view = weak_view(images, masks, settings(**USUAL), seeded())
    assert view.dtype == mask_view.dtype == torch.uint8
    assert torch.equal(view[:, 1], mask_view)
    assert not torch.equal(masks, mask_view)


def test_rotation_fills_with_zeros() -> None:
    white = torch.full((50, 3, 32, 32), 255, dtype=torch.uint8)
    view, mask_view = weak_view(white, white[:, 0], settings(rotation=1, rotation_degrees=45), seeded())
    assert set(view.unique().tolist()) == set(mask_view.unique().tolist()) == {0, 255}
    assert (view[:, :, 16, 16] == 255).all()


def test_flips_come_at_their_probabilities_and_independently() -> None:
    count = 4000
    images = torch.arange(48, dtype=torch.uint8).view(3, 4, 4).expand(count, -1, -1, -1)
    chances = {"horizontal_flip": 0.3, "vertical_flip": 0.6}
    view, _ = weak_view(images, images[:, 0], settings(**chances), seeded())
    for axes, chance in {(): 0.28, (2,): 0.12, (1,): 0.42, (1, 2): 0.18}.items():
        share = (view == images[0].flip(axes)).flatten(1).all(1).double().mean()
        assert share == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / count))


def test_rotations_are_uniform_within_the_angle() -> None:
    side, count, degrees, chance = 65, 2000, 60.0, 0.4
    images = torch.zeros((1, 3, side, side), dtype=torch.uint8)
    images[:, :, 30:35, 55:60] = 1  # centroid 25 pixels to the right of the centre
    images = images.expand(count, -1, -1, -1)
    view, _ = weak_view(images, images[:, 0], settings(rotation=chance, rotation_degrees=degrees), seeded())
    position = torch.arange(side) - side // 2
    spot = view[:, 0].double()
    angles = torch.atan2((spot * position[:, None]).sum((1, 2)), (spot * position).sum((1, 2))).rad2deg()
    turned = angles[(view != images).flatten(1).any(1)]
    assert len(turned) / count == pytest.approx(chance, abs=0.06)
    quantiles = turned.quantile(torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64))
    assert quantiles.tolist() == pytest.approx([-60, -30, 0, 30, 60], abs=6)
    assert turned.abs().max() < degrees + 1  # a spot of whole pixels is off by half a degree


# ---------------------------------------------------------------------------------------------------- strong view


def test_changes_come_in_the_stated_order() -> None:
    images = random_images(6, 40, 30, 200)
    all_on = settings(posterize=1, posterize_bits=4, autocontrast=1, equalize=1, blur=1, blur_sigma=(0.8, 0.8))
    expected = reference.posterize(images, 4)
    expected = reference.equalize(reference.autocontrast(expected))
    expected = reference.gaussian_blur(expected, [3, 3], [0.8, 0.8])
    assert largest_difference(strong_view(images, all_on, seeded()), expected) <= 1


def test_jitter_does_each_of_its_four_changes_once_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")
    for digit, name in enumerate(names):  # a pixel holds the history: four digits of base 4
        monkeypatch.setattr(augment, name, lambda images, _, digit=digit: images * 4 + digit)
    count = 2400
    view = strong_view(torch.zeros((count, 3, 2, 2), dtype=torch.uint8), settings(jitter=1), seeded())
    histories = view[:, 0, 0, 0].tolist()
    orders = list(itertools.permutations(range(4)))
    seen = {order: histories.count(((order[0] * 4 + order[1]) * 4 + order[2]) * 4 + order[3]) for order in orders}
    assert sum(seen.values()) == count
    assert min(seen.values()) > 50  # 100 expected, standard deviation 10
    assert max(seen.values()) < 150


def test_strengths_are_independent_and_uniform_in_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = {
        "adjust_brightness": (0.6, 1.4),
        "adjust_contrast": (0.7, 1.3),
        "adjust_saturation": (0.8, 1.2),
        "adjust_hue": (-0.1, 0.1),
        "gaussian_blur": (0.5, 1.5),
    }
    count = 2000
    seen = torch.full((count, len(ranges)), torch.nan, dtype=torch.float64)

    def record(images: Tensor, strengths: Tensor, column: int, **_: int) -> Tensor:
        numbers = images[:, 0, 0, 0].long() * 256 + images[:, 1, 0, 0]
        assert seen[numbers, column].isnan().all()  # each sample once
        seen[numbers, column] = strengths.double()
        return images

    for column, name in enumerate(ranges):
        monkeypatch.setattr(augment, name, partial(record, column=column))
    number = torch.arange(count)
    images = torch.stack((number // 256, number % 256, number * 0), dim=1).to(torch.uint8).view(count, 3, 1, 1)
    widths = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1, "blur_sigma": (0.5, 1.5)}
    strong_view(images, settings(jitter=1, blur=1, **widths), seeded())

    low, high = torch.tensor(list(ranges.values()), dtype=torch.float64).T
    uniform = (seen - low) / (high - low)
    quantiles = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert torch.allclose(uniform.quantile(quantiles, dim=0), quantiles[:, None], atol=0.05)
    assert uniform.min() >= -1e-6
    assert uniform.max() <= 1 + 1e-6
    assert all(len(column.unique()) > 0.99 * count for column in uniform.T)
    assert (uniform.T.corrcoef() - torch.eye(5)).abs().max() < 0.11  # five standard deviations


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("chance", [0, 0.3, 1])
def test_changes_come_at_their_probability(change: str, chance: float) -> None:
    images = random_images(600, 32, 60, 180)
    view = strong_view(images, settings(**{change: chance}, blur_sigma=(1.0, 2.0)), seeded())
    share = (view != images).flatten(1).any(1).double().mean().item()
    assert share == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / 600))


def test_changes_are_drawn_independently() -> None:
    images = random_images(1500, 32, 60, 180)
    view = strong_view(images, settings(posterize=0.5, posterize_bits=3, autocontrast=0.5), seeded())
    posterized = reference.posterize(images, 3)
    for expected in (images, posterized, reference.autocontrast(images), reference.autocontrast(posterized)):
        share = (view == expected).flatten(1).all(1).double().mean().item()
        assert share == pytest.approx(0.25, abs=0.056)


# ----------------------------------------------------------------------------------------------------- both views


def both_views(images: Tensor, masks: Tensor, generator: torch.Generator, **changes: object) -> tuple[Tensor, ...]:
    chosen = settings(**changes)
    weak, mask = weak_view(images, masks, chosen, generator)
    return weak, mask, strong_view(weak, chosen, generator)


def test_nothing_happens_at_probability_zero() -> None:
    images = random_images(8, 20)
    weak, mask, strong = both_views(images, images[:, 0], seeded())
    assert torch.equal(weak, images)
    assert torch.equal(mask, images[:, 0])
    assert torch.equal(strong, images)
    assert strong.data_ptr() != weak.data_ptr()  # a caller may write into the result


def test_inputs_are_not_changed() -> None:
    images = random_images(16, 24)
    both_views(images, images[:, 0], seeded(), **USUAL)
    assert torch.equal(images, random_images(16, 24))


def test_the_seed_decides_the_views() -> None:
    images = random_images(16, 24)
    first, again, other = (both_views(images, images[:, 0], seeded(seed), **USUAL) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_count_of_draws_does_not_depend_on_what_they_decide() -> None:
    images = random_images(5, 24)
    states = []
    for changes in ({}, USUAL, dict.fromkeys(USUAL, 1)):
        generator = seeded()
        both_views(images, images[:, 0], generator, **changes)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], seeded().get_state())


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    images = random_images(24, 32)
    others = images.flip(0)
    others[::5] = images[::5]
    views = both_views(images, images[:, 0], seeded(), **USUAL)
    other_views = both_views(others, others[:, 0], seeded(), **USUAL)
    for a, b in zip(views, other_views, strict=True):
        assert torch.equal(a[::5], b[::5])
        assert not torch.equal(a, b)


def test_pixels_are_never_read_back_to_the_host() -> None:
    # A tensor on the meta device has no values, so any branch or count that needs one raises.
    images = random_images(8, 24).to("meta")
    for view in both_views(images, images[:, 0], seeded(), **dict.fromkeys(USUAL, 1)):
        assert view.device.type == "meta"
        assert view.dtype == torch.uint8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_views_of_the_cpu_without_synchronising() -> None:
    images = random_images(16, 64)
    expected = both_views(images, images[:, 0], seeded(), **USUAL)
    on_gpu = images.cuda()
    both_views(on_gpu, on_gpu[:, 0], seeded(), **USUAL)  # start-up may synchronise
    torch.cuda.synchronize()
    torch.use_deterministic_algorithms(True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = both_views(on_gpu, on_gpu[:, 0], seeded(), **USUAL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found[0].cpu(), expected[0])
    assert torch.equal(found[1].cpu(), expected[1])
    differs = (found[2].cpu().int() - expected[2].int()).abs() > 2
    assert differs.double().mean() < 0.01  # posterizing or equalizing widens the one level that rounding may differ by

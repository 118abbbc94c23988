"""UMIX against a loop written from the paper's section 3.4 and its settled details."""

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssl_bench.ops import RegionMix, random_maps, region_means, umix

Order = Literal["simultaneous", "in-place"]
ORDERS: tuple[Order, ...] = ("simultaneous", "in-place")

# (r, sides): regions along each side, and the image's sides.
CASES_2D = [(2, (4, 4)), (2, (6, 2)), (3, (6, 9)), (4, (8, 8)), (4, (4, 12)), (8, (16, 8))]
CASES_3D = [(2, (4, 2, 6)), (2, (2, 2, 2)), (4, (4, 8, 4)), (8, (8, 8, 16))]


def boxes(r: int, sides: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The regions in row-major order: r along each side."""
    steps = [side // r for side in sides]
    return [
        tuple(slice(place * step, (place + 1) * step) for place, step in zip(places, steps, strict=True))
        for places in itertools.product(range(r), repeat=len(sides))
    ]


def extremes(means: list[float], k: int) -> tuple[list[int], list[int]]:
    """The k most uncertain regions and the k most certain, each from the extreme on, sorted stably."""
    numbers = range(len(means))
    return sorted(numbers, key=lambda j: -means[j])[:k], sorted(numbers, key=lambda j: means[j])[:k]


def naive_umix(image: np.ndarray, v1: np.ndarray, v2: np.ndarray, k: int, r: int, order: Order) -> np.ndarray:
    """Mix one sample, (C, *sides), by its two uncertainty maps, (*sides)."""
    regions = boxes(r, v1.shape)
    uncertain1, certain1 = extremes([float(np.mean(v1[box], dtype=np.float64)) for box in regions], k)
    uncertain2, certain2 = extremes([float(np.mean(v2[box], dtype=np.float64)) for box in regions], k)
    mixed = image.copy()

    def content(source: np.ndarray, region: int) -> np.ndarray:
        return source[(slice(None), *regions[region])].copy()

    if order == "simultaneous":
        written = set()
        for targets, sources in ((uncertain1, certain2), (uncertain2, certain1)):
            for target, source in zip(targets, sources, strict=True):
                if target not in written:  # V1 comes first, and wins
                    mixed[(slice(None), *regions[target])] = content(image, source)
                    written.add(target)
    else:
        for targets, sources in ((uncertain1, certain2), (uncertain2, certain1)):
            contents = [content(mixed, source) for source in sources]
            for target, pixels in zip(targets, contents, strict=True):
                mixed[(slice(None), *regions[target])] = pixels
    return mixed


def assert_mixes_as_the_loop(
    images: Tensor, labels: Tensor, v1: Tensor, v2: Tensor, k: int, r: int, order: Order
) -> None:
    mix = umix(v1, v2, k=k, r=r, order=order)
    mixed_images, mixed_labels = mix(images), mix(labels)
    assert mixed_images.shape == images.shape
    assert mixed_images.dtype == images.dtype
    assert mixed_labels.shape == labels.shape
    assert mixed_labels.dtype == labels.dtype
    for b in range(len(images)):
        plan = v1[b].numpy(), v2[b].numpy(), k, r, order
        np.testing.assert_array_equal(mixed_images[b].numpy(), naive_umix(images[b].numpy(), *plan))
        np.testing.assert_array_equal(mixed_labels[b].numpy(), naive_umix(labels[b].numpy()[None], *plan)[0])


def random_case(sides: tuple[int, ...], seed: int, batch: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images with two channels, labels without, and two uncertainty maps."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 2, *sides, generator=generator)
    labels = torch.randint(0, 4, (batch, *sides), generator=generator)
    v1, v2 = torch.rand(2, batch, *sides, generator=generator)
    return images, labels, v1, v2


def cases() -> Iterator[object]:
    for r, sides in CASES_2D + CASES_3D:
        largest = r ** len(sides) // 2
        for k in sorted({1, 2, largest - 1, largest} & set(range(1, largest + 1))):
            yield pytest.param(r, sides, k, id=f"{len(sides)}D {sides} r={r} k={k}")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("r", "sides", "k"), list(cases()))
def test_random_maps(r: int, sides: tuple[int, ...], k: int, order: Order) -> None:
    for seed in range(3):
        assert_mixes_as_the_loop(*random_case(sides, seed), k, r, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sides", [(8, 8), (4, 4, 8)])
@pytest.mark.parametrize("which", ["first", "second", "both"])
def test_constant_maps_are_sorted_stably(which: str, sides: tuple[int, ...], order: Order) -> None:
    images, labels, v1, v2 = random_case(sides, 1)
    if which in {"first", "both"}:
        v1 = torch.full_like(v1, 0.25)
    if which in {"second", "both"}:
        v2 = torch.full_like(v2, 0.25)
    for k in (1, 3, 8):
        assert_mixes_as_the_loop(images, labels, v1, v2, k, 4, order)


@pytest.mark.parametrize("order", ORDERS)
def test_two_constant_maps_change_nothing(order: Order) -> None:
    images = torch.randn(2, 3, 8, 8)
    mix = umix(torch.ones(2, 8, 8), torch.ones(2, 8, 8), k=3, r=4, order=order)
    assert torch.equal(mix(images), images)


@pytest.mark.parametrize("order", ORDERS)
def test_equal_maps(order: Order) -> None:
    images, labels, v1, _ = random_case((8, 8), 2)
    for k in (1, 2, 8):
        assert_mixes_as_the_loop(images, labels, v1, v1, k, 4, order)


@st.composite
def drawn_cases(draw: st.DrawFn) -> tuple[int, tuple[int, ...], int, list[int], list[int]]:
    """Maps of a few whole numbers, so that regions tie and their means are exact in any precision."""
    dimensions = draw(st.sampled_from([2, 3]))
    r = draw(st.sampled_from([2, 3, 4] if dimensions == 2 else [2, 3]))
    sides = tuple(r * draw(st.integers(1, 3)) for _ in range(dimensions))
    k = draw(st.integers(1, r**dimensions // 2))
    count = int(np.prod(sides))
    values = st.lists(st.integers(0, draw(st.sampled_from([1, 3, 50]))), min_size=count, max_size=count)
    return r, sides, k, draw(values), draw(values)


@pytest.mark.parametrize("order", ORDERS)
@settings(deadline=None, max_examples=60)
@given(case=drawn_cases())
def test_drawn_maps_with_ties(order: Order, case: tuple[int, tuple[int, ...], int, list[int], list[int]]) -> None:
    r, sides, k, values1, values2 = case
    pixels = torch.arange(len(values1), dtype=torch.float32).view(1, 1, *sides)
    v1, v2 = (torch.tensor(v, dtype=torch.float32).view(1, *sides) for v in (values1, values2))
    assert_mixes_as_the_loop(pixels, pixels[:, 0].long(), v1, v2, k, r, order)


# By hand: four regions of one pixel, holding 10, 20, 30 and 40.


def mixed_by_hand(v1: list[float], v2: list[float], k: int, order: Order) -> list[float]:
    image = torch.tensor([10.0, 20.0, 30.0, 40.0]).view(1, 1, 2, 2)
    maps = [torch.tensor(v, dtype=torch.float32).view(1, 2, 2) for v in (v1, v2)]
    return umix(*maps, k=k, r=2, order=order)(image).flatten().tolist()


@pytest.mark.parametrize("order", ORDERS)
def test_v1s_most_uncertain_takes_v2s_most_certain_and_the_other_way_round(order: Order) -> None:
    # V1: most uncertain 0, most certain 1. V2: most uncertain 3, most certain 2.
    assert mixed_by_hand([9, 1, 5, 3], [4, 3, 0, 8], 1, order) == [30, 20, 30, 20]


@pytest.mark.parametrize("order", ORDERS)
def test_the_ith_most_uncertain_takes_the_ith_most_certain(order: Order) -> None:
    # V1: uncertain 0, 1; certain 2, 3. V2: uncertain 0, 1; certain 3, 2. Both name the targets 0 and 1.
    expected = {"simultaneous": [40, 30, 30, 40], "in-place": [30, 40, 30, 40]}
    assert mixed_by_hand([9, 8, 0, 1], [9, 8, 1, 0], 2, order) == expected[order]


def test_where_both_maps_name_a_target_v1_wins_or_is_overwritten() -> None:
    # Both: most uncertain 0. V1's most certain is 1, V2's is 2.
    v1, v2 = [9, 1, 5, 3], [8, 4, 0, 2]
    assert mixed_by_hand(v1, v2, 1, "simultaneous") == [30, 20, 30, 40]
    assert mixed_by_hand(v1, v2, 1, "in-place") == [20, 20, 30, 40]


def test_in_place_the_second_write_reads_the_first() -> None:
    # V1 is constant: its most uncertain and its most certain are region 0. V2: most uncertain 3, most certain 1.
    v1, v2 = [1, 1, 1, 1], [1, 0, 2, 3]
    assert mixed_by_hand(v1, v2, 1, "simultaneous") == [20, 20, 30, 10]
    assert mixed_by_hand(v1, v2, 1, "in-place") == [20, 20, 30, 20]


@pytest.mark.parametrize("order", ORDERS)
def test_one_write_reads_before_it_writes(order: Order) -> None:
    # V1: uncertain 0, 1; certain 3, 2. V2: uncertain 3, 2; certain 1, 0. So 0 <- 1, 1 <- 0 and then 3 <- 3, 2 <- 2.
    assert mixed_by_hand([9, 8, 1, 0], [1, 0, 8, 9], 2, order) == [20, 10, 30, 40]


@pytest.mark.parametrize("order", ORDERS)
def test_a_regions_uncertainty_is_its_mean_not_its_largest_value(order: Order) -> None:
    # One row, r = 2: regions of 1x2 pixels; the outlier of 6 loses to a mean of 4.
    v1 = torch.tensor([[[6.0, 0.0, 4.0, 4.0], [2.0, 2.0, 1.0, 0.0]]])
    image = torch.arange(8.0).view(1, 1, 2, 4)
    mixed = umix(v1, v1, k=1, r=2, order=order)(image)
    assert mixed.flatten().tolist() == [0, 1, 6, 7, 4, 5, 6, 7]


@pytest.mark.parametrize("order", ORDERS)
def test_images_of_any_memory_layout_are_left_as_they_were(order: Order) -> None:
    images, labels, v1, v2 = random_case((8, 8), 4)
    before = images.clone()
    mix = umix(v1, v2, k=3, r=4, order=order)
    expected = mix(images)
    assert torch.equal(images, before)
    assert torch.equal(mix(images.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(mix(images.transpose(2, 3).contiguous().transpose(2, 3)), expected)
    assert torch.equal(mix(labels), mix(labels))


@pytest.mark.parametrize("order", ORDERS)
def test_samples_do_not_mix(order: Order) -> None:
    images, _, v1, v2 = random_case((8, 8), 5)
    together = umix(v1, v2, k=2, r=4, order=order)(images)
    for b in range(len(images)):
        alone = umix(v1[b : b + 1], v2[b : b + 1], k=2, r=4, order=order)(images[b : b + 1])
        assert torch.equal(together[b : b + 1], alone)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("sides", "r"), [((8, 8), 3), ((8, 6), 4), ((4, 4, 6), 4)])
def test_sides_that_r_does_not_divide_are_an_error(sides: tuple[int, ...], r: int, order: Order) -> None:
    maps = torch.rand(1, *sides)
    with pytest.raises(ValueError, match=f"divisible by r = {r}"):
        umix(maps, maps, k=1, r=r, order=order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("sides", "r", "k"), [((8, 8), 4, 9), ((4, 4), 2, 3), ((4, 4), 1, 1), ((4, 4, 4), 2, 5)])
def test_fewer_than_2k_regions_are_an_error(sides: tuple[int, ...], r: int, k: int, order: Order) -> None:
    maps = torch.rand(1, *sides)
    with pytest.raises(ValueError, match="2k regions"):
        umix(maps, maps, k=k, r=r, order=order)


# ------------------------------------------------------------------------------------------------------ ignored pixels


def naive_known_umix(
    image: np.ndarray, v1: np.ndarray, v2: np.ndarray, known: np.ndarray, k: int, r: int, order: Order
) -> np.ndarray:
    """Mix one sample: means over known pixels, regions without any take no part."""
    regions = boxes(r, v1.shape)
    usable = [j for j, box in enumerate(regions) if known[box].any()]
    ranked = []
    for v in (v1, v2):
        means = {j: float(np.mean(v[regions[j]][known[regions[j]]], dtype=np.float64)) for j in usable}
        ranked.append((sorted(usable, key=lambda j: -means[j])[:k], sorted(usable, key=lambda j: means[j])[:k]))
    (uncertain1, certain1), (uncertain2, certain2) = ranked
    mixed = image.copy()
    if order == "in-place":
        for targets, chosen in ((uncertain1, certain2), (uncertain2, certain1)):
            contents = [mixed[(slice(None), *regions[source])].copy() for source in chosen]
            for target, pixels in zip(targets, contents, strict=True):
                mixed[(slice(None), *regions[target])] = pixels
        return mixed
    sources = dict(zip(uncertain2, certain1, strict=True)) | dict(zip(uncertain1, certain2, strict=True))
    for target, source in sources.items():
        mixed[(slice(None), *regions[target])] = image[(slice(None), *regions[source])]
    return mixed


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize(("r", "sides"), [(4, (8, 12)), (2, (4, 6, 4))])
def test_regions_are_ranked_by_their_known_pixels(r: int, sides: tuple[int, ...], share: float, order: Order) -> None:
    """`share` of the regions has no known pixel; a third of the others' pixels is ignored too."""
    for seed in range(5):
        images, labels, v1, v2 = random_case(sides, seed)
        rng = np.random.default_rng(seed)
        known = rng.random(labels.shape) > 1 / 3
        for sample in known:
            for box in boxes(r, sides):
                sample[box] &= rng.random() >= share
        mask = torch.from_numpy(known)
        noise = torch.randn(v1.shape) * ~mask * 100  # what ignored pixels hold has no effect
        mix = umix(v1 + noise, v2 - noise, k=2, r=r, order=order, known=mask)
        for b in range(len(images)):
            plan = v1[b].numpy(), v2[b].numpy(), known[b], 2, r, order
            np.testing.assert_array_equal(mix(images)[b].numpy(), naive_known_umix(images[b].numpy(), *plan))
            np.testing.assert_array_equal(mix(labels)[b].numpy(), naive_known_umix(labels[b].numpy()[None], *plan)[0])


@pytest.mark.parametrize("order", ORDERS)
def test_known_everywhere_is_the_same_as_no_mask(order: Order) -> None:
    images, _, v1, v2 = random_case((8, 8), 3)
    whole = torch.ones_like(v1, dtype=torch.bool)
    plain, masked = umix(v1, v2, k=3, r=4, order=order), umix(v1, v2, k=3, r=4, order=order, known=whole)
    assert torch.equal(plain(images), masked(images))


@pytest.mark.parametrize("order", ORDERS)
def test_an_image_without_known_pixels_stays_as_it_is(order: Order) -> None:
    images, _, v1, v2 = random_case((8, 8), 4)
    mix = umix(v1, v2, k=3, r=4, order=order, known=torch.zeros_like(v1, dtype=torch.bool))
    assert torch.equal(mix(images), images)


@pytest.mark.parametrize(("r", "sides"), [*CASES_2D, *CASES_3D])
def test_regions_of_another_image_take_the_places_of_its_own(r: int, sides: tuple[int, ...]) -> None:
    rng, where = np.random.default_rng(0), boxes(r, sides)
    first, second = rng.normal(size=(2, 3, 2, *sides))
    target, source = rng.integers(len(where), size=(2, 3, 1))
    expected = first.copy()
    for b in range(3):
        expected[(b, slice(None), *where[target[b, 0]])] = second[(b, slice(None), *where[source[b, 0]])]
    mix = RegionMix(torch.from_numpy(target), torch.from_numpy(source), r, len(sides))
    found = mix(torch.from_numpy(first), torch.from_numpy(second))
    np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal(mix(torch.from_numpy(first[:, 0]), torch.from_numpy(second[:, 0])), expected[:, 0])


@pytest.mark.parametrize(("r", "sides"), [*CASES_2D, *CASES_3D])
def test_means_of_regions_are_in_row_major_order(r: int, sides: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(2, *sides))
    expected = [[values[(b, *box)].mean() for box in boxes(r, sides)] for b in range(2)]
    np.testing.assert_allclose(region_means(torch.from_numpy(values), r).numpy(), expected)


@pytest.mark.parametrize(("r", "sides"), CASES_2D + CASES_3D)
def test_random_maps_have_one_number_a_region(r: int, sides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    maps = random_maps(torch.empty(2, 3, *sides), r)
    assert maps.shape == (2, 3, *sides)
    regions = [one[box].unique().tolist() for one in maps.flatten(0, 1) for box in boxes(r, sides)]
    assert all(len(values) == 1 and 0 <= values[0] < 1 for values in regions)
    assert len({values[0] for values in regions}) > 0.99 * 6 * r ** len(sides)  # two of thousands may be equal


def test_every_pair_of_regions_is_as_likely() -> None:
    """Of 16 regions in 8,000 images, each is replaced, and copied, by each map in an eighth of them (k = 2)."""
    torch.manual_seed(0)
    maps = random_maps(torch.empty(2, 8000, 4, 4), 4)
    mix = umix(*maps, k=2, r=4, order="simultaneous")
    sd = (8000 / 8 * 7 / 8) ** 0.5
    for regions in (mix.target[:, :2], mix.target[:, 2:], mix.source[:, :2]):
        assert (torch.bincount(regions.flatten(), minlength=16) - 1000).abs().max() < 4 * sd

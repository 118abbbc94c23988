"""CutMix against loops over samples and pixels, and its boxes against French et al.'s distribution."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from ssl_bench.ops import IGNORED, AdaptiveMix, BoxMix, adaptive_cutmix, clipped_boxes, cutmix, random_box

SIDES = [(9, 14), (7, 4, 6)]


def drawn(batch: int, sides: tuple[int, ...], boxes: int = 3, low: float = 0.25, high: float = 0.5) -> BoxMix:
    return cutmix(torch.empty(batch, 1, *sides), boxes=boxes, low=low, high=high)


def lengths_of(mix: BoxMix) -> np.ndarray:
    return (mix.stop - mix.start).numpy()


def naive_mix(images: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Mix (B, *sides) pixel by pixel: each box that holds a pixel swaps between its own image and the partner."""
    mixed = images.copy()
    for b, image in enumerate(images):
        partner = images[(b + 1) % len(images)]
        for place in itertools.product(*(range(side) for side in image.shape)):
            own = True
            for first, last in zip(start[b], stop[b], strict=True):
                if all(f <= p < e for f, p, e in zip(first, place, last, strict=True)):
                    own = not own
            mixed[b][place] = image[place] if own else partner[place]
    return mixed


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("boxes", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_it_mixes_as_the_loop_does(batch: int, boxes: int, sides: tuple[int, ...]) -> None:
    torch.manual_seed(batch + boxes)
    images = torch.randn(batch, 2, *sides)
    mix = drawn(batch, sides, boxes, 0.3, 0.9)
    found = mix(images)
    assert found.shape == images.shape
    for channel in range(2):
        expected = naive_mix(images[:, channel].numpy(), mix.start.numpy(), mix.stop.numpy())
        np.testing.assert_array_equal(found[:, channel].numpy(), expected)
    assert torch.equal(found, images) == (batch == 1)  # alone, a sample is its own partner


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_labels_of_any_type_move_with_the_images(dtype: torch.dtype, sides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 2, (3, 2, *sides))
    mix = drawn(3, sides)
    labels = images[:, 1].to(dtype)
    found = mix(labels)
    assert found.dtype == dtype
    assert torch.equal(found, mix(images)[:, 1].to(dtype))
    assert not torch.equal(found, labels)


def test_a_batch_as_large_as_its_channels_or_sides_is_told_from_labels() -> None:
    torch.manual_seed(0)
    mix, images = drawn(4, (4, 4)), torch.randn(4, 4, 4, 4)
    for channel in range(4):
        assert torch.equal(mix(images)[:, channel], mix(images[:, channel]))


def test_boxes_by_hand() -> None:
    """Two samples of 4x5 pixels; the second box of the first one overlaps the first box in four pixels."""
    start = torch.tensor([[[0, 1], [1, 0]], [[3, 4], [0, 0]]])
    stop = torch.tensor([[[3, 4], [3, 3]], [[4, 5], [0, 5]]])
    mix = BoxMix(start, stop, (4, 5))
    images = torch.stack((torch.zeros(4, 5, dtype=torch.int64), torch.ones(4, 5, dtype=torch.int64)))
    first = [[0, 1, 1, 1, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    second = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert mix(images).tolist() == [first, second]


@pytest.mark.parametrize("sides", SIDES)
def test_a_box_as_large_as_the_image_leaves_the_partner(sides: tuple[int, ...]) -> None:
    images = torch.arange(3.0).view(3, 1, *(1 for _ in sides)).expand(3, 2, *sides)
    mixed = drawn(3, sides, boxes=1, low=1.0, high=1.0)(images)
    assert [float(sample.unique()) for sample in mixed] == [1, 2, 0]


# ----------------------------------------------------------------------------------------------------- the boxes drawn


@pytest.mark.parametrize("sides", [(64, 48), (20, 12, 16)])
@pytest.mark.parametrize(("boxes", "low", "high"), [(1, 0.25, 0.5), (3, 0.25, 0.5), (2, 0.1, 0.1), (4, 0.9, 1.0)])
def test_boxes_cover_their_share_within_bounds(sides: tuple[int, ...], boxes: int, low: float, high: float) -> None:
    torch.manual_seed(0)
    mix = drawn(100, sides, boxes, low, high)
    lengths, total = lengths_of(mix), math.prod(sides)
    assert mix.start.shape == mix.stop.shape == (100, boxes, len(sides))
    assert (mix.start >= 0).all()
    assert (mix.stop <= torch.tensor(sides)).all()
    assert (lengths <= np.array(sides) * boxes ** (-1 / len(sides)) + 0.5).all()
    assert ((lengths + 0.5).prod(2) >= low / boxes * total * (1 - 1e-5)).all()
    assert (np.maximum(lengths - 0.5, 0).prod(2) <= high / boxes * total * (1 + 1e-5)).all()
    assert lengths.prod(2).mean() / total == pytest.approx((low + high) / 2 / boxes, rel=0.05)


@pytest.mark.parametrize("boxes", [1, 3])
def test_in_2d_the_boxes_are_those_of_french_et_al(boxes: int) -> None:
    """Heights, widths, areas and places have the distribution of their generator, written again in numpy."""
    torch.manual_seed(0)
    numbers, (height, width), count = np.random.default_rng(1), (80, 60), 1500
    mix = drawn(count, (height, width), boxes)
    share = numbers.uniform(0.25, 0.5, count * boxes)
    tall = np.exp(numbers.uniform(size=count * boxes) * np.log(share))
    shape = np.stack((tall, share / tall), 1) * np.sqrt(1 / boxes) * (height, width)
    lengths = np.round(shape)
    start = np.round(((height, width) - lengths) * numbers.uniform(size=lengths.shape))
    assert_same_distribution(mix, start, lengths)


def test_in_3d_the_split_over_the_axes_is_uniform_on_the_simplex() -> None:
    torch.manual_seed(0)
    numbers, sides, count = np.random.default_rng(1), np.array((24, 20, 16)), 1500
    mix = drawn(count, (24, 20, 16), boxes=2)
    share = numbers.uniform(0.25, 0.5, (count * 2, 1))
    lengths = np.round(share ** numbers.dirichlet((1, 1, 1), count * 2) / 2 ** (1 / 3) * sides)
    start = np.round((sides - lengths) * numbers.uniform(size=lengths.shape))
    assert_same_distribution(mix, start, lengths)


def assert_same_distribution(mix: BoxMix, start: np.ndarray, lengths: np.ndarray) -> None:
    d = start.shape[1]
    found_start, found_lengths = mix.start.numpy().reshape(-1, d), lengths_of(mix).reshape(-1, d)
    assert ks_2samp(found_lengths.prod(1), lengths.prod(1)).pvalue > 0.01
    for axis in range(d):
        assert ks_2samp(found_lengths[:, axis], lengths[:, axis]).pvalue > 0.01
        assert ks_2samp(found_start[:, axis], start[:, axis]).pvalue > 0.01
        stop, found_stop = (start + lengths)[:, axis], (found_start + found_lengths)[:, axis]
        assert ks_2samp(found_stop, stop).pvalue > 0.01


@pytest.mark.parametrize("sides", [(64, 48), (20, 12, 16)])
def test_every_box_is_drawn_for_itself(sides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mix = drawn(1500, sides, boxes=2)
    lengths = lengths_of(mix)
    for one, two in [(lengths[:, 0], lengths[:, 1]), (lengths[:-1, 0], lengths[1:, 0])]:
        for axis in range(len(sides)):
            assert abs(np.corrcoef(one[:, axis], two[:, axis])[0, 1]) < 0.1


@pytest.mark.parametrize("sides", SIDES)
def test_the_seed_decides_the_boxes(sides: tuple[int, ...]) -> None:
    def boxes(seed: int) -> Tensor:
        torch.manual_seed(seed)
        mix = drawn(2, sides)
        return torch.cat((mix.start, mix.stop))

    assert torch.equal(boxes(4), boxes(4))
    assert not torch.equal(boxes(4), boxes(5))


def test_the_count_of_draws_does_not_depend_on_the_shares() -> None:
    states = []
    for low, high in [(0.1, 0.1), (0.25, 0.5), (1.0, 1.0)]:
        torch.manual_seed(3)
        drawn(3, (16, 16), 2, low, high)
        states.append(torch.get_rng_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("sides", SIDES)
def test_nothing_is_read_back_from_the_device(sides: tuple[int, ...]) -> None:
    """Tensors on the meta device have no values: whatever asked for one would fail."""
    images = torch.empty(3, 2, *sides, device="meta")
    mixed = cutmix(images, boxes=3, low=0.25, high=0.5)(images)
    assert mixed.device.type == "meta"
    assert mixed.shape == images.shape


@pytest.mark.parametrize("sides", SIDES)
def test_samples_are_mixed_with_the_probability(sides: tuple[int, ...]) -> None:
    """Each with or without its boxes as a whole, by chance of its own."""
    torch.manual_seed(0)
    like = torch.empty(2000, 1, *sides)
    mix = cutmix(like, boxes=2, low=0.3, high=0.5, probability=0.25)
    sizes = (mix.stop - mix.start).prod(2)  # (B, N)
    assert ((sizes == 0).all(1) | (sizes > 0).all(1)).all()
    assert (sizes > 0).all(1).float().mean().item() == pytest.approx(0.25, abs=0.03)  # three standard deviations
    torch.manual_seed(0)
    always = cutmix(like, boxes=2, low=0.3, high=0.5)
    mixed = (sizes > 0).all(1)
    assert torch.equal(mix.start, always.start)
    assert torch.equal(mix.stop[mixed], always.stop[mixed])


@pytest.mark.parametrize(("sides", "share", "lengths"), [((9, 14), 2 / 3, (6, 9)), ((7, 4, 6), 0.5, (3, 2, 3))])
def test_a_random_box_has_its_share_of_each_side_and_lies_anywhere(
    sides: tuple[int, ...], share: float, lengths: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    places = {}
    for _ in range(3000):
        inside = random_box(sides, share, torch.device("cpu")).numpy()
        start = tuple(int(rows.min()) for rows in np.nonzero(inside))
        box = np.zeros(sides, dtype=bool)
        box[tuple(slice(first, first + length) for first, length in zip(start, lengths, strict=True))] = True
        np.testing.assert_array_equal(inside, box)
        places[start] = places.get(start, 0) + 1
    every = math.prod(side - length + 1 for side, length in zip(sides, lengths, strict=True))
    assert len(places) == every
    chi_square = sum((count - 3000 / every) ** 2 / (3000 / every) for count in places.values())
    assert chi_square < every + 4 * math.sqrt(2 * every)


@pytest.mark.parametrize(("share", "whole"), [(0.0, False), (1.0, True)])
def test_a_random_box_of_nothing_and_of_everything(share: float, whole: bool) -> None:
    assert (random_box((5, 4), share, torch.device("cpu")) == whole).all()


# ------------------------------------------------------------------------------------------------ AugSeg's adaptive mix

ADAPTIVE_SHAPES = [(1, 1, 6, 5), (2, 3, 8, 8), (5, 2, 4, 6, 5)]


def drawn_plan(shape: tuple[int, ...], labeled: int, certainty: Tensor, seed: int) -> AdaptiveMix:
    torch.manual_seed(seed)
    return adaptive_cutmix(torch.zeros(shape), labeled, certainty, paste=(2.0, 2.0), box=(1.0, 1.0))


@pytest.mark.parametrize("labeled", [1, 2, 7])
@pytest.mark.parametrize("shape", ADAPTIVE_SHAPES)
def test_a_box_of_a_labelled_image_comes_with_the_partners_box(shape: tuple[int, ...], labeled: int) -> None:
    """Against a loop over pixels in two steps: boxes of labelled images first, then the partners' boxes."""
    batch, sides = shape[0], shape[2:]
    unlabeled, others = torch.randn(shape), torch.randn(labeled, *shape[1:])
    labels = torch.randint(0, 3, (labeled, *sides))
    seen = 0
    for seed in range(6):
        torch.manual_seed(seed)
        order = torch.randperm(batch)
        mix = drawn_plan(shape, labeled, torch.full((batch,), 0.5), seed)
        assert torch.equal(mix.partner, order)
        plain, mixed, pasted = mix(unlabeled), mix(unlabeled, others), mix.pasted(labels)
        for i, *place in itertools.product(range(batch), *map(range, sides)):
            at = (slice(None), *place)
            j = int(order[i])
            if not mix.box[(i, *place)]:
                expected, label = unlabeled[i][at], IGNORED
            elif mix.from_labeled[(i, *place)]:
                source = int(order[j]) % labeled
                expected, label = others[source][at], int(labels[source][tuple(place)])
                seen += 1
            else:
                expected, label = unlabeled[j][at], IGNORED
            assert torch.equal(mixed[i][at], expected)
            assert pasted[(i, *place)].item() == label
            own = unlabeled[j][at] if mix.box[(i, *place)] else unlabeled[i][at]
            assert torch.equal(plain[i][at], own)
    assert seen > 0


@pytest.mark.parametrize("shape", ADAPTIVE_SHAPES)
def test_a_certain_image_gets_no_labelled_box_and_an_uncertain_one_always(shape: tuple[int, ...]) -> None:
    pasted = {0.0: 0, 1.0: 0}
    for certainty, seed in itertools.product(pasted, range(40)):
        mix = drawn_plan(shape, 2, torch.full((shape[0],), certainty), seed)
        pasted[certainty] += int(mix.from_labeled.flatten(1).any(1).sum())
        assert not (mix.from_labeled & ~mix.box).any()
    assert pasted[1.0] == 0
    assert pasted[0.0] > 10 * shape[0]  # of 40 draws each, where the two boxes meet


def test_a_labelled_box_is_as_likely_as_the_partner_is_uncertain() -> None:
    """With boxes of nearly the whole image the labelled pixels show which samples were chosen."""
    certainty = torch.tensor([0.1, 0.5, 0.9]).repeat(400)
    torch.manual_seed(0)
    mix = adaptive_cutmix(torch.zeros(1200, 1, 16, 16), 3, certainty, paste=(1e-3, 1e3), box=(1e-3, 1e3))
    chosen = torch.zeros(1200).scatter(0, mix.partner, mix.from_labeled.flatten(1).any(1).float()).view(400, 3)
    met = torch.zeros(1200).scatter(0, mix.partner, mix.box.flatten(1).any(1).float()).view(400, 3)
    assert (met == 1).all()
    for share, expected in zip(chosen.mean(0).tolist(), (0.9, 0.5, 0.1), strict=True):
        assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 400) ** 0.5)


@pytest.mark.parametrize(("sides", "share"), [((40, 24), 0.25), ((16, 8, 24), 0.5), ((32, 32), 1.0), ((9, 9), 0.0)])
def test_clipped_boxes_have_one_size_but_for_the_border(sides: tuple[int, ...], share: float) -> None:
    torch.manual_seed(0)
    masks = clipped_boxes(torch.zeros(300, 2, *sides), torch.tensor([share]))
    assert masks.shape == (300, *sides)
    half = [int(share ** (1 / len(sides)) * side + 1e-4) // 2 for side in sides]
    for mask in masks.numpy():
        if not mask.any():
            assert share == 0
            continue
        start, stop = [], []
        for axis in range(len(sides)):
            line = np.flatnonzero(mask.any(axis=tuple(other for other in range(len(sides)) if other != axis)))
            start.append(line[0])
            stop.append(line[-1] + 1)
        assert mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].all()  # a box, and nothing else
        assert mask.sum() == np.prod(np.subtract(stop, start))
        for a, b, one, side in zip(start, stop, half, sides, strict=True):
            whole = b - a == 2 * one
            assert whole or (a == 0 and b >= one) or (b == side and b - a >= min(one, side - a))
    if 0 < share < 1:  # centres from an eighth of the side on: the first axis' lowest start is below its eighth
        rows = [np.flatnonzero(mask.any(axis=tuple(range(1, len(sides)))))[0] for mask in masks.numpy()]
        assert min(rows) == max(0, sides[0] // 8 - half[0])
        assert max(rows) == sides[0] - 1 - half[0]

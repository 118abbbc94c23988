"""CutMix against loops over samples and pixels, and its boxes against French et al.'s distribution."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from ssl_bench.ops import BoxMix, cutmix

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

"""Sliding-window inference against a triple loop in NumPy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv3d

from ssl_bench.scoring.inference import predict_windows, window_positions

Triple = tuple[int, int, int]
CLASSES = 3
# (sides, patch, stride): odd sides; sides shorter than the patch by an odd and an even number; a last step shorter
# than the stride; one window; stride and patch alike.
GRIDS: list[tuple[Triple, Triple, Triple]] = [
    ((11, 9, 13), (4, 5, 6), (3, 2, 4)),
    ((5, 12, 6), (8, 6, 8), (2, 3, 5)),
    ((3, 4, 5), (6, 8, 7), (6, 1, 7)),
    ((9, 8, 10), (8, 7, 6), (8, 7, 6)),
    ((6, 6, 6), (6, 6, 6), (3, 3, 3)),
    ((12, 8, 10), (4, 4, 5), (4, 4, 5)),
]


def position_aware_network(patch: Triple) -> Callable[[Tensor], Tensor]:
    """A convolution and a bias that differs from voxel to voxel of the window, so that no window can be misplaced."""
    generator = torch.Generator().manual_seed(1)
    kernel = torch.randn(CLASSES, 1, 3, 3, 3, generator=generator)
    bias = torch.randn(CLASSES, *patch, generator=generator)
    return lambda images: conv3d(images, kernel, padding=1) + bias


def random_volume(sides: Triple, seed: int = 0) -> Tensor:
    return torch.randn(1, *sides, generator=torch.Generator().manual_seed(seed))


def naive(network: Callable[[Tensor], Tensor], volume: np.ndarray, patch: Triple, stride: Triple) -> np.ndarray:
    """The definition, one window after the other, in float64 (K, X, Y, Z)."""
    sides = volume.shape
    larger = [max(a, b) for a, b in zip(sides, patch, strict=True)]
    front = [(a - b) // 2 for a, b in zip(larger, sides, strict=True)]
    inner = tuple(slice(f, f + side) for f, side in zip(front, sides, strict=True))
    padded = np.zeros(larger, np.float32)
    padded[inner] = volume
    total, count = np.zeros((CLASSES, *larger)), np.zeros(larger)
    steps = [math.ceil((a - p) / s) + 1 for a, p, s in zip(larger, patch, stride, strict=True)]
    for i in range(steps[0]):
        x = min(i * stride[0], larger[0] - patch[0])
        for j in range(steps[1]):
            y = min(j * stride[1], larger[1] - patch[1])
            for k in range(steps[2]):
                z = min(k * stride[2], larger[2] - patch[2])
                window = np.s_[x : x + patch[0], y : y + patch[1], z : z + patch[2]]
                logits = network(torch.from_numpy(padded[window])[None, None])[0].double().numpy()
                powers = np.exp(logits - logits.max(0))
                total[:, *window] += powers / powers.sum(0)
                count[window] += 1
    return (total / count)[:, *inner]


# --------------------------------------------------------------------------------------------------- window_positions


def test_positions_of_the_left_atrium() -> None:
    assert window_positions(88, 80, 4) == [0, 4, 8]
    assert window_positions(200, 112, 18) == [0, 18, 36, 54, 72, 88]


def test_the_last_window_ends_with_the_side_and_is_not_doubled() -> None:
    assert window_positions(13, 5, 4) == [0, 4, 8]
    assert window_positions(14, 5, 4) == [0, 4, 8, 9]
    assert window_positions(7, 5, 4) == [0, 2]
    assert window_positions(5, 5, 4) == [0]
    assert window_positions(3, 5, 4) == [0]


@given(side=st.integers(1, 80), patch=st.integers(1, 40), data=st.data())
def test_every_voxel_is_covered_by_windows_inside_the_side(side: int, patch: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, patch))
    starts = window_positions(side, patch, stride)
    side = max(side, patch)
    assert {voxel for start in starts for voxel in range(start, start + patch)} == set(range(side))
    assert starts == sorted(set(starts))
    assert all(start % stride == 0 for start in starts[:-1])


@pytest.mark.parametrize("stride", [6, 7, 0, -1])
def test_a_stride_that_leaves_holes_is_an_error(stride: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to its patch, 5, not {stride}"):
        window_positions(20, 5, stride)
    with pytest.raises(ValueError, match=f"from 1 to its patch, 5, not {stride}"):
        predict_windows(lambda x: x, torch.zeros(1, 9, 9, 9), patch=(4, 5, 6), stride=(4, stride, 6), batch=1)


# ---------------------------------------------------------------------------------------------------- predict_windows


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize(("sides", "patch", "stride"), GRIDS)
def test_the_triple_loop(sides: Triple, patch: Triple, stride: Triple, batch: int) -> None:
    network, volume = position_aware_network(patch), random_volume(sides)
    before = volume.clone()
    mean = predict_windows(network, volume, patch=patch, stride=stride, batch=batch)
    assert mean.dtype == torch.float32
    assert mean.shape == (CLASSES, *sides)
    np.testing.assert_allclose(mean.numpy(), naive(network, volume[0].numpy(), patch, stride), rtol=1e-5, atol=1e-6)
    assert torch.equal(volume, before)


def test_a_second_call_gives_the_same_bits() -> None:
    sides, patch, stride = GRIDS[0]
    first, second = (
        predict_windows(position_aware_network(patch), random_volume(sides), patch=patch, stride=stride, batch=4)
        for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 8), (3, [3, 3, 2]), (4, [4, 4]), (100, [8])])
def test_windows_go_through_the_network_in_batches(batch: int, sizes: list[int]) -> None:
    seen = []

    def network(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return images.repeat(1, 2, 1, 1, 1)

    predict_windows(network, random_volume((6, 7, 8)), patch=(4, 5, 6), stride=(4, 5, 6), batch=batch)
    assert seen == [(size, 1, 4, 5, 6) for size in sizes]


@pytest.mark.parametrize(("sides", "patch", "stride"), GRIDS)
def test_a_network_that_sees_one_voxel_at_a_time_predicts_as_on_the_whole(
    sides: Triple, patch: Triple, stride: Triple
) -> None:
    def network(images: Tensor) -> Tensor:
        return torch.cat((images, images.square() - 1, images.sin(), -images), dim=1)

    volume = random_volume(sides, 2)
    mean = predict_windows(network, volume, patch=patch, stride=stride, batch=5)
    torch.testing.assert_close(mean, network(volume[None])[0].softmax(0), rtol=1e-6, atol=1e-6)


def test_logits_in_bfloat16_are_averaged_in_float32() -> None:
    sides, patch, stride = GRIDS[0]
    exact = position_aware_network(patch)

    def network(images: Tensor) -> Tensor:
        return exact(images).bfloat16()

    volume = random_volume(sides)
    mean = predict_windows(network, volume, patch=patch, stride=stride, batch=2)
    assert mean.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), naive(network, volume[0].numpy(), patch, stride), rtol=1e-5, atol=1e-6)


def test_all_of_it_stays_on_the_volumes_device_and_never_asks_it_for_a_value() -> None:
    volume = torch.empty(1, 5, 12, 6, device="meta")  # tensors without values, which mix with no other device
    mean = predict_windows(lambda x: torch.cat((x, x), 1), volume, patch=(8, 6, 8), stride=(2, 3, 5), batch=2)
    assert mean.device.type == "meta"
    assert mean.shape == (2, 5, 12, 6)

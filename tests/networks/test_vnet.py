"""V-Net against a functional forward written from the layer list, and its size by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_bench.networks.vnet import VNet
from ssl_bench.ops import dropout_switched

SIDES = (32, 16, 48)


def unsettled(network: VNet) -> VNet:
    """In double precision, with weights that no level damps and batch norms far from the identity; in eval mode."""
    network = network.double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2)
    return network


def images(*, channels: int = 1, batch: int = 2, sides: tuple[int, ...] = SIDES) -> Tensor:
    return torch.randn(batch, channels, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# The same network, layer by layer, from a state dict.


class Functional:
    def __init__(self, state: dict[str, Tensor], *, training: bool = False) -> None:
        self.state = state
        self.training = training

    def normalised(self, convolved: Tensor, name: str) -> Tensor:
        weight, bias = self.state[f"{name}.1.weight"], self.state[f"{name}.1.bias"]
        mean, variance = self.state[f"{name}.1.running_mean"], self.state[f"{name}.1.running_var"]
        if self.training:
            mean, variance = convolved.mean((0, 2, 3, 4)), convolved.var((0, 2, 3, 4), correction=0)
        mean, variance, weight, bias = (t.view(1, -1, 1, 1, 1) for t in (mean, variance, weight, bias))
        return ((convolved - mean) / (variance + 1e-5).sqrt() * weight + bias).clamp(min=0)

    def same(self, x: Tensor, name: str) -> Tensor:
        convolved = functional.conv3d(x, self.state[f"{name}.0.weight"], self.state[f"{name}.0.bias"], padding=1)
        return self.normalised(convolved, name)

    def down(self, x: Tensor, name: str) -> Tensor:
        convolved = functional.conv3d(x, self.state[f"{name}.0.weight"], self.state[f"{name}.0.bias"], stride=2)
        return self.normalised(convolved, name)

    def up(self, x: Tensor, name: str) -> Tensor:
        """Each voxel becomes a 2x2x2 block: its channels times the weights."""
        blocks = torch.einsum("bcxyz,cdijk->bdxiyjzk", x, self.state[f"{name}.0.weight"])
        doubled = blocks.reshape(len(x), -1, *(2 * side for side in x.shape[2:]))
        return self.normalised(doubled + self.state[f"{name}.0.bias"].view(1, -1, 1, 1, 1), name)

    def encoder(self, x: Tensor) -> list[Tensor]:
        x1 = self.same(x, "encoder.levels.0")
        maps = [x1]
        for level, count in ((1, 2), (2, 3), (3, 3), (4, 3)):
            x = self.down(maps[-1], f"encoder.levels.{level}.0")
            for i in range(count):
                x = self.same(x, f"encoder.levels.{level}.1.{i}")
            maps.append(x)
        return maps

    def decoder(self, maps: list[Tensor]) -> Tensor:
        x = maps[4]
        for level, count in ((0, 3), (1, 3), (2, 2), (3, 1)):
            x = self.up(x, f"decoder.ups.{level}") + maps[3 - level]
            for i in range(count):
                x = self.same(x, f"decoder.levels.{level}.{i}")
        return x

    def __call__(self, x: Tensor) -> Tensor:
        decoded = self.decoder(self.encoder(x))
        weight, bias = self.state["segmentation_head.weight"], self.state["segmentation_head.bias"]
        return torch.einsum("bcxyz,kc->bkxyz", decoded, weight[:, :, 0, 0, 0]) + bias.view(1, -1, 1, 1, 1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (2, 4)])
def test_forward_is_the_layer_list_s(channels: int, classes: int, training: bool) -> None:
    network = unsettled(VNet(in_channels=channels, classes=classes, filters=2)).train(training)
    state = copy.deepcopy(network.state_dict())
    x = images(channels=channels)
    torch.testing.assert_close(network(x), Functional(state, training=training)(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("training", [False, True])
def test_at_half_resolution_it_sees_means_of_blocks_and_its_head_makes_blocks(training: bool) -> None:
    network = unsettled(VNet(in_channels=2, classes=3, filters=2, half=True)).train(training)
    state, x = copy.deepcopy(network.state_dict()), images(channels=2, sides=(32, 32, 64))
    oracle = Functional(state, training=training)
    means = x.reshape(2, 2, 16, 2, 16, 2, 32, 2).mean((3, 5, 7))
    decoded = oracle.decoder(oracle.encoder(means))
    blocks = torch.einsum("bcxyz,ckdef->bkxdyezf", decoded, state["segmentation_head.weight"])
    expected = blocks.reshape(2, 3, 32, 32, 64) + state["segmentation_head.bias"].view(1, -1, 1, 1, 1)
    torch.testing.assert_close(network(x), expected, rtol=1e-8, atol=1e-8)


def test_at_half_resolution_sides_are_multiples_of_32() -> None:
    with pytest.raises(ValueError, match="divisible by 32, found 32 x 48 x 32"):
        VNet(filters=1, half=True)(images(sides=(32, 48, 32)).float())


@pytest.mark.parametrize("zeroed", range(5))
def test_each_map_of_the_encoder_enters_by_addition(zeroed: int) -> None:
    network = unsettled(VNet(filters=2))
    maps = network.encoder(images())
    without = [torch.zeros_like(z) if i == zeroed else z for i, z in enumerate(maps)]
    found, oracle = network.decoder(without), Functional(network.state_dict())
    torch.testing.assert_close(found, oracle.decoder(without), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(found, network.decoder(maps), rtol=1e-2, atol=1e-2)


def test_parts_make_the_whole() -> None:
    network = unsettled(VNet(filters=2))
    x = images()
    assert torch.equal(network(x), network.segmentation_head(network.decoder(network.encoder(x))))


def test_the_literature_s_network_has_9_45_million_parameters() -> None:
    # A 3x3x3 convolution of a to b filters with its bias, and batch norm's two: 27ab + 3b; a 2x2x2 one: 8ab + 3b.
    down = 480 + (4192 + 55488) + (16576 + 332352) + (65920 + 1328256) + (262912 + 5310720)
    up = (262528 + 1328256) + (65728 + 332352) + (16480 + 55488) + (4144 + 6960)
    head = 16 * 2 + 2
    assert down + up + head == 9_448_866
    assert sum(p.numel() for p in VNet().parameters()) == 9_448_866


@pytest.mark.parametrize(("channels", "classes", "filters"), [(1, 2, 1), (1, 4, 4), (3, 2, 8)])
def test_parameters_scale_with_filters_channels_and_classes(channels: int, classes: int, filters: int) -> None:
    f = filters
    same = 27 * (2 * 4 + 3 * 16 + 3 * 64 + 3 * 256 + 3 * 64 + 3 * 16 + 2 * 4 + 1) * f * f  # the first one apart
    same += 3 * (2 * 2 + 3 * 4 + 3 * 8 + 3 * 16 + 3 * 8 + 3 * 4 + 2 * 2 + 1) * f
    first = 27 * channels * f + 3 * f
    strided = 2 * 8 * (2 + 8 + 32 + 128) * f * f + 3 * (2 + 4 + 8 + 16) * f + 3 * (8 + 4 + 2 + 1) * f
    network = VNet(in_channels=channels, classes=classes, filters=f)
    expected = first + same + strided + f * classes + classes
    assert sum(p.numel() for p in network.parameters()) == expected


def test_shapes() -> None:
    network = VNet(in_channels=2, classes=4, filters=2)
    x = torch.randn(2, 2, *SIDES)
    maps = network.encoder(x)
    assert [tuple(z.shape) for z in maps] == [
        (2, 2, 32, 16, 48),
        (2, 4, 16, 8, 24),
        (2, 8, 8, 4, 12),
        (2, 16, 4, 2, 6),
        (2, 32, 2, 1, 3),
    ]
    assert network.decoder(maps).shape == (2, 2, 32, 16, 48)
    assert network(x).shape == (2, 4, 32, 16, 48)


@pytest.mark.parametrize("sides", [(8, 16, 16), (16, 40, 32), (16, 16, 17)])
def test_sides_that_16_does_not_divide_are_an_error(sides: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"divisible by 16, found {sides[0]} x {sides[1]} x {sides[2]}"):
        VNet(filters=2)(torch.zeros(1, 1, *sides))


def test_gradient_reaches_every_parameter() -> None:
    network = unsettled(VNet(filters=4))  # in eval mode, since batch statistics take a bias's gradient away
    network(images()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


# Dropout.


def assert_drops_whole_channels(dropped: Tensor, full: Tensor, rate: float) -> None:
    """Each channel of each sample is zero or 1 / (1 - rate) times what it was; some are one, some the other."""
    alive = full.flatten(2).abs().amax(2) > 0
    kept = dropped.flatten(2).abs().amax(2) > 0
    assert not (kept & ~alive).any()
    assert 0 < kept.sum() < alive.sum()
    torch.testing.assert_close(dropped, full * kept[:, :, None, None, None] / (1 - rate))


def test_dropout_follows_the_coarsest_level_and_precedes_the_head() -> None:
    network = unsettled(VNet(filters=8, dropout=0.25))
    x = images(sides=(16, 16, 32))
    maps = network.encoder(x)
    decoded = network.decoder(maps)
    torch.manual_seed(0)
    with dropout_switched(network, on=True):  # as Monte Carlo dropout does
        noisy_maps, noisy_decoded = network.encoder(x), network.decoder(maps)
    for i in range(4):
        assert torch.equal(noisy_maps[i], maps[i])
    assert_drops_whole_channels(noisy_maps[4], maps[4], 0.25)
    assert_drops_whole_channels(noisy_decoded, decoded, 0.25)


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    network = unsettled(VNet(filters=4, dropout=0.5))
    x = images()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_without_dropout_training_draws_nothing() -> None:
    network = unsettled(VNet(filters=2)).train()
    x = images()
    before = torch.get_rng_state()
    assert torch.equal(network(x), network(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_with_and_without_dropout_fit_each_other() -> None:
    network, other = VNet(filters=2), VNet(filters=2, dropout=0.5)
    other.load_state_dict(network.state_dict())
    x = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(network.eval()(x), other.eval()(x))

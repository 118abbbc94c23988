"""The small U-Net against a functional forward written from the layer list, and its size by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_bench.networks.unet import SmallUNet
from ssl_bench.ops import dropout_switched

SIDES = (32, 48)
NO_DROPOUT = (0.0, 0.0, 0.0, 0.0, 0.0)


def unsettled(network: SmallUNet) -> SmallUNet:
    """In double precision, with weights that no level damps and batch norms far from the identity; in eval mode."""
    network = network.double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2)
    return network


def images(*, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *SIDES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# The same network, layer by layer, from a state dict.


def doubled(side: int) -> Tensor:
    """The matrix that interpolates `side` values linearly at twice as many places, first on first and last on last."""
    places = np.linspace(0, side - 1, 2 * side)
    return torch.tensor(np.stack([np.interp(places, np.arange(side), row) for row in np.eye(side)], axis=1))


class Functional:
    def __init__(self, state: dict[str, Tensor], *, training: bool = False) -> None:
        self.state = state
        self.training = training

    def convolution(self, x: Tensor, name: str) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return functional.conv2d(x, weight, self.state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def normalised(self, x: Tensor, name: str) -> Tensor:
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        tensors = mean, variance, self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        mean, variance, weight, bias = (t.view(1, -1, 1, 1) for t in tensors)
        x = (x - mean) / (variance + 1e-5).sqrt() * weight + bias
        return torch.where(x > 0, x, 0.01 * x)

    def level(self, x: Tensor, name: str) -> Tensor:
        x = self.normalised(self.convolution(x, f"{name}.0"), f"{name}.1")
        return self.normalised(self.convolution(x, f"{name}.4"), f"{name}.5")

    def encoder(self, x: Tensor) -> list[Tensor]:
        maps = [self.level(x, "encoder.levels.0")]
        for level in range(1, 5):
            b, c, h, w = maps[-1].shape
            pooled = maps[-1].view(b, c, h // 2, 2, w // 2, 2).amax((3, 5))
            maps.append(self.level(pooled, f"encoder.levels.{level}"))
        return maps

    def decoder(self, maps: list[Tensor]) -> Tensor:
        x = maps[4]
        for level in range(4):
            x = self.convolution(x, f"decoder.narrow.{level}")
            x = doubled(x.shape[2]) @ x @ doubled(x.shape[3]).T
            x = self.level(torch.cat([maps[3 - level], x], 1), f"decoder.levels.{level}")
        return x

    def __call__(self, x: Tensor) -> Tensor:
        return self.convolution(self.decoder(self.encoder(x)), "segmentation_head")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("channels", "classes"), [(3, 2), (1, 4)])
def test_forward_is_the_layer_list_s(channels: int, classes: int, training: bool) -> None:
    network = SmallUNet(in_channels=channels, classes=classes, filters=2, dropout=NO_DROPOUT)
    network = unsettled(network).train(training)
    state = copy.deepcopy(network.state_dict())
    x = images(channels=channels)
    torch.testing.assert_close(network(x), Functional(state, training=training)(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("zeroed", range(5))
def test_each_map_of_the_encoder_enters_the_decoder(zeroed: int) -> None:
    network = unsettled(SmallUNet(filters=2))
    maps = network.encoder(images())
    without = [torch.zeros_like(z) if i == zeroed else z for i, z in enumerate(maps)]
    found, oracle = network.decoder(without), Functional(network.state_dict())
    torch.testing.assert_close(found, oracle.decoder(without), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(found, network.decoder(maps), rtol=1e-2, atol=1e-2)


def test_parts_make_the_whole() -> None:
    network = unsettled(SmallUNet(filters=2))
    x = images()
    assert torch.equal(network(x), network.segmentation_head(network.decoder(network.encoder(x))))


@pytest.mark.parametrize(("channels", "classes", "expected"), [(3, 2, 1_813_762), (1, 4, 1_813_764)])
def test_the_literature_s_network_has_1_81_million_parameters(channels: int, classes: int, expected: int) -> None:
    # A 3x3 convolution of a to b filters with its bias, and batch norm's two: 9ab + 3b; a 1x1 one: ab + b.
    down = 144 * channels + 48 + 2352
    down += (4704 + 9312) + (18624 + 37056) + (74112 + 147840) + (295680 + 590592)
    up = (32896 + 295296 + 147840) + (8256 + 73920 + 37056) + (2080 + 18528 + 9312) + (528 + 4656 + 2352)
    head = 144 * classes + classes
    assert down + up + head == expected
    network = SmallUNet(in_channels=channels, classes=classes)
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("filters", [1, 4, 8])
def test_parameters_scale_with_filters(filters: int) -> None:
    f = filters
    # Products of filters: encoder's second and first convolutions, decoder's 1x1, first and second ones.
    encoder = 9 * (1 + 4 + 16 + 64 + 256) * f * f + 9 * (2 + 8 + 32 + 128) * f * f + 9 * 3 * f
    decoder = (128 + 32 + 8 + 2) * f * f + 9 * 3 * (64 + 16 + 4 + 1) * f * f
    biases = 2 * 3 * (1 + 2 + 4 + 8 + 16) * f + (1 + 2 * 3) * (8 + 4 + 2 + 1) * f
    expected = encoder + decoder + biases + 9 * 2 * f + 2
    assert sum(p.numel() for p in SmallUNet(filters=f).parameters()) == expected


def test_shapes() -> None:
    network = SmallUNet(in_channels=2, classes=4, filters=2)
    x = torch.randn(2, 2, *SIDES)
    maps = network.encoder(x)
    assert [tuple(z.shape) for z in maps] == [
        (2, 2, 32, 48),
        (2, 4, 16, 24),
        (2, 8, 8, 12),
        (2, 16, 4, 6),
        (2, 32, 2, 3),
    ]
    assert network.decoder(maps).shape == (2, 2, 32, 48)
    assert network(x).shape == (2, 4, 32, 48)


@pytest.mark.parametrize("sides", [(8, 16), (16, 40), (17, 16)])
def test_sides_that_16_does_not_divide_are_an_error(sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"divisible by 16, found {sides[0]} x {sides[1]}"):
        SmallUNet(filters=2)(torch.zeros(1, 3, *sides))


def test_gradient_reaches_every_parameter() -> None:
    network = unsettled(SmallUNet(filters=2))  # in eval mode, since batch statistics take a bias's gradient away
    network(images()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


# Dropout.


@pytest.mark.parametrize("level", range(5))
def test_dropout_stands_between_a_level_s_two_convolutions(level: int) -> None:
    # Where all is dropped the second convolution sees zeros: the map is constant, but not zero. Dropped any earlier,
    # the padding would show at the borders; any later, the map would be zero.
    rates = (0.0,) * level + (1.0,) + (0.0,) * (4 - level)
    network = unsettled(SmallUNet(filters=2, dropout=rates))
    full = network.encoder(images())
    with dropout_switched(network, on=True):
        dropped = network.encoder(images())
    for i in range(level):
        assert torch.equal(dropped[i], full[i])
    assert torch.equal(dropped[level], dropped[level][..., :1, :1].expand_as(full[level]))
    assert (dropped[level] != 0).all()
    assert not torch.allclose(dropped[level], full[level])


def test_dropout_drops_single_values_at_the_literature_s_rates() -> None:
    torch.manual_seed(0)
    network = SmallUNet()
    seen: list[tuple[Tensor, Tensor]] = []
    for module in network.encoder.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].clone(), output.clone())))
    network.encoder(torch.randn(2, 3, 64, 64))
    for (before, after), rate in zip(seen, (0.05, 0.1, 0.2, 0.3, 0.5), strict=True):
        kept = after != 0
        torch.testing.assert_close(after, before * kept / (1 - rate))
        assert abs(1 - kept.float().mean().item() - rate) < 0.025  # 4 or more standard deviations on 8192 values
        assert kept.flatten(2).any(2).all()  # no channel is dropped as a whole


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    network = unsettled(SmallUNet(filters=4))
    x = images()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_the_decoder_drops_nothing() -> None:
    network = unsettled(SmallUNet(filters=2))
    maps = network.encoder(images())
    with dropout_switched(network, on=True):
        assert torch.equal(network.decoder(maps), network.decoder(maps))

"""A decoder's maps of all scales, and the ways in which it can double the sides of a map."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_bench.cards import Upsampling, load_protocol
from ssl_bench.networks import build_network, find_network
from ssl_bench.networks.unet import SmallUNet
from ssl_bench.networks.vnet import VNet

SCALES = {"deeplabv3plus": 2, "unet": 5, "smp:Unet": 5, "unet-small": 4, "vnet": 4, "vnet-half": 4}
NETWORKS = list(SCALES)


def dimensions_of(name: str) -> int:
    return 3 if name.startswith("vnet") else 2


def built(name: str, upsampling: Upsampling = "default") -> tuple[Any, Tensor]:
    """A network under the protocol `tiny`, and images."""
    dimensions = dimensions_of(name)
    own = {"encoder": "resnet18", "encoder_weights": "none"} if dimensions == 2 else {}
    protocol = load_protocol("tiny", {"network": name, **own}, dimensions=dimensions)
    torch.manual_seed(0)
    network = build_network(protocol, upsampling=upsampling)
    return network, torch.randn(2, 3 if dimensions == 2 else 1, *(32,) * dimensions)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_finest_map_is_the_decoders(name: str, *, mode: bool) -> None:
    network, images = built(name)
    network.train(mode)
    features = network.encoder(images)
    torch.manual_seed(1)
    expected = network.decoder(features)
    torch.manual_seed(1)
    found = network.decoder.pyramid(features)[0]
    assert torch.equal(found, expected)
    logits = network.segmentation_head(found)
    assert logits.shape == (2, 2, *images.shape[2:])


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_grow_coarser_and_have_the_declared_channels(name: str) -> None:
    assert find_network(name, dimensions_of(name)).pyramid
    network, images = built(name)
    maps = network.eval().decoder.pyramid(network.encoder(images))
    assert len(maps) == SCALES[name]
    assert [one.shape[1] for one in maps] == list(network.decoder.pyramid_channels)
    assert network.decoder.pyramid_channels[0] == network.decoder.out_channels
    sides = [one.shape[2] for one in maps]
    assert sides == sorted(set(sides), reverse=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copys_maps_are_of_its_own_weights(name: str) -> None:
    network, images = built(name)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    features = network.encoder(images)
    assert network.decoder.pyramid(features)[0].abs().sum() > 0
    assert copied.decoder.pyramid(features)[0].abs().sum() == 0


def test_other_networks_of_libraries_have_no_pyramid() -> None:
    assert not find_network("smp:FPN", 2).pyramid
    assert find_network("smp:FPN", 2).parts


# ---------------------------------------------------------------------------------------------------------- upsampling


@pytest.mark.parametrize("upsampling", ["default", "transposed", "linear", "nearest"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_every_way(name: str, upsampling: Upsampling) -> None:
    network, images = built(name, upsampling)
    assert network(images).shape == (2, 2, *images.shape[2:])


@pytest.mark.parametrize(
    ("name", "upsampling", "same"),
    [
        ("vnet", "transposed", True), ("vnet", "linear", False), ("vnet", "nearest", False),
        ("unet-small", "linear", True), ("unet-small", "transposed", False), ("unet-small", "nearest", False),
        ("unet", "nearest", True), ("unet", "linear", False), ("unet", "transposed", True),
        ("deeplabv3plus", "linear", True), ("deeplabv3plus", "nearest", True), ("deeplabv3plus", "transposed", True),
    ],
)  # fmt: skip
def test_a_way_is_the_default_or_another_network(name: str, upsampling: Upsampling, same: bool) -> None:
    (default, images), (other, _) = built(name), built(name, upsampling)
    assert torch.equal(default.eval()(images), other.eval()(images)) is same


def test_the_small_unets_ways_by_hand() -> None:
    """The coarsest step of the decoder: from 16 f channels at 2 x 2 to 8 f at 4 x 4, before the concatenation."""
    coarse = torch.randn(2, 64, 2, 2)
    for upsampling in ("transposed", "linear", "nearest"):
        decoder = SmallUNet(filters=4, upsampling=upsampling).decoder
        first: Any = decoder.narrow[0]
        found = decoder.up(first(coarse))
        if upsampling == "transposed":
            blocks = torch.einsum("bcxy,cdij->bdxiyj", coarse, first.weight).reshape(2, 32, 4, 4)
            expected = blocks + first.bias.view(1, -1, 1, 1)
        else:
            narrow = torch.einsum("bcxy,dc->bdxy", coarse, first.weight[:, :, 0, 0]) + first.bias.view(1, -1, 1, 1)
            if upsampling == "nearest":
                expected = narrow.repeat_interleave(2, 2).repeat_interleave(2, 3)
            else:  # from 2 to 4 places, first on first and last on last
                matrix = torch.tensor([[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]])
                expected = torch.einsum("px,bdxy,qy->bdpq", matrix, narrow, matrix)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["linear", "nearest"])
def test_the_v_nets_ways_by_hand(upsampling: Upsampling) -> None:
    up = VNet(filters=2, upsampling=upsampling).decoder.ups[0].eval()
    coarse = torch.randn(2, 32, 1, 2, 2)
    convolution = next(module for module in up.modules() if isinstance(module, nn.Conv3d))
    assert convolution.kernel_size == (3, 3, 3)
    larger = coarse.repeat_interleave(2, 2)
    if upsampling == "nearest":
        larger = larger.repeat_interleave(2, 3).repeat_interleave(2, 4)
    else:
        matrix = torch.tensor([[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]])
        larger = torch.einsum("py,bcxyz,qz->bcxpq", matrix, larger, matrix)
    convolved = functional.conv3d(larger, convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(up(coarse), (convolved / (1 + 1e-5) ** 0.5).clamp(min=0), rtol=1e-4, atol=1e-5)

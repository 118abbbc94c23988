"""Pixels without a known class have no effect on any method's supervised loss, and none fails on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laboratory import METHODS, NAMES, PROGRESS, Laboratory, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.cards import CHANNELS
from ssl_bench.ops import IGNORED

PROTOCOLS = {2: protocol_of("paper", 2), 3: protocol_of("released-code", 3)}
CASES = [(name, dimensions) for name in NAMES for dimensions in METHODS[name].dimensions]
HANDLING = [case for case in CASES if METHODS[case[0]].handles_ignored]

MARK = 7.0  # an image's value in ignored pixels, by which they are found again in mixed images


class PixelDecoder(nn.Module):
    """The encoder's map -> one map of the same size; `pyramid` has another one, of the same size too."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.out_channels, self.pyramid_channels = 6, (6, 6)
        self.convolution = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(6, 6, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.pyramid(features)[0]

    def pyramid(self, features: list[Tensor]) -> list[Tensor]:
        return [self.convolution(features[0]).tanh(), features[0]]


class PixelEncoder(nn.Module):
    """Images -> one map of the same size; `passes` notes both where the map has a gradient."""

    def __init__(self, dimensions: int, passes: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.out_channels, self.passes = (6,), passes
        self.convolution = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(CHANNELS[dimensions], 6, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        features: Tensor = self.convolution(images).tanh()
        if features.requires_grad:
            self.passes.append((images, features))
        return [features]


class PixelNetwork(nn.Module):
    """A network whose logits at a pixel depend on this pixel of the image alone: (B, C, *sides) to (B, 3, *sides).

    It notes the images and features of every pass that has a gradient, whether it goes through the whole network or
    through its parts.
    """

    def __init__(self, dimensions: int, passes: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.encoder = PixelEncoder(dimensions, passes)
        self.decoder = PixelDecoder(dimensions)
        self.segmentation_head = convolution(6, 3, 1)
        nn.init.normal_(self.segmentation_head.weight, std=2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


def without_neighbours(method: nn.Module) -> None:
    """Leave the centre of each convolution alone: URPC's heads of maps have 3x3 weights."""
    for module in method.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            centre = torch.zeros_like(module.weight)
            centre[(slice(None), slice(None), *(side // 2 for side in module.kernel_size))] = 1
            module.weight.data *= centre


def ignoring(name: str, dimensions: int, ignored: Tensor | None = None, *, build: Any = None, seed: int = 0) -> Any:
    """A laboratory on a card with `ignore`; `ignored` (B, *sides) bool, by default half of the pixels in blocks."""
    lab = laboratory(name, PROTOCOLS[dimensions], 3, seed=seed, build=build)
    lab.method.ignores = True
    labels = lab.batch.labels
    if ignored is None:
        ignored = torch.zeros_like(labels, dtype=torch.bool)
        ignored[:, : labels.shape[1] // 2] = True  # whole regions of UMIX
        ignored ^= torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < 0.2
    lab.batch = lab.batch._replace(labels=labels.masked_fill(ignored, IGNORED))
    return lab


def totals(lab: Laboratory) -> list[Tensor]:
    """The loss of each update of the networks, without any step between them."""
    torch.manual_seed(3)
    updates = lab.method.updates(lab.batch, PROGRESS)
    return [update.total for update in updates if update.trains == "networks"]


def test_every_method_of_the_package_handles_ignored_pixels() -> None:
    assert len(HANDLING) == len(CASES)


@pytest.mark.parametrize(("name", "dimensions"), HANDLING)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([0.1, 1.0, 30.0]))
def test_what_lies_under_ignored_pixels_has_no_effect(name: str, dimensions: int, seed: int, size: float) -> None:
    passes: list[tuple[Tensor, Tensor]] = []
    lab = ignoring(name, dimensions, build=lambda: PixelNetwork(dimensions, passes), seed=seed)
    without_neighbours(lab.method)
    ignored = (lab.batch.labels == IGNORED).unsqueeze(1)
    for view in lab.labeled.values():
        view.masked_fill_(ignored, MARK)
    state = {key: value.clone() for key, value in lab.method.state_dict().items()}
    before = totals(lab)
    marked = [(images[:, :1] == MARK, features) for images, features in passes if (images == MARK).any()]
    for _, features in marked:
        features.retain_grad()
    torch.stack(before).sum().backward()
    reached = [(at, features) for at, features in marked if features.grad is not None]  # others serve an attack alone
    assert len(reached) >= len(before)
    for at, features in reached:
        assert features.grad is not None
        assert features.grad[at.expand_as(features)].count_nonzero() == 0
        assert features.grad[~at.expand_as(features)].count_nonzero() > 0
    for view in lab.labeled.values():
        view += ignored * size * torch.randn_like(view)
    lab.method.load_state_dict(state)  # SS-Net remembers features
    assert [total.item() for total in totals(lab)] == [total.item() for total in before]


@pytest.mark.parametrize(("name", "dimensions"), HANDLING)
def test_every_method_trains_with_ignored_pixels_and_whole_ignored_images(name: str, dimensions: int) -> None:
    lab = ignoring(name, dimensions)
    lab.batch.labels[0] = IGNORED
    before = {key: value.clone() for key, value in lab.method.state_dict().items()}
    losses = [update.total.item() for update in lab.updates()]
    assert torch.tensor(losses).isfinite().all()
    moved = [not torch.equal(before[key], value) for key, value in lab.method.state_dict().items()]
    assert any(moved)


@pytest.mark.parametrize(("name", "dimensions"), HANDLING)
def test_a_batch_without_known_pixels_has_a_supervised_loss_of_zero(name: str, dimensions: int) -> None:
    lab = ignoring(name, dimensions)
    lab.batch.labels.fill_(IGNORED)
    for update in lab.updates():
        assert update.trains == "adversaries" or update.terms["supervised"][1].item() == 0
        assert update.total.isfinite()
    assert all(value.isfinite().all() for value in lab.method.state_dict().values())


@pytest.mark.parametrize(("name", "dimensions"), HANDLING)
def test_without_ignored_pixels_the_loss_is_that_of_a_card_without_ignore(name: str, dimensions: int) -> None:
    plain = laboratory(name, PROTOCOLS[dimensions], 3)
    expected = [total.item() for total in totals(plain)]
    lab = ignoring(name, dimensions, torch.zeros_like(plain.batch.labels, dtype=torch.bool))
    assert [total.item() for total in totals(lab)] == pytest.approx(expected, abs=1e-6)

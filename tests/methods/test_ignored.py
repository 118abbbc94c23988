"""Pixels without a known class have no effect on any method's supervised loss, and none fails on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laboratory import METHODS, NAMES, PROGRESS, Laboratory, channels, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.ops import IGNORED

PROTOCOLS = {2: protocol_of("paper", 2), 3: protocol_of("released-code", 3)}
CASES = [(name, dimensions) for name in NAMES for dimensions in METHODS[name].dimensions]
HANDLING = [case for case in CASES if METHODS[case[0]].handles_ignored]

MARK = 7.0  # an image's value in ignored pixels, by which they are found again in mixed images


class PixelNetwork(nn.Module):
    """A network whose logits at a pixel depend on this pixel of the image alone: (B, C, *sides) to (B, 3, *sides)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.first, self.second = convolution(channels(dimensions), 6, 1), convolution(6, 6, 1)
        self.segmentation_head = convolution(6, 3, 1)
        nn.init.normal_(self.segmentation_head.weight, std=2)
        self.images: Tensor | None = None
        self.passes: list[tuple[Tensor, Tensor]] = []  # images and logits
        self.segmentation_head.register_forward_hook(self.note)

    def note(self, _: nn.Module, __: Any, logits: Tensor) -> None:
        if self.images is not None:  # else a head that reads another network's features
            self.passes.append((self.images, logits))

    def encoder(self, images: Tensor) -> list[Tensor]:
        self.images = images
        return [self.first(images).tanh()]

    def decoder(self, features: list[Tensor]) -> Tensor:
        hidden: Tensor = self.second(features[0]).tanh()
        return hidden

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


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
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([0.1, 1.0, 30.0]))
def test_what_lies_under_ignored_pixels_has_no_effect(name: str, dimensions: int, seed: int, size: float) -> None:
    lab = ignoring(name, dimensions, build=lambda: PixelNetwork(dimensions), seed=seed)
    ignored = (lab.batch.labels == IGNORED).unsqueeze(1)
    for view in lab.labeled.values():
        view.masked_fill_(ignored, MARK)
    before = totals(lab)
    networks = [module for module in lab.method.modules() if isinstance(module, PixelNetwork)]
    seen = [one for network in networks for one in network.passes]
    passes = [(images, logits) for images, logits in seen if logits.requires_grad and (images == MARK).any()]
    for _, logits in passes:
        logits.retain_grad()
    torch.stack(before).sum().backward()
    assert len(passes) >= len(before)
    for images, logits in passes:
        marked = (images[:, :1] == MARK).expand_as(logits)
        assert logits.grad is not None
        assert logits.grad[marked].count_nonzero() == 0
        assert logits.grad[~marked].count_nonzero() > 0
    for view in lab.labeled.values():
        view += ignored * size * torch.randn_like(view)
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

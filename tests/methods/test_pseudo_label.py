"""Pseudo-label against a float64 Dice loss with fixed labels, and Lee's rise of the weight by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from laboratory import METHODS, PROGRESS, laboratory, protocol_of
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.method import Progress

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def naive_dice(logits: Tensor, labels: Tensor, smooth: float) -> Tensor:
    """Soft Dice loss, sample by sample and class by class."""
    p, losses = logits.softmax(1), []
    for b in range(len(p)):
        for c in range(p.shape[1]):
            y = (labels[b] == c).double()
            losses.append(1 - (2 * (p[b, c] * y).sum() + smooth) / (p[b, c].sum() + y.sum() + smooth))
    return torch.stack(losses).mean()


@CASES
def test_the_loss_and_its_gradient_are_those_against_fixed_labels(dimensions: int, classes: int) -> None:
    lab = laboratory("pseudo-label", protocol_of("paper", dimensions), classes)
    update = next(lab.updates())
    y = lab.logits("network", lab.unlabeled[lab.protocol.views.student1])
    logits = y.detach().double().requires_grad_()
    expected = naive_dice(logits, logits.detach().argmax(1), lab.protocol.dice_smooth)
    expected.backward()
    value = update.terms["pseudo"][1]
    assert update.terms["pseudo"][0] == PROGRESS.lambda_u
    assert value.item() == pytest.approx(expected.item(), abs=2e-6)
    (found,) = torch.autograd.grad(value, y)
    torch.testing.assert_close(found.double(), logits.grad, rtol=1e-3, atol=1e-8)


def test_a_certain_network_has_no_loss() -> None:
    lab = laboratory("pseudo-label", protocol_of("paper"), 2)
    with torch.no_grad():
        lab.method.network.segmentation_head.weight.mul_(1e4)
    assert next(lab.updates()).terms["pseudo"][1].item() < 1e-3


@pytest.mark.parametrize(
    ("start", "end", "iteration", "expected"),
    [
        (0.0, 0.0, 1, 1.0),
        (0.1, 0.6, 99, 0.0),
        (0.1, 0.6, 100, 0.0),
        (0.1, 0.6, 350, 0.5),  # halfway from 100 to 600
        (0.1, 0.6, 475, 0.75),
        (0.1, 0.6, 600, 1.0),
        (0.1, 0.6, 1000, 1.0),
        (0.5, 0.5, 499, 0.0),
        (0.5, 0.5, 500, 1.0),
        (0.0, 1.0, 250, 0.25),
    ],
)
def test_the_weight_rises_linearly(start: float, end: float, iteration: int, expected: float) -> None:
    method = laboratory("pseudo-label", protocol_of("paper"), rise_start=start, rise_end=end).method
    assert method.rise(Progress(iteration, 1000, 0.1)) == pytest.approx(expected, abs=1e-12)


def test_the_rise_multiplies_the_loss() -> None:
    values = {}
    for end in (0.0, 0.7):  # at iteration 7 of 20: halfway
        hyper: dict[str, Any] = {"rise_start": 0.0, "rise_end": end}
        lab = laboratory("pseudo-label", protocol_of("paper"), **hyper)
        values[end] = next(lab.updates()).terms["pseudo"][1].item()
    assert values[0.7] == pytest.approx(values[0.0] / 2, rel=1e-6)


def test_a_rise_that_ends_before_it_starts_is_an_error() -> None:
    method = METHODS["pseudo-label"]
    with pytest.raises(UserError, match=r"^rise_start: expected at most rise_end = 0\.2, found 0\.5"):
        method.check(method.hyperparameters(rise_start=0.5, rise_end=0.2), protocol_of("paper"))


@pytest.mark.parametrize(("iteration", "expected"), [(1, False), (599, False), (600, True), (1000, True)])
def test_no_update_is_selectable_before_the_weight_is_whole(iteration: int, expected: bool) -> None:
    """The loss without its second term would be lower than any later one."""
    for hyper, selectable in (({"rise_start": 0.1, "rise_end": 0.6}, expected), ({}, True)):
        lab = laboratory("pseudo-label", protocol_of("paper"), **hyper)
        (update,) = lab.method.updates(lab.batch, Progress(iteration, 1000, 0.1))
        assert update.selectable is selectable

"""Rotation consistency against turns by numpy, in 2D and 3D, and its limit cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laboratory import PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from test_ignored import PixelNetwork
from torch import nn

from ssl_bench.ops import Turn


def turned_by(quarters: int, lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this turn in the place of drawn ones."""
    names = type(lab.method).updates.__globals__
    monkeypatch.setitem(names, "random_turn", lambda _: Turn(torch.tensor([0]), (quarters,)))


def without_dropout(lab: Laboratory) -> Laboratory:
    for module in lab.method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return lab


@pytest.mark.parametrize(
    ("dimensions", "classes", "quarters"), [(2, 2, 1), (2, 4, 3), (2, 2, 2), (2, 3, 0), (3, 2, 2), (3, 4, 2), (3, 4, 0)]
)
def test_the_loss_is_the_mean_squared_distance_of_the_turned_prediction_from_the_prediction_of_the_turned_image(
    dimensions: int, classes: int, quarters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = laboratory("rotation", protocol_of("paper", dimensions), classes)
    turned_by(quarters, lab, monkeypatch)
    (update,) = lab.updates()
    upright, turned = [call for call in lab.calls if len(call.images) == UNLABELED]
    np.testing.assert_array_equal(turned.images.numpy(), np.rot90(upright.images.numpy(), quarters, (2, 3)))
    p, q = (call.logits.detach().double().softmax(1).numpy() for call in (upright, turned))
    expected = np.mean((np.rot90(p, quarters, (2, 3)) - q) ** 2)
    assert update.terms["consistency"][0] == PROGRESS.lambda_u
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)


def test_each_prediction_is_the_others_constant_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """d/dp of (|sg q - R p|^2 + |q - R sg p|^2) / 2 is half of that of |q - R p|^2, and so is that of q."""
    lab = laboratory("rotation", protocol_of("paper"), 3)
    turned_by(1, lab, monkeypatch)
    update = next(lab.updates())
    upright, turned = [call.logits for call in lab.calls if len(call.images) == UNLABELED]
    found = torch.autograd.grad(update.terms["consistency"][1], [upright, turned])
    y, z = (logits.detach().double().requires_grad_() for logits in (upright, turned))
    (torch.rot90(y.softmax(1), 1, (2, 3)) - z.softmax(1)).square().mean().div(2).backward()
    for gradient, one in zip(found, (y, z), strict=True):
        torch.testing.assert_close(gradient.double(), one.grad, rtol=1e-4, atol=1e-10)


def test_without_a_turn_and_without_dropout_the_loss_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = without_dropout(laboratory("rotation", protocol_of("paper")))
    turned_by(0, lab, monkeypatch)
    assert next(lab.updates()).terms["consistency"][1].item() == 0
    turned_by(1, lab, monkeypatch)
    assert next(lab.updates()).terms["consistency"][1].item() > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_network_that_turns_with_its_image_has_no_loss(dimensions: int, seed: int) -> None:
    """Logits that depend on their pixel alone turn with the image, whichever turn is drawn."""
    lab = laboratory(
        "rotation", protocol_of("paper", dimensions), 3, seed=seed, build=lambda: PixelNetwork(dimensions, [])
    )
    assert next(lab.updates()).terms["consistency"][1].item() == pytest.approx(0, abs=1e-12)

"""CCT beside its authors' code: the losses of three iterations.

The numbers come from yassouali/CCT (65d4e5bd45), run outside this repository with the weights, images and random
numbers below: its forward pass, and one SGD step an iteration. Its networks were replaced by those here, whose decoders
read one map as the authors' do. docs/parity.md has the rest.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from laboratory import METHODS, replace_dice
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_bench.cards import Protocol
from ssl_bench.method import Batch, Images, Progress, Setup, parse_hyperparameters

SIDE, CHANNELS, CLASSES = 32, 6, 3
WEIGHT = 0.5  # of the consistency
GAMMA = 0.8  # F-Drop's threshold, for all images
COUNTS = {"vat": 2, "spatial_dropout": 2, "cutout": 0, "context_masking": 1, "object_masking": 1}
HYPER = {"vat_xi": 0.1, "vat_eps": 2.0, "feature_dropout_low": GAMMA, "feature_dropout_high": GAMMA}


class Encoder(nn.Module):
    """The image and one map of half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, CHANNELS, 4, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, self.convolution(images).tanh() + 0.3]


class Decoder(nn.Module):
    """Reads the map alone."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(CHANNELS, 5, 2, stride=2)

    def forward(self, features: list[Tensor]) -> Tensor:
        return cast("Tensor", self.convolution(features[-1])).tanh()


class Network(nn.Module):
    """Convolutions alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.segmentation_head = nn.Conv2d(5, CLASSES, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return cast("Tensor", self.segmentation_head(self.decoder(self.encoder(images))))


def build(**counts: int) -> Any:
    """CCT with the decoders above and further ones, in float64; weights are drawn in the order of parameters."""
    protocol = cast("Protocol", SimpleNamespace(dice_smooth=1e-5, supervised_loss="dice", student_init="different"))
    hyper = parse_hyperparameters(METHODS["cct"], {**COUNTS, **HYPER, **counts})
    method: Any = METHODS["cct"](Setup(protocol, lambda **_: Network(), CLASSES, 1), hyper).double().train()
    generator = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(0, 0.5, parameter.shape)))
    return method


def batch_of(iteration: int, unlabeled: int) -> Batch:
    generator = np.random.default_rng(100 + iteration)
    images = [torch.from_numpy(generator.normal(0, 1, (count, 1, SIDE, SIDE))) for count in (2, unlabeled)]
    labels = torch.from_numpy(generator.integers(0, CLASSES, (2, SIDE, SIDE)))
    views = [cast("Images", SimpleNamespace(student1=own)) for own in images]
    return Batch(views[0], labels, views[1])


def optimizer_of(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)


@pytest.mark.parametrize(
    ("counts", "unlabeled", "expected"),
    [
        ({"feature_dropout": 2, "feature_noise": 0}, 2,
         [(1.9326265288883773, 0.20094298533976893), (1.9210497345628526, 0.201679729396877),
          (2.0320006019477828, 0.2076133706442864)]),
        ({"feature_dropout": 0, "feature_noise": 2}, 1,
         [(1.9374753749663511, 0.20886698231739026), (1.9105091676997, 0.20533700826032272),
          (2.0381337202639664, 0.20368410182077948)]),  # the authors draw one noise for all images
    ],
)  # fmt: skip
def test_iterations_are_those_of_the_authors_code(
    counts: dict[str, int], unlabeled: int, expected: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 but for the softmax of predictions, which is in float32 here."""
    method = build(**counts)
    replace_dice(monkeypatch, METHODS["cct"], lambda logits, labels, _, **__: cross_entropy(logits, labels))
    optimizer, found = optimizer_of(method.parameters()), []
    for iteration in range(len(expected)):
        torch.manual_seed(iteration)
        (update,) = method.updates(batch_of(iteration, unlabeled), Progress(iteration + 1, 10, WEIGHT))
        found.append(tuple(value.item() for _, value in update.terms.values()))
        optimizer.zero_grad()
        update.total.backward()
        optimizer.step()
    assert found == [pytest.approx(one, rel=0, abs=1e-7) for one in expected]

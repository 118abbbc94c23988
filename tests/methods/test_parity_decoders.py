"""Unsupervised losses of MC-Net, MC-Net+, URPC and SS-Net beside those of their authors' code.

The numbers come from the authors' code (ycwu1997/MC-Net, HiLab-git/SSL4MIS, ycwu1997/SS-Net), run with the weights and
images below. Both parts of the batch hold the same images, so that batch norm has the same statistics for one batch of
all images, as the authors have it, and for two. There is no dropout and no perturbation of features, and SS-Net starts
from a given noise and reads the features of all pixels.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from laboratory import METHODS
from torch import Tensor, nn

from ssl_bench.cards import Protocol
from ssl_bench.method import Batch, Images, Progress, Setup, Update, parse_hyperparameters
from ssl_bench.networks.unet import SmallUNet
from ssl_bench.networks.vnet import VNet

SIDES = {2: (32, 32), 3: (32, 16, 16)}
CLASSES = {2: 4, 3: 2}


def terms(name: str, dimensions: int, monkeypatch: pytest.MonkeyPatch, **hyper: Any) -> dict[str, float]:
    """The values of a method's terms under a seed, with the authors' network."""
    sides, classes = SIDES[dimensions], CLASSES[dimensions]
    protocol = cast(
        "Protocol", SimpleNamespace(supervised_loss="dice", dice_smooth=1e-10 if dimensions == 2 else 1e-8, sides=sides)
    )

    def build(upsampling: Any = "default") -> nn.Module:
        network = SmallUNet if dimensions == 2 else VNet
        return network(in_channels=1, classes=classes, upsampling=upsampling)

    torch.manual_seed(0)
    parsed = parse_hyperparameters(METHODS[name], hyper).resolved(dimensions)
    method: Any = METHODS[name](Setup(protocol, build, classes, 1), parsed).train()
    for module in method.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout3d)):
            module.p = 0.0
    if name == "urpc":
        method.perturbed = lambda features, level: features
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 1, *sides, generator=generator)
    labels = (torch.rand(2, *sides, generator=generator) * classes).long()
    start = torch.rand(2, 1, *sides, generator=generator)
    monkeypatch.setattr(torch, "rand_like", lambda _: start.clone())
    views = cast("Images", SimpleNamespace(student1=images))
    update: Update = next(method.updates(Batch(views, labels, views), Progress(1, 10, 1.0)))
    return {term: cast("Tensor", value).item() for term, (_, value) in update.terms.items()}


@pytest.mark.parametrize(
    ("name", "dimensions", "expected"),
    [
        ("mcnet", 2, 0.1412538), ("mcnet", 3, 0.4056906), ("mcnet+", 2, 0.4246694), ("mcnet+", 3, 1.1765791),
        ("urpc", 2, 0.0474776),
    ],
)  # fmt: skip
def test_the_consistency_is_the_authors(
    name: str, dimensions: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert terms(name, dimensions, monkeypatch)["consistency"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("dimensions", "smoothness", "separation"), [(2, 0.0464176, 0.1535165), (3, 0.4807066, 0.1042512)]
)
def test_smoothness_and_separation_are_the_authors(
    dimensions: int, smoothness: float, separation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 3D, rounding turns the direction of the noise: in float64 the two agree to nine digits."""
    found = terms("ssnet", dimensions, monkeypatch, samples=10**6)
    assert found["smoothness"] == pytest.approx(smoothness, rel=1e-3)
    assert found["separation"] == pytest.approx(separation, rel=1e-5)

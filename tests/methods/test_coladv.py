"""ColAdv's modules, its losses against loops over pixels, and the limit cases of its discriminators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import LABELED, PROGRESS, Laboratory, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.method import Progress, Update
from ssl_bench.ops import IGNORED, dice_loss, hard_labels

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


class Constant(nn.Module):
    """A discriminator that is sure of the same answer everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum(1) * 0 + self.logit


class Scaled(nn.Module):
    """A discriminator that judges a pixel by its last class; it keeps what it has judged."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.seen: list[Tensor] = []

    def forward(self, maps: Tensor) -> Tensor:
        self.seen.append(maps.detach())
        return self.scale * (maps[:, -1] - 0.3)


def lab_of(dimensions: int = 2, classes: int = 3, **hyper: Any) -> Laboratory:
    return laboratory("coladv", protocol_of("paper", dimensions), classes, **hyper)


def judged(lab: Laboratory, first: float, second: float) -> tuple[Scaled, Scaled]:
    """Give the method discriminators that a loop can follow."""
    judges = Scaled(first), Scaled(second)
    lab.method.discriminator, lab.method.auxiliary_discriminator = judges
    return judges


def outputs(lab: Laboratory) -> tuple[list[Update], list[np.ndarray]]:
    """An iteration without steps; softmaxes of both modules on labelled and on unlabelled images, float64."""
    found: list[Tensor] = []
    both = lab.method.network.both

    def noted(images: Tensor) -> tuple[Tensor, Tensor]:
        pair: tuple[Tensor, Tensor] = both(images)
        found.extend(pair)
        return pair

    lab.method.network.both = noted
    updates = list(lab.method.updates(lab.batch, PROGRESS))
    return updates, [logits.detach().double().softmax(1).numpy() for logits in found]


def on_pixels(maps: np.ndarray, scale: float, *, true: bool) -> float:
    """The mean cross-entropy of `Scaled` on maps (B, K, *sides), one pixel at a time."""
    logits = [scale * (p - 0.3) for p in maps[:, -1].ravel().tolist()]
    return float(np.mean([math.log1p(math.exp(-v if true else v)) for v in logits]))


@pytest.mark.parametrize("ignores", [False, True])
@CASES
def test_every_loss_is_that_of_a_loop(dimensions: int, classes: int, ignores: bool) -> None:
    lab = lab_of(dimensions, classes, adversarial_weight=0.7, auxiliary_weight=0.4, consistency_weight=0.9)
    labels = lab.batch.labels
    known = torch.ones_like(labels, dtype=torch.bool)
    if ignores:
        lab.method.ignores = True
        known[0], known[1, :3] = False, False
        lab.batch = lab.batch._replace(labels=labels.masked_fill(~known, IGNORED))
    judge, auxiliary = judged(lab, 1.7, -0.8)
    (first, second), (focused_x, dispersive_x, focused_u, dispersive_u) = outputs(lab)
    mask = known.unsqueeze(1).numpy()
    of_labeled, of_unlabeled = (focused_x + dispersive_x) / 2 * mask, (focused_u + dispersive_u) / 2
    truth = np.stack([(labels == c).numpy() for c in range(classes)], 1) * mask
    of_networks = {term: value.item() for term, (_, value) in first.terms.items()}
    distances = [(a - b) ** 2 for a, b in zip(focused_u.ravel().tolist(), dispersive_u.ravel().tolist(), strict=True)]
    trusted = 1.7 * (of_unlabeled[:, -1] - 0.3) >= math.log(0.2 / 0.8)
    own = -np.log(of_unlabeled.max(1))[trusted]
    logs = [torch.from_numpy(one).log() for one in (focused_x, dispersive_x)]
    dice = [dice_loss(one, lab.batch.labels, lab.protocol.dice_smooth, ignores=ignores).item() for one in logs]
    assert of_networks == pytest.approx(
        {
            "supervised": np.mean(dice),
            "consistency": 0.9 * np.mean(distances),
            "adversarial": 0.7 * on_pixels(of_labeled, 1.7, true=True),
            "auxiliary": 0.4 * on_pixels(of_unlabeled, -0.8, true=True),
            "semi": own.mean(),
        },
        rel=1e-4,
    )
    assert {term: value.item() for term, (_, value) in second.terms.items()} == pytest.approx(
        {
            "discriminator": (on_pixels(truth, 1.7, true=True) + on_pixels(of_labeled, 1.7, true=False)) / 2,
            "auxiliary_discriminator": (
                (on_pixels(of_labeled, -0.8, true=True) + on_pixels(of_unlabeled, -0.8, true=False)) / 2
            ),
        },
        rel=1e-4,
    )
    assert [len(maps) == LABELED for maps in judge.seen] == [True, False, True, True]
    assert [len(maps) == LABELED for maps in auxiliary.seen] == [False, True, False]


def test_no_pixel_is_trusted_and_every_pixel_is() -> None:
    for logit, share in ((-30.0, 0.0), (30.0, 1.0)):
        lab = lab_of()
        lab.method.discriminator = Constant(logit)
        (first, _), (_, _, focused, dispersive) = outputs(lab)
        every = -np.log(((focused + dispersive) / 2).max(1)).mean()
        assert first.terms["semi"][1].item() == pytest.approx(share * every, rel=1e-5)
        assert first.terms["adversarial"][1].item() == pytest.approx(0.1 * 30 * (1 - share), abs=1e-5)


def test_the_auxiliary_loss_asks_to_be_taken_for_a_labelled_image() -> None:
    lab = lab_of()
    lab.method.auxiliary_discriminator = Constant(-20.0)
    first, _ = lab.method.updates(lab.batch, PROGRESS)
    assert first.terms["auxiliary"][1].item() == pytest.approx(0.01 * 20, abs=1e-5)


def test_self_training_begins_after_its_share_of_the_iterations() -> None:
    lab = lab_of()
    seen = [
        iteration
        for iteration in range(1, 21)
        if "semi" in next(lab.method.updates(lab.batch, Progress(iteration, 20, 0.1))).terms
    ]
    assert seen == list(range(6, 21))


@CASES
def test_the_prediction_is_the_mean_of_both_modules(dimensions: int, classes: int) -> None:
    lab = lab_of(dimensions, classes)
    network = lab.method.network.eval()
    images = lab.unlabeled["weak"]
    with torch.no_grad():
        focused, dispersive, prediction = *network.both(images), network(images)
    expected = (focused.double().softmax(1) + dispersive.double().softmax(1)) / 2
    torch.testing.assert_close(prediction.double().softmax(1), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(hard_labels(prediction), expected.max(1).indices)


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_the_mean_of_certain_predictions_is_finite_and_so_is_its_gradient(size: float) -> None:
    network: Any = lab_of(classes=2).method.network
    one = torch.tensor([size, -size]).view(1, 2, 1, 1).requires_grad_()
    network.both = lambda _: (one, -one)
    prediction = network(torch.zeros(1, 3, 1, 1))
    prediction.sum().backward()
    assert prediction.flatten().tolist() == pytest.approx([-math.log(2)] * 2)
    assert one.grad is not None
    assert one.grad.isfinite().all()


class Identity(nn.Module):
    """A network of which the image is the decoder's map."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.encoder = self.decoder = nn.Identity()
        self.decoder.out_channels = 1
        self.segmentation_head = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(1, 2, 1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_focused_module_sees_near_places_and_the_dispersive_one_far_ones(dimensions: int) -> None:
    torch.manual_seed(0)
    network = type(lab_of(dimensions).method.network)(
        Identity(dimensions), Identity(dimensions).segmentation_head, dimensions
    )
    for module in (network.focused, *network.dispersive):
        nn.init.constant_(module.weight, 1.0)
    images = torch.ones(1, 1, *(19,) * dimensions, requires_grad=True)
    centre = (0, 0, *(9,) * dimensions)
    reached = []
    for logits in network.both(images):
        (gradient,) = torch.autograd.grad(logits[centre], images)
        reached.append({tuple(v - 9 for v in place) for place in gradient[0, 0].nonzero().tolist()})
    grid = np.stack(np.meshgrid(*[(-1, 0, 1)] * dimensions)).reshape(dimensions, -1).T.tolist()
    assert reached[0] == {tuple(v) for v in grid}
    assert reached[1] == {tuple(dilation * a for a in v) for v in grid for dilation in (2, 4, 8)}


def test_equal_modules_are_consistent() -> None:
    lab = lab_of()
    network = lab.method.network
    for module in (network.focused, *network.dispersive):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    network.dispersive_head.load_state_dict(network.segmentation_head.state_dict())
    first, _ = lab.method.updates(lab.batch, PROGRESS)
    assert first.terms["consistency"][1].item() == 0


def test_the_adversaries_are_no_networks_and_the_row_is_marked() -> None:
    method = lab_of().method
    assert set(method.networks) == {"network"}
    assert method.predictor is method.network
    assert type(method).reconstructed


def test_it_runs_under_autocast() -> None:
    lab = lab_of()
    with torch.autocast("cpu", torch.bfloat16):
        for update in lab.method.updates(lab.batch, PROGRESS):
            lab.method.zero_grad()
            update.total.backward()
            assert all(value.dtype == torch.float32 and value.isfinite() for _, value in update.terms.values())

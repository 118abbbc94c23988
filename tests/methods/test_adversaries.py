"""DAN, SASSNet, AdvSemSeg and ColAdv: who trains whom, the discriminators' losses, and their limit cases."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from facts import FACTS
from laboratory import LABELED, PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.method import Progress, load_methods
from ssl_bench.ops import HalvingConvolution, OriginDiscriminator, hard_labels, origin_loss

ADVERSARIAL = [name for name, facts in FACTS.items() if facts.adversaries]
CASES = [(name, dimensions, classes) for name in ADVERSARIAL for dimensions in (2, 3) for classes in (2, 4)]


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def adversary_of(lab: Laboratory) -> Any:
    (one,) = lab.method.adversaries.values()
    return one


@pytest.mark.parametrize(("name", "dimensions", "classes"), CASES)
def test_each_update_moves_its_own_side_alone(name: str, dimensions: int, classes: int) -> None:
    lab = laboratory(name, protocol_of("paper", dimensions), classes)
    adversary, network = nn.ModuleList(lab.method.adversaries.values()), lab.method.network
    updates = lab.updates()
    first = next(updates)
    before = weights(network), weights(adversary)
    second = next(updates)  # the networks' step has been made
    assert (first.trains, second.trains) == ("networks", "adversaries")
    assert any(not torch.equal(*pair) for pair in zip(before[0], weights(network), strict=True))
    assert all(torch.equal(*pair) for pair in zip(before[1], weights(adversary), strict=True))
    before = weights(network), weights(adversary)
    assert next(updates, None) is None
    assert all(torch.equal(*pair) for pair in zip(before[0], weights(network), strict=True))
    moved = [not torch.equal(*pair) for pair in zip(before[1], weights(adversary), strict=True)]
    for one in adversary:
        count = len(list(one.parameters()))
        assert any(moved[:count])
        del moved[:count]


@pytest.mark.parametrize("view", ["weak", "strong1"])
@pytest.mark.parametrize("name", ["dan", "sassnet", "coladv"])
def test_images_that_an_adversary_tells_apart_are_drawn_alike(name: str, view: str) -> None:
    """Else it would learn how the views of labelled and unlabelled images differ."""
    views = {"views.labeled_student1": view, "views.student1": "strong2"}
    lab = laboratory(name, protocol_of("paper", **views))
    list(lab.updates())
    assert lab.asked == {f"labeled {view}", f"unlabeled {view}"}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_no_gradient_of_the_adversarys_loss_reaches_the_network(name: str) -> None:
    lab = laboratory(name, protocol_of("paper"))
    _, second = lab.method.updates(lab.batch, PROGRESS)
    found = torch.autograd.grad(second.total, list(lab.method.network.parameters()), allow_unused=True)
    assert all(one is None for one in found)


@pytest.mark.parametrize("name", ["dan", "sassnet"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_losses_of_origin_are_cross_entropies(name: str, dimensions: int) -> None:
    """With a discriminator of one number per image: the mean of the map and the image."""

    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([-0.7, 1.3]))
            self.seen: list[Tensor] = []

        def forward(self, maps: Tensor, images: Tensor) -> Tensor:
            logits = (maps.flatten(1).mean(1) + images.flatten(1).mean(1))[:, None] * self.scale
            self.seen.append(logits.detach())
            return logits

    lab, judge = laboratory(name, protocol_of("paper", dimensions)), Judge()
    setattr(lab.method, FACTS[name].adversaries[0], judge)
    first, second = lab.method.updates(lab.batch, PROGRESS)
    fooled, of_labeled, of_unlabeled = judge.seen

    def losses(logits: Tensor, target: int) -> list[float]:
        return [math.log(sum(math.exp(v) for v in row)) - row[target] for row in logits.double().tolist()]

    weight = 0.1 if name == "sassnet" else 1.0
    expected = weight * float(np.mean(losses(fooled, 1)))
    assert first.terms["adversarial"][1].item() == pytest.approx(expected, abs=1e-6)
    both = losses(of_labeled, 1) + losses(of_unlabeled, 0)
    assert len(both) == LABELED + UNLABELED
    assert second.total.item() == pytest.approx(float(np.mean(both)), abs=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("sides", [8, 33, 3, 1])
def test_the_discriminator_takes_any_sides_and_starts_undecided(dimensions: int, sides: int) -> None:
    torch.manual_seed(0)
    judge = OriginDiscriminator(2, 1, dimensions).eval()
    shape = (sides,) * dimensions
    logits = judge(torch.rand(6, 2, *shape), torch.randn(6, 1, *shape))
    assert logits.shape == (6, 2)
    for labeled in (True, False):
        assert origin_loss(logits, labeled=labeled).mean().item() == pytest.approx(math.log(2), abs=0.1)


@pytest.mark.parametrize("side", [1, 2, 3, 8, 11])
def test_a_halving_convolution_halves(side: int) -> None:
    assert HalvingConvolution(1, 2, 2)(torch.randn(1, 1, side, 16)).shape == (1, 2, max(1, side // 2), 8)


def test_the_discriminators_have_the_papers_sizes() -> None:
    count = {  # of SASSNet and DAN in 3D, of AdvSemSeg with 2 classes: sizes of their convolutions, by hand
        "sassnet": 64 * (64 * 1 + 1) * 2 + 128 * (64 * 64 + 1) + 256 * (128 * 64 + 1) + 512 * (256 * 64 + 1) + 1026,
        "advsemseg": 64 * (2 * 16 + 1) + 128 * (64 * 16 + 1) + 256 * (128 * 16 + 1) + 512 * (256 * 16 + 1) + 8193,
    }
    judge = adversary_of(laboratory("sassnet", protocol_of("paper", 3), adversary_filters=64))
    assert sum(p.numel() for p in judge.parameters()) == count["sassnet"]
    judge = adversary_of(laboratory("advsemseg", protocol_of("paper", 2), adversary_filters=64))
    assert sum(p.numel() for p in judge.parameters()) == count["advsemseg"]
    assert round(count["sassnet"] / 1e6, 1) == 11.0  # as the authors' code counts
    assert round(count["advsemseg"] / 1e6, 2) == 2.76


# ---------------------------------------------------------------------------------------------------------- AdvSemSeg


class Constant(nn.Module):
    """A discriminator that is sure of the same answer everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum(1) * 0 + self.logit


def advsemseg(logit: float, **hyper: Any) -> Laboratory:
    lab = laboratory("advsemseg", protocol_of("paper"), 3, **hyper)
    lab.method.discriminator = Constant(logit)
    return lab


def test_a_discriminator_that_trusts_everything_keeps_every_pixel() -> None:
    lab = advsemseg(30.0)
    update = next(lab.updates())
    logits = lab.logits("network", lab.unlabeled[lab.protocol.views.student1])
    scores = logits.detach().double().log_softmax(1)
    chosen = scores.gather(1, hard_labels(logits).unsqueeze(1))
    assert update.terms["semi"][1].item() == pytest.approx(-chosen.mean().item(), abs=1e-5)
    assert update.terms["adversarial"][1].item() == pytest.approx(0, abs=1e-6)


def test_a_discriminator_that_trusts_nothing_keeps_no_pixel() -> None:
    lab = advsemseg(-30.0)
    update = next(lab.updates())
    assert update.terms["semi"][1].item() == 0
    assert update.terms["adversarial"][1].item() == pytest.approx(0.1 * 30 + 0.01 * 30, abs=1e-5)


@pytest.mark.parametrize(("threshold", "kept"), [(0.2, True), (0.2001, False)])
def test_a_pixel_of_just_the_threshold_is_kept(threshold: float, kept: bool) -> None:
    lab = advsemseg(math.log(0.2 / 0.8), semi_threshold=threshold)
    assert (next(lab.updates()).terms["semi"][1].item() > 0) is kept


def test_self_training_begins_after_its_share_of_the_iterations() -> None:
    lab = advsemseg(30.0)
    seen = [
        iteration
        for iteration in range(1, 21)
        if "semi" in next(lab.method.updates(lab.batch, Progress(iteration, 20, 0.1))).terms
    ]
    assert seen == list(range(6, 21))


def test_a_discriminator_of_pixels_by_a_loop() -> None:
    """Its loss is the mean of those of true and of false maps, each over all their pixels."""
    lab = laboratory("advsemseg", protocol_of("paper"), 3)
    torch.manual_seed(2)
    _, second = lab.method.updates(lab.batch, PROGRESS)
    views, judge = lab.protocol.views, adversary_of(lab)
    labels = lab.batch.labels
    true = torch.stack([(labels == c).float() for c in range(3)], 1)
    predicted = [
        lab.logits("network", lab.labeled[views.labeled_student1]),
        lab.logits("network", lab.unlabeled[views.student1]),
    ]
    with torch.no_grad():
        of_true = judge(true).double()
        of_false = [one for logits in predicted for one in judge(logits.softmax(1)).double()]
    on_true = np.mean([math.log1p(math.exp(-v)) for v in of_true.flatten().tolist()])
    on_false = np.mean([math.log1p(math.exp(v)) for one in of_false for v in one.flatten().tolist()])
    assert second.total.item() == pytest.approx((on_true + on_false) / 2, abs=1e-5)


def test_without_its_weights_advsemseg_is_supervised() -> None:
    """After several steps; its networks see the unlabelled images, so there is no batch norm here."""
    ends = {}
    for name in ("supervised", "advsemseg"):
        lab = laboratory(name, protocol_of("paper"), build=lambda: plain(0))
        if name == "advsemseg":
            lab.method.discriminator = Constant(0.0)
        for _ in range(3):
            for update in lab.method.updates(lab.batch, Progress(7, 20, 0.0)):
                if update.trains == "networks":
                    lab.method.zero_grad()
                    update.total.backward()
                    torch.optim.SGD(lab.method.network.parameters(), lr=0.5).step()
        ends[name] = weights(lab.method.network)
    assert all(torch.equal(*pair) for pair in zip(ends["supervised"], ends["advsemseg"], strict=True))


def plain(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 2, 1))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_discriminator_learns_to_tell_true_label_maps_from_noise(dimensions: int) -> None:
    torch.manual_seed(0)
    judge = adversary_of(laboratory("advsemseg", protocol_of("paper", dimensions), adversary_filters=16))
    sides = (16,) * dimensions
    inside = torch.zeros(4, *sides)
    for number, (a, b) in enumerate(itertools.islice(itertools.product((2, 5), (8, 11)), 4)):
        inside[(number, *(slice(a, b),) * dimensions)] = 1
    true = torch.stack([1 - inside, inside], 1)
    noise = torch.rand(4, 1, *sides)
    false = torch.cat([noise, 1 - noise], 1)
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
    loss = torch.tensor(1.0)
    for _ in range(60):
        answers = judge(torch.cat([true, false]))
        targets = torch.cat([torch.ones(4), torch.zeros(4)]).view(-1, *(1 for _ in sides)).expand_as(answers)
        loss = nn.functional.binary_cross_entropy_with_logits(answers, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_every_method_with_an_adversary_has_its_optimiser() -> None:
    for name, method in load_methods().items():
        fields = method.hyperparameters.model_fields
        assert ("adversary_learning_rate" in fields) == (name in ADVERSARIAL)

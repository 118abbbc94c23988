"""Deep co-training against float64 loops and scipy, its attacks against the losses that they raise, and limit cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import torch
from laboratory import LABELED, METHODS, PROGRESS, UNLABELED, Call, Laboratory, hyper_of, laboratory, protocol_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_bench.ops import IGNORED

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def dct(dimensions: int = 2, classes: int = 2, settings: dict[str, Any] | None = None, **hyper: Any) -> Laboratory:
    """A laboratory whose passes leave no trace: no dropout, and batch norm statistics stay as they are."""
    lab = laboratory("dct", protocol_of("paper", dimensions, **(settings or {})), classes, **hyper)
    for module in lab.method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.momentum = 0.0
    return lab


def softmax(logits: Tensor) -> np.ndarray:
    return scipy.special.softmax(logits.detach().double().numpy(), axis=1)


def surprise(target: Tensor, logits: Tensor) -> np.ndarray:
    """H(p, q) of each pixel, p the softmax of the target and q that of the logits."""
    return -(softmax(target) * scipy.special.log_softmax(logits.detach().double().numpy(), axis=1)).sum(1)


def passes_of(lab: Laboratory, network: str, size: int) -> tuple[Call, Call, Call]:
    """A network's passes over the images of one part: clean, under attack, and over the other's examples."""
    clean, *others = [call for call in lab.calls_of(network) if len(call.images) == size]
    (attacked,) = [call for call in others if torch.equal(call.images, clean.images)]
    (resisting,) = [call for call in others if call is not attacked]
    return clean, attacked, resisting


def ignoring(lab: Laboratory) -> Tensor:
    """Put the lab on a card with `ignore`; gives the known pixels."""
    known = torch.ones_like(lab.batch.labels, dtype=torch.bool)
    known[0], known[1, :5] = False, False
    lab.method.ignores = True
    lab.batch = lab.batch._replace(labels=lab.batch.labels.masked_fill(~known, IGNORED))
    return known


@CASES
@pytest.mark.parametrize("ignores", [False, True])
def test_the_terms_are_the_divergence_and_the_surprise_at_the_others_adversarial_examples(
    dimensions: int, classes: int, ignores: bool
) -> None:
    lab = dct(dimensions, classes)
    known = ignoring(lab) if ignores else torch.ones_like(lab.batch.labels, dtype=torch.bool)
    update = next(lab.updates())
    names = ("student1", "student2")
    p1, p2 = (softmax(passes_of(lab, name, UNLABELED)[0].logits) for name in names)
    divergence = scipy.spatial.distance.jensenshannon(p1, p2, axis=1) ** 2
    assert update.terms["cot"][0] == update.terms["dif"][0] == PROGRESS.lambda_u
    assert update.terms["cot"][1].item() == pytest.approx(10 * divergence.mean(), rel=1e-4)
    expected = 0.0
    for own, other in (names, names[::-1]):
        values = []
        for size, counts in ((LABELED, known.numpy()), (UNLABELED, np.ones_like(divergence, dtype=bool))):
            target, logits = passes_of(lab, own, size)[0].logits, passes_of(lab, other, size)[2].logits
            values.append(surprise(target, logits)[counts])
        expected += np.concatenate(values).mean()  # the protocol sums the two directions
    assert update.terms["dif"][1].item() == pytest.approx(0.5 * expected, rel=1e-4)


@CASES
@pytest.mark.parametrize("ignores", [False, True])
def test_adversarial_examples_step_along_the_gradient_of_the_network_in_evaluation(
    dimensions: int, classes: int, ignores: bool
) -> None:
    lab = dct(dimensions, classes, epsilon=0.125)
    known = ignoring(lab) if ignores else torch.ones_like(lab.batch.labels, dtype=torch.bool)
    generator = lab.updates()
    next(generator)
    calls = list(lab.calls)
    for own, other in (("student1", "student2"), ("student2", "student1")):
        network = lab.method.networks[own].eval()
        for size in (LABELED, UNLABELED):
            lab.calls[:] = calls
            clean, _, _ = passes_of(lab, own, size)
            found = passes_of(lab, other, size)[2].images
            images = clean.images.clone().requires_grad_()
            labels = lab.batch.labels.where(known, 0) if size == LABELED else clean.logits.argmax(1)
            losses = cross_entropy(network(images), labels, reduction="none")
            (losses * known).sum().backward() if size == LABELED else losses.sum().backward()
            assert torch.equal(found, clean.images + 0.125 * images.grad.sign())
            assert (found != clean.images).float().mean() > 0


def test_an_attack_raises_the_loss_of_the_network_that_it_is_made_for() -> None:
    lab = dct(classes=3, epsilon=0.05)
    labels, images = lab.batch.labels, lab.labeled["weak"]
    network = lab.method.student1
    moved = lab.method.adversarial(network, images, labels)
    assert network.training
    network.eval()
    with torch.no_grad():
        assert cross_entropy(network(moved), labels) > cross_entropy(network(images), labels) + 0.01


def test_equal_networks_on_equal_views_do_not_diverge_and_without_a_step_each_is_surprised_by_its_entropy() -> None:
    views = {"views.labeled_student2": "weak", "views.student1": "weak", "views.student2": "weak"}
    lab = dct(classes=3, settings={"student_init": "same", **views}, epsilon=0.0)
    update = next(lab.updates())
    assert update.terms["cot"][1].item() == pytest.approx(0, abs=1e-6)
    clean = [call.logits for call in lab.calls_of("student1")[:2]]
    entropies = np.concatenate([scipy.stats.entropy(softmax(logits), axis=1).ravel() for logits in clean])
    assert update.terms["dif"][1].item() == pytest.approx(0.5 * 2 * entropies.mean(), rel=1e-5)


def test_certain_and_disjoint_networks_diverge_by_ln_2() -> None:
    lab = dct(classes=2, cot=1.0)
    for network, sign in ((lab.method.student1, 1), (lab.method.student2, -1)):
        network.segmentation_head = Certain(sign)
    assert next(lab.updates()).terms["cot"][1].item() == pytest.approx(math.log(2), rel=1e-6)


class Certain(nn.Module):
    """Logits of one class, whatever the features, but for a trace of them that keeps the graph."""

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, features: Tensor) -> Tensor:
        ones = 1 + 0 * features[:, :1]
        return torch.cat((50 * self.sign * ones, -50 * self.sign * ones), 1)


def test_targets_are_constants() -> None:
    """The gradient of L_dif reaches the passes over adversarial examples alone."""
    lab = dct(classes=3)
    update = next(lab.updates())
    clean = [call.logits for name in ("student1", "student2") for call in lab.calls_of(name)[:2]]
    gradients = torch.autograd.grad(update.terms["dif"][1], clean, allow_unused=True)
    assert gradients == (None,) * 4


def test_defaults_are_the_authors() -> None:
    assert hyper_of(METHODS["dct"]).model_dump() == {"cot": 10.0, "dif": 0.5, "epsilon": 0.08}
    assert dct().method.predictor_name == "student1"

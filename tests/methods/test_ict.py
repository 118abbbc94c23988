"""ICT against means of images and of predictions written out pair by pair, in 2D and 3D, and its limit cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from laboratory import PROGRESS, UNLABELED, TinyNetwork, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.ops import LinearMix

ICT = "ict"
CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def with_weights(weights: list[float], monkeypatch: pytest.MonkeyPatch, lab: Any) -> None:
    """Put these mixing weights in the place of drawn ones."""
    names = type(lab.method).updates.__globals__  # of the module that it was read from, loaded again since or not
    monkeypatch.setitem(names, "mixup", lambda like, alpha: LinearMix(torch.tensor(weights)))


def softmax(logits: Tensor) -> Tensor:
    exponentials = logits.detach().double().exp()
    return exponentials / exponentials.sum(1, keepdim=True)


@CASES
def test_the_loss_is_the_mean_squared_distance_from_the_mixed_predictions(
    dimensions: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = laboratory(ICT, protocol_of("paper", dimensions), classes)
    weights = [0.25, 0.9]
    with_weights(weights, monkeypatch, lab)
    (update,) = lab.updates()
    views = lab.protocol.views
    student, teacher = lab.unlabeled[views.student1], lab.unlabeled[views.teacher]
    (on_mixed,) = [call for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    p0, p1 = softmax(lab.logits("teacher", teacher)), softmax(on_mixed.logits)
    total = 0.0
    for i, j, w in ((0, 1, weights[0]), (1, 0, weights[1])):
        torch.testing.assert_close(on_mixed.images[i], (1 - w) * student[i] + w * student[j])
        total += (p1[i] - ((1 - w) * p0[i] + w * p0[j])).square().mean().item() / 2
    assert update.terms["consistency"][0] == PROGRESS.lambda_u
    assert update.terms["consistency"][1].item() == pytest.approx(total, rel=1e-5)


def test_with_a_weight_of_zero_it_is_a_mean_teacher_with_a_squared_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = laboratory(ICT, protocol_of("paper", **{"views.student1": "weak"}))
    with_weights([0.0, 0.0], monkeypatch, lab)
    (update,) = lab.updates()
    (on_images,) = [call for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    assert torch.equal(on_images.images, lab.unlabeled["weak"])
    y0 = lab.logits("teacher", lab.unlabeled["weak"])
    expected = (softmax(on_images.logits) - softmax(y0)).square().mean().item()
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)


def test_with_a_weight_of_one_half_a_pair_has_one_loss_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both mixed images are the same, and so are both targets: exchanging the images changes nothing."""
    values = []
    for swapped in (False, True):
        lab = laboratory(ICT, protocol_of("paper"))
        for module in lab.method.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if swapped:
            for view in lab.unlabeled.values():
                view.copy_(view.flip(0))
        with_weights([0.5, 0.5], monkeypatch, lab)
        values.append(next(lab.updates()).terms["consistency"][1].item())
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[0] > 0


def test_a_teacher_equal_to_a_student_that_predicts_linearly_has_no_loss() -> None:
    """Images are log probabilities' exponentials: the softmax of their logarithm is the image, which mixing keeps."""

    class Identity(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            return images.log() * self.scale

    lab = laboratory(ICT, protocol_of("paper", **{"views.student1": "weak"}), 3, build=Identity)
    for view in (*lab.unlabeled.values(), *lab.labeled.values()):
        view.copy_(view.softmax(1))
    (update,) = lab.updates()
    assert update.terms["consistency"][1].item() == pytest.approx(0, abs=1e-12)
    mixed = laboratory(ICT, protocol_of("paper", **{"views.student1": "weak"}), 3, build=lambda: TinyNetwork(2, 3))
    assert next(mixed.updates()).terms["consistency"][1].item() > 1e-4


def test_the_branches_are_the_students_logits_and_logits_of_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = laboratory(ICT, protocol_of("paper"))
    with_weights([0.25, 0.25], monkeypatch, lab)
    update = next(lab.updates())
    assert update.branches is not None
    p0 = softmax(lab.logits("teacher", lab.unlabeled[lab.protocol.views.teacher]))
    torch.testing.assert_close(softmax(update.branches[1]), 0.75 * p0 + 0.25 * p0.flip(0), rtol=1e-5, atol=1e-7)
    assert not update.branches[1].requires_grad
    (on_mixed,) = [call for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    assert update.branches[0] is on_mixed.logits


def test_the_student_is_what_is_tested() -> None:
    method = laboratory(ICT, protocol_of("paper")).method
    assert method.predictor is method.student
    assert method.hyper.model_dump() == {"alpha": 0.2}

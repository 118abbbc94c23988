"""AugSeg against the authors' loss written out pixel by pixel in float64, in 2D and 3D, and its limit cases."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from laboratory import METHODS, PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from torch import Tensor

from ssl_bench.ops import IGNORED, AdaptiveMix, dice_loss

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def planned(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch, box: Tensor, paste: Tensor, *, partner: tuple[int, ...] = (1, 0)
) -> list[Tensor]:
    """Put a plan in the place of drawn ones; sample i may hold labelled image i + 1. Gives the certainties asked by."""
    certainties: list[Tensor] = []

    def plan(like: Tensor, labeled: int, certainty: Tensor, **_: Any) -> AdaptiveMix:
        certainties.append(certainty)
        return AdaptiveMix(torch.tensor(partner), box, torch.tensor([1, 2]), paste)

    monkeypatch.setitem(type(lab.method).updates.__globals__, "adaptive_cutmix", plan)
    return certainties


def masks(lab: Laboratory) -> tuple[Tensor, Tensor]:
    """Boxes of the partners, and of labelled images; they overlap in part."""
    box = torch.zeros(UNLABELED, *lab.protocol.sides, dtype=torch.bool)
    paste = box.clone()
    box[0, :6, 2:9], box[1, 3:, :10] = True, True
    paste[0, 2:7, 4:], paste[1, 1:4, :8] = True, True
    return box, paste


def softmax(logits: Tensor) -> list[float]:
    exponentials = [math.exp(v) for v in logits.detach().double().tolist()]
    return [e / sum(exponentials) for e in exponentials]


def pixels_of(lab: Laboratory) -> Any:
    return itertools.product(range(UNLABELED), *map(range, lab.protocol.sides))


@CASES
@pytest.mark.parametrize("ignores", [False, True])
def test_at_the_authors_weight_the_total_is_their_loss(
    dimensions: int, classes: int, ignores: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean over all pixels of 1[confidence >= threshold] CE, of labelled pixels with confidence 1, beside L_s."""
    lab = laboratory("augseg", protocol_of("paper", dimensions), classes, confidence=0.7)
    if ignores:
        lab.method.ignores = True
        lab.batch.labels[1:, 2:5] = IGNORED
    box, paste = masks(lab)
    planned(lab, monkeypatch, box, paste)
    update = next(lab.updates())
    views = lab.protocol.views
    y0 = lab.logits("teacher", lab.unlabeled[views.teacher])
    (on_mixed,) = [call for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    unlabeled, labeled = lab.unlabeled[views.student1], lab.labeled[views.labeled_student1]
    theirs, pasted, kept = 0.0, 0, 0
    for i, *place in pixels_of(lab):
        at = (slice(None), *place)
        j, source = i, None  # the sample that the pixel is of, or the labelled image
        if box[(i, *place)]:
            j = 1 - i
            if paste[(j, *place)]:
                source = j + 1
        expected = unlabeled[j][at] if source is None else labeled[source][at]
        assert torch.equal(on_mixed.images[i][at], expected)
        q = softmax(on_mixed.logits[i][at])
        if source is None:
            p = softmax(y0[j][at])
            if max(p) >= 0.7:
                theirs -= math.log(q[p.index(max(p))])
                kept += 1
        elif (label := lab.batch.labels[source][tuple(place)].item()) != IGNORED:
            theirs -= math.log(q[label])
            pasted += 1
    count = math.prod((UNLABELED, *lab.protocol.sides))
    assert pasted > 0
    assert 0 < kept < count - pasted
    weights = {name: weight for name, (weight, _) in update.terms.items()}
    assert weights == {"supervised": 1.0, "consistency": PROGRESS.lambda_u}
    on_labeled = lab.logits("student", labeled)
    dice = dice_loss(on_labeled, lab.batch.labels, lab.protocol.dice_smooth, ignores=ignores).item()
    total = sum(value.item() for _, value in update.terms.values())
    assert total == pytest.approx(dice + theirs / count, rel=1e-5)


def test_without_boxes_it_is_a_mean_teacher_with_confident_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = laboratory("augseg", protocol_of("paper"), 3, confidence=0.0)
    nowhere = torch.zeros(UNLABELED, *lab.protocol.sides, dtype=torch.bool)
    planned(lab, monkeypatch, nowhere, ~nowhere)
    update = next(lab.updates())
    views = lab.protocol.views
    (on_images,) = [call for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    assert torch.equal(on_images.images, lab.unlabeled[views.student1])
    labels = lab.logits("teacher", lab.unlabeled[views.teacher]).argmax(1, keepdim=True)
    expected = -on_images.logits.detach().double().log_softmax(1).gather(1, labels).mean().item()
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)
    on_labeled = lab.logits("student", lab.labeled[views.labeled_student1])
    assert update.terms["supervised"][1].item() == pytest.approx(
        dice_loss(on_labeled, lab.batch.labels, lab.protocol.dice_smooth).item(), rel=1e-6
    )


def test_at_a_confidence_that_no_pixel_has_nothing_is_learnt_from_pseudo_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = laboratory("augseg", protocol_of("paper"), 3, confidence=1.0)
    planned(lab, monkeypatch, *masks(lab))
    value = next(lab.updates()).terms["consistency"][1]
    value.backward()
    assert value.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in lab.method.student.parameters())


def test_a_pixel_of_exactly_the_confidence_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = laboratory("augseg", protocol_of("paper"), 2, confidence=0.5)
    for parameter in lab.method.teacher.parameters():
        parameter.zero_()  # every probability is 1/2
    nowhere = torch.zeros(UNLABELED, *lab.protocol.sides, dtype=torch.bool)
    planned(lab, monkeypatch, nowhere, nowhere)
    assert next(lab.updates()).terms["consistency"][1].item() > 0.1


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.5, 0.5], 0.0),
        ([1.0, 0.0], 1.0),
        ([0.75, 0.25], 0.1415414067),  # (1 - 0.5623351446 / ln 2) 0.75
        ([0.25, 0.25, 0.25, 0.25], 0.0),
        ([0.5, 0.25, 0.125, 0.125], 0.0625),  # (1 - 1.75 ln 2 / ln 4) / 2
    ],
)
def test_certainties_by_hand(p: list[float], expected: float) -> None:
    method = laboratory("augseg", protocol_of("paper"), len(p)).method
    image = torch.tensor(p).view(1, -1, 1, 1).expand(2, len(p), 3, 3).clone()
    image[1, :, 0] = 0
    image[1, 0, 0] = 1  # a third of the second image is certain
    found = method.certainty(image, image.max(1).values)
    assert found.tolist() == pytest.approx([expected, (2 * expected + 1) / 3], abs=1e-6)


def test_the_plan_is_by_the_teachers_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = laboratory("augseg", protocol_of("paper"), 4)
    certainties = planned(lab, monkeypatch, *masks(lab))
    next(lab.updates())
    y0 = lab.logits("teacher", lab.unlabeled[lab.protocol.views.teacher])
    for i in range(UNLABELED):
        values = []
        for place in itertools.product(*map(range, lab.protocol.sides)):
            p = softmax(y0[i][(slice(None), *place)])
            values.append((1 + sum(v * math.log(v) for v in p) / math.log(4)) * max(p))
        assert certainties[0][i].item() == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_branches_are_the_students_logits_and_the_teachers_mixed_ones_but_for_labelled_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = laboratory("augseg", protocol_of("paper"), 3)
    box, paste = masks(lab)
    planned(lab, monkeypatch, box, paste)
    update = next(lab.updates())
    assert update.branches is not None
    y1, y0 = update.branches
    assert not y0.requires_grad
    teacher = lab.logits("teacher", lab.unlabeled[lab.protocol.views.teacher])
    for i, *place in pixels_of(lab):
        at, boxed = (slice(None), *place), bool(box[(i, *place)])
        source = y1[i] if boxed and paste[(1 - i, *place)] else teacher[1 - i if boxed else i]
        assert torch.equal(y0[i][at], source[at])


def test_defaults_are_the_authors() -> None:
    assert METHODS["augseg"].hyperparameters().model_dump() == {
        "confidence": 0.95, "paste_a": 8.0, "paste_b": 2.0, "box_a": 4.0, "box_b": 4.0,
    }  # fmt: skip
    method = laboratory("augseg", protocol_of("paper")).method
    assert method.predictor is method.teacher

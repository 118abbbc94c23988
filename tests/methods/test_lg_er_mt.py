"""LG-ER-MT's three terms against loops over pixels and pairs, values by hand, and limit cases, in 2D and 3D."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from laboratory import PROGRESS, Laboratory, laboratory, protocol_of
from torch import Tensor

from ssl_bench.ops import dice_loss

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])
REGION = 3  # no divisor of the sides 8 and 16


def lab_of(dimensions: int = 2, classes: int = 2, protocol: str = "paper", **hyper: Any) -> Laboratory:
    return laboratory("lg-er-mt", protocol_of(protocol, dimensions), classes, **hyper)


def predictions(lab: Laboratory) -> tuple[Tensor, Tensor]:
    """Logits of the student and of the teacher on the unlabelled images, float64."""
    (student,) = [call for call in lab.calls_of("student") if call.images is lab.unlabeled[lab.protocol.views.student1]]
    (teacher,) = lab.calls_of("teacher")
    return student.logits.detach().double(), teacher.logits.double()


def pixels(logits: Tensor) -> list[dict[tuple[int, ...], list[float]]]:
    """The softmax of each pixel, by sample and place."""
    found = []
    for one in logits:
        own = {}
        for place in itertools.product(*(range(side) for side in one.shape[1:])):
            values = [math.exp(v) for v in one[(slice(None), *place)].tolist()]
            own[place] = [v / sum(values) for v in values]
        found.append(own)
    return found


def cosine(p: list[float], q: list[float]) -> float:
    return sum(a * b for a, b in zip(p, q, strict=True)) / math.sqrt(sum(a * a for a in p) * sum(b * b for b in q))


def naive_local(first: Tensor, second: Tensor, region: int) -> float:
    total, count = 0.0, 0
    for p, q in zip(pixels(first), pixels(second), strict=True):
        regions: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for place in p:
            regions.setdefault(tuple(a // region for a in place), []).append(place)
        for places in regions.values():
            for i, j in itertools.product(places, places):
                total += (cosine(p[i], p[j]) - cosine(q[i], q[j])) ** 2
                count += 1
    return total / count


def naive_global(first: Tensor, second: Tensor) -> float:
    classes = first.shape[1]
    squares = [
        (a * math.log(a) - b * math.log(b)) ** 2 / math.log(classes) ** 2
        for p, q in zip(pixels(first), pixels(second), strict=True)
        for place in p
        for a, b in zip(p[place], q[place], strict=True)
    ]
    return sum(squares) / len(squares)


def naive_entropy(logits: Tensor) -> float:
    values = [-sum(a * math.log(a) for a in p) for own in pixels(logits) for p in own.values()]
    return sum(values) / len(values) / math.log(logits.shape[1])


@CASES
def test_each_term_is_that_of_a_loop(dimensions: int, classes: int) -> None:
    lab = lab_of(dimensions, classes, region=REGION)
    (update,) = lab.updates()
    y1, y0 = predictions(lab)
    values = {term: value.item() for term, (_, value) in update.terms.items()}
    assert values["entropy"] == pytest.approx(naive_entropy(y1), rel=1e-5)
    assert values["local"] == pytest.approx(naive_local(y1, y0, REGION), rel=1e-4)
    assert values["global"] == pytest.approx(naive_global(y1, y0), rel=1e-4)
    on_labeled = lab.logits("student", lab.labeled[lab.protocol.views.labeled_student1])
    assert values["supervised"] == pytest.approx(
        dice_loss(on_labeled, lab.batch.labels, lab.protocol.dice_smooth).item(), rel=1e-6
    )
    assert [weight for weight, _ in update.terms.values()] == [1.0, *[PROGRESS.lambda_u] * 3]


@pytest.mark.parametrize("term", ["entropy", "local", "global"])
def test_each_weight_multiplies_its_own_term(term: str) -> None:
    (plain,), (changed,) = [list(lab_of(**hyper).updates()) for hyper in ({}, {f"{term}_weight": 2.5})]
    for name, (_, value) in plain.terms.items():
        factor = 2.5 if name == term else 1
        assert changed.terms[name][1].item() == pytest.approx(factor * value.item(), rel=1e-6)


@CASES
def test_a_teacher_that_predicts_the_same_leaves_the_entropy_alone(dimensions: int, classes: int) -> None:
    method: Any = lab_of(dimensions, classes).method
    logits = torch.randn(2, classes, *(6,) * dimensions, requires_grad=True)
    for loss in (method.local_consistency, method.global_consistency):
        value = loss(logits, logits.detach())
        assert value.item() == 0
        assert not torch.autograd.grad(value, logits)[0].any()
    assert method.entropy(logits).item() > 0


@CASES
def test_certain_and_uniform_predictions_by_hand(dimensions: int, classes: int) -> None:
    method: Any = lab_of(dimensions, classes).method
    uniform = torch.zeros(2, classes, *(4,) * dimensions)
    certain = uniform.clone()
    certain[:, 0] = 100
    assert method.entropy(uniform).item() == pytest.approx(1, abs=1e-6)
    assert method.entropy(certain).item() == pytest.approx(0, abs=1e-6)
    # -(1/K) ln(1/K) against 0, in units of ln K: 1/K in every class
    assert method.global_consistency(certain, uniform).item() == pytest.approx(1 / classes**2, abs=1e-6)
    assert method.local_consistency(certain, uniform).item() == pytest.approx(0, abs=1e-6)  # both the same everywhere
    halves = uniform.clone()
    halves[:, 0, :2], halves[:, 1, 2:] = 100, 100  # half of each region is of another class: half of its pairs
    assert method.local_consistency(halves, certain).item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("mode", ["paper", "released-code"])
def test_the_teacher_sees_its_view_under_clipped_noise_and_the_student_a_clean_one(mode: str) -> None:
    lab = lab_of(protocol=mode, noise=0.5, noise_limit=0.6)
    list(lab.updates())
    (teacher,) = lab.calls_of("teacher")
    noise = teacher.images - lab.unlabeled[lab.protocol.views.teacher]
    assert noise.abs().max() <= 0.6 + 1e-6
    assert 0.1 < ((noise.abs() - 0.6).abs() < 1e-6).float().mean() < 0.4  # 23 % beyond 1.2 standard deviations
    assert all(any(call.images is view for view in lab.unlabeled.values()) for call in lab.calls_of("student")[1:])


def test_the_student_is_what_is_tested_and_the_row_is_marked() -> None:
    method = lab_of().method
    assert method.predictor is method.student
    assert type(method).reconstructed


def test_it_runs_under_autocast() -> None:
    lab = lab_of()
    with torch.autocast("cpu", torch.bfloat16):
        (update,) = lab.method.updates(lab.batch, PROGRESS)
    update.total.backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for _, value in update.terms.values())

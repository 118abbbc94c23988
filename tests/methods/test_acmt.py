"""AC-MT against loops over pixels, thresholds computed by hand, and UA-MT's mask, in 2D and 3D."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from laboratory import METHODS, PROGRESS, UNLABELED, Laboratory, hyper_of, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.method import Progress

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])
FORMS = pytest.mark.parametrize("form", ["entropy", "uncertainty"])


def acmt(dimensions: int = 2, classes: int = 2, protocol: str = "paper", **hyper: Any) -> Laboratory:
    return laboratory("acmt", protocol_of(protocol, dimensions), classes, **hyper)


def softmax(logits: Tensor) -> list[float]:
    exponentials = [math.exp(v) for v in logits.double().tolist()]
    return [e / sum(exponentials) for e in exponentials]


def naive_consistency(y1: Tensor, y0: Tensor, sources: list[Tensor], threshold: float) -> tuple[float, int]:
    """Loop over the pixels; `sources` are the logits whose mean softmax has the entropy. The loss, and the count."""
    total, count = 0.0, 0
    classes = y1.shape[1]
    for b, *place in itertools.product(*(range(n) for n in (len(y1), *y1.shape[2:]))):
        pixel = (b, slice(None), *place)
        drawn = [softmax(logits[pixel]) for logits in sources]
        mean = [sum(p[c] for p in drawn) / len(drawn) for c in range(classes)]
        if -sum(p * math.log(p) for p in mean) >= threshold:
            student, teacher = softmax(y1[pixel]), softmax(y0[pixel])
            total += sum((student[c] - teacher[c]) ** 2 for c in range(classes))
            count += 1
    return total / (classes * count), count


@CASES
@FORMS
def test_the_loss_is_the_mean_squared_distance_over_ambiguous_pixels(form: str, dimensions: int, classes: int) -> None:
    lab = acmt(dimensions, classes, form=form, threshold_start=0.3, threshold_end=0.5, passes=3)
    (update,) = lab.updates()
    (y0,) = [call.logits for call in lab.calls_of("teacher")]
    own = [call.logits.detach() for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    y1, passes = own[0], own[1:]
    assert len(passes) == (3 if form == "uncertainty" else 0)
    threshold = (0.3 + 0.2 * math.exp(-5 * (1 - 7 / 20) ** 2)) * math.log(classes)
    expected, count = naive_consistency(y1, y0, passes or [y1], threshold)
    assert 0 < count < y1[:, 0].numel()
    assert update.terms["consistency"][0] == PROGRESS.lambda_u
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)


@FORMS
def test_with_a_threshold_of_zero_it_is_a_mean_teacher_with_a_squared_distance(form: str) -> None:
    lab = acmt(3, 4, form=form, threshold_start=0.0, threshold_end=0.0)
    (update,) = lab.updates()
    (y0,) = [call.logits for call in lab.calls_of("teacher")]
    y1 = next(call.logits.detach() for call in lab.calls_of("student") if len(call.images) == UNLABELED)
    expected = (y1.double().softmax(1) - y0.double().softmax(1)).square().mean().item()
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)


@FORMS
def test_with_a_threshold_above_the_largest_entropy_the_loss_and_its_gradient_are_zero(form: str) -> None:
    lab = acmt(form=form, threshold_start=1.01, threshold_end=1.01)
    value = next(lab.updates()).terms["consistency"][1]
    value.backward()
    assert value.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in lab.method.student.parameters())


@FORMS
@pytest.mark.parametrize(
    ("start", "end", "iteration", "classes", "ent", "mu"),
    [
        (0.75, "auto", 100, 2, 0.6584898215, 0.6238324625),  # 0.95 ln 2 and 0.9 ln 2 at the end
        (0.75, "auto", 50, 2, 0.5595783839, 0.5496488842),  # (0.75 + 0.20 or 0.15 exp(-1.25)) ln 2
        (0.75, "auto", 50, 4, 1.1191567677, 1.0992977685),
        (0.75, 0.6, 100, 2, 0.4158883083, 0.4158883083),  # the paper's falls to 0.6 ln 2
        (0.5, 1.0, 80, 3, 0.9990399776, 0.9990399776),  # (0.5 + 0.5 exp(-0.2)) ln 3
    ],
)
def test_the_threshold_moves_from_start_to_end(
    form: str, start: float, end: float | str, iteration: int, classes: int, ent: float, mu: float
) -> None:
    method = acmt(classes=classes, form=form, threshold_start=start, threshold_end=end).method
    expected = ent if form == "entropy" else mu
    assert method.threshold(Progress(iteration, 100, 0.1)) == pytest.approx(expected, rel=1e-8)


def test_the_threshold_counts_iterations_as_the_protocol_does() -> None:
    first = {ramp: acmt(protocol=ramp).method.threshold(Progress(1, 100, 0.1)) for ramp in ("paper", "released-code")}
    starts = {"paper": 1, "released-code": 0}
    for ramp, t in starts.items():
        expected = (0.75 + 0.2 * math.exp(-5 * (1 - t / 100) ** 2)) * math.log(2)
        assert first[ramp] == pytest.approx(expected, rel=1e-9)


@CASES
def test_its_pixels_and_uamts_are_all_pixels_once(
    dimensions: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one uncertainty and one threshold, the two losses weighted by their counts give the whole distance."""
    protocol = protocol_of("paper", dimensions)
    values, counts = [], []
    disorder = torch.linspace(0, math.log(classes), math.prod((UNLABELED, *protocol.sides)))
    disorder, level = disorder.view(UNLABELED, *protocol.sides), 0.7 * math.log(classes)
    for name, hyper in (("uamt", {}), ("acmt", {"form": "uncertainty"})):
        lab = laboratory(name, protocol, classes, noise=0.0, **hyper)
        monkeypatch.setattr(lab.method, "uncertainty", lambda _: disorder)
        monkeypatch.setattr(lab.method, "threshold", lambda *_: level)
        for module in lab.method.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        (update,) = lab.updates()
        y1, y0 = (branch.detach().double().softmax(1) for branch in update.branches)
        values.append(update.terms["consistency"][1].item())
    counts = [(disorder < level).sum().item(), (disorder >= level).sum().item()]
    whole = (y1 - y0).square().mean().item()
    together = sum(value * count for value, count in zip(values, counts, strict=True)) / sum(counts)
    assert together == pytest.approx(whole, rel=1e-5)


def test_the_noise_is_on_the_teachers_images_and_on_those_of_the_passes() -> None:
    lab = acmt(form="uncertainty", noise=0.1, noise_limit=0.2)
    list(lab.updates())
    views = lab.protocol.views
    first, *passes = [call.images for call in lab.calls_of("student") if len(call.images) == UNLABELED]
    assert first is lab.unlabeled[views.student1]
    assert len(passes) == 8
    noise = torch.stack([images - lab.unlabeled[views.student1] for images in passes])
    (on_teacher,) = [call.images for call in lab.calls_of("teacher")]
    for one in (noise, on_teacher - lab.unlabeled[views.teacher]):
        assert one.abs().max() <= 0.2 + 1e-6
        assert one.std().item() == pytest.approx(0.0956, rel=0.06)
    assert len({tuple(one.flatten().tolist()[:50]) for one in noise}) == 8


def test_defaults_are_those_of_the_authors_code() -> None:
    hyper = hyper_of(METHODS["acmt"])
    assert hyper.resolved(3).model_dump() == {
        "form": "entropy", "threshold_start": 0.75, "threshold_end": 0.95,
        "passes": 8, "noise": 0.1, "noise_limit": 0.2,
    }  # fmt: skip
    assert hyper_of(METHODS["acmt"], form="uncertainty").resolved(3).threshold_end == 0.9
    assert hyper_of(METHODS["acmt"], threshold_end=0.6).resolved(3).threshold_end == 0.6
    method = acmt().method
    assert method.predictor is method.student

"""UA-MT against loops over pixels and thresholds computed by hand, in 2D and 3D."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.cards import Protocol, load_protocol
from ssl_bench.method import Batch, Images, Progress, Setup, Update, load_methods, parse_hyperparameters
from ssl_bench.ops import dice_loss

UAMT: Any = load_methods()["uamt"]
PROGRESS = Progress(iteration=30, iterations=100, lambda_u=0.1)


def protocol_of(mode: str = "train", ramp_start: int = 1) -> Protocol:
    fields = {
        "ramp_start": ramp_start,
        "dice_smooth": 1e-5, "supervised_loss": "dice",
        "student_init": "different", "ema_decay": 0.9, "ema_warmup": False, "teacher_start": "own",
        "teacher_source": (0.5, 0.5), "teacher_mode": mode, "teacher_buffers": "ema" if mode == "eval" else "own",
    }  # fmt: skip
    return load_protocol("tiny", fields)


def network(dimensions: int, classes: int) -> nn.Module:
    convolution, norm, drop = (
        (nn.Conv2d, nn.BatchNorm2d, nn.Dropout2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d, nn.Dropout3d)
    )
    return nn.Sequential(
        convolution(1, 6, 3, padding=1), norm(6), nn.Tanh(), nn.Dropout(0.5), drop(0.5), convolution(6, classes, 1)
    )


def build(dimensions: int = 2, classes: int = 2, mode: str = "train", ramp_start: int = 1, **hyper: Any) -> Any:
    torch.manual_seed(0)
    setup = Setup(protocol_of(mode, ramp_start), lambda **_: network(dimensions, classes), classes, 1)
    return UAMT(setup, parse_hyperparameters(UAMT, hyper)).train()


def batch_of(dimensions: int, classes: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    sides = (7, 6) if dimensions == 2 else (5, 4, 3)
    labeled, student, teacher = torch.randn(3, 2, 1, *sides, generator=generator)
    labels = torch.randint(0, classes, (2, *sides), generator=generator)
    on_labeled = cast("Images", SimpleNamespace(student1=labeled))
    return Batch(on_labeled, labels, cast("Images", SimpleNamespace(student1=student, teacher=teacher)))


def update_of(method: Any, batch: Batch, progress: Progress = PROGRESS) -> Update:
    torch.manual_seed(5)
    (update,) = method.updates(batch, progress)
    return cast("Update", update)


class Calls:
    """Inputs and outputs of every pass of a module, and whether its dropout modules dropped."""

    def __init__(self, module: nn.Module) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.dropping: list[bool] = []
        module.register_forward_hook(self._record)

    def _record(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self.inputs.append(inputs[0])
        self.outputs.append(output)
        states = {m.training for m in module.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d, nn.Dropout3d))}
        (state,) = states
        self.dropping.append(state)


def softmax(logits: Tensor) -> list[float]:
    exponentials = [math.exp(v) for v in logits.tolist()]
    return [e / sum(exponentials) for e in exponentials]


def naive_consistency(y1: Tensor, y0: Tensor, passes: list[Tensor], threshold: float) -> tuple[float, int]:
    """Loop over the pixels; returns the loss and how many pixels are certain."""
    total, certain = 0.0, 0
    classes = y1.shape[1]
    for b, *place in itertools.product(*(range(n) for n in (y1.shape[0], *y1.shape[2:]))):
        pixel = (b, slice(None), *place)
        drawn = [softmax(logits[pixel]) for logits in passes]
        mean = [sum(p[c] for p in drawn) / len(drawn) for c in range(classes)]
        if -sum(p * math.log(p) for p in mean) < threshold:
            student, teacher = softmax(y1[pixel].detach()), softmax(y0[pixel])
            total += sum((student[c] - teacher[c]) ** 2 for c in range(classes))
            certain += 1
    return total / (classes * certain + 1e-16), certain


CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


@CASES
def test_the_loss_is_the_mean_squared_distance_over_certain_pixels(dimensions: int, classes: int) -> None:
    batch = batch_of(dimensions, classes)
    method = build(dimensions, classes, threshold_start=0.9)
    student, teacher = Calls(method.student), Calls(method.teacher.network)
    update = update_of(method, batch)
    assert set(update.terms) == {"supervised", "consistency"}
    assert [weight for weight, _ in update.terms.values()] == [1.0, PROGRESS.lambda_u]
    (on_labeled, y1), (y0, *passes) = student.outputs, teacher.outputs
    assert len(passes) == 8
    threshold = (0.9 + 0.1 * math.exp(-5 * 0.7**2)) * math.log(classes)
    expected, certain = naive_consistency(y1, y0, passes, threshold)
    assert 0 < certain < y1[:, 0].numel()
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(update.terms["supervised"][1], dice_loss(on_labeled, batch.labels, 1e-5))
    assert update.branches is not None
    assert update.branches[0] is y1
    assert update.branches[1] is y0


def test_where_nothing_is_certain_the_loss_is_zero_and_so_is_its_gradient() -> None:
    method = build(noise=0.0, threshold_start=0.0)
    for parameter in method.teacher.network.parameters():
        parameter.zero_()  # every prediction is uniform: its entropy is ln 2, the largest there is
    value = update_of(method, batch_of(2, 2), Progress(1, 100, 0.1)).terms["consistency"][1]
    value.backward()
    assert value.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in method.student.parameters())


@pytest.mark.parametrize(
    ("start", "iteration", "classes", "expected"),
    [
        (0.75, 100, 2, 0.6931471806),  # ln 2 at the end
        (0.75, 50, 2, 0.5695078835),  # (0.75 + 0.25 exp(-1.25)) ln 2
        (0.75, 50, 4, 1.1390157669),
        (0.5, 80, 3, 0.9990399776),  # (0.5 + 0.5 exp(-0.2)) ln 3
        (1.0, 1, 2, 0.6931471806),
    ],
)
def test_the_threshold_ramps_up_to_the_largest_entropy(
    start: float, iteration: int, classes: int, expected: float
) -> None:
    threshold = build(threshold_start=start).threshold(Progress(iteration, 100, 0.1), classes)
    assert threshold == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("ramp_start", "first", "second", "last"),
    [
        # the authors': (0.75 + 0.25 exp(-5 (1 - t / 100)^2)) ln 2 for t = 0, 1 and 99
        (0, 0.5210279827, 0.5211501349, 0.6930605588),
        (1, 0.5211501349, 0.5212836425, 0.6931471806),  # t = 1, 2 and 100
    ],
)
def test_the_threshold_counts_iterations_as_the_protocol_does(
    ramp_start: int, first: float, second: float, last: float
) -> None:
    method = build(ramp_start=ramp_start)
    found = [method.threshold(Progress(iteration, 100, 0.1), 2) for iteration in (1, 2, 100)]
    assert found == pytest.approx([first, second, last], rel=1e-9)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("passes", [1, 3, 8])
def test_dropout_is_on_in_the_passes_and_the_teacher_is_left_as_it_was(mode: str, passes: int) -> None:
    method = build(mode=mode, passes=passes)
    teacher = Calls(method.teacher.network)
    norms: list[bool] = []
    method.teacher.network[1].register_forward_hook(lambda module, *_: norms.append(module.training))
    before = [module.training for module in method.teacher.modules()]
    update_of(method, batch_of(2, 2))
    assert teacher.dropping == [mode == "train"] + [True] * passes
    assert norms == [mode == "train"] * (passes + 1)
    assert [module.training for module in method.teacher.modules()] == before
    if passes > 1:
        assert not torch.equal(teacher.outputs[1], teacher.outputs[2])


def test_without_noise_the_passes_differ_by_dropout() -> None:
    method = build(mode="eval", noise=0.0)
    teacher = Calls(method.teacher.network)
    update_of(method, batch_of(2, 2))
    assert all(torch.equal(images, teacher.inputs[0]) for images in teacher.inputs)
    assert len({tuple(logits.flatten().tolist()) for logits in teacher.outputs[1:]}) == 8


def test_the_teacher_sees_its_view_under_clipped_noise_and_the_student_a_clean_one() -> None:
    method, batch = build(noise=0.1, noise_limit=0.2, passes=50), batch_of(2, 2)
    student, teacher = Calls(method.student), Calls(method.teacher.network)
    update_of(method, batch)
    assert student.inputs[0] is batch.labeled.student1
    assert student.inputs[1] is batch.unlabeled.student1
    noise = torch.stack(teacher.inputs) - batch.unlabeled.teacher
    assert noise.abs().max() <= 0.2 + 1e-6
    clipped = ((noise.abs() - 0.2).abs() < 1e-6).float().mean().item()
    assert clipped == pytest.approx(0.0455, abs=0.012)  # beyond two standard deviations
    assert noise.std().item() == pytest.approx(0.0956, rel=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=0.006)


def test_the_noise_is_the_same_whatever_the_memory_layout() -> None:
    method, images = build(), torch.rand(4, 3, 8, 8)
    torch.manual_seed(3)
    expected = method.noisy(images)
    torch.manual_seed(3)
    found = method.noisy(images.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@CASES
def test_the_student_learns_and_the_teacher_gets_no_gradient(dimensions: int, classes: int) -> None:
    method = build(dimensions, classes)
    for _, value in update_of(method, batch_of(dimensions, classes)).terms.values():
        method.zero_grad()
        value.backward()
        assert any(p.grad.any() for p in method.student.parameters())
        assert all(p.grad is None for p in method.teacher.parameters())


def test_the_teacher_follows_the_student() -> None:
    method = build()
    start, student = method.teacher.network[0].weight.clone(), method.student[0].weight.detach().clone()
    method.after_update(PROGRESS)
    torch.testing.assert_close(method.teacher.network[0].weight, 0.9 * start + 0.1 * student)


def test_the_student_is_what_is_tested_and_both_are_scored() -> None:
    method = build()
    assert set(method.networks) == {"student", "teacher"}
    assert method.predictor is method.student
    assert method.predictor_name == "student"


def test_defaults_are_the_authors() -> None:
    assert build().hyper.model_dump() == {"passes": 8, "noise": 0.1, "noise_limit": 0.2, "threshold_start": 0.75}


def test_it_runs_under_autocast() -> None:
    method = build()
    with torch.autocast("cpu", torch.bfloat16):
        update = update_of(method, batch_of(2, 2))
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert update.total.isfinite()

"""The teacher's moving average against equation 6, tensor by tensor."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.ops import ExponentialMovingAverage

SOURCES = [(0.5, 0.5), (0.99, 0.01), (1.0,)]


def network(seed: int) -> nn.Module:
    """A convolution with batch norm, whose buffers have seen data."""
    generator = torch.Generator().manual_seed(seed)
    built = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    for _ in range(seed % 4 + 1):
        built(3 * torch.randn(4, 2, 6, 6, generator=generator) + seed)
    return built


def teacher_of(own: nn.Module, **changes: object) -> ExponentialMovingAverage:
    settings = {
        "decay": 0.9, "warmup": False, "source": (0.5, 0.5), "average_buffers": True, "always_eval": True,
    } | changes  # fmt: skip
    return ExponentialMovingAverage(own, **settings)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def naive_average(
    own: dict[str, Tensor], students: list[dict[str, Tensor]], source: tuple[float, ...], alpha: float, buffers: bool
) -> dict[str, Tensor]:
    """theta <- alpha theta + (1 - alpha) sum_m w_m theta_m over a state dict, in float64."""
    result = {}
    for key, value in own.items():
        if "running" in key and not buffers:
            result[key] = value.double()
        elif "num_batches" in key:
            result[key] = (students[0][key] if buffers else value).double()
        else:
            mean = sum(weight * student[key].double() for weight, student in zip(source, students, strict=True))
            result[key] = alpha * value.double() + (1 - alpha) * mean
    return result


def assert_equal_states(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value.double(), expected[key].double(), rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("average_buffers", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_follow_is_equation_6(source: tuple[float, ...], average_buffers: bool) -> None:
    students = [network(seed) for seed in range(1, len(source) + 1)]
    teacher = teacher_of(network(7), decay=0.7, source=source, average_buffers=average_buffers)
    for iteration in range(3):
        before = snapshot(teacher.network)
        teacher.follow(*students, iteration=iteration)
        expected = naive_average(before, [snapshot(s) for s in students], source, 0.7, average_buffers)
        assert_equal_states(snapshot(teacher.network), expected)
        for student in students:  # they move on
            student(torch.randn(2, 2, 6, 6))
            with torch.no_grad():
                for parameter in student.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("iteration", [0, 1, 3, 8, 9, 10, 5000])
def test_warm_up_bounds_the_decay(iteration: int) -> None:
    students, teacher = [network(1), network(2)], teacher_of(network(3), decay=0.9, warmup=True)
    before = snapshot(teacher.network)
    teacher.follow(*students, iteration=iteration)
    alpha = {0: 0.0, 1: 1 / 2, 3: 3 / 4, 8: 8 / 9}.get(iteration, 0.9)
    expected = naive_average(before, [snapshot(s) for s in students], (0.5, 0.5), alpha, buffers=True)
    assert_equal_states(snapshot(teacher.network), expected)


@pytest.mark.parametrize("source", SOURCES)
def test_warm_up_copies_the_students_at_iteration_0(source: tuple[float, ...]) -> None:
    students = [network(seed) for seed in range(1, len(source) + 1)]
    teacher = teacher_of(network(5), decay=0.999, warmup=True, source=source)
    teacher.follow(*students, iteration=0)
    for key, value in snapshot(teacher.network).items():
        if value.is_floating_point():
            mean = sum(w * s.state_dict()[key].double() for w, s in zip(source, students, strict=True))
            torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-6)


def test_without_warm_up_the_first_step_keeps_most_of_the_teacher() -> None:
    own, student = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(own.weight, 10.0)
    nn.init.constant_(student.weight, 20.0)
    teacher = teacher_of(own, decay=0.999, source=(1.0,))
    teacher.follow(student, iteration=0)
    assert own.weight.item() == pytest.approx(0.999 * 10 + 0.001 * 20)


def test_weights_of_the_students_by_hand() -> None:
    layers = [nn.Linear(1, 1, bias=False) for _ in range(3)]
    for layer, value in zip(layers, (8.0, 100.0, 200.0), strict=True):
        nn.init.constant_(layer.weight, value)
    own, *students = layers
    teacher_of(own, decay=0.5, source=(0.99, 0.01)).follow(*students, iteration=3)
    assert own.weight.item() == pytest.approx(4 + 0.5 * (99 + 2))


def test_the_students_are_left_alone() -> None:
    students = [network(1), network(2)]
    before = [snapshot(s) for s in students]
    teacher_of(network(3)).follow(*students, iteration=4)
    for student, state in zip(students, before, strict=True):
        for key, value in student.state_dict().items():
            assert torch.equal(value, state[key])
        assert all(p.requires_grad and p.grad is None for p in student.parameters())


@pytest.mark.parametrize(("average_buffers", "expected"), [(True, 3), (False, 1)])
def test_the_count_of_batches_is_copied_from_student_1(average_buffers: bool, expected: int) -> None:
    students = [network(2), network(3)]  # 3 and 4 batches
    teacher = teacher_of(network(4), average_buffers=average_buffers)  # 1 batch
    teacher.follow(*students, iteration=9)
    count = teacher.network[1].num_batches_tracked
    assert count.dtype == torch.int64
    assert count.item() == expected


def test_own_buffers_learn_from_own_forward_passes_alone() -> None:
    teacher = teacher_of(network(1), average_buffers=False, always_eval=False).train()
    norm = teacher.network[1]
    before = norm.running_mean.clone()
    teacher.follow(network(2), network(3), iteration=0)
    assert torch.equal(norm.running_mean, before)
    images = torch.randn(4, 2, 6, 6)
    teacher(images)
    features = teacher.network[0](images)
    expected = 0.9 * before + 0.1 * features.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


def test_always_eval_keeps_the_mode_when_the_whole_method_trains() -> None:
    whole = nn.ModuleDict({"student": network(1), "teacher": teacher_of(network(2), always_eval=True)})
    whole.train()
    assert all(module.training for module in whole["student"].modules())
    assert not any(module.training for module in whole["teacher"].modules())
    before = snapshot(whole["teacher"])
    images = torch.randn(4, 2, 6, 6)
    first, second = whole["teacher"](images), whole["teacher"](images)  # no dropout
    assert torch.equal(first, second)
    for key, value in whole["teacher"].state_dict().items():
        assert torch.equal(value, before[key])  # no batch statistics
    whole.eval()
    assert not any(module.training for module in whole.modules())


def test_always_eval_holds_from_the_start() -> None:
    teacher = teacher_of(network(1), always_eval=True)
    assert not any(module.training for module in teacher.modules())


def test_a_teacher_in_train_mode_follows_train() -> None:
    teacher = teacher_of(network(2), always_eval=False)
    teacher.train()
    assert all(module.training for module in teacher.modules())
    teacher.eval()
    assert not any(module.training for module in teacher.modules())


@pytest.mark.parametrize("always_eval", [True, False])
def test_no_gradient_reaches_the_teacher(always_eval: bool) -> None:
    students, teacher = [network(1), network(2)], teacher_of(network(3), always_eval=always_eval).train()
    teacher.follow(*students, iteration=2)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    images = torch.randn(2, 2, 6, 6, requires_grad=True)
    logits = teacher(images)
    assert logits.shape == (2, 2, 4, 4)
    assert not logits.requires_grad
    (students[0](images) * logits).sum().backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_output_is_the_networks() -> None:
    own = network(3)
    images = torch.randn(2, 2, 6, 6)
    expected = copy.deepcopy(own).eval()(images)
    assert torch.equal(teacher_of(own, always_eval=True).train()(images), expected)


def test_a_wrong_number_of_students_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        teacher_of(network(1), source=(0.5, 0.5)).follow(network(2), iteration=0)


def test_a_restarted_teacher_is_its_student_in_tensors_of_its_own() -> None:
    teacher, student = teacher_of(network(1), source=(1.0,)), network(2)
    teacher.restart(student)
    assert_equal_states(snapshot(teacher.network), snapshot(student))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert not any(torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True))

"""Entropy and equation 8's uncertainty map against scipy and numpy in float64."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import torch

from ssl_bench.ops import (
    entropy,
    jensen_shannon,
    mean_prediction_entropy,
    prediction_entropy,
    self_information,
)

SHAPES = [(2, 2, 5, 4), (1, 4, 3, 3), (2, 2, 3, 2, 4), (1, 4, 2, 2, 3)]


def logits_of(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_is_scipys(shape: tuple[int, ...]) -> None:
    probabilities = logits_of(shape, 0).double().softmax(1)
    found = entropy(probabilities)
    assert found.shape == (shape[0], *shape[2:])
    expected = scipy.stats.entropy(probabilities.numpy(), axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_entropy_of_hand_computed_cases() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]).view(3, 2, 1)
    expected = [0.0, math.log(2), 0.25 * math.log(4) + 0.75 * math.log(4 / 3)]
    assert entropy(probabilities).flatten().tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_entropy_of_logits_is_scipys(shape: tuple[int, ...]) -> None:
    logits = logits_of(shape, 0).double()
    expected = scipy.stats.entropy(scipy.special.softmax(logits.numpy(), 1), axis=1)
    np.testing.assert_allclose(prediction_entropy(logits).numpy(), expected, rtol=1e-10, atol=1e-12)
    found = prediction_entropy(logits.float().bfloat16())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=0.03)


@pytest.mark.parametrize("size", [1.0, 60.0, 1e4])
def test_the_gradient_of_the_entropy_of_logits_is_p_times_its_excess_surprise(size: float) -> None:
    """-p_i (ln p_i + H), by hand; at 1e4 all other classes' probabilities round to 0."""
    logits = (size * logits_of((2, 3, 4), 6).double()).requires_grad_()
    prediction_entropy(logits).sum().backward()
    p = scipy.special.softmax(logits.detach().numpy(), 1)
    expected = -p * (scipy.special.log_softmax(logits.detach().numpy(), 1) + scipy.stats.entropy(p, axis=1)[:, None])
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_self_information_is_scipys_and_sums_to_the_entropy(shape: tuple[int, ...]) -> None:
    logits = logits_of(shape, 0).double()
    found = self_information(logits)
    expected = scipy.special.entr(scipy.special.softmax(logits.numpy(), 1))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.sum(1), prediction_entropy(logits))
    assert self_information(logits.bfloat16()).dtype == torch.float32


def test_self_information_of_a_certain_prediction_is_zero_with_a_finite_gradient() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]]).requires_grad_()
    found = self_information(logits)
    found.sum().backward()
    assert logits.grad is not None
    assert found.tolist() == [[0, 0, 0]]
    assert logits.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_jensen_shannon_divergence_is_scipys(shape: tuple[int, ...]) -> None:
    first, second = logits_of(shape, 3).double(), logits_of(shape, 4).double()
    p, q = (scipy.special.softmax(logits.numpy(), 1) for logits in (first, second))
    expected = scipy.spatial.distance.jensenshannon(p, q, axis=1) ** 2
    np.testing.assert_allclose(jensen_shannon(first, second).numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(jensen_shannon(second, first).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_jensen_shannon_divergence_of_equal_and_of_disjoint_predictions() -> None:
    certain = torch.tensor([[300.0, 0.0, 0.0], [0.0, 300.0, 0.0], [1.0, 2.0, 3.0]]).unsqueeze(2).requires_grad_()
    assert jensen_shannon(certain, certain).flatten().tolist() == pytest.approx([0, 0, 0], abs=1e-7)
    disjoint = jensen_shannon(certain[:1], certain[1:2])
    assert disjoint.item() == pytest.approx(math.log(2))
    disjoint.backward()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_uncertainty_map_is_equation_8(shape: tuple[int, ...]) -> None:
    student, teacher = logits_of(shape, 1), logits_of(shape, 2)
    p = (scipy.special.softmax(student.double().numpy(), 1) + scipy.special.softmax(teacher.double().numpy(), 1)) / 2
    expected = np.zeros((shape[0], *shape[2:]))
    for c in range(shape[1]):
        expected -= p[:, c] * np.log(p[:, c])
    found = mean_prediction_entropy(student, teacher)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.numpy(), scipy.stats.entropy(p, axis=1), rtol=1e-4, atol=1e-6)


def test_the_mean_is_of_probabilities_not_of_logits() -> None:
    student, teacher = torch.tensor([[8.0], [-8.0]]).view(1, 2, 1), torch.tensor([[-2.0], [2.0]]).view(1, 2, 1)
    p = (1 / (1 + math.exp(-16)) + 1 / (1 + math.exp(4))) / 2
    expected = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert mean_prediction_entropy(student, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1e2, 1e4, 3e38])
def test_saturated_logits_give_no_nan(size: float) -> None:
    sure = torch.tensor([size, -size]).view(1, 2, 1, 1)
    assert mean_prediction_entropy(sure, sure).item() == pytest.approx(0, abs=1e-7)
    assert mean_prediction_entropy(sure, -sure).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = logits_of((1, 2, 16, 16), 3).to(dtype), logits_of((1, 2, 16, 16), 4).to(dtype)
    p = (scipy.special.softmax(student.double().numpy(), 1) + scipy.special.softmax(teacher.double().numpy(), 1)) / 2
    found = mean_prediction_entropy(student, teacher)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), scipy.stats.entropy(p, axis=1), rtol=1e-4, atol=1e-6)


def test_it_has_no_gradient() -> None:
    student = logits_of((1, 2, 3, 3), 5).requires_grad_()
    assert not mean_prediction_entropy(student, student).requires_grad

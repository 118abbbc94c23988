"""The Dice losses against loops over samples, classes and pixels in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_bench.ops import (
    IGNORED,
    class_maps,
    confident_labels,
    cross_entropy_loss,
    dice_loss,
    hard_label_dice_loss,
    hard_labels,
    mean_of_parts,
)

SHAPES = [
    pytest.param((3, 2, 5, 4), id="2D, 2 classes"),
    pytest.param((2, 4, 3, 5), id="2D, 4 classes"),
    pytest.param((2, 2, 3, 2, 4), id="3D, 2 classes"),
    pytest.param((1, 4, 2, 3, 3), id="3D, 4 classes"),
]


def naive_dice_loss(logits: Tensor, labels: Tensor, smooth: float) -> float:
    """1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s), averaged over samples and classes, pixel by pixel."""
    scores, truth = logits.detach().double().numpy(), labels.numpy()
    samples, classes = scores.shape[:2]
    losses = []
    for b in range(samples):
        for c in range(classes):
            overlap = predicted = present = 0.0
            for place in np.ndindex(*truth.shape[1:]):
                exponentials = [math.exp(scores[(b, k, *place)]) for k in range(classes)]
                p = exponentials[c] / sum(exponentials)
                y = 1.0 if truth[(b, *place)] == c else 0.0
                overlap += p * y
                predicted += p
                present += y
            losses.append(1 - (2 * overlap + smooth) / (predicted + present + smooth))
    return sum(losses) / len(losses)


def random_case(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator)
    return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)


def confident(labels: Tensor, classes: int) -> Tensor:
    """Logits that give `labels` with all but certainty."""
    return torch.stack([torch.where(labels == c, 40.0, -40.0) for c in range(classes)], dim=1)


@pytest.mark.parametrize("smooth", [1e-5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_dice_loss_is_the_mean_over_samples_and_classes(shape: tuple[int, ...], smooth: float) -> None:
    logits, labels = random_case(shape)
    loss = dice_loss(logits, labels, smooth)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(naive_dice_loss(logits, labels, smooth), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_dice_loss_keeps_float64(shape: tuple[int, ...]) -> None:
    logits, labels = random_case(shape, seed=1)
    loss = dice_loss(logits.double(), labels, 1e-5)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(naive_dice_loss(logits, labels, 1e-5), abs=1e-13)


def test_dice_loss_of_a_case_computed_by_hand() -> None:
    # p = 1/2 everywhere, one foreground pixel of four, smooth 1. Background: (2 x 1.5 + 1) / (2 + 3 + 1) = 2/3;
    # foreground: (2 x 0.5 + 1) / (2 + 1 + 1) = 1/2. Loss: 1 - (2/3 + 1/2) / 2 = 5/12.
    labels = torch.tensor([[[1, 0], [0, 0]]])
    assert dice_loss(torch.zeros(1, 2, 2, 2), labels, 1.0).item() == pytest.approx(5 / 12, abs=1e-7)


def test_samples_are_not_pooled() -> None:
    # Perfect on a sample of four foreground pixels, all wrong on a sample of one: 1/2 per sample, 2/3 pooled.
    labels = torch.tensor([[[1, 1, 1, 1]], [[1, 0, 0, 0]]])
    predicted = torch.tensor([[[1, 1, 1, 1]], [[0, 1, 1, 1]]])
    assert dice_loss(confident(predicted, 2), labels, 1e-5).item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_perfect_prediction_costs_nothing(shape: tuple[int, ...]) -> None:
    _, labels = random_case(shape)
    assert dice_loss(confident(labels, shape[1]), labels, 1e-5).item() == pytest.approx(0, abs=1e-6)


def test_an_absent_class_that_is_not_predicted_costs_nothing() -> None:
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    assert dice_loss(confident(labels, 3), labels, 1e-5).item() == pytest.approx(0, abs=1e-6)


def test_an_inverted_prediction_costs_everything() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    assert dice_loss(confident(1 - labels, 2), labels, 1e-5).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_finite_differences(shape: tuple[int, ...]) -> None:
    logits, labels = random_case(shape, seed=2)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dice_loss(x, labels, 1e-5), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits, labels = random_case((1, 2, 48, 48), seed=3)
    half = logits.to(dtype).requires_grad_()
    loss = dice_loss(half, labels, 1e-5)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive_dice_loss(half, labels, 1e-5), abs=1e-6)
    loss.backward()
    assert half.grad is not None
    assert half.grad.dtype == dtype
    assert half.grad.abs().sum() > 0


def test_logits_too_large_for_an_exponential_are_finite() -> None:
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1).expand(1, 2, 3, 3).clone().requires_grad_()
    loss = dice_loss(logits, torch.ones(1, 3, 3, dtype=torch.int64), 1e-5)
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-4)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_hard_label_dice_loss_counts_pixels(shape: tuple[int, ...]) -> None:
    classes, smooth = shape[1], 1e-5
    first, second = random_case(shape, seed=4)[1], random_case(shape, seed=5)[1]
    losses = []
    for a, b in zip(first.numpy(), second.numpy(), strict=True):
        for c in range(classes):
            in_a = {place for place in np.ndindex(*a.shape) if a[place] == c}
            in_b = {place for place in np.ndindex(*b.shape) if b[place] == c}
            losses.append(1 - (2 * len(in_a & in_b) + smooth) / (len(in_a) + len(in_b) + smooth))
    loss = hard_label_dice_loss(first, second, classes, smooth)
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-6)
    assert hard_label_dice_loss(second, first, classes, smooth).item() == pytest.approx(loss.item(), abs=1e-7)


def test_hard_label_dice_loss_is_zero_for_equal_and_one_for_opposite_labels() -> None:
    labels = torch.tensor([[[0, 1], [1, 1]]])
    assert hard_label_dice_loss(labels, labels, 2, 1e-5).item() == pytest.approx(0, abs=1e-6)
    assert hard_label_dice_loss(labels, 1 - labels, 2, 1e-5).item() == pytest.approx(1, abs=1e-4)


def test_hard_label_dice_loss_is_zero_where_both_lack_a_class() -> None:
    background = torch.zeros(1, 4, 4, dtype=torch.int64)
    assert hard_label_dice_loss(background, background, 2, 1e-5).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hard_labels_are_numpys_argmax_the_first_of_equal_ones(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    logits = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected = logits.float().numpy().argmax(1)
    assert np.array_equal(hard_labels(logits).numpy(), expected)
    assert np.array_equal(hard_labels(logits.movedim(1, -1).contiguous().movedim(-1, 1)).numpy(), expected)
    assert not hard_labels(logits.requires_grad_()).requires_grad


# ------------------------------------------------------------------------------------------------------ ignored pixels


def with_ignored(shape: tuple[int, ...], seed: int = 0, *, whole: int | None = None) -> tuple[Tensor, Tensor]:
    """A random case with a third of the pixels ignored, and all of sample `whole`."""
    logits, labels = random_case(shape, seed)
    labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < 1 / 3] = IGNORED
    if whole is not None:
        labels[whole] = IGNORED
    return logits, labels


def naive_known_dice_loss(logits: Tensor, labels: Tensor, smooth: float) -> float:
    """Each sample's loss on its known pixels in a row, averaged over the samples that have some."""
    losses = []
    for scores, truth in zip(logits, labels, strict=True):
        known = truth != IGNORED
        if known.any():
            losses.append(naive_dice_loss(scores[:, known][None], truth[known][None], smooth))
    return sum(losses) / len(losses) if losses else 0.0


def naive_known_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    losses = []
    for b in range(len(labels)):
        for place in np.ndindex(*labels.shape[1:]):
            if labels[(b, *place)] != IGNORED:
                scores = logits[(b, slice(None), *place)].double()
                losses.append(-math.log(scores.softmax(0)[labels[(b, *place)]].item()))
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("whole", [None, 0])
@pytest.mark.parametrize("shape", SHAPES)
def test_ignored_pixels_are_left_out(shape: tuple[int, ...], whole: int | None) -> None:
    logits, labels = with_ignored(shape, whole=whole)
    dice, entropy = dice_loss(logits, labels, 1e-5, ignores=True), cross_entropy_loss(logits, labels, ignores=True)
    assert dice.item() == pytest.approx(naive_known_dice_loss(logits, labels, 1e-5), abs=1e-6)
    assert entropy.item() == pytest.approx(naive_known_cross_entropy(logits, labels), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_ignored_pixels_have_no_effect_and_no_gradient(shape: tuple[int, ...]) -> None:
    logits, labels = with_ignored(shape)
    ignored = (labels == IGNORED).unsqueeze(1).expand_as(logits)
    other = logits.where(~ignored, 50 * torch.randn(shape)).requires_grad_()
    logits.requires_grad_()
    for tensor in (logits, other):
        loss = dice_loss(tensor, labels, 1.0, ignores=True) + cross_entropy_loss(tensor, labels, ignores=True)
        loss.backward()
    assert logits.grad is not None
    assert other.grad is not None
    assert logits.grad[ignored].count_nonzero() == other.grad[ignored].count_nonzero() == 0
    assert torch.equal(logits.grad, other.grad)
    assert logits.grad[~ignored].count_nonzero() > 0


def test_cross_entropy_is_the_mean_over_pixels() -> None:
    logits, labels = random_case((2, 4, 3, 5))
    assert cross_entropy_loss(logits, labels).item() == pytest.approx(naive_known_cross_entropy(logits, labels))
    assert cross_entropy_loss(logits.bfloat16(), labels).dtype == torch.float32


@pytest.mark.parametrize("loss", [dice_loss, cross_entropy_loss])
def test_an_ignored_pixel_is_an_error_where_none_is_expected(loss: Any) -> None:
    logits, labels = with_ignored((3, 2, 5, 4))
    with pytest.raises((RuntimeError, IndexError)):
        loss(logits, labels, **({"smooth": 1.0} if loss is dice_loss else {}))


# ------------------------------------------------------------------------------------------------- pixels that count


def naive_kept_loss(logits: Tensor, labels: Tensor, keep: Tensor, smooth: float) -> float:
    """The Dice loss of each sample as an image of its kept pixels alone; samples without any do not count."""
    losses = []
    for z, y, kept in zip(logits, labels, keep, strict=True):
        if kept.any():
            losses.append(naive_dice_loss(z[:, kept][None], y[kept][None], smooth))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_that_are_not_kept_are_left_out(shape: tuple[int, ...], ignores: bool, share: float) -> None:
    logits, labels = random_case(shape)
    generator = torch.Generator().manual_seed(4)
    keep = torch.rand(labels.shape, generator=generator) < share
    known = keep
    if ignores:
        hidden = torch.rand(labels.shape, generator=generator) < 0.3
        labels, known = labels.masked_fill(hidden, IGNORED), keep & ~hidden
    logits.requires_grad_()
    loss = dice_loss(logits, labels, 1e-5, ignores=ignores, keep=keep)
    assert loss.item() == pytest.approx(naive_kept_loss(logits, labels, known, 1e-5), abs=1e-6)
    entropies = -logits.detach().double().log_softmax(1)
    expected = [float(entropies[(b, labels[(b, *p)], *p)]) for b, *p in known.nonzero().tolist()]
    crossed = cross_entropy_loss(logits, labels, ignores=ignores, keep=keep)
    assert crossed.item() == pytest.approx(sum(expected) / max(len(expected), 1), abs=1e-6)
    (loss + crossed).backward()
    assert logits.grad is not None
    assert logits.grad.movedim(1, -1)[~known].count_nonzero() == 0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", SHAPES)
def test_where_all_is_kept_the_bits_are_those_without_a_choice(shape: tuple[int, ...], seed: int) -> None:
    logits, labels = random_case(shape, seed)
    everything = torch.ones_like(labels, dtype=torch.bool)
    for loss in (dice_loss(logits, labels, 1e-5), dice_loss(logits, labels, 1e-5, keep=everything)):
        assert torch.equal(loss, dice_loss(logits, labels, 1e-5))


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_kept_costs_nothing(shape: tuple[int, ...]) -> None:
    logits, labels = random_case(shape)
    nothing = torch.zeros_like(labels, dtype=torch.bool)
    assert dice_loss(logits, labels, 1e-5, keep=nothing).item() == 0
    assert cross_entropy_loss(logits, labels, keep=nothing).item() == 0


def test_confident_labels_are_the_largest_class_and_its_probability() -> None:
    logits = torch.tensor([[2.0, 0.0], [-1.0, -1.0], [1.0, 3.0]]).T.reshape(2, 3, 1).requires_grad_()
    labels, confidence = confident_labels(logits)
    assert labels.tolist() == [[0], [2]]
    expected = [1 / (1 + math.exp(-3) + math.exp(-1)), 1 / (1 + math.exp(-3) + math.exp(-4))]
    assert confidence.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    assert not confidence.requires_grad
    assert confident_labels(logits.bfloat16())[1].dtype == torch.float32


@pytest.mark.parametrize("shape", SHAPES)
def test_class_maps_are_one_where_the_label_is_the_class(shape: tuple[int, ...]) -> None:
    _, labels = random_case(shape)
    maps = class_maps(labels, shape[1])
    assert maps.shape == shape
    assert maps.dtype == torch.float32
    for c in range(shape[1]):
        assert maps[:, c].tolist() == (labels == c).float().tolist()
    assert torch.equal(class_maps(labels, shape[1], torch.float64), maps.double())


def test_the_mean_of_both_parts_is_over_the_pixels_that_count() -> None:
    labeled, unlabeled = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[3.0], [9.0]])
    assert mean_of_parts(labeled, unlabeled, None).item() == pytest.approx(21 / 5)
    assert mean_of_parts(labeled, unlabeled, torch.tensor([[True, False, False]])).item() == pytest.approx(13 / 3)
    assert mean_of_parts(labeled, unlabeled, torch.zeros(1, 3, dtype=torch.bool)).item() == pytest.approx(6)

"""AD-MT's pseudo labels and losses against loops over pixels, its periods and its teachers' averages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.method import Progress, Update, load_methods
from ssl_bench.ops import dice_loss

ADMT = load_methods()["admt"]
FIRST, SECOND = PROGRESS, Progress(iteration=8, iterations=20, lambda_u=0.0625)  # in turns of one iteration
CASES = [(2, 2, "dice"), (2, 4, "cross-entropy"), (3, 3, "cross-entropy"), (3, 2, "dice")]


def case(dimensions: int = 2, classes: int = 2, **hyper: Any) -> Laboratory:
    return laboratory("admt", protocol_of("paper", dimensions), classes, **hyper)


def update_of(lab: Laboratory, progress: Progress = FIRST) -> Update:
    torch.manual_seed(5)
    (update,) = lab.method.updates(lab.batch, progress)
    return update


def softmax(logits: list[float]) -> list[float]:
    exponentials = [math.exp(v - max(logits)) for v in logits]
    return [e / sum(exponentials) for e in exponentials]


def naive_pixel(z1: list[float], z2: list[float], own: list[float]) -> tuple[int, float, bool]:
    """Label, confidence and whether the student decided, at one pixel; as the authors' code has it."""
    p1, p2, ps = softmax(z1), softmax(z2), softmax(own)
    h1, h2 = (-sum(v * math.log2(v) for v in p) for p in (p1, p2))
    weight = math.exp(-h1) / (math.exp(-h1) + math.exp(-h2))
    q = [weight * a + (1 - weight) * b for a, b in zip(p1, p2, strict=True)]
    label, confidence = q.index(max(q)), max(q)
    conflict = p1.index(max(p1)) != p2.index(max(p2)) and ps.index(max(ps)) != label
    if conflict and max(ps) > confidence:
        return ps.index(max(ps)), max(ps), True
    return label, confidence, False


def naive_labels(y1: Tensor, y2: Tensor, own: Tensor) -> tuple[np.ndarray, np.ndarray, int]:
    shape = (len(y1), *y1.shape[2:])
    labels, confidence, decided = np.zeros(shape, dtype=int), np.zeros(shape), 0
    for b, *place in np.ndindex(*shape):
        pixel = (b, slice(None), *place)
        found = naive_pixel(*(y[pixel].double().tolist() for y in (y1, y2, own)))
        labels[(b, *place)], confidence[(b, *place)] = found[:2]
        decided += found[2]
    return labels, confidence, decided


def naive_loss(logits: Tensor, labels: np.ndarray, keep: np.ndarray, kind: str) -> float:
    """Dice of each sample's kept pixels, mean over classes and samples; or the mean cross-entropy of kept pixels."""
    p = logits.detach().double().softmax(1).numpy()
    scores, entropies = [], []
    for b, c in np.ndindex(*p.shape[:2]):
        overlap = size = 0.0
        for place in np.ndindex(*labels.shape[1:]):
            if keep[b][place]:
                y = float(labels[b][place] == c)
                overlap += p[(b, c, *place)] * y
                size += p[(b, c, *place)] + y
                if y:
                    entropies.append(-math.log(p[(b, c, *place)]))
        if keep[b].any():
            scores.append((2 * overlap + 1e-5) / (size + 1e-5))
    return 1 - float(np.mean(scores)) if kind == "dice" else float(np.mean(entropies))


@pytest.mark.parametrize("progress", [FIRST, SECOND], ids=["teacher 1", "teacher 2"])
@pytest.mark.parametrize(("dimensions", "classes", "kind"), CASES)
def test_the_terms_are_those_of_a_loop_over_pixels(
    dimensions: int, classes: int, kind: str, progress: Progress
) -> None:
    lab = case(dimensions, classes, confidence=0.6, unsupervised_loss=kind)
    update = update_of(lab, progress)
    views = lab.protocol.views
    weak, view = lab.unlabeled[views.teacher], lab.unlabeled[views.student1]
    y1, y2 = lab.logits("teacher1", weak), lab.logits("teacher2", weak)
    on_labeled, own, strong = (call for call in lab.calls_of("student"))
    assert own.images is weak
    assert not own.logits.requires_grad
    labels, confidence, decided = naive_labels(y1, y2, own.logits)
    assert decided > 3
    if progress is FIRST:
        assert strong.images is view
    else:
        partners = (strong.images == weak.roll(-1, 0)).all(1)
        assert (partners ^ (strong.images == weak).all(1)).all()
        assert 0.02 < partners.float().mean() < 0.9
        labels, confidence = (np.where(partners, np.roll(one, -1, 0), one) for one in (labels, confidence))
    keep = confidence >= 0.6
    assert 0 < keep.sum() < keep.size
    expected = naive_loss(strong.logits, labels, keep, kind)
    assert [weight for weight, _ in update.terms.values()] == [1.0, PROGRESS.lambda_u]
    assert update.terms["pseudo"][1].item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(update.terms["supervised"][1], dice_loss(on_labeled.logits, lab.batch.labels, 1e-5))
    assert update.branches is not None
    assert update.branches[0] is y1
    assert update.branches[1] is y2


@pytest.mark.parametrize(
    ("z1", "z2", "own", "label", "confidence"),
    [
        ([0.0, 2.0], [0.0, 2.0], [9.0, 0.0], 1, 0.880797),  # the teachers agree: the student has no say
        ([4.0, 0.0], [0.0, 1.0], [9.0, 0.0], 0, 0.746980),  # the mean and the student have one label
        ([4.0, 0.0], [0.0, 1.0], [0.0, 9.0], 1, 0.999877),  # the student is more confident than the mean
        ([4.0, 0.0], [0.0, 1.0], [0.0, 0.1], 0, 0.746980),  # it is less
        ([1.0, 0.0], [0.0, 1.0], [5.0, 0.0], 0, 0.5),  # equal entropies: the plain mean, whose first class is taken
    ],
)
def test_who_decides_at_a_pixel(
    z1: list[float], z2: list[float], own: list[float], label: int, confidence: float
) -> None:
    logits = [torch.tensor(z).view(1, 2, 1, 1) for z in (z1, z2, own)]
    labels, found = case().method.pseudo_labels(*logits)
    assert (labels.item(), found.item()) == (label, pytest.approx(confidence, abs=2e-6))


def test_of_equal_teachers_the_labels_are_theirs() -> None:
    y, own = torch.randn(2, 3, 4, 5, 2), torch.randn(2, 3, 4, 5, 2)
    labels, confidence = case(3, 3).method.pseudo_labels(y, y.clone(), own)
    expected = y.softmax(1).max(1)
    assert torch.equal(labels, expected.indices)
    torch.testing.assert_close(confidence, expected.values)


@pytest.mark.parametrize("kind", ["dice", "cross-entropy"])
def test_where_no_label_is_confident_the_loss_is_zero_and_so_is_its_gradient(kind: str) -> None:
    lab = case(classes=4, confidence=0.26, unsupervised_loss=kind)
    for parameter in lab.method.parameters():
        nn.init.zeros_(parameter)  # every prediction is uniform
    value = update_of(lab).terms["pseudo"][1]
    value.backward()
    assert value.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in lab.method.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_cutmixs_boxes_have_sides_of_sqrt_one_minus_beta(dimensions: int) -> None:
    """With a narrow distribution around 0.75 half of each side, in 3D too; cut off at the border."""
    lab = case(dimensions, box_a=3e4, box_b=1e4)
    shares = []
    for seed in range(60):
        torch.manual_seed(seed)
        lab.calls.clear()
        list(lab.method.updates(lab.batch, SECOND))
        changed = (lab.calls_of("student")[2].images != lab.unlabeled[lab.protocol.views.teacher]).any(1)
        for one in changed:
            axes = range(dimensions)
            lengths = [int(one.amax([a for a in axes if a != axis]).sum()) for axis in axes]
            assert one.sum() == math.prod(lengths)
            shares.append(lengths)
    half = [side // 2 for side in lab.protocol.sides]
    assert np.max(shares, axis=0).tolist() == pytest.approx(half, abs=2)
    assert (np.max(shares, axis=0) <= half).all()


# ------------------------------------------------------------------------------------------------------------ teachers


def weights(network: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in network.state_dict().values()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


def test_one_teacher_moves_at_a_time_by_turns() -> None:
    method = case(longest_period=4).method
    seen = []
    for iteration in range(1, 41):
        progress = Progress(iteration, 40, 0.1)
        before = [weights(teacher) for teacher in (method.teacher1, method.teacher2)]
        for p in method.student.parameters():
            p.data += torch.randn_like(p)
        method.after_update(progress)
        moved = [
            not equal(old, weights(one)) for old, one in zip(before, (method.teacher1, method.teacher2), strict=True)
        ]
        assert moved == [method.active(progress) is method.teacher1, method.active(progress) is method.teacher2]
        seen.append(moved[0])
    assert seen[0]
    runs = np.diff(np.flatnonzero(np.diff([not seen[0], *seen, not seen[-1]])))
    assert runs.max() <= 4
    assert len(set(runs.tolist())) > 1


def test_the_active_teacher_is_first_a_copy_and_then_an_average_of_the_authors_times() -> None:
    """Decay 0 while i // 2 < 40, then min(1 - 1 / (i // 2 - 40 + 1), d); i counts from 0 in the authors' code."""
    protocol = protocol_of("paper", ema_decay=0.9, ema_warmup=True)
    method = laboratory("admt", protocol, copy_share=0.005, longest_period=100_000).method  # teacher 1 alone
    for i in (0, 1, 78, 79, 80, 81, 82, 84, 120, 4000):
        own = torch.randn_like(method.student.segmentation_head.weight)
        theirs = torch.randn_like(own)
        with torch.no_grad():
            method.student.segmentation_head.weight.copy_(own)
            method.teacher1.network.segmentation_head.weight.copy_(theirs)
        method.after_update(Progress(i + 1, 16_000, 0.1))
        decay = 0.0 if i // 2 < 40 else min(1 - 1 / (i // 2 - 40 + 1), 0.9)
        found = method.teacher1.network.segmentation_head.weight
        torch.testing.assert_close(found, decay * theirs + (1 - decay) * own)


@pytest.mark.parametrize("seed", range(1, 21))
def test_each_teacher_starts_as_a_copy_of_the_student_however_short_the_run(seed: int) -> None:
    """Periods are up to 50 iterations long, and 1,000 iterations have copies in the first five alone."""
    method = laboratory("admt", protocol_of("paper", ema_decay=0.9), seed=seed).method
    started = set()
    for i in range(1, 52):
        with torch.no_grad():
            for p in method.student.parameters():
                p.add_(1)
        progress = Progress(i, 1000, 0.1)
        active = method.active(progress)
        method.after_update(progress)
        alike = equal(weights(active.network), weights(method.student))
        assert alike == (i <= 5 or id(active) not in started)
        started.add(id(active))
    assert len(started) == 2


def test_periods_are_the_runs_own() -> None:
    def active(seed: int) -> list[bool]:
        method = laboratory("admt", protocol_of("paper"), longest_period=10, seed=seed).method
        return [method.active(Progress(i, 60, 0.1)) is method.teacher1 for i in range(1, 61)]

    assert active(1) == active(1)
    assert len({tuple(active(seed)) for seed in range(6)}) == 6


def test_the_student_is_what_is_tested_and_all_are_scored() -> None:
    method = case().method
    assert set(method.networks) == {"student", "teacher1", "teacher2"}
    assert method.predictor is method.student


def test_defaults_are_the_authors() -> None:
    plain = {"copy_share": 0.005, "box_a": 4.0, "box_b": 4.0}
    for dimensions, own in (
        (2, {"longest_period": 50, "confidence": 0.95, "unsupervised_loss": "dice"}),
        (3, {"longest_period": 19, "confidence": 0.8, "unsupervised_loss": "cross-entropy"}),
    ):
        assert ADMT.hyperparameters().resolved(dimensions).model_dump() == plain | own
    assert ADMT.hyperparameters(longest_period=3).resolved(2).longest_period == 3


@pytest.mark.parametrize("progress", [FIRST, SECOND])
def test_it_runs_under_autocast(progress: Progress) -> None:
    lab = case()
    with torch.autocast("cpu", torch.bfloat16):
        update = update_of(lab, progress)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert update.total.isfinite()
    assert update.branches is not None
    assert len(update.branches[0]) == UNLABELED

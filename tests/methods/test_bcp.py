"""BCP's mixes, losses and phases against loops over pixels, in 2D and 3D."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import LABELED, PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from skimage.measure import label
from torch import Tensor, nn

from ssl_bench.method import Progress, Update, load_methods
from ssl_bench.ops import dice_loss, random_box

BCP = load_methods()["bcp"]
PAIRS = max(LABELED, UNLABELED)


def case(dimensions: int = 2, classes: int = 2, **hyper: Any) -> Laboratory:
    return laboratory("bcp", protocol_of("paper", dimensions), classes, **hyper)


def update_of(lab: Laboratory, progress: Progress = PROGRESS, seed: int = 5) -> Update:
    torch.manual_seed(seed)
    (update,) = lab.method.updates(lab.batch, progress)
    return update


def box_of(lab: Laboratory, seed: int = 5) -> np.ndarray:
    """The box of an iteration: its place is the first thing that is drawn."""
    torch.manual_seed(seed)
    return random_box(lab.protocol.sides, lab.method.hyper.box, torch.device("cpu")).numpy()


def naive_dice(logits: Tensor, labels: np.ndarray, region: np.ndarray) -> float:
    """Over the pixels of a region, the mean over samples and classes; 0 for an empty region."""
    if not region.any():
        return 0.0
    p = logits.detach().double().softmax(1).numpy()
    scores = []
    for b, c in np.ndindex(*p.shape[:2]):
        overlap = size = 0.0
        for place in np.ndindex(*region.shape):
            if region[place]:
                y = float(labels[b][place] == c)
                overlap += p[(b, c, *place)] * y
                size += p[(b, c, *place)] + y
        scores.append((2 * overlap + 1e-5) / (size + 1e-5))
    return 1 - float(np.mean(scores))


def naive_filter(labels: np.ndarray, classes: int) -> np.ndarray:
    """Each class's largest component alone, by scikit-image."""
    kept = np.zeros_like(labels)
    for b in range(len(labels)):
        for c in range(1, classes):
            components = label(labels[b] == c)
            if components.max():
                kept[b][components == 1 + np.argmax(np.bincount(components.ravel())[1:])] = c
    return kept


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2)])
def test_both_mixes_and_their_losses_are_those_of_loops(dimensions: int, classes: int) -> None:
    lab = case(dimensions, classes)
    update, box = update_of(lab), box_of(lab)
    views = lab.protocol.views
    x, u = lab.labeled[views.labeled_student1].numpy(), lab.unlabeled[views.student1].numpy()
    y = lab.batch.labels.numpy()
    (on_teacher,) = lab.calls_of("teacher")
    assert on_teacher.images is lab.unlabeled[views.teacher]
    components = on_teacher.logits.argmax(1).numpy()
    q = naive_filter(components, classes)
    assert (q != components).any()

    (first, second), supervised, unsupervised = lab.calls_of("student"), 0.0, 0.0
    pairs = [(i % LABELED, i % UNLABELED, (i + 1) % UNLABELED) for i in range(PAIRS)]
    for number, (own, inner, outer) in enumerate(pairs):
        np.testing.assert_array_equal(first.images[number].numpy(), np.where(box, u[inner], x[own]))
        np.testing.assert_array_equal(second.images[number].numpy(), np.where(box, x[own], u[outer]))
    truth = y[[own for own, _, _ in pairs]]
    inner, outer = q[[one for _, one, _ in pairs]], q[[one for _, _, one in pairs]]
    supervised = naive_dice(first.logits, truth, ~box) + naive_dice(second.logits, truth, box)
    unsupervised = naive_dice(first.logits, inner, box) + naive_dice(second.logits, outer, ~box)
    assert [weight for weight, _ in update.terms.values()] == [1.0, PROGRESS.lambda_u]
    values = {term: value.item() for term, (_, value) in update.terms.items()}
    assert values == pytest.approx({"supervised": supervised / 2, "mixed": unsupervised / 2}, rel=1e-5)


def test_the_box_has_two_thirds_of_each_side() -> None:
    lab = case(3)
    inside = box_of(lab)
    assert [int(inside.any(axis=tuple({0, 1, 2} - {axis})).sum()) for axis in range(3)] == [5, 10, 5]  # of 8, 16, 8
    assert inside.sum() == 5 * 10 * 5


def test_without_a_box_whole_images_teach() -> None:
    lab = case(box=0.0)
    values = update_of(lab).terms
    (first, second) = lab.calls_of("student")
    teacher = lab.calls_of("teacher")[0].logits.argmax(1).numpy()
    assert torch.equal(first.images, lab.labeled[lab.protocol.views.labeled_student1])
    expected = dice_loss(first.logits, lab.batch.labels, 1e-5).item() / 2
    assert values["supervised"][1].item() == pytest.approx(expected, rel=1e-6)
    labels = naive_filter(teacher, 2)[[1, 0, 1]]
    whole = np.ones(lab.protocol.sides, dtype=bool)
    assert values["mixed"][1].item() == pytest.approx(naive_dice(second.logits, labels, whole) / 2, rel=1e-5)


def test_a_box_of_the_whole_image_swaps_the_mixes() -> None:
    plain, swapped = case(box=0.0), case(box=1.0)
    update_of(plain), update_of(swapped)
    inner, outer = (call.images for call in swapped.calls_of("student"))
    labeled, unlabeled = (call.images for call in plain.calls_of("student"))
    assert torch.equal(outer, labeled)
    assert torch.equal(inner[:UNLABELED], unlabeled.roll(1, 0)[[2, 0]])


def test_without_the_filter_the_teachers_labels_are_as_they_are() -> None:
    lab = case(filter_rounds=0)
    update, box = update_of(lab), box_of(lab)
    q = lab.calls_of("teacher")[0].logits.argmax(1).numpy()
    first, second = lab.calls_of("student")
    expected = naive_dice(first.logits, q[[0, 1, 0]], box) + naive_dice(second.logits, q[[1, 0, 1]], ~box)
    assert update.terms["mixed"][1].item() == pytest.approx(expected / 2, rel=1e-5)


def test_the_students_branch_is_put_together_from_both_mixes() -> None:
    lab = case()
    update, box = update_of(lab), torch.from_numpy(box_of(lab))
    assert update.branches is not None
    first, second = lab.calls_of("student")
    for j, branch in enumerate(update.branches[0]):
        inner = next(i for i in range(PAIRS) if i % UNLABELED == j)
        outer = next(i for i in range(PAIRS) if (i + 1) % UNLABELED == j)
        assert torch.equal(branch, torch.where(box, first.logits[inner], second.logits[outer]))
    assert update.branches[1] is lab.calls_of("teacher")[0].logits


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 1), (1, 3), (4, 2), (2, 5)])
def test_every_image_takes_part_whatever_the_sizes_of_the_batches(labeled: int, unlabeled: int) -> None:
    lab = case()
    for views, count in ((lab.labeled, labeled), (lab.unlabeled, unlabeled)):
        for name in views:
            views[name] = torch.randn(count, 3, 16, 16)
    lab.batch = lab.batch._replace(labels=torch.randint(0, 2, (labeled, 16, 16)))
    update, box = update_of(lab), torch.from_numpy(box_of(lab))
    first, second = (call.images for call in lab.calls_of("student"))
    x, u = lab.labeled[lab.protocol.views.labeled_student1], lab.unlabeled[lab.protocol.views.student1]
    for parts, own, inside in ((x, first, ~box), (x, second, box), (u, first, box), (u, second, ~box)):
        shown = {tuple(image[:, inside].flatten().tolist()) for image in own}
        assert shown == {tuple(image[:, inside].flatten().tolist()) for image in parts}
    assert update.branches is not None
    assert [len(branch) for branch in update.branches] == [unlabeled, unlabeled]


# -------------------------------------------------------------------------------------------------------------- phases


def weights(network: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in network.state_dict().values()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


def test_phase_1_mixes_labelled_images_alone() -> None:
    lab = case(pretrain_share=0.5)
    update, box = update_of(lab, Progress(10, 20, 0.5)), box_of(lab)
    assert list(update.terms) == ["supervised"]
    assert lab.asked == {f"labeled {lab.protocol.views.labeled_student1}"}
    (call,) = lab.calls
    x, y = lab.labeled[lab.protocol.views.labeled_student1].numpy(), lab.batch.labels.numpy()
    for i in range(LABELED):
        np.testing.assert_array_equal(call.images[i].numpy(), np.where(box, x[(i + 1) % LABELED], x[i]))
    labels = np.stack([np.where(box, y[(i + 1) % LABELED], y[i]) for i in range(LABELED)])
    expected = naive_dice(call.logits, labels, np.ones_like(box))
    assert update.terms["supervised"][1].item() == pytest.approx(expected, rel=1e-5)
    assert "mixed" in update_of(lab, Progress(11, 20, 0.5)).terms


def test_the_teacher_waits_takes_over_and_follows() -> None:
    """With a decay of 0.9 without warm-up, from the end of phase 1 on."""
    protocol = protocol_of("paper", ema_decay=0.9, ema_warmup=False)
    lab = laboratory("bcp", protocol, pretrain_share=0.25)
    method, start = lab.method, weights(lab.method.teacher)
    seen = []
    for iteration in range(1, 9):
        (update,) = method.updates(lab.batch, Progress(iteration, 20, 0.1))
        method.zero_grad()
        update.total.backward()
        torch.optim.SGD(method.student.parameters(), lr=0.05).step()
        method.after_update(Progress(iteration, 20, 0.1))
        seen.append((weights(method.teacher), weights(method.student)))
    assert all(equal(teacher, start) for teacher, _ in seen[:4])
    assert equal(*seen[4])  # batch norm's statistics too
    for (before, _), (teacher, student) in itertools.pairwise(seen[4:]):
        for old, new, own in zip(before, teacher, student, strict=True):
            if new.is_floating_point():
                torch.testing.assert_close(new, 0.9 * old + 0.1 * own)
    assert not equal(*seen[7])


def test_the_decays_warm_up_begins_with_phase_2() -> None:
    lab = laboratory("bcp", protocol_of("paper", ema_warmup=True, ema_decay=0.9), pretrain_share=0.5)
    before = [p.detach().clone() for p in lab.method.teacher.parameters()]
    for iteration, alpha in ((11, 0.0), (12, 0.5), (14, 0.75)):
        lab.method.after_update(Progress(iteration, 20, 0.1))
        for old, new, own in zip(before, lab.method.teacher.parameters(), lab.method.student.parameters(), strict=True):
            torch.testing.assert_close(new, alpha * old + (1 - alpha) * own)
        before = [torch.randn_like(p) for p in before]
        for p, value in zip(lab.method.teacher.parameters(), before, strict=True):
            p.copy_(value)


@pytest.mark.parametrize(
    ("dimensions", "iterations", "last"), [(2, 40_000, 10_000), (3, 17_000, 2040), (2, 6, 2), (3, 6, 1)]
)
def test_phase_1_has_the_authors_share_of_the_iterations(dimensions: int, iterations: int, last: int) -> None:
    method = case(dimensions, pretrain_share="auto").method
    assert method.switch(Progress(1, iterations, 0.1)) == last


def test_the_student_is_what_is_tested_and_both_are_scored() -> None:
    method = case().method
    assert set(method.networks) == {"student", "teacher"}
    assert method.predictor is method.student


def test_defaults_are_the_authors() -> None:
    plain = {"box": 2 / 3, "filter_rounds": 10}
    for dimensions, share in ((2, 0.25), (3, 0.12)):
        assert BCP.hyperparameters().resolved(dimensions).model_dump() == plain | {"pretrain_share": share}
    assert BCP.hyperparameters(pretrain_share=0.5).resolved(3).pretrain_share == 0.5


def test_it_runs_under_autocast() -> None:
    lab = case()
    with torch.autocast("cpu", torch.bfloat16):
        update = update_of(lab)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert update.total.isfinite()

"""ABD against loops over images and patches, in the authors' order: view 2 takes its patch from the changed view 1."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import LABELED, METHODS, PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from torch import Tensor

from ssl_bench.cards import load_protocol
from ssl_bench.errors import UserError
from ssl_bench.method import Progress, parse_hyperparameters
from ssl_bench.ops import IGNORED

ABD: Any = METHODS["abd"]
SETTINGS = {"supervised_reduction": "sum", "unsupervised_reduction": "sum", "dice_smooth": 1e-5}
VIEWS = {"views.labeled_student1": "weak", "views.labeled_student2": "strong1"}
VIEWS |= {"views.student1": "weak", "views.student2": "strong1"}
CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def lab_of(dimensions: int = 2, classes: int = 2, **hyper: Any) -> Laboratory:
    return laboratory("abd", protocol_of("paper", dimensions, **SETTINGS, **VIEWS), classes, **hyper)


def boxes(sides: tuple[int, ...], patches: int) -> list[tuple[slice, ...]]:
    """Patches in row-major order."""
    steps = [side // patches for side in sides]
    places = itertools.product(range(patches), repeat=len(sides))
    return [tuple(slice(p * step, (p + 1) * step) for p, step in zip(place, steps, strict=True)) for place in places]


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(0))
    return powers / powers.sum(0)


def confidence(z: np.ndarray, where: list[tuple[slice, ...]]) -> list[float]:
    return [float(softmax(z).max(0)[box].mean()) for box in where]


def naive_reliable(v1: np.ndarray, v2: np.ndarray, z1: np.ndarray, z2: np.ndarray, patches: int, top: int) -> Any:
    """One unlabelled image (C, *sides) in two views, and logits (K, *sides) of each."""
    where, v1, v2 = boxes(v1.shape[1:], patches), v1.copy(), v2.copy()
    c1, c2 = confidence(z1, where), confidence(z2, where)
    numbers = range(len(where))

    def prediction(z: np.ndarray, number: int) -> np.ndarray:
        return softmax(np.array([plane[where[number]].mean() for plane in z]))

    def closest(own: list[float], z: np.ndarray, goal: np.ndarray) -> int:
        best = sorted(numbers, key=lambda i: -own[i])[:top]
        return min(best, key=lambda i: float((goal * np.log(goal / prediction(z, i))).sum()))

    least1, least2 = min(numbers, key=lambda i: c1[i]), min(numbers, key=lambda i: c2[i])
    from1, from2 = closest(c1, z1, prediction(z2, least2)), closest(c2, z2, prediction(z1, least1))
    v1[(slice(None), *where[least1])] = v2[(slice(None), *where[from2])]
    v2[(slice(None), *where[least2])] = v1[(slice(None), *where[from1])]
    return v1, v2


def naive_informative(a1: np.ndarray, a2: np.ndarray, z1: np.ndarray, z2: np.ndarray, patches: int) -> Any:
    """One labelled image or its labels, (C, *sides), in two views."""
    where, a1, a2 = boxes(a1.shape[1:], patches), a1.copy(), a2.copy()
    c1, c2 = confidence(z1, where), confidence(z2, where)
    most1, most2 = int(np.argmax(c1)), int(np.argmax(c2))
    least1, least2 = int(np.argmin(c1)), int(np.argmin(c2))
    a1[(slice(None), *where[most1])] = a2[(slice(None), *where[least2])]
    a2[(slice(None), *where[most2])] = a1[(slice(None), *where[least1])]
    return a1, a2


def dice_loss(z: Tensor, labels: Tensor) -> float:
    p, losses = z.detach().double().softmax(1), []
    for b, c in itertools.product(range(z.shape[0]), range(z.shape[1])):
        truth = labels[b] == c
        losses.append(1 - (2 * p[b, c][truth].sum() + 1e-5) / (p[b, c].sum() + truth.sum() + 1e-5))
    return sum(one.item() for one in losses) / len(losses)


def numbers_of(logits: Tensor) -> np.ndarray:
    return logits.detach().double().numpy()


def random_logits(batch: int, classes: int, sides: tuple[int, ...], seed: int = 0) -> Tensor:
    """Logits that differ by patch as well as by pixel."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, classes, *(side // 4 for side in sides), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=sides)
    return 2 * fine + torch.randn(batch, classes, *sides, generator=generator)


@CASES
@pytest.mark.parametrize("candidates", [1, 4, 9])
def test_an_unlabelled_image_gets_the_closest_confident_patch_of_the_other_view(
    dimensions: int, classes: int, candidates: int
) -> None:
    lab = lab_of(dimensions, classes, candidates=candidates)
    views, sides = (lab.unlabeled["weak"], lab.unlabeled["strong1"]), lab.protocol.sides
    logits = random_logits(UNLABELED, classes, sides), random_logits(UNLABELED, classes, sides, 1)
    found = lab.method.displaced(views, logits)
    for b in range(UNLABELED):
        one = [views[0][b].numpy(), views[1][b].numpy(), numbers_of(logits[0][b]), numbers_of(logits[1][b])]
        for new, old, expected in zip(found, views, naive_reliable(*one, patches=4, top=candidates), strict=True):
            np.testing.assert_array_equal(new[b].numpy(), expected)
            assert (new[b] != old[b]).any(0).sum() == old[b][0].numel() // 4**dimensions  # one patch


@CASES
def test_a_labelled_images_least_confident_patch_takes_the_place_of_the_most_confident(
    dimensions: int, classes: int
) -> None:
    lab = lab_of(dimensions, classes, labeled_chance=1.0)
    views, sides, labels = (lab.labeled["weak"], lab.labeled["strong1"]), lab.protocol.sides, lab.batch.labels
    logits = random_logits(LABELED, classes, sides), random_logits(LABELED, classes, sides, 1)
    images, truth = lab.method.displaced_labeled(views, logits, labels)
    for b in range(LABELED):
        z = [numbers_of(logits[0][b]), numbers_of(logits[1][b])]
        for new, pair in ((images, [view[b].numpy() for view in views]), (truth, [labels[b].numpy()[None]] * 2)):
            expected = naive_informative(*pair, *z, patches=4)
            for found, one in zip((new[b], new[LABELED + b]), expected, strict=True):
                np.testing.assert_array_equal(found.numpy(), one if new is images else one[0])


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_labelled_images_are_displaced_by_chance_and_their_labels_with_them(chance: float) -> None:
    lab = lab_of(labeled_chance=chance)
    marks = torch.arange(16 * 16).view(1, 16, 16).expand(LABELED, 16, 16)  # every pixel's place is its label
    views = tuple(marks.unsqueeze(1).float() + mark for mark in (0, 1000))  # and every view can be told
    torch.manual_seed(0)
    changed = []
    for draw in range(40):
        logits = random_logits(LABELED, 2, (16, 16), draw), random_logits(LABELED, 2, (16, 16), draw + 99)
        images, labels = lab.method.displaced_labeled(views, logits, marks)
        assert torch.equal(images[:, 0].long() % 1000, labels)
        moved = (images != torch.cat(views)).flatten(1).any(1)
        assert torch.equal(moved[:LABELED], moved[LABELED:])
        changed += moved[:LABELED].tolist()
    assert abs(sum(changed) / 120 - chance) <= 4 * (chance * (1 - chance) / 120) ** 0.5


def test_one_patch_is_the_whole_image_and_views_change_places() -> None:
    lab = lab_of(patches=1, candidates=4, labeled_chance=1.0)
    views, logits = (lab.unlabeled["weak"], lab.unlabeled["strong1"]), random_logits(UNLABELED, 2, (16, 16))
    first, second = lab.method.displaced(views, (logits, logits))
    assert torch.equal(first, views[1])
    assert torch.equal(second, views[0])


def test_equal_views_and_predictions_lose_one_patch_of_their_own_and_have_another_twice() -> None:
    lab = lab_of()
    image, logits = lab.unlabeled["weak"], random_logits(UNLABELED, 2, (16, 16))
    first, second = lab.method.displaced((image, image), (logits, logits))
    assert torch.equal(first, second)
    for b in range(UNLABELED):
        before, after = ([one[b][(0, *box)].sum().item() for box in boxes((16, 16), 4)] for one in (image, first))
        assert len(set(before) - set(after)) == 1
        assert set(after) < set(before)


def test_patches_without_known_pixels_are_neither_replaced_nor_taken() -> None:
    lab = lab_of(labeled_chance=1.0)
    lab.method.ignores = True
    labels = torch.arange(16 * 16).view(1, 16, 16).repeat(LABELED, 1, 1)
    labels[labels == IGNORED] = 0
    labels[:, :8] = IGNORED  # the upper half, and a pixel of the lower half
    labels[:, 15, 0] = IGNORED
    logits = [random_logits(LABELED, 2, (16, 16), seed) for seed in (0, 1)]
    for z in logits:
        z[:, :, :4] *= 40  # the surest patches
        z[:, :, 4:8] = 0  # and those of the largest doubt
    views = lab.labeled["weak"], lab.labeled["strong1"]
    images, truth = lab.method.displaced_labeled(views, (logits[0], logits[1]), labels)
    assert torch.equal(images[:, :, :8], torch.cat(views)[:, :, :8])
    assert (truth[:, 8:] == IGNORED).sum() <= 2 * 2 * LABELED
    assert (images != torch.cat(views)).flatten(1).any(1).all()
    for z in logits:  # and it does not matter what lies under ignored pixels of a patch that is known in part
        z[:, :, 15, 0] += 50
    again, _ = lab.method.displaced_labeled(views, (logits[0], logits[1]), labels)
    assert torch.equal(again, images)


def test_the_losses_are_the_authors_on_the_views_and_on_what_was_displaced() -> None:
    lab = lab_of(classes=4)
    torch.manual_seed(2)
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    one, two = ([call for call in lab.calls if call.network == f"student{m}"] for m in (1, 2))
    by_size = [{len(call.logits): call.logits for call in calls} for calls in (one, two)]
    shown = {len(call.logits): call.images for call in one}
    assert set(shown) == {LABELED, UNLABELED, 2 * LABELED, 2 * UNLABELED}
    z, y, again, displaced = ([logits[count] for logits in by_size] for count in shown)
    labels = lab.batch.labels
    chosen = torch.tensor([not torch.equal(new, old) for new, old in zip(shown[6], lab.labeled["weak"], strict=False)])
    assert chosen.any()
    assert not chosen.all()
    truth = torch.stack([labels, labels])
    for b in range(LABELED):
        if chosen[b]:
            pair = [labels[b].numpy()[None]] * 2
            found = naive_informative(*pair, *(numbers_of(logits[b]) for logits in z), patches=4)
            truth[0, b], truth[1, b] = (torch.from_numpy(half[0]) for half in found)
    supervised = sum(dice_loss(logits, labels) for logits in z)
    supervised += 2 * sum(dice_loss(logits, truth.flatten(0, 1)) for logits in again)
    cps = [dice_loss(a, b.argmax(1)) + dice_loss(b, a.argmax(1)) for a, b in (y, displaced)]
    expected = {"supervised": supervised, "cps": cps[0], "displaced": cps[1]}
    assert {term: value.item() for term, (_, value) in update.terms.items()} == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("iteration", "expected"), [(1, True), (20, True), (21, False), (30, False)])
def test_displaced_labelled_images_are_for_the_first_two_thirds_of_a_run(iteration: int, expected: bool) -> None:
    lab = lab_of()
    list(lab.method.updates(lab.batch, Progress(iteration, 30, 0.1)))
    assert (2 * LABELED in {len(call.images) for call in lab.calls}) is expected


def test_a_second_architecture_is_the_one_that_is_named() -> None:
    assert ABD.architectures(parse_hyperparameters(ABD, {})) == []
    named = {"second_network": "unet", "second_encoder": "mit_b0"}
    assert ABD.architectures(parse_hyperparameters(ABD, named)) == [{"network": "unet", "encoder": "mit_b0"}]


def test_patches_must_divide_the_sides() -> None:
    with pytest.raises(UserError, match=r"^patches: sides of 256x256 must be divisible by it, found 7$"):
        ABD.check(parse_hyperparameters(ABD, {"patches": 7}), load_protocol("paper"))
    ABD.check(parse_hyperparameters(ABD, {"patches": 8}), load_protocol("paper"))
    with pytest.raises(UserError, match="112x112x80"):
        ABD.check(parse_hyperparameters(ABD, {"patches": 7}), load_protocol("paper", dimensions=3))

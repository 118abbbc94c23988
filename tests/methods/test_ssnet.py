"""SS-Net against loops over pixels and pairs with torch's own layers, in 2D and 3D."""

from __future__ import annotations

import copy
import itertools
from typing import Any, cast

import pytest
import torch
from laboratory import PROGRESS, laboratory, protocol_of
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ssl_bench.method import Update, load_methods
from ssl_bench.ops import IGNORED, MaskedBatchNorm, dice_loss

SSNET: Any = load_methods()["ssnet"]
CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 3)])


def only_update(lab: Any, seed: int = 5) -> Update:
    torch.manual_seed(seed)
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    return cast("Update", update)


def method_of(dimensions: int = 2, classes: int = 2, **hyper: Any) -> Any:
    return laboratory("ssnet", protocol_of("paper", dimensions), classes, **hyper).method


def without_dropout(method: nn.Module) -> None:
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


# ------------------------------------------------------------------------------------------------ the class separation


def plain(perceptron: Any) -> nn.Sequential:
    """The same layers with torch's batch norm, which knows no rows but those that it is given."""
    own: MaskedBatchNorm = perceptron.norm
    norm = nn.BatchNorm1d(len(own.weight))
    norm.load_state_dict(own.state_dict() | {"num_batches_tracked": torch.tensor(0)})
    return copy.deepcopy(nn.Sequential(perceptron.first, norm, perceptron.activation, perceptron.last))


def naive_memory(separation: Any, features: Tensor, labels: Tensor, predicted: Tensor) -> list[Tensor | None]:
    """The authors' memory: of each foreground class, the 32 correctly predicted pixels with the lowest scores."""
    memory: list[Tensor | None] = []
    with torch.no_grad():
        for c, selector in enumerate(separation.selectors, start=1):
            rows = features.movedim(1, -1)[(labels == c) & (predicted == c)]
            if not len(rows):
                memory.append(None)
                continue
            projected = plain(separation.projection).eval()(rows)
            if len(rows) > 1:
                order = plain(selector)(projected).sigmoid()[:, 0].argsort()
                projected = projected[order][:32]
            memory.append(projected)
    return memory


def naive_separation(separation: Any, features: Tensor, labels: Tensor, memory: list[Tensor | None]) -> Tensor:
    """The authors' loss over all pixels with a class, in pairs with the memory."""
    known = labels != IGNORED
    rows, own = features.movedim(1, -1)[known], labels[known]
    predicted = plain(separation.prediction)(plain(separation.projection)(rows))
    total = torch.zeros(())
    for c, (selector, vectors) in enumerate(zip(separation.selectors, memory, strict=True), start=1):
        mine = predicted[own == c]
        if vectors is None or len(vectors) < 2 or len(mine) < 2:
            continue
        weights = plain(selector)(mine.detach()).sigmoid()[:, 0]
        weights = weights / weights.mean()
        pairs = [
            weights[i] * (1 - cosine_similarity(mine[i], vectors[j], dim=0))
            for i, j in itertools.product(range(len(mine)), range(len(vectors)))
        ]
        total = total + torch.stack(pairs).mean()
    return total / (len(memory) + 1)


def drawn(dimensions: int, classes: int, *, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels of which some are ignored, and predictions of which half are right."""
    generator = torch.Generator().manual_seed(seed)
    sides = (7, 6) if dimensions == 2 else (4, 3, 4)
    features = torch.randn(3, 6, *sides, generator=generator).requires_grad_()
    labels = torch.randint(0, classes, (3, *sides), generator=generator)
    other = torch.randint(0, classes, labels.shape, generator=generator)
    predicted = labels.where(torch.rand(labels.shape, generator=generator) < 0.5, other)
    ignored = torch.rand(labels.shape, generator=generator) < 0.2
    return features, labels.masked_fill(ignored, IGNORED), predicted


@CASES
def test_with_all_pixels_the_separation_is_the_authors(dimensions: int, classes: int) -> None:
    separation = method_of(dimensions, classes).separation
    features, labels, predicted = drawn(dimensions, classes)
    memory = naive_memory(separation, features, labels, predicted)
    separation.remember(features, labels, predicted)
    for c, vectors in enumerate(memory):
        assert vectors is not None
        assert separation.filled[c].sum() == len(vectors) >= 10
        found = separation.memory[c][separation.filled[c]]
        torch.testing.assert_close(found.sort(0).values, vectors.sort(0).values, rtol=1e-4, atol=1e-5)
    expected = naive_separation(separation, features, labels, memory)
    learning = [features, separation.projection.first.weight, separation.prediction.last.weight]
    of_selector = separation.selectors[0].last.weight
    expected_gradients = torch.autograd.grad(expected, [features])
    found = separation(features, labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = torch.autograd.grad(found, [*learning, of_selector])
    torch.testing.assert_close(gradients[0], expected_gradients[0], rtol=1e-3, atol=1e-7)
    assert gradients[0].movedim(1, -1)[labels == IGNORED].count_nonzero() == 0
    assert all(one.abs().sum() > 0 for one in gradients)


def test_without_memory_there_is_no_loss() -> None:
    separation = method_of(2, 4).separation
    features, labels, _ = drawn(2, 4)
    assert separation(features, labels).item() == 0
    separation.remember(features, labels, labels.where(labels == 2, 0))  # class 2 alone
    assert separation.filled.any(1).tolist() == [False, True, False]
    assert separation(features, labels.masked_fill(labels == 2, 1)).item() == 0
    assert separation(features, labels).item() > 0


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_less_than_two_pixels_has_no_loss(count: int) -> None:
    separation = method_of(2, 2).separation
    features, labels, _ = drawn(2, 2)
    separation.remember(features, labels, labels)
    few = torch.zeros_like(labels)
    few.flatten()[:count] = 1
    found = separation(features, few)
    found.backward()
    assert found.item() == 0
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_memory_is_replaced_by_later_pixels_and_stays_where_there_are_none() -> None:
    separation = method_of(2, 3).separation
    features, labels, _ = drawn(2, 3)
    separation.remember(features, labels, labels)
    before = separation.memory.clone()
    wrong = (labels == 1).long() * 2  # class 1 is predicted as 2, class 2 as background
    separation.remember(features, labels, wrong)
    assert torch.equal(separation.memory, before)
    five = labels.where((labels == 2).flatten().cumsum(0).view_as(labels) <= 5, 0)
    separation.remember(features, labels, five.where(five == 2, 0))
    assert torch.equal(separation.memory[0], before[0])
    assert separation.filled[1].sum() == 5  # none of the 32 is left
    assert separation.memory[1][~separation.filled[1]].count_nonzero() == 0


def test_the_highest_scores_can_be_remembered() -> None:
    features, labels, _ = drawn(2, 2)
    kept = {}
    for remembered in ("lowest", "highest"):
        separation = method_of(2, 2, remembered=remembered).separation
        scores: list[Tensor] = []
        separation.selectors[0].register_forward_hook(lambda _, __, out, scores=scores: scores.append(out[:, 0]))
        separation.remember(features, labels, labels)
        count = int((labels == 1).sum())
        assert count > 40
        vectors = separation.memory[0]
        projected = plain(separation.projection).eval()(features.movedim(1, -1)[labels == 1])
        of_all = plain(separation.selectors[0])(projected)[:, 0].sort(descending=remembered == "highest").values
        places = (vectors[:, None] - projected).abs().sum(2).argmin(1)
        kept[remembered] = plain(separation.selectors[0])(projected)[places, 0].sort().values
        torch.testing.assert_close(kept[remembered], of_all[:32].sort().values, rtol=1e-4, atol=1e-5)
    assert kept["lowest"].max() < kept["highest"].max()


@pytest.mark.parametrize("samples", [2, 10, 1000])
def test_pixels_are_drawn_of_each_class_apart(samples: int) -> None:
    separation = method_of(2, 3, samples=samples).separation
    _, labels, _ = drawn(2, 3)
    numbers = torch.arange(labels.numel()).view_as(labels)
    features = torch.stack([labels, numbers], dim=1).float()
    torch.manual_seed(0)
    rows, kept = separation.drawn(features, labels, first=1)
    again, _ = separation.drawn(features, labels, first=1)
    for c, own, there in zip((1, 2), rows, kept, strict=True):
        assert there.sum() == min(samples, int((labels == c).sum()))
        assert (own[there][:, 0] == c).all()
        assert len(own[there][:, 1].unique()) == there.sum()
    assert torch.equal(rows, again) is False


# ------------------------------------------------------------------------------------------------------ the smoothness


def naive_disagreement(parts: list[tuple[Tensor, Tensor]], *, is_squared: bool, smooth: float) -> float:
    first, second = (torch.cat([part[n].movedim(1, -1).flatten(0, -2) for part in parts]).tolist() for n in (0, 1))
    classes = range(len(first[0]))
    power = 2 if is_squared else 1
    overlaps = [sum(p[c] * q[c] for p, q in zip(first, second, strict=True)) for c in classes]
    sizes = [sum(p[c] ** power + q[c] ** power for p, q in zip(first, second, strict=True)) for c in classes]
    if not is_squared:
        return 1 - (2 * sum(overlaps) + smooth) / (sum(sizes) + smooth)
    return sum(1 - (2 * o + smooth) / (s + smooth) for o, s in zip(overlaps, sizes, strict=True)) / len(classes)


@pytest.mark.parametrize("agreement", ["squared", "linear"])
@CASES
def test_the_disagreement_is_the_authors_dice_loss(dimensions: int, classes: int, agreement: str) -> None:
    method = method_of(dimensions, classes, agreement=agreement)
    generator = torch.Generator().manual_seed(0)
    sides = (4, 5, 3)[:dimensions]
    parts = [
        tuple(torch.randn(count, classes, *sides, generator=generator).softmax(1) for _ in range(2)) for count in (3, 2)
    ]
    expected = naive_disagreement(
        cast("Any", parts), is_squared=agreement == "squared", smooth=method.protocol.dice_smooth
    )
    assert method.disagreement(*parts).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("dimensions", "expected"), [(2, 0.0), (3, 0.48)])
def test_a_prediction_disagrees_with_itself_in_3d_alone(dimensions: int, expected: float) -> None:
    """Linear: 1 - 2 (0.6^2 + 0.4^2) / 2."""
    p = torch.tensor([0.6, 0.4]).view(1, 2, *(1 for _ in range(dimensions))).expand(2, 2, *(4,) * dimensions)
    assert method_of(dimensions).disagreement((p, p)).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_noise_of_norm_0_leaves_predictions_as_they_are(dimensions: int) -> None:
    lab = laboratory("ssnet", protocol_of("paper", dimensions), magnitude=0.0, agreement="squared")
    without_dropout(lab.method)
    assert only_update(lab).terms["smoothness"][1].item() == pytest.approx(0, abs=1e-6)


def noises(method: Any, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `under_noise` adds to images, and its predictions and target."""
    seen: list[Tensor] = []
    handle = method.network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        logits = method.network(images)
    moved, target = method.under_noise(images, logits, None)
    handle.remove()
    _, direction, last = seen
    assert direction.shape == images.shape
    return last.detach() - images, moved.detach(), target


@pytest.mark.parametrize(("dimensions", "norm"), [(2, 6.0), (3, 10.0)])
def test_the_noise_has_its_norm_and_beats_random_ones(dimensions: int, norm: float) -> None:
    method = method_of(dimensions, 3, magnitude=norm, first_step=1.0)
    without_dropout(method)
    images = torch.randn(3, 3 if dimensions == 2 else 1, *((16, 16) if dimensions == 2 else (8, 16, 8)))
    torch.manual_seed(0)
    noise, moved, target = noises(method, images)
    torch.testing.assert_close(noise.flatten(1).norm(dim=1), torch.full((3,), norm), rtol=1e-4, atol=0)
    assert not target.requires_grad
    worst = method.disagreement((moved, target))
    for _ in range(5):
        other = torch.randn_like(images)
        other = norm * other / other.flatten(1).norm(dim=1).view(-1, *(1 for _ in images.shape[1:]))
        with torch.no_grad():
            predictions = method.network(images + other).softmax(1)
        assert method.disagreement((predictions, target)) < worst


def test_running_statistics_move_in_the_passes_over_clean_images_alone() -> None:
    lab = laboratory("ssnet", protocol_of("paper"))
    norm: Any = lab.method.get_submodule("network.encoder.fine.1")
    assert norm.num_batches_tracked == 0
    only_update(lab)
    assert norm.num_batches_tracked == 2
    assert norm.track_running_stats


# -------------------------------------------------------------------------------------------------------- the iteration


@pytest.mark.parametrize("ignores", [False, True])
@CASES
def test_the_terms_are_put_together_as_the_authors_do(dimensions: int, classes: int, *, ignores: bool) -> None:
    lab = laboratory("ssnet", protocol_of("paper", dimensions), classes, separation_weight=0.3)
    method: Any = lab.method
    if ignores:
        method.ignores = True
        ignored = torch.rand(lab.batch.labels.shape, generator=torch.Generator().manual_seed(2)) < 0.4
        lab.batch = lab.batch._replace(labels=lab.batch.labels.masked_fill(ignored, IGNORED))
    losses: list[Tensor] = []
    method.separation.register_forward_hook(lambda _, __, out: losses.append(out))
    given: list[tuple[Tensor, ...]] = []
    method.separation.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    parts: list[tuple[Tensor, Tensor]] = []
    under_noise, outputs = method.under_noise, list[Tensor]()
    method.under_noise = lambda *arguments: parts.append(under_noise(*arguments)) or parts[-1]
    method.network.segmentation_head.register_forward_hook(lambda _, __, out: outputs.append(out))
    update = only_update(lab)
    y, y_u = outputs[:2]
    expected = dice_loss(y, lab.batch.labels, lab.protocol.dice_smooth, ignores=ignores)
    torch.testing.assert_close(update.terms["supervised"][1], expected)
    torch.testing.assert_close(update.terms["separation"][1], 0.3 * (losses[0] + losses[1]))
    assert torch.equal(given[0][1], lab.batch.labels)
    assert torch.equal(given[1][1], y_u.argmax(1))
    if ignores:
        for p in parts[0]:
            assert p.movedim(1, -1)[lab.batch.labels == IGNORED].count_nonzero() == 0
    value = naive_disagreement(parts, is_squared=dimensions == 2, smooth=lab.protocol.dice_smooth)
    assert update.terms["smoothness"][1].item() == pytest.approx(value, rel=1e-4)
    (gradient,) = torch.autograd.grad(update.terms["smoothness"][1], [y], allow_unused=True)
    assert gradient is None  # the target is a constant


def test_labels_are_taken_at_the_pixels_of_a_smaller_map() -> None:
    lab = laboratory("ssnet", protocol_of("paper"), 3)
    method: Any = lab.method
    head = method.network.segmentation_head
    method.network.decoder.fine = nn.Sequential(method.network.decoder.fine, nn.AvgPool2d(2))
    method.network.decoder.pyramid = lambda features: [method.network.decoder.fine(features[0])]
    method.network.segmentation_head = nn.Sequential(head, nn.Upsample(scale_factor=2))
    seen: list[tuple[Tensor, ...]] = []
    method.separation.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    only_update(lab)
    features, labels = seen[0]
    assert features.shape[2:] == labels.shape[1:] == (8, 8)
    assert torch.equal(labels, lab.batch.labels[:, ::2, ::2])


def test_settings_of_ones_own_stay() -> None:
    hyper = SSNET.hyperparameters(magnitude=3.0).resolved(3)
    assert (hyper.magnitude, hyper.agreement) == (3.0, "linear")
    hyper = SSNET.hyperparameters(agreement="linear").resolved(2)
    assert (hyper.magnitude, hyper.agreement) == (6.0, "linear")


def test_it_runs_under_autocast() -> None:
    lab = laboratory("ssnet", protocol_of("paper"))
    with torch.autocast("cpu", torch.bfloat16):
        update = only_update(lab)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lab.method.parameters())

"""UGCL against loops over images, classes and pixels, in 2D and 3D."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import LABELED, METHODS, PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from torch import Tensor
from torch.nn.functional import normalize

from ssl_bench.cards import load_protocol
from ssl_bench.method import Progress, Setup, parse_hyperparameters
from ssl_bench.networks import build_network
from ssl_bench.ops import IGNORED

UGCL: Any = METHODS["ugcl"]
CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def lab_of(dimensions: int = 2, classes: int = 2, **hyper: Any) -> Laboratory:
    hyper.setdefault("queue_size", 5)
    return laboratory("ugcl", protocol_of("paper", dimensions, dice_smooth=1e-5), classes, **hyper)


class Spy:
    """Inputs and outputs of a module or method, in order."""

    def __init__(self, module: Any) -> None:
        self.calls: list[tuple[Any, Any]] = []
        module.register_forward_hook(lambda _, inputs, output: self.calls.append((inputs, output)))


def contrast_arguments(dimensions: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maps of 5 images, their labels, of which most pixels are ignored, and predictions: one of a class is right."""
    sides = (6, 6) if dimensions == 2 else (6, 6, 2)
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(LABELED + UNLABELED, 6, *sides, generator=generator)
    labels = torch.full((len(maps), *sides), IGNORED)
    predicted = torch.zeros_like(labels)
    for b, c in np.ndindex(len(maps), classes):
        row = labels[b].view(-1)[6 * c : 6 * c + 6]
        count = (b + c) % 4  # pixels of this class; an anchor needs two of them
        row[:count] = c
        predicted[b].view(-1)[6 * c : 6 * c + 6] = (c + 1) % classes
        if count:
            predicted[b].view(-1)[6 * c + (b + 2 * c) % count] = c
    return maps, labels, predicted


def naive_contrast(
    embedded: np.ndarray, labels: np.ndarray, predicted: np.ndarray, keys: np.ndarray, temperature: float
) -> float:
    """Embedded (B, N, 256), labels and predictions (B, N), keys (K, S, 256); one right pixel of each class."""
    losses = []
    for b, c in np.ndindex(len(labels), len(keys)):
        pixels = [n for n in range(labels.shape[1]) if labels[b, n] == c]
        if len(pixels) < 2:
            continue
        (anchor,) = [n for n in pixels if predicted[b, n] == c]
        powers = np.exp(keys @ embedded[b, anchor] / temperature)
        others = sum(powers[other].sum() for other in range(len(keys)) if other != c)
        losses.append(np.mean([-math.log(power / (power + others)) for power in powers[c]]))
    return float(np.mean(losses))


@CASES
def test_the_contrast_is_the_mean_over_images_and_classes_with_two_pixels(dimensions: int, classes: int) -> None:
    lab = lab_of(dimensions, classes)
    maps, labels, predicted = contrast_arguments(dimensions, classes)
    keys, spy = lab.method.queue.features.double().numpy().copy(), Spy(lab.method.embedding)
    found = lab.method.contrast(maps, labels, predicted, None)
    embedded = spy.calls[0][1].detach().view(len(maps), -1, 256)
    torch.testing.assert_close(embedded.norm(dim=2), torch.ones(embedded.shape[:2]))
    flat = labels.flatten(1).numpy(), predicted.flatten(1).numpy()
    assert found.item() == pytest.approx(naive_contrast(embedded.double().numpy(), *flat, keys, 0.07), rel=1e-5)


@CASES
def test_the_queues_take_the_class_means_of_each_image_and_none_of_the_background(
    dimensions: int, classes: int
) -> None:
    lab = lab_of(dimensions, classes)
    maps, labels, predicted = contrast_arguments(dimensions, classes)
    queues = [list(queue) for queue in lab.method.queue.features.clone()]
    assert lab.method.queue.filled.all()
    torch.testing.assert_close(
        torch.stack([torch.stack(q) for q in queues[1:]]).norm(dim=2), torch.ones(classes - 1, 5)
    )
    assert not torch.stack(queues[0]).any()
    spy, heads = Spy(lab.method.embedding), [0] * classes
    for _ in range(2):
        lab.method.contrast(maps, labels, predicted, None)
        embedded = spy.calls[-1][1].detach().view(len(maps), -1, 256)
        for b, c in np.ndindex(len(maps), classes):
            own = embedded[b][labels[b].flatten() == c]
            if c > 0 and len(own):
                queues[c][heads[c]] = normalize(own.mean(0), dim=0)
                heads[c] = (heads[c] + 1) % 5
    torch.testing.assert_close(lab.method.queue.features, torch.stack([torch.stack(queue) for queue in queues]))


def test_anchors_are_rightly_predicted_pixels_if_there_are_any_and_any_others_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab, found = lab_of(), []
    contrast = METHODS["ugcl"].contrast.__globals__
    monkeypatch.setitem(contrast, "queue_contrast", lambda a, *_: (found.append(a), a.sum(2) * 0)[1])
    maps = torch.randn(5, 6, 2, 4)
    labels = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]]).repeat(5, 1, 1)
    predicted = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]).repeat(5, 1, 1)  # class 0: half is right; class 1: none
    spy, drawn = Spy(lab.method.embedding), ([], [])
    torch.manual_seed(0)
    for _ in range(40):
        lab.method.contrast(maps, labels, predicted, None)
        embedded = spy.calls[-1][1].view(5, 8, 256)
        for c in (0, 1):
            drawn[c].extend((embedded == found[-1][:, c : c + 1]).all(2).nonzero()[:, 1].tolist())
    assert set(drawn[0]) == {0, 1}
    assert set(drawn[1]) == {4, 5, 6, 7}
    for c, pixels in ((0, (0, 1)), (1, (4, 5, 6, 7))):
        for pixel in pixels:  # all as likely, to 5 standard deviations
            share = 1 / len(pixels)
            assert abs(drawn[c].count(pixel) / 200 - share) < 5 * (share * (1 - share) / 200) ** 0.5


def test_without_any_anchor_the_contrast_is_zero() -> None:
    lab = lab_of()
    labels = torch.full((5, 4, 4), IGNORED)
    before = lab.method.queue.features.clone()
    found = lab.method.contrast(torch.randn(5, 6, 4, 4, requires_grad=True), labels, labels, None)
    found.backward()
    assert found.item() == 0
    assert torch.equal(lab.method.queue.features, before)


@CASES
def test_certain_predictions_label_the_unlabelled_pixels(
    dimensions: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(dimensions, classes)
    given: list[Any] = []
    monkeypatch.setattr(lab.method, "contrast", lambda *a: (given.append(a), a[0].sum() * 0)[1])
    decoders = Spy(lab.method.network.segmentation_head), Spy(lab.method.auxiliary)
    list(lab.method.updates(lab.batch, PROGRESS))
    ((maps, truth, predicted, known),) = given
    assert known is None
    assert len(maps) == LABELED + UNLABELED
    y1, y2 = (spy.calls[1][1].detach().double().softmax(1).numpy() for spy in decoders)
    mean = (y1 + y2) / 2
    threshold = (0.75 + 0.25 * math.exp(-5 * (1 - 7 / 20) ** 2)) * math.log(2)
    certain = 0
    for b, *place in np.ndindex(UNLABELED, *lab.protocol.sides):
        q = mean[(b, slice(None), *place)]
        is_certain = -sum(p * math.log(p) for p in q) <= threshold
        assert truth[(LABELED + b, *place)] == (q.argmax() if is_certain else IGNORED)
        certain += is_certain
    assert 0 < certain < mean[:, 0].size
    expected = torch.cat([spy[1].detach() for spy in decoders[0].calls]).argmax(1)
    assert torch.equal(predicted, expected)


@CASES
def test_images_and_labels_are_turned_alike_and_the_classifier_learns_the_turn(
    dimensions: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(dimensions, classes)
    given: list[Any] = []
    monkeypatch.setattr(lab.method, "contrast", lambda *a: (given.append(a), a[0].sum() * 0)[1])
    encoder, classifier = Spy(lab.method.network.encoder), Spy(lab.method.classifier)
    decoders = Spy(lab.method.network.segmentation_head), Spy(lab.method.auxiliary)
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    quarters = (0, 1, 2, 3) if dimensions == 2 else (0, 2)  # sides of 8 and 16 in 3D
    turns, logits = [], classifier.calls[0][1].detach().double()
    assert logits.shape == (LABELED + UNLABELED, len(quarters))
    labels = []
    view, view_u = (getattr(lab.protocol.views, name) for name in ("labeled_student1", "student1"))
    for images, (shown, _) in zip((lab.labeled[view], lab.unlabeled[view_u]), encoder.calls, strict=True):
        for image, turned in zip(images, shown[0], strict=True):
            (number,) = [n for n, q in enumerate(quarters) if torch.equal(torch.rot90(image, q, (1, 2)), turned)]
            turns.append(number)
            if len(labels) < LABELED:
                labels.append(torch.rot90(lab.batch.labels[len(labels)], quarters[number], (0, 1)))
    assert len(set(turns)) > 1
    truth = torch.stack(labels)
    assert torch.equal(given[0][1][:LABELED], truth)
    entropy = [-logits[b].log_softmax(0)[turn].item() for b, turn in enumerate(turns)]
    assert update.terms["rotation"][1].item() == pytest.approx(sum(entropy) / len(entropy), rel=1e-5)

    (z1, y1), (z2, y2) = ([output.detach().double().softmax(1) for _, output in spy.calls] for spy in decoders)
    supervised = 0.0
    for z, weight in ((z1, 1), (z2, 0.4)):
        dice = [
            (2 * z[b, c][truth[b] == c].sum() + 1e-5) / (z[b, c].sum() + (truth[b] == c).sum() + 1e-5)
            for b, c in np.ndindex(LABELED, classes)
        ]
        supervised += weight * (1 - sum(one.item() for one in dice) / len(dice))
    assert update.terms["supervised"][1].item() == pytest.approx(supervised, abs=1e-6)
    consistency = 0.1 * np.mean((y1.numpy() - y2.numpy()) ** 2)
    assert update.terms["consistency"][1].item() == pytest.approx(consistency, rel=1e-5)


def test_the_classifier_reads_the_mean_of_the_deepest_map_over_its_pixels_or_the_known_ones() -> None:
    lab = lab_of()
    maps, known = torch.randn(2, 6, 4, 4), torch.rand(2, 8, 8) < 0.5
    known[1] = False
    torch.testing.assert_close(lab.method.pooled(maps, None), maps.mean((2, 3)))
    found = lab.method.pooled(maps, known)
    for channel in range(6):
        kept = [maps[0, channel, i, j].item() for i in range(4) for j in range(4) if known[0, 2 * i, 2 * j]]
        assert found[0, channel].item() == pytest.approx(np.mean(kept), abs=1e-6)
    assert not found[1].any()


def test_equal_decoders_agree() -> None:
    lab = lab_of()
    lab.method.auxiliary.decoder.load_state_dict(lab.method.network.decoder.state_dict())
    lab.method.auxiliary.segmentation_head.load_state_dict(lab.method.network.segmentation_head.state_dict())
    lab.method.eval()
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    assert update.terms["consistency"][1].item() == 0


@pytest.mark.parametrize(
    ("start", "iteration", "expected"),
    [
        (0.75, 100, 0.6931471806),  # ln 2 at the end, for any number of classes
        (0.75, 50, 0.5695078835),  # (0.75 + 0.25 exp(-1.25)) ln 2
        (0.5, 80, 0.6303240468),  # (0.5 + 0.5 exp(-0.2)) ln 2
    ],
)
def test_the_threshold_ramps_up_to_ln_2(start: float, iteration: int, expected: float) -> None:
    method = laboratory("ugcl", protocol_of("paper", ramp_start=0), 4, threshold_start=start).method
    progress = Progress(iteration + 1, 100, 0.1)  # the first iteration's time is 0
    assert method.threshold(progress) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("iteration", "expected"), [(1, False), (10, False), (11, True), (100, True)])
def test_the_contrast_begins_after_a_tenth_of_the_run(iteration: int, expected: bool) -> None:
    lab = lab_of()
    before = lab.method.queue.features.clone()
    (update,) = lab.method.updates(lab.batch, Progress(iteration, 100, 0.1))
    assert ("contrast" in update.terms) is expected
    assert torch.equal(lab.method.queue.features, before) is not expected


@pytest.mark.parametrize(
    ("network", "dimensions", "channels"),
    [("unet-small", 2, 128), ("unet", 2, None), ("vnet", 3, 32), ("vnet-half", 3, 16)],
)
def test_the_embedded_map_has_an_eighth_of_the_images_sides(
    network: str, dimensions: int, channels: int | None
) -> None:
    settings = {"network": network} | ({"filters": 16} if network == "unet-small" else {"filters": 4})
    protocol = load_protocol("tiny", settings, dimensions=dimensions)
    method = UGCL(Setup(protocol, lambda **_: build_network(protocol), 2, 3), parse_hyperparameters(UGCL, {}))
    maps = method.network.encoder(torch.zeros(2, *((3, 32, 32) if dimensions == 2 else (1, 32, 32, 32))))
    chosen = maps[method.level]
    assert {side * 8 for side in chosen.shape[2:]} == {32}
    assert method.embedding.first.in_features == chosen.shape[1]
    if channels is not None:
        assert chosen.shape[1] == channels


def test_the_weights_are_the_authors_at_a_lambda_of_a_tenth() -> None:
    hyper = parse_hyperparameters(UGCL, {})
    assert UGCL.authors["lambda_max"] * hyper.consistency_weight == pytest.approx(0.01)
    assert UGCL.authors["lambda_max"] * hyper.rotation_weight == pytest.approx(0.1)
    assert UGCL.authors["lambda_max"] * hyper.contrast_weight == pytest.approx(0.1)


def test_it_runs_under_autocast() -> None:
    lab = lab_of()
    with torch.autocast("cpu", torch.bfloat16):
        (update,) = lab.method.updates(lab.batch, PROGRESS)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert update.total.isfinite()

"""FixMatch, UniMatch, UniMatch V2 and CrossMatch against loops over pixels, in 2D and 3D, and their limit cases.

Which pixels were mixed is read from the images that the encoders were given.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import PROGRESS, UNLABELED, Laboratory, TinyNetwork, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.cards import load_protocol
from ssl_bench.errors import UserError
from ssl_bench.method import load_methods
from ssl_bench.ops import dice_loss

METHODS = load_methods()
NAMES = ["fixmatch", "unimatch", "unimatch-v2", "crossmatch"]
CASES = [*itertools.product(NAMES, [(2, 2), (3, 4)], ["dice", "cross-entropy"])]


@dataclass
class Passes:
    """What the encoders saw and the heads said, pass by pass."""

    images: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)


def recorded(network: Any) -> Passes:
    passes = Passes()
    network.encoder.register_forward_hook(lambda _, inputs, __: passes.images.append(inputs[0]))
    network.segmentation_head.register_forward_hook(lambda _, __, output: passes.logits.append(output.detach()))
    return passes


def student_of(lab: Laboratory) -> Any:
    return getattr(lab.method, "student" if lab.method.name == "unimatch-v2" else "network")


def values_of(lab: Laboratory, seed: int = 5) -> dict[str, float]:
    torch.manual_seed(seed)
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    assert {weight for term, (weight, _) in update.terms.items() if term != "supervised"} == {PROGRESS.lambda_u}
    return {term: value.item() for term, (_, value) in update.terms.items()}


def softmax(logits: Tensor) -> np.ndarray:
    exponentials = np.exp(logits.double().numpy() - logits.double().amax(1, keepdim=True).numpy())
    return exponentials / exponentials.sum(1, keepdims=True)


Target = tuple[np.ndarray, np.ndarray]  # labels and confidence


def target_of(logits: Tensor) -> Target:
    p = softmax(logits)
    return p.argmax(1), p.max(1)


def mixed(target: Target, own: np.ndarray) -> Target:
    """The partner's labels and confidence, those of the next sample, where `own` is false."""
    labels, confidence = (np.where(own, one, np.roll(one, -1, axis=0)) for one in target)
    return labels, confidence


def own_pixels(images: Tensor, view: Tensor) -> np.ndarray:
    """Which pixels of mixed images are their own; all others are the next sample's."""
    own, partners = (images == view).all(1), (images == view.roll(-1, 0)).all(1)
    assert (own ^ partners).all()
    return own.numpy()


def naive_loss(logits: Tensor, target: Target, threshold: float, kind: str) -> float:
    """Dice of each sample's kept pixels, mean over classes and samples that have any; or cross-entropy / all pixels."""
    p, (labels, confidence) = softmax(logits), target
    scores, entropies, pixels = [], 0.0, 0
    for b in range(len(p)):
        overlap, size, kept = np.zeros(p.shape[1]), np.zeros(p.shape[1]), 0
        for place in np.ndindex(*labels.shape[1:]):
            pixels += 1
            if confidence[b][place] < threshold:
                continue
            kept += 1
            for c in range(p.shape[1]):
                overlap[c] += p[(b, c, *place)] * (labels[b][place] == c)
                size[c] += p[(b, c, *place)] + (labels[b][place] == c)
            entropies -= math.log(p[(b, labels[b][place], *place)])
        if kept:
            scores.extend((2 * overlap + 1e-5) / (size + 1e-5))
    if kind == "cross-entropy":
        return entropies / pixels
    return 1 - float(np.mean(scores)) if scores else 0.0


def case(name: str, dimensions: int = 2, classes: int = 2, **hyper: Any) -> tuple[Laboratory, Passes]:
    lab = laboratory(name, protocol_of("paper", dimensions), classes, **{"mix_probability": 1.0, **hyper})
    return lab, recorded(student_of(lab))


@pytest.mark.parametrize(("name", "form", "kind"), CASES)
def test_the_terms_are_those_of_a_loop_over_pixels(name: str, form: tuple[int, int], kind: str) -> None:
    threshold = 0.7
    lab, passes = case(name, *form, confidence=threshold, unsupervised_loss=kind, low=0.3, high=0.6)
    on_teacher = recorded(lab.method.teacher.network) if name == "unimatch-v2" else None
    values = values_of(lab)
    views = lab.protocol.views
    first, second = lab.unlabeled[views.student1], lab.unlabeled[views.student2]

    def loss(logits: Tensor, target: Target) -> float:
        return naive_loss(logits, target, threshold, kind)

    if name == "fixmatch":
        _, weak, strong = passes.logits
        own = own_pixels(passes.images[2], first)
        expected = {"strong": loss(strong, mixed(target_of(weak), own))}
    else:
        images1, images2 = passes.images[-1].chunk(2)
        own, own2 = own_pixels(images1, first), own_pixels(images2, second)
        assert (own != own2).any()
    if name == "unimatch":
        _, weak, perturbed, strong = passes.logits
        y1, y2 = strong.chunk(2)
        target = target_of(weak)
        expected = {
            "strong": 0.25 * loss(y1, mixed(target, own)) + 0.25 * loss(y2, mixed(target, own2)),
            "features": 0.5 * loss(perturbed, target),
        }
        assert not torch.allclose(perturbed, weak)
    if name == "unimatch-v2":
        assert on_teacher is not None
        target, (y1, y2) = target_of(on_teacher.logits[0]), passes.logits[1].chunk(2)
        expected = {"strong": 0.5 * loss(y1, mixed(target, own)) + 0.5 * loss(y2, mixed(target, own2))}
    if name == "crossmatch":
        _, weak, weakly, strongly, strong, weakly2, strongly2 = passes.logits
        y1, y2 = strong.chunk(2)
        target = target_of(weak)
        target2 = mixed(target, own2)
        clean = [loss(weakly, target), loss(strongly, target), loss(weakly2, target2), loss(strongly2, target2)]
        same = [loss(y, mixed(target_of(x), own2)) for x, y in ((weakly, weakly2), (strongly, strongly2))]
        weight = {2: 0.5, 3: 1.0}[form[0]]
        expected = {
            "strong": 0.25 * loss(y1, mixed(target, own)) + 0.25 * loss(y2, target2),
            "distillation": weight * (0.7 * sum(clean) / 4 + 0.3 * sum(same) / 2),
        }
    assert 0.05 < 1 - own.mean() < 0.65
    supervised = dice_loss(passes.logits[0], lab.batch.labels, 1e-5).item()
    assert values == pytest.approx(expected | {"supervised": supervised}, rel=1e-5)
    assert min(values.values()) > 0.01


# -------------------------------------------------------------------------------------------------------- limit cases


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["dice", "cross-entropy"])
def test_where_no_label_is_confident_the_losses_are_zero_and_so_are_their_gradients(name: str, kind: str) -> None:
    lab, _ = case(name, classes=4, confidence=0.26, unsupervised_loss=kind)
    for parameter in lab.method.parameters():
        nn.init.zeros_(parameter)  # every prediction is uniform
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    unsupervised = [value for term, (_, value) in update.terms.items() if term != "supervised"]
    assert [value.item() for value in unsupervised] == [0.0] * len(unsupervised)
    torch.stack(unsupervised).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in lab.method.parameters())


def test_a_pixel_of_just_the_thresholds_confidence_counts() -> None:
    lab, _ = case("fixmatch", confidence=0.95, unsupervised_loss="cross-entropy")
    logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    confidence = torch.full((1, 4, 4), 0.95)
    assert lab.method.loss(logits, (labels, confidence)).item() == pytest.approx(math.log(2))
    confidence[0, 0] = 0.9499999
    assert lab.method.loss(logits, (labels, confidence)).item() == pytest.approx(0.75 * math.log(2))


def still(dimensions: int = 2, classes: int = 2) -> nn.Module:
    """A network whose predictions depend on the image alone: no dropout, and no batch norm."""
    network = TinyNetwork(dimensions, classes)
    network.encoder.fine[1] = nn.Identity()
    network.decoder.dropout = nn.Identity()
    return network


def of_equal_views(name: str, **hyper: Any) -> Laboratory:
    """A method that is shown the same images three times, without mixes, and whose teacher equals its student."""
    protocol = protocol_of("paper", teacher_start="student1")
    lab = laboratory(name, protocol, build=still, **{"mix_probability": 0.0, "confidence": 0.0, **hyper})
    for view in lab.unlabeled.values():
        view.copy_(lab.unlabeled["weak"])
    return lab


def test_on_equal_views_all_losses_are_that_of_a_network_against_its_own_labels() -> None:
    values = {}
    for name, hyper in {
        "fixmatch": {},
        "unimatch": {"channel_dropout": 0.0},
        "crossmatch": {"weak_dropout": 0.0, "strong_dropout": 0.0, "distillation": 2.0},
    }.items():
        values[name] = values_of(of_equal_views(name, **hyper))
    lab = of_equal_views("fixmatch")
    logits = lab.method.network(lab.unlabeled["weak"]).detach()
    one = naive_loss(logits, target_of(logits), 0.0, "dice")
    assert values["fixmatch"]["strong"] == pytest.approx(one, rel=1e-5)
    for name, other in (("unimatch", {"features": one / 2}), ("crossmatch", {"distillation": 2 * one})):
        del values[name]["supervised"]
        assert values[name] == pytest.approx({"strong": one / 2, **other}, rel=1e-5)


@pytest.mark.parametrize("name", ["fixmatch", "unimatch", "crossmatch"])
def test_a_box_of_the_whole_image_gives_the_partners_loss(name: str) -> None:
    whole = {"mix_probability": 1.0, "low": 1.0, "high": 1.0}
    plain, swapped = (of_equal_views(name, **one) for one in ({}, whole))
    passes = recorded(swapped.method.network)
    expected, found = values_of(plain)["strong"], values_of(swapped)["strong"]
    images = passes.images[-1][:UNLABELED]
    assert torch.equal(images, swapped.unlabeled["weak"].roll(-1, 0))
    assert found == pytest.approx(expected, rel=1e-5)  # labels went with the images


def test_the_teacher_of_v2_labels_and_is_scored() -> None:
    lab, passes = case("unimatch-v2")
    for parameter in lab.method.teacher.parameters():
        nn.init.zeros_(parameter)
    assert values_of(lab)["strong"] == 0  # uniform predictions of the teacher, whatever the student's
    assert len(passes.images) == 2
    assert lab.method.predictor is lab.method.teacher


def test_half_of_v2s_features_are_complementary() -> None:
    """Of two images one keeps all channels; the other's are dropped in one view and doubled in the other."""
    lab, _ = case("unimatch-v2", mix_probability=0.0)
    seen: list[list[Tensor]] = []
    given: list[list[Tensor]] = []
    lab.method.student.encoder.register_forward_hook(lambda _, __, output: given.append(output))
    lab.method.student.decoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    values_of(lab)
    for before, after in zip(given[1], seen[1], strict=True):
        factors = (after / before).flatten(2).mean(2).round(decimals=4)
        first, second = factors.chunk(2)
        assert torch.equal(first + second, torch.full_like(first, 2))
        assert set(first.flatten().tolist()) == {0.0, 1.0, 2.0}
        assert (first == 1).all(1).sum() == 1


def test_perturbed_features_are_those_of_the_weak_view_and_of_strong_view_2() -> None:
    """Without dropout their logits are the clean ones."""
    for name, rates in (("unimatch", ["channel_dropout"]), ("crossmatch", ["weak_dropout", "strong_dropout"])):
        lab = laboratory(name, protocol_of("paper"), build=still, mix_probability=1.0, **dict.fromkeys(rates, 0.0))
        passes = recorded(lab.method.network)
        values_of(lab)
        _, weak, *perturbed = passes.logits
        assert all(torch.equal(logits, weak) for logits in perturbed[: len(rates)])
        if name == "crossmatch":
            *_, strong, weakly2, strongly2 = perturbed
            torch.testing.assert_close(weakly2, strong.chunk(2)[1])
            torch.testing.assert_close(strongly2, strong.chunk(2)[1])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_crossmatchs_share_of_a_streams_own_labels(share: float) -> None:
    """At 1 the losses against them alone count, at 0 those against clean labels."""
    lab, passes = case("crossmatch", same_stream=share, confidence=0.6)
    value = values_of(lab)["distillation"]
    _, weak, weakly, strongly, _, weakly2, strongly2 = passes.logits
    own2 = own_pixels(passes.images[-1].chunk(2)[1], lab.unlabeled[lab.protocol.views.student2])
    target = target_of(weak)
    if share:
        pairs = [(y, mixed(target_of(x), own2)) for x, y in ((weakly, weakly2), (strongly, strongly2))]
    else:
        pairs = [(y, target) for y in (weakly, strongly)] + [(y, mixed(target, own2)) for y in (weakly2, strongly2)]
    expected = 0.5 * np.mean([naive_loss(y, t, 0.6, "dice") for y, t in pairs])
    assert value == pytest.approx(expected, rel=1e-5)


class PassesImagesOn(nn.Module):
    """An encoder whose first map is the image, as those of segmentation-models-pytorch."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = (3, 6)
        self.convolution = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, self.convolution(images)]


@pytest.mark.parametrize("name", ["unimatch", "crossmatch", "unimatch-v2"])
def test_an_image_among_the_features_is_not_perturbed(name: str) -> None:
    class Decoder(nn.Module):
        out_channels = 6

        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(9, 6, 1)

        def forward(self, features: list[Tensor]) -> Tensor:
            seen.append(features)
            return self.convolution(torch.cat(features, 1))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder, self.segmentation_head = PassesImagesOn(), Decoder(), nn.Conv2d(6, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.segmentation_head(self.decoder(self.encoder(images)))

    seen: list[list[Tensor]] = []
    lab = laboratory(name, protocol_of("paper"), build=Network)
    passes = recorded(student_of(lab))
    values_of(lab)
    shown = [one[0] for one in seen]
    given = [part for images in passes.images for part in (images, *images.chunk(2))] + [*lab.unlabeled.values()]
    assert all(any(images.shape == one.shape and torch.equal(images, one) for one in given) for images in shown)
    assert any((features[1] == 0).flatten(2).all(2).any() for features in seen)  # other maps are


# ------------------------------------------------------------------------------------------------------------- settings


def test_fixmatch_on_equal_views_without_mixes_is_refused() -> None:
    same = {"views.student1": "weak"}
    hyper = METHODS["fixmatch"].hyperparameters
    METHODS["fixmatch"].check(hyper(), load_protocol("paper", same))
    METHODS["fixmatch"].check(hyper(mix_probability=0.0), load_protocol("paper"))
    with pytest.raises(UserError, match=r"views\.student1: expected another view than views\.teacher.* found 'weak'"):
        METHODS["fixmatch"].check(hyper(mix_probability=0.0), load_protocol("paper", same))


def test_defaults_are_the_authors() -> None:
    boxes = {"boxes": 1, "low": 0.02, "high": 0.4, "mix_probability": 0.5, "unsupervised_loss": "dice"}
    for name, own in {
        "fixmatch": {"confidence": 0.95},
        "unimatch": {"confidence": 0.95, "channel_dropout": 0.5},
        "unimatch-v2": {"confidence": 0.95},
    }.items():
        assert METHODS[name].hyperparameters().model_dump() == boxes | own
    own = {"weak_dropout": 0.25, "strong_dropout": 0.75, "same_stream": 0.3}
    for dimensions, auto in (
        (2, {"confidence": 0.95, "distillation": 0.5}),
        (3, {"confidence": 0.75, "distillation": 1}),
    ):
        hyper = METHODS["crossmatch"].hyperparameters()
        assert hyper.resolved(dimensions).model_dump() == boxes | own | auto
        assert hyper.model_copy(update={"confidence": 0.1}).resolved(dimensions).confidence == 0.1


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_under_autocast(name: str) -> None:
    lab, _ = case(name)
    with torch.autocast("cpu", torch.bfloat16):
        (update,) = lab.method.updates(lab.batch, PROGRESS)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert update.total.isfinite()

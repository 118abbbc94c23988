"""DUWM's uncertainties and losses against loops over pixels and passes, values by hand, and limit cases."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from laboratory import PROGRESS, Laboratory, TinyNetwork, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.ops import IGNORED, dice_loss

CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


def lab_of(dimensions: int = 2, classes: int = 2, protocol: str = "paper", **settings: Any) -> Laboratory:
    return laboratory("duwm", protocol_of(protocol, dimensions), classes, **settings)


class Outputs:
    """The outputs of every pass of a module, and its inputs and dropout's mode."""

    def __init__(self, module: nn.Module) -> None:
        self.found: list[Tensor] = []
        self.inputs: list[Any] = []
        self.dropping: list[bool] = []
        module.register_forward_hook(self._note)

    def _note(self, module: nn.Module, inputs: tuple[Any], output: Tensor) -> None:
        self.found.append(output)
        self.inputs.append(inputs[0])
        self.dropping += [m.training for m in module.modules() if isinstance(m, nn.Dropout)]


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(v) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def pixels(maps: Tensor) -> list[list[float]]:
    """The values of each pixel of maps (B, C, *sides)."""
    return maps.detach().double().movedim(1, -1).flatten(0, -2).tolist()


def normalised_entropies(passes: list[Tensor]) -> list[float]:
    """Of the mean softmax over the passes at each pixel, from 0 to 1."""
    found = []
    for drawn in zip(*(pixels(maps) for maps in passes), strict=True):
        mean = [sum(column) / len(drawn) for column in zip(*(softmax(one) for one in drawn), strict=True)]
        found.append(-sum(p * math.log(p) for p in mean) / math.log(len(mean)))
    return found


@pytest.mark.parametrize("ignores", [False, True])
@CASES
def test_both_terms_are_those_of_a_loop(dimensions: int, classes: int, ignores: bool) -> None:
    lab = lab_of(dimensions, classes, passes=3)
    known = torch.ones_like(lab.batch.labels, dtype=torch.bool)
    if ignores:
        lab.method.ignores = True
        known[0], known[1, :3] = False, False
        lab.batch = lab.batch._replace(labels=lab.batch.labels.masked_fill(~known, IGNORED))
    network: Any = lab.method.teacher.network
    logits, features = Outputs(network.segmentation_head), Outputs(network.decoder)
    (update,) = lab.updates()
    students, teachers = ([call.logits for call in lab.calls_of(name)] for name in ("student", "teacher"))
    counts = [known.flatten().tolist(), [True] * students[1][:, 0].numel()]
    assert len(logits.found) == len(features.found) == 2 * (1 + 3)
    totals, count = {"consistency": 0.0, "uncertainty": 0.0}, 0
    for part, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
        passes = slice(2 + 3 * part, 5 + 3 * part)
        uncertainties = [normalised_entropies(one.found[passes]) for one in (logits, features)]
        for row, target, *both, counted in zip(
            pixels(student), pixels(teacher), *uncertainties, counts[part], strict=True
        ):
            p, q = softmax(row), softmax(target)
            if counted:
                distance = sum((a - c) ** 2 for a, c in zip(p, q, strict=True)) / classes
                totals["consistency"] += math.exp(-sum(both)) * distance
                totals["uncertainty"] -= sum(a * math.log(a) for a in p) / math.log(classes)
                count += 1
    assert {term: update.terms[term][1].item() for term in totals} == pytest.approx(
        {term: total / count for term, total in totals.items()}, rel=1e-4
    )
    on_labeled = lab.calls_of("student")[0].logits
    expected = dice_loss(on_labeled, lab.batch.labels, lab.protocol.dice_smooth, ignores=ignores)
    assert update.terms["supervised"][1].item() == pytest.approx(expected.item(), rel=1e-6)
    assert [weight for weight, _ in update.terms.values()] == [1.0, *[PROGRESS.lambda_u] * 2]


@CASES
def test_with_the_same_uncertainty_everywhere_it_is_a_mean_teacher_up_to_a_factor(
    dimensions: int, classes: int
) -> None:
    lab = lab_of(dimensions, classes)
    for parameter in lab.method.teacher.network.parameters():
        parameter.zero_()  # uniform classes and channels: both uncertainties are 1
    (update,) = lab.updates()
    distances = torch.cat(
        [
            (call.logits.detach().double().softmax(1) - 1 / classes).square().flatten()
            for call in lab.calls_of("student")
        ]
    )
    expected = math.exp(-2) * distances.mean().item()
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)


class Fixed(nn.Module):
    """A network whose decoder and head give fixed maps, whatever the image."""

    def __init__(self, features: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.features, self.logits = features, logits

    def encoder(self, images: Tensor) -> Tensor:
        return images

    def decoder(self, images: Tensor) -> Tensor:
        return self.features.expand(len(images), *self.features.shape[1:])

    def segmentation_head(self, features: Tensor) -> Tensor:
        return self.logits.expand(len(features), *self.logits.shape[1:])


@pytest.mark.parametrize(
    ("features", "logits", "of_features", "of_segmentation"),
    [
        ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0], 1.0, 1.0),
        ([200.0, 0.0, 0.0, 0.0], [0.0, 200.0], 0.0, 0.0),
        ([200.0, 200.0, 0.0, 0.0], [math.log(3), 0.0], 0.5, 0.8112781245),  # ln 2 / ln 4; of 3/4 and 1/4
    ],
)
def test_uncertainties_by_hand(
    features: list[float], logits: list[float], of_features: float, of_segmentation: float
) -> None:
    method: Any = lab_of(passes=2).method
    maps = [torch.tensor(values).view(1, -1, 1, 1).expand(1, -1, 16, 16) for values in (features, logits)]
    method.teacher.network = Fixed(*maps)
    found = method.uncertainties(torch.randn(2, 3, 16, 16))
    for one, expected in zip(found, (of_segmentation, of_features), strict=True):
        assert one.shape == (2, 16, 16)
        torch.testing.assert_close(one, torch.full_like(one, expected), atol=1e-6, rtol=0)


def test_the_uncertainty_of_a_coarser_map_is_brought_to_the_images_size() -> None:
    method: Any = lab_of(passes=2).method
    features = torch.zeros(1, 4, 2, 2)
    features[0, 0, 0, 1] = 200
    method.teacher.network = Fixed(features, torch.zeros(1, 2, 6, 4))
    _, of_features = method.uncertainties(torch.randn(2, 3, 6, 4))
    expected = torch.ones(2, 6, 4)
    expected[:, :3, 2:] = 0
    torch.testing.assert_close(of_features, expected)


@pytest.mark.parametrize("protocol", ["paper", "released-code"])
def test_dropout_is_on_in_the_passes_and_the_teacher_is_left_as_it_was(protocol: str) -> None:
    lab = lab_of(protocol=protocol, passes=4, noise=0.0)
    decoder = Outputs(lab.method.teacher.network.decoder)
    before = [module.training for module in lab.method.teacher.modules()]
    next(lab.method.updates(lab.batch, PROGRESS))
    assert decoder.dropping == [protocol == "released-code"] * 2 + [True] * 8
    assert [module.training for module in lab.method.teacher.modules()] == before
    drawn = decoder.found[2:6]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_without_dropout_and_noise_all_passes_are_the_target() -> None:
    lab = lab_of(passes=4, noise=0.0, build=without_dropout)
    network: Any = lab.method.teacher.network
    logits = Outputs(network.segmentation_head)
    list(lab.updates())
    assert all(torch.equal(one, logits.found[0]) for one in logits.found[2:6])


def without_dropout() -> nn.Module:
    network = TinyNetwork()
    network.decoder.dropout = nn.Dropout(0.0)
    return network


def test_the_teacher_sees_its_views_under_clipped_noise() -> None:
    lab = lab_of(passes=2, noise=0.5, noise_limit=0.6)
    encoder = Outputs(lab.method.teacher.network.encoder)
    list(lab.updates())
    views = lab.protocol.views
    labeled, unlabeled = lab.labeled[views.labeled_teacher], lab.unlabeled[views.teacher]
    for images, view in zip(encoder.inputs, [labeled, unlabeled, *[labeled] * 2, *[unlabeled] * 2], strict=True):
        noise = images - view
        assert 0.3 < noise.std() < 0.5  # 0.5 before it is clipped
        assert noise.abs().max() <= 0.6 + 1e-6


def test_the_students_uncertainty_has_its_weight() -> None:
    (plain,), (changed,) = [list(lab_of(uncertainty_weight=weight).updates()) for weight in (1.0, 0.25)]
    whole, quarter = (update.terms["uncertainty"][1].item() for update in (plain, changed))
    assert quarter == pytest.approx(0.25 * whole, rel=1e-6)
    assert changed.terms["consistency"][1].item() == plain.terms["consistency"][1].item()


def test_the_student_is_what_is_tested_and_the_row_is_marked() -> None:
    method = lab_of().method
    assert method.predictor is method.student
    assert type(method).reconstructed


def test_it_runs_under_autocast() -> None:
    lab = lab_of(passes=2)
    with torch.autocast("cpu", torch.bfloat16):
        (update,) = lab.method.updates(lab.batch, PROGRESS)
    update.total.backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for _, value in update.terms.values())

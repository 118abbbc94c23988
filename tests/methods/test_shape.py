"""DTC and SASSNet against loops over pixels, limit cases, and finite differences."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import LABELED, PROGRESS, UNLABELED, Laboratory, laboratory, protocol_of
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries
from torch import Tensor, nn

from ssl_bench.ops import IGNORED, dice_loss, signed_distance

CASES = [(2, 2), (2, 4), (3, 2), (3, 4)]
SMOOTH = 1e-5


def still(name: str, dimensions: int = 2, classes: int = 2, **hyper: Any) -> Laboratory:
    """A laboratory whose networks have no dropout."""
    lab = laboratory(name, protocol_of("paper", dimensions), classes, **hyper)
    for module in lab.method.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return lab


def outputs(lab: Laboratory, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (B, K, *sides) and distances (B, K - 1, *sides) in float64, written out."""
    method: Any = lab.method
    with torch.no_grad():
        decoded = method.network.decoder(method.network.encoder(images))
        scores = np.exp(method.network.segmentation_head(decoded).double().numpy())
        distances = np.tanh(method.distance_head(decoded).double().numpy()[:, 1:])
    return scores / scores.sum(1, keepdims=True), distances


def distance_map(inside: np.ndarray) -> np.ndarray:
    """The normalised signed distance map of one object by scipy."""
    outer, inner = distance_transform_edt(~inside), distance_transform_edt(inside)
    result: np.ndarray = outer / outer.max() - inner / inner.max()
    result[find_boundaries(inside, mode="inner")] = 0
    return result


def distance_error(lab: Laboratory, distances: np.ndarray) -> float:
    labels, errors = lab.batch.labels.numpy(), []
    for b, c in itertools.product(range(LABELED), range(1, lab.classes)):
        errors.append(np.mean((distances[b, c - 1] - distance_map(labels[b] == c)) ** 2))
    return float(np.mean(errors))


@pytest.mark.parametrize(("dimensions", "classes"), CASES)
@pytest.mark.parametrize("name", ["dtc", "sassnet"])
def test_the_supervised_loss_is_dice_and_the_distances_error(name: str, dimensions: int, classes: int) -> None:
    lab = still(name, dimensions, classes, distance_weight=0.7)
    update = next(lab.updates())
    images = lab.labeled[lab.protocol.views.labeled_student1]
    _, distances = outputs(lab, images)
    with torch.no_grad():
        dice = dice_loss(lab.method.predictor(images), lab.batch.labels, SMOOTH).item()
    expected = dice + 0.7 * distance_error(lab, distances)
    assert update.terms["supervised"][1].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("dimensions", "classes"), CASES)
def test_dtcs_consistency_is_the_two_masks_squared_distance_over_all_images(dimensions: int, classes: int) -> None:
    lab = still("dtc", dimensions, classes, steepness=20.0)
    update = next(lab.updates())
    squares: list[np.ndarray] = []
    for images in (lab.labeled[lab.protocol.views.labeled_student1], lab.unlabeled[lab.protocol.views.student1]):
        p, distances = outputs(lab, images)
        squares += list((1 / (1 + np.exp(20.0 * distances)) - p[:, 1:]) ** 2)
    assert len(squares) == LABELED + UNLABELED
    assert update.terms["consistency"][1].item() == pytest.approx(float(np.mean(squares)), abs=1e-5)


def test_true_distances_give_the_true_mask_and_one_half_on_the_boundary() -> None:
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[0, 2:7, 3:8] = 1
    truth = signed_distance(labels, 2)
    logits = 50.0 * torch.stack([1 - labels, labels], 1).float()
    disagreement = still("dtc").method.disagreement(logits, truth)
    boundary = torch.from_numpy(find_boundaries(labels[0].numpy(), mode="inner"))[None]
    assert boundary.sum() == 16
    assert disagreement[~boundary].max() < 1e-6
    torch.testing.assert_close(disagreement[boundary], torch.full((16,), 0.25))


def test_the_gradient_at_the_boundary_is_that_of_finite_differences() -> None:
    method = still("dtc").method
    distances = torch.linspace(-2e-3, 2e-3, 9, dtype=torch.float64).view(1, 1, 3, 3).requires_grad_()
    logits = torch.randn(1, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(s: Tensor) -> Tensor:
        p = logits.softmax(1)[:, 1:]
        return (torch.sigmoid(-1500.0 * s) - p).square().mean()

    (expected,) = torch.autograd.grad(loss(distances), distances)
    step = 1e-8
    for place in np.ndindex(3, 3):
        moved = distances.detach().clone()
        moved[(0, 0, *place)] += step
        slope = (loss(moved) - loss(distances.detach())) / step
        assert slope.item() == pytest.approx(expected[(0, 0, *place)].item(), rel=1e-3, abs=1e-6)
    single = distances.detach().float().requires_grad_()
    (found,) = torch.autograd.grad(method.disagreement(logits.float(), single).mean(), single)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_ignored_pixels_have_no_part_in_dtcs_consistency(dimensions: int) -> None:
    lab = still("dtc", dimensions, steepness=20.0)
    lab.method.ignores = True
    lab.batch.labels[:, :4] = IGNORED
    update = next(lab.updates())
    p, distances = outputs(lab, lab.labeled[lab.protocol.views.labeled_student1])
    q, others = outputs(lab, lab.unlabeled[lab.protocol.views.student1])
    labeled, unlabeled = ((1 / (1 + np.exp(20.0 * d)) - m[:, 1:]) ** 2 for d, m in ((distances, p), (others, q)))
    expected = np.concatenate([labeled[:, :, 4:].ravel(), unlabeled.ravel()]).mean()
    assert update.terms["consistency"][1].item() == pytest.approx(float(expected), abs=1e-5)


def test_without_an_adversarial_weight_sassnet_learns_from_labelled_images_alone() -> None:
    lab = still("sassnet", adversarial_weight=0.0)
    update = next(lab.method.updates(lab.batch, replace(PROGRESS, lambda_u=1.0)))
    parameters = list(lab.method.network.parameters())
    whole = torch.autograd.grad(update.total, parameters, retain_graph=True)
    supervised = torch.autograd.grad(update.terms["supervised"][1], parameters)
    for found, expected in zip(whole, supervised, strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)

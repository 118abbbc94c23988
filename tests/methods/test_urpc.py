"""URPC against loops over scales and pixels in float64, values by hand, and the networks' own pyramids."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from laboratory import PROGRESS, laboratory, protocol_of
from torch import Tensor, nn
from torch.nn import functional

from ssl_bench.cards import load_protocol
from ssl_bench.method import Setup, Update, load_methods, parse_hyperparameters
from ssl_bench.networks import build_network
from ssl_bench.ops import dice_loss

URPC: Any = load_methods()["urpc"]
SCALES = {"deeplabv3plus": 2, "unet": 4, "unet-small": 4, "vnet": 4}


def only_update(lab: Any) -> Update:
    torch.manual_seed(5)
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    return cast("Update", update)


def naive_consistency(scales: list[Tensor]) -> float:
    """Loop over scales and pixels; the last axis of each is that of the classes."""
    predictions = [z.detach().double().softmax(1).movedim(1, -1).flatten(0, -2).tolist() for z in scales]
    pixels, classes = len(predictions[0]), len(predictions[0][0])
    means = [[sum(p[n][c] for p in predictions) / len(predictions) for c in range(classes)] for n in range(pixels)]
    total = 0.0
    for p in predictions:
        divergences = [
            sum(m * math.log(m / q) for m, q in zip(mean, own, strict=True)) for mean, own in zip(means, p, strict=True)
        ]
        weights = [math.exp(-d) for d in divergences]
        distance = sum(
            weight * (m - q) ** 2
            for weight, mean, own in zip(weights, means, p, strict=True)
            for m, q in zip(mean, own, strict=True)
        )
        total += distance / (pixels * classes) / (sum(weights) / pixels + 1e-8) + sum(divergences) / pixels
    return total / len(predictions)


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 3)])
def test_the_terms_are_the_papers(dimensions: int, classes: int) -> None:
    lab = laboratory("urpc", protocol_of("paper", dimensions), classes)
    method: Any = lab.method
    found: list[list[Tensor]] = []
    logits = method.logits
    method.logits = lambda images: found.append(logits(images)) or found[-1]
    update = only_update(lab)
    labeled, unlabeled = found
    losses = [dice_loss(z, lab.batch.labels, lab.protocol.dice_smooth).item() for z in labeled]
    assert len(losses) == 2
    assert update.terms["supervised"][1].item() == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert update.terms["consistency"][1].item() == pytest.approx(naive_consistency(unlabeled), rel=1e-5)


@pytest.fixture
def method() -> Any:
    return laboratory("urpc", protocol_of("paper")).method


def constant(p: float) -> Tensor:
    """Logits of two classes whose softmax is (p, 1 - p) at each of six pixels."""
    return torch.tensor([p, 1 - p]).log().view(1, 2, 1, 1).expand(1, 2, 2, 3)


def test_two_scales_by_hand(method: Any) -> None:
    """p = (0.6, 0.4): D = 0.6 ln(0.6/0.8) + 0.4 ln(0.4/0.2) and 0.6 ln(0.6/0.4) + 0.4 ln(0.4/0.6)."""
    first = 0.6 * math.log(0.75) + 0.4 * math.log(2)
    second = 0.2 * math.log(1.5)
    # where D is the same at all pixels, the weights cancel
    expected = ((0.2**2 + first) + (0.2**2 + second)) / 2
    assert method.consistency([constant(0.8), constant(0.4)]).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_equal_predictions_have_no_loss(method: Any, count: int) -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert method.consistency([logits] * count).item() == pytest.approx(0, abs=1e-6)


def test_where_scales_differ_widely_only_the_divergence_counts(method: Any) -> None:
    """Of two pixels, the scales agree at one; at the other three of them are certain of a class, and one of the other.

    There the mean is (0.75, 0.25), with the entropy H. The logits differ by 80, so D is 0.25 * 80 - H for the three
    scales and 0.75 * 80 - H for the one. The weights exp(-D) leave nothing of the squared distances, whose mean would
    add 0.09.
    """
    agree, differ = torch.zeros(1, 2, 1, 1), torch.tensor([40.0, -40.0]).view(1, 2, 1, 1)
    others, odd = torch.cat([agree, differ], dim=2), torch.cat([agree, -differ], dim=2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    expected = (3 * (20 - entropy) + (60 - entropy)) / 2 / 4
    assert method.consistency([others, others, others, odd]).item() == pytest.approx(expected, abs=1e-4)


def test_predictions_of_certain_scales_have_finite_gradients(method: Any) -> None:
    scales = [
        torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_(), torch.zeros(1, 2, 1, 1).requires_grad_()
    ]  # fmt: skip
    method.consistency(scales).backward()
    assert all(z.grad is not None and z.grad.isfinite().all() for z in scales)


def test_the_gradient_flows_through_the_mean_and_the_weights(method: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    scales = [torch.randn(2, 3, 4, 4, generator=generator).double().requires_grad_() for _ in range(3)]
    found = torch.autograd.grad(method.consistency(scales), scales)
    for mean_kept, weights_kept in ((True, True), (False, True), (True, False)):
        predictions = torch.stack([z.softmax(1) for z in scales])
        mean = predictions.mean(0) if mean_kept else predictions.mean(0).detach()
        total = torch.zeros((), dtype=torch.float64)
        for p in predictions:
            divergence = functional.kl_div(p.log(), mean, reduction="none").sum(1, keepdim=True)
            weight = (-divergence).exp() if weights_kept else (-divergence).exp().detach()
            total = total + ((mean - p) ** 2 * weight).mean() / (weight.mean() + 1e-8) + divergence.mean()
        expected = torch.autograd.grad(total / 3, scales)
        agree = all(torch.allclose(a, b, rtol=1e-4, atol=1e-8) for a, b in zip(found, expected, strict=True))
        assert agree is (mean_kept and weights_kept)


# ----------------------------------------------------------------------------------------- the scales of the networks


def build(network: str, **hyper: Any) -> Any:
    dimensions = 3 if network.startswith("vnet") else 2
    protocol = load_protocol("tiny", {"network": network, "filters": 2}, dimensions=dimensions)
    torch.manual_seed(0)
    setup = Setup(protocol, lambda **_: build_network(protocol, classes=3), 3, 3 if dimensions == 2 else 1)
    return URPC(setup, parse_hyperparameters(URPC, hyper)).train()


@pytest.mark.parametrize("network", SCALES)
def test_every_scale_predicts_in_the_size_of_the_image(network: str) -> None:
    method = build(network)
    sides = (32, 32) if network != "vnet" else (32, 16, 16)
    logits = method.logits(torch.randn(2, 3 if network != "vnet" else 1, *sides))
    assert [z.shape for z in logits] == [(2, 3, *sides)] * SCALES[network]
    kinds = {type(head): head.kernel_size for head in method.heads}
    assert kinds == ({nn.Conv3d: (1, 1, 1)} if network == "vnet" else {nn.Conv2d: (3, 3)})


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_fewer_scales_are_the_finest(scales: int) -> None:
    method = build("unet-small", scales=scales)
    assert [head.in_channels for head in method.heads] == [4, 8, 16][: scales - 1]
    assert len(method.logits(torch.randn(2, 3, 32, 32))) == scales


def test_one_scale_alone_is_the_supervised_method() -> None:
    urpc, supervised = (
        laboratory("urpc", protocol_of("paper"), scales=1),
        laboratory("supervised", protocol_of("paper")),
    )
    urpc.method.load_state_dict(supervised.method.state_dict())
    update, expected = only_update(urpc), only_update(supervised)
    assert torch.equal(update.terms["supervised"][1], expected.terms["supervised"][1])
    assert update.terms["consistency"][1].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("network", ["unet-small", "vnet", "vnet-half"])
def test_coarse_predictions_are_interpolated_as_the_authors_do(network: str) -> None:
    method = build(network)
    method.perturbed = lambda features, level: features
    images = torch.randn(2, 3, 32, 32) if network == "unet-small" else torch.randn(2, 1, 32, 32, 32)
    torch.manual_seed(1)
    logits = method.logits(images)
    torch.manual_seed(1)
    maps = method.network.decoder.pyramid(method.network.encoder(images))
    assert torch.equal(logits[0], method.network.segmentation_head(maps[0]))
    for z, head, features in zip(logits[1:], method.heads, maps[1:], strict=True):
        if network != "unet-small":
            expected = functional.interpolate(head(features), images.shape[2:], mode="trilinear", align_corners=False)
        else:
            factor = images.shape[2] // features.shape[2]
            expected = head(features).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        torch.testing.assert_close(z, expected)


def test_the_score_is_the_finest_scales() -> None:
    method = build("unet-small").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(method.predictor(images), method.logits(images)[0])
    assert method.networks == {"network": method.predictor}
    assert not [key for key in method.predictor.state_dict() if key.startswith("heads")]


# -------------------------------------------------------------------------------------------------- the perturbations


def test_maps_of_2d_are_perturbed_as_the_authors_do(method: Any) -> None:
    features = torch.rand(4, 6, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.manual_seed(0)
    assert method.perturbed(features, 0) is features
    noise = method.perturbed(features, 1) / features - 1
    assert 0.25 < noise.abs().max() <= 0.3 + 1e-6
    assert noise.mean().abs() < 0.01
    kept = method.perturbed(features, 2) / features
    activation = features.mean(1)
    for own, active in zip(kept, activation, strict=True):
        assert set(own.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(own, own[:1].expand_as(own))  # all channels of a place
        share = active / active.max()
        assert own[0][share < 0.7].all()
        assert not own[0][share > 0.9].any()
    for level in (3, 4):
        dropped = (method.perturbed(features, level) / features).round(decimals=3)
        assert set(dropped.unique().tolist()) == {0.0, 2.0}
        assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_maps_of_3d_lose_channels(method: Any) -> None:
    features = torch.ones(100, 10, 2, 2, 2)
    torch.manual_seed(0)
    for level, rate in enumerate((0.1, 0.2, 0.3, 0.5, 0.5)):
        dropped = method.perturbed(features, level).flatten(2)
        assert torch.equal(dropped, dropped[..., :1].expand_as(dropped))
        assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=0.05)
        torch.testing.assert_close(dropped.max(), torch.tensor(1 / (1 - rate)))


def test_it_runs_under_autocast() -> None:
    lab = laboratory("urpc", protocol_of("paper"))
    with torch.autocast("cpu", torch.bfloat16):
        update = only_update(lab)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lab.method.parameters())

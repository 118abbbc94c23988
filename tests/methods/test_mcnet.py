"""MC-Net and MC-Net+ against loops over pixels in float64, on tiny networks and on the networks of the papers."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from laboratory import PROGRESS, TinyNetwork, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.cards import Protocol
from ssl_bench.method import Setup, Update, load_methods, parse_hyperparameters
from ssl_bench.networks.unet import SmallUNet
from ssl_bench.networks.vnet import VNet
from ssl_bench.ops import IGNORED, dice_loss

METHODS: Any = load_methods()
NAMES = {"mcnet": 2, "mcnet+": 3}
SIDES = {2: (16, 16), 3: (16, 16, 16)}


def logits_of(lab: Any) -> list[list[Tensor]]:
    """The logits of each decoder in the coming passes."""
    found: list[list[Tensor]] = []
    for decoder in (lab.method.network, *lab.method.auxiliary):
        own: list[Tensor] = []
        decoder.segmentation_head.register_forward_hook(lambda _, __, out, own=own: own.append(out))
        found.append(own)
    return found


def only_update(lab: Any) -> Update:
    torch.manual_seed(5)
    (update,) = lab.method.updates(lab.batch, PROGRESS)
    return cast("Update", update)


def naive_sharpened(p: float, temperature: float) -> float:
    return p ** (1 / temperature) / (p ** (1 / temperature) + (1 - p) ** (1 / temperature))


def naive_consistency(parts: list[list[Tensor]], known: list[Tensor], temperature: float) -> float:
    """Loop over pairs, classes and pixels; `parts` has the decoders' logits on the labelled and the unlabelled part."""
    total = 0.0
    for i, j in itertools.product(range(len(parts[0])), repeat=2):
        if i == j:
            continue
        squares: list[float] = []
        for decoders, kept in zip(parts, known, strict=True):
            first, second = (decoders[n].detach().double().softmax(1) for n in (i, j))
            for place in kept.nonzero().tolist():
                at = (place[0], slice(None), *place[1:])
                pairs = zip(first[at].tolist(), second[at].tolist(), strict=True)
                squares += [(p - naive_sharpened(q, temperature)) ** 2 for p, q in pairs]
        total += sum(squares) / len(squares)
    return total


@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize(("dimensions", "classes", "temperature"), [(2, 2, 0.1), (2, 4, 0.3), (3, 3, 0.1)])
@pytest.mark.parametrize("name", NAMES)
def test_the_terms_are_the_papers(
    name: str, dimensions: int, classes: int, temperature: float, *, ignores: bool
) -> None:
    lab = laboratory(name, protocol_of("paper", dimensions), classes, temperature=temperature)
    if ignores:
        lab.method.ignores = True
        ignored = torch.rand(lab.batch.labels.shape, generator=torch.Generator().manual_seed(2)) < 0.4
        lab.batch = lab.batch._replace(labels=lab.batch.labels.masked_fill(ignored, IGNORED))
    found = logits_of(lab)
    update = only_update(lab)
    assert len(found) == NAMES[name]
    labeled, unlabeled = ([own[n] for own in found] for n in (0, 1))
    assert set(update.terms) == {"supervised", "consistency"}
    losses = [dice_loss(z, lab.batch.labels, lab.protocol.dice_smooth, ignores=ignores).item() for z in labeled]
    assert update.terms["supervised"][1].item() == pytest.approx(0.5 * sum(losses), rel=1e-6)
    known = [lab.batch.labels != IGNORED, torch.ones_like(unlabeled[0][:, 0], dtype=torch.bool)]
    expected = naive_consistency([labeled, unlabeled], known, temperature)
    assert update.terms["consistency"][1].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("p", "temperature", "expected"),
    [
        (0.0, 0.1, 0.0), (0.5, 0.1, 0.5), (0.6, 0.1, 0.9829540), (0.7, 0.1, 0.9997908), (1.0, 0.1, 1.0),
        (0.6, 1.0, 0.6), (0.6, 0.5, 0.6923077),
    ],
)  # fmt: skip
def test_a_prediction_is_sharpened_as_by_hand(p: float, temperature: float, expected: float) -> None:
    method: Any = laboratory("mcnet", protocol_of("paper"), temperature=temperature).method
    given = torch.tensor([p], requires_grad=True)
    found = method.sharpened(given)
    found.sum().backward()
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert given.grad is not None
    assert given.grad.isfinite().all()


def constant(values: list[float], like: Tensor) -> Tensor:
    """Logits (B, K, *sides) whose softmax has these values at every pixel."""
    batch, _, *sides = like.shape
    return torch.tensor(values).log().view(1, -1, *(1 for _ in sides)).expand(batch, -1, *sides)


@pytest.mark.parametrize(
    ("name", "predictions", "expected"),
    [
        ("mcnet", [[1.0, 0.0], [1.0, 0.0]], 0.0),  # the same certain prediction
        ("mcnet", [[1.0, 0.0], [0.0, 1.0]], 2.0),  # opposite ones: 1 for each direction
        ("mcnet", [[0.6, 0.4], [0.6, 0.4]], 2 * 0.3829540**2),
        ("mcnet", [[0.5, 0.5], [1.0, 0.0]], 0.25 + 0.25),  # p_1 from s(p_2), and p_2 from s(p_1)
        ("mcnet+", [[0.6, 0.4]] * 3, 6 * 0.3829540**2),
        ("mcnet+", [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4.0),
    ],
)
def test_the_consistency_of_constant_predictions_is_as_by_hand(
    name: str, predictions: list[list[float]], expected: float
) -> None:
    lab = laboratory(name, protocol_of("paper"))
    method: Any = lab.method
    parts = [[constant(p, torch.empty(count, 2, 4, 4)) for p in predictions] for count in (3, 2)]
    found = method.consistency(parts[0], torch.zeros(3, 4, 4, dtype=torch.long), parts[1])
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_mc_net_is_mc_net_plus_without_the_third_decoder() -> None:
    lab = laboratory("mcnet+", protocol_of("paper"), 3)
    found = logits_of(lab)
    only_update(lab)
    labeled, unlabeled = ([own[n] for own in found] for n in (0, 1))
    method: Any = laboratory("mcnet", protocol_of("paper"), 3).method
    known = [torch.ones_like(part[0][:, 0], dtype=torch.bool) for part in (labeled, unlabeled)]
    expected = naive_consistency([labeled[:2], unlabeled[:2]], known, 0.1)
    assert method.consistency(labeled[:2], lab.batch.labels, unlabeled[:2]).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_flows_through_predictions_and_targets(name: str) -> None:
    """As in the authors' code; with constant targets it would be another one."""
    lab = laboratory(name, protocol_of("paper"), 3)
    method: Any = lab.method
    generator = torch.Generator().manual_seed(3)
    parts = [
        [torch.randn(count, 3, 4, 4, generator=generator).double().requires_grad_() for _ in range(NAMES[name])]
        for count in (3, 2)
    ]
    flat = [*parts[0], *parts[1]]
    found = torch.autograd.grad(method.consistency(parts[0], torch.zeros(3, 4, 4, dtype=torch.long), parts[1]), flat)
    for detached in (False, True):
        total = torch.zeros((), dtype=torch.float64)
        for i, j in itertools.permutations(range(NAMES[name]), 2):
            p, q = (torch.cat([part[n].softmax(1) for part in parts]) for n in (i, j))
            target = q**10 / (q**10 + (1 - q) ** 10)
            total = total + ((p - (target.detach() if detached else target)) ** 2).mean()
        expected = torch.autograd.grad(total, flat)
        agree = [torch.allclose(a, b, rtol=1e-3, atol=1e-7) for a, b in zip(found, expected, strict=True)]
        assert all(agree) is not detached


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_decoders_are_those_of_the_authors_and_the_first_is_the_plain_network(name: str, dimensions: int) -> None:
    def build(upsampling: Any = "default") -> nn.Module:
        if dimensions == 2:
            return SmallUNet(in_channels=1, classes=2, filters=2, upsampling=upsampling)
        return VNet(in_channels=1, classes=2, filters=2, upsampling=upsampling)

    protocol = cast("Protocol", SimpleNamespace(supervised_loss="dice", dice_smooth=1e-5, sides=SIDES[dimensions]))
    hyper = parse_hyperparameters(METHODS[name], {}).resolved(dimensions)
    method: Any = METHODS[name](Setup(protocol, build, 2, 1), hyper)
    plain, predictor = build(), method.predictor
    assert {key: value.shape for key, value in predictor.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }
    assert method.networks == {"network": predictor}
    decoders = [method.network.decoder, *(one.decoder for one in method.auxiliary)]
    ways = {2: ["linear", "transposed", "nearest"], 3: ["transposed", "linear", "nearest"]}[dimensions]
    assert [way_of(decoder) for decoder in decoders] == ways[: NAMES[name]]
    weights = {tuple(one.segmentation_head.weight.flatten().tolist()) for one in (method.network, *method.auxiliary)}
    assert len(weights) == NAMES[name]
    assert not [key for key in method.auxiliary.state_dict() if "encoder" in key]


def way_of(decoder: nn.Module) -> str:
    kinds = {type(module) for module in decoder.modules()}
    if kinds & {nn.ConvTranspose2d, nn.ConvTranspose3d}:
        return "transposed"
    (mode,) = {module.mode for module in decoder.modules() if isinstance(module, nn.Upsample)}
    return {"bilinear": "linear", "trilinear": "linear"}.get(mode, mode)


def test_the_labelled_loss_has_its_weight() -> None:
    values = [
        only_update(laboratory("mcnet", protocol_of("paper"), supervised_weight=weight)).terms["supervised"][1].item()
        for weight in (0.5, 1.5)
    ]
    assert values[1] == pytest.approx(3 * values[0], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_under_autocast(name: str) -> None:
    lab = laboratory(name, protocol_of("paper"), build=lambda: TinyNetwork(2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        update = only_update(lab)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lab.method.parameters())

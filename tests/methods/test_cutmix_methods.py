"""MT, CPS and UCMT with CutMix: what each network sees, the losses' values, in 2D and 3D, with three classes.

Which pixels were mixed is read from the images that the networks were given.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_bench.cards import Protocol
from ssl_bench.errors import UserError
from ssl_bench.method import (  # fmt: skip
    Batch,
    Images,
    Progress,
    Setup,
    SSLMethod,
    Update,
    load_methods,
    parse_hyperparameters,
)
from ssl_bench.ops import ExponentialMovingAverage

METHODS = load_methods()
BASES = {"mt-cutmix": "mt", "cps-cutmix": "cps", "ucmt-cutmix": "ucmt"}
CLASSES, LABELED, UNLABELED = 3, 2, 3
SIDES = {2: (12, 10), 3: (6, 8, 7)}
PROGRESS = Progress(iteration=7, iterations=20, lambda_u=0.25)
VIEWS = ("student1", "student2", "teacher", "mixed")


def tiny_network(dimensions: int) -> nn.Module:
    """Convolution, batch norm, dropout, convolution: one channel to three classes."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
    return nn.Sequential(conv(1, 6, 3, padding=1), norm(6), nn.Tanh(), nn.Dropout(0.2), conv(6, CLASSES, 1, bias=False))


def protocol_of(**settings: Any) -> Protocol:
    fields = {
        "dice_smooth": 1e-5, "supervised_loss": "dice", "supervised_reduction": "sum", "unsupervised_reduction": "mean",
        "student_init": "different", "ema_decay": 0.9, "ema_warmup": False, "teacher_start": "own",
        "teacher_source": (0.75, 0.25), "teacher_mode": "train", "teacher_buffers": "own",
        "uncertainty_from": "step1", "step2_teacher": "mixed-labels", "umix_order": "simultaneous",
    }  # fmt: skip
    return cast(Protocol, SimpleNamespace(**fields | settings))


@dataclass
class Call:
    """One forward pass of one of a method's networks."""

    network: str
    images: Tensor
    logits: Tensor
    training: bool


@dataclass
class Laboratory:
    """A method on random images, with every forward pass of its networks recorded."""

    method: SSLMethod
    protocol: Protocol
    labeled: dict[str, Tensor]
    labels: Tensor
    unlabeled: dict[str, Tensor]
    calls: list[Call] = field(default_factory=list)

    def calls_of(self, network: str, since: int = 0) -> list[Call]:
        return [call for call in self.calls[since:] if call.network == network]

    def updates(self, seed: int = 2) -> Iterator[Update]:
        """Run one iteration as the training loop does."""
        torch.manual_seed(seed)
        labeled, unlabeled = (cast(Images, SimpleNamespace(**views)) for views in (self.labeled, self.unlabeled))
        optimizer = torch.optim.SGD([p for p in self.method.parameters() if p.requires_grad], lr=0.05)
        for update in self.method.updates(Batch(labeled, self.labels, unlabeled), PROGRESS):
            yield update
            optimizer.zero_grad()
            update.total.backward(retain_graph=True)
            optimizer.step()
            self.method.after_update(PROGRESS)


def laboratory(name: str, dimensions: int, **settings: Any) -> Laboratory:
    torch.manual_seed(0)
    protocol, method_type = protocol_of(**settings), METHODS[name]
    method = method_type(
        Setup(protocol, lambda **_: tiny_network(dimensions), 2, 3), method_type.hyperparameters()
    ).train()
    numbers, sides = torch.Generator().manual_seed(1), SIDES[dimensions]
    labeled = {view: torch.randn(LABELED, 1, *sides, generator=numbers) for view in VIEWS}
    unlabeled = {view: torch.randn(UNLABELED, 1, *sides, generator=numbers) for view in VIEWS}
    labels = torch.randint(0, CLASSES, (LABELED, *sides), generator=numbers)
    lab = Laboratory(method, protocol, labeled, labels, unlabeled)
    for network_name, network in method.networks.items():

        def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor, network_name: str = network_name) -> None:
            lab.calls.append(Call(network_name, inputs[0], output, module.training))

        network.register_forward_hook(record)
    return lab


def mask_of(mixed: Tensor, own: Tensor) -> np.ndarray:
    """Read from a mixed view which pixels came from the partner: (B, *sides) bool."""
    found = (mixed != own)[:, 0].numpy()
    for b, mask in enumerate(found):
        partner = own[(b + 1) % len(own), 0].numpy()
        np.testing.assert_array_equal(mixed[b, 0].numpy()[mask], partner[mask])
        assert 0 < mask.mean() < 0.6
    return found


def naive_mix(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mix (B, *sides) by the partner's pixels, one at a time."""
    mixed = maps.copy()
    for b, *place in np.argwhere(mask):
        mixed[(b, *place)] = maps[((b + 1) % len(maps), *place)]
    return mixed


def hard(logits: Tensor) -> np.ndarray:
    return np.argmax(logits.detach().numpy(), axis=1)


def naive_dice_loss(logits: Tensor, labels: np.ndarray) -> Tensor:
    """Soft Dice loss, a loop over samples and classes; in the precision of the logits."""
    losses = []
    for p, truth in zip(logits.softmax(1), labels, strict=True):
        for c in range(CLASSES):
            y = torch.from_numpy(truth == c).to(p.dtype)
            losses.append(1 - (2 * (p[c] * y).sum() + 1e-5) / (p[c].sum() + y.sum() + 1e-5))
    return torch.stack(losses).mean()


def reduced(how: str, directions: list[tuple[Tensor, np.ndarray]]) -> float:
    losses = [naive_dice_loss(logits.detach().double(), labels).item() for logits, labels in directions]
    return sum(losses) if how == "sum" else sum(losses) / len(losses)


def assert_terms(update: Update, protocol: Protocol, **terms: list[tuple[Tensor, np.ndarray]]) -> None:
    """Each term is the reduced Dice loss of its pairs of logits and labels; lambda weighs all but the supervised."""
    assert set(update.terms) == set(terms)
    for name, directions in terms.items():
        weight, value = update.terms[name]
        how = protocol.supervised_reduction if name == "supervised" else protocol.unsupervised_reduction
        assert weight == (1 if name == "supervised" else PROGRESS.lambda_u)
        assert value.item() == pytest.approx(reduced(how, directions), abs=2e-6)


def assert_gradient_of_fixed_labels(term: Tensor, logits: Tensor, *labels: np.ndarray) -> None:
    """The gradient of a term (a mean of two directions) is that against labels that are constants."""
    (found,) = torch.autograd.grad(term, logits, retain_graph=True)
    copy = logits.detach().double().requires_grad_()
    total = torch.stack([naive_dice_loss(copy, fixed) for fixed in labels]).sum()
    (expected,) = torch.autograd.grad(total, copy)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-8)


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def dimensions(request: pytest.FixtureRequest) -> int:
    return cast(int, request.param)


REDUCTIONS = [
    {"supervised_reduction": a, "unsupervised_reduction": b} for a, b in itertools.product(["sum", "mean"], repeat=2)
]


# ------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", sorted(BASES))
def test_the_class_says_what_the_base_method_says_without_umix(name: str) -> None:
    method, base = METHODS[name], METHODS[BASES[name]]
    assert method.components == base.components - {"U"}
    assert method.updates_per_iteration == base.updates_per_iteration
    assert method.dimensions == (2, 3)
    assert "BMVC 2020" in method.reference
    lab = laboratory(name, 2)
    assert lab.method.predictor_name == laboratory(BASES[name], 2).method.predictor_name


@pytest.mark.parametrize("name", sorted(BASES))
def test_hyperparameters_are_those_of_cps_with_cutmix(name: str) -> None:
    assert METHODS[name].hyperparameters().model_dump() == {"boxes": 3, "low": 0.25, "high": 0.5}


@pytest.mark.parametrize("name", sorted(BASES))
@pytest.mark.parametrize("wrong", [{"boxes": 0}, {"low": 0.0}, {"low": 1.5}, {"high": 1.1}, {"high": 0.0}])
def test_hyperparameters_have_bounds(name: str, wrong: dict[str, float]) -> None:
    (key,) = wrong
    with pytest.raises(UserError, match=rf"^--set \({name}\): {key}: "):
        parse_hyperparameters(METHODS[name], wrong)


@pytest.mark.parametrize("name", sorted(BASES))
def test_the_lowest_share_is_at_most_the_highest(name: str) -> None:
    method = METHODS[name]
    assert parse_hyperparameters(method, {"low": 0.5, "high": 0.5}).low == 0.5
    with pytest.raises(UserError, match=r"low 0\.6 must be at most high 0\.5"):
        parse_hyperparameters(method, {"low": 0.6})


@pytest.mark.parametrize("name", sorted(BASES))
def test_hyperparameters_reach_the_boxes(name: str, dimensions: int) -> None:
    """With one box as large as the image a sample becomes its partner, whole."""
    lab = laboratory(name, dimensions)
    lab.method.hyper = METHODS[name].hyperparameters(boxes=1, low=1.0, high=1.0)
    list(lab.updates())
    view = "mixed" if name == "ucmt-cutmix" else "student1"
    first = "student" if name == "mt-cutmix" else "student1"
    assert torch.equal(lab.calls_of(first)[-1].images, lab.unlabeled[view].roll(-1, 0))


@pytest.mark.parametrize("name", sorted(BASES))
def test_every_term_reaches_every_student_and_none_a_teacher(name: str, dimensions: int) -> None:
    lab = laboratory(name, dimensions)
    for update in lab.updates():
        for term, (_, value) in update.terms.items():
            for network_name, network in lab.method.networks.items():
                if isinstance(network, ExponentialMovingAverage):
                    assert not any(p.requires_grad for p in network.parameters())
                    continue
                gradients = torch.autograd.grad(value, list(network.parameters()), retain_graph=True)
                assert any(g.abs().sum() > 0 for g in gradients), f"{term} does not reach {network_name}"


@pytest.mark.parametrize("name", sorted(BASES))
def test_the_seed_decides_an_iteration(name: str, dimensions: int) -> None:
    ends = []
    for seed in (5, 5, 6):
        lab = laboratory(name, dimensions)
        list(lab.updates(seed))
        ends.append(torch.cat([p.detach().flatten() for p in lab.method.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


# ------------------------------------------------------------------------------------------------------------ mt-cutmix


def test_mts_student_learns_the_mix_of_the_teachers_labels(dimensions: int) -> None:
    lab = laboratory("mt-cutmix", dimensions)
    (update,) = lab.updates()
    on_labeled, mixed = lab.calls_of("student")
    (teacher,) = lab.calls_of("teacher")
    assert on_labeled.images is lab.labeled["student1"]
    assert teacher.images is lab.unlabeled["teacher"]
    assert not teacher.logits.requires_grad
    mask = mask_of(mixed.images, lab.unlabeled["student1"])
    labels = naive_mix(hard(teacher.logits), mask)
    assert not np.array_equal(labels, hard(teacher.logits))
    assert_terms(
        update, lab.protocol, supervised=[(on_labeled.logits, lab.labels.numpy())], mts=[(mixed.logits, labels)]
    )
    assert update.branches is not None
    y1, y0 = update.branches
    assert y1 is mixed.logits
    for c in range(CLASSES):
        np.testing.assert_array_equal(y0[:, c].numpy(), naive_mix(teacher.logits[:, c].numpy(), mask))


# ----------------------------------------------------------------------------------------------------------- cps-cutmix


@pytest.mark.parametrize("reductions", REDUCTIONS, ids=lambda r: ", ".join(r.values()))
def test_cps_students_learn_the_mix_of_each_others_labels(dimensions: int, reductions: dict[str, str]) -> None:
    lab = laboratory("cps-cutmix", dimensions, **reductions)
    (update,) = lab.updates()
    calls = [lab.calls_of(name) for name in ("student1", "student2")]
    views = ("student1", "student2")
    for (on_labeled, unmixed, _), view in zip(calls, views, strict=True):
        assert on_labeled.images is lab.labeled[view]
        assert unmixed.images is lab.unlabeled[view]
        assert unmixed.training
        assert not unmixed.logits.requires_grad
    (first, before1, y1), (second, before2, y2) = calls
    mask, other = (mask_of(c[2].images, lab.unlabeled[view]) for c, view in zip(calls, views, strict=True))
    np.testing.assert_array_equal(mask, other)
    labels1, labels2 = (naive_mix(hard(call.logits), mask) for call in (before1, before2))
    truth = lab.labels.numpy()
    assert_terms(
        update,
        lab.protocol,
        supervised=[(first.logits, truth), (second.logits, truth)],
        cps=[(y1.logits, labels2), (y2.logits, labels1)],
    )
    assert update.branches is not None
    assert update.branches[0] is y1.logits
    assert update.branches[1] is y2.logits


def test_cps_pseudo_labels_are_constants(dimensions: int) -> None:
    lab = laboratory("cps-cutmix", dimensions, unsupervised_reduction="sum")
    update = next(lab.updates())
    (_, before1, y1), (_, before2, y2) = (lab.calls_of(name) for name in ("student1", "student2"))
    mask = mask_of(y1.images, lab.unlabeled["student1"])
    cps = update.terms["cps"][1]
    assert_gradient_of_fixed_labels(cps, y1.logits, naive_mix(hard(before2.logits), mask))
    assert_gradient_of_fixed_labels(cps, y2.logits, naive_mix(hard(before1.logits), mask))


# ---------------------------------------------------------------------------------------------------------- ucmt-cutmix


def test_the_first_step_of_ucmt_cutmix_is_cmtv3s(dimensions: int) -> None:
    ucmt, cmtv3 = laboratory("ucmt-cutmix", dimensions), laboratory("cmtv3", dimensions)
    first, only = next(ucmt.updates()), next(cmtv3.updates())
    assert set(first.terms) == set(only.terms)
    for term, (weight, value) in only.terms.items():
        assert first.terms[term][0] == weight
        assert torch.equal(first.terms[term][1], value)
    for one, two in zip(ucmt.calls, cmtv3.calls, strict=True):
        assert one.network == two.network
        assert torch.equal(one.images, two.images)


@pytest.mark.parametrize("uncertainty_from", ["step1", "after-update"])
@pytest.mark.parametrize("step2_teacher", ["mixed-labels", "run-again"])
@pytest.mark.parametrize("reductions", REDUCTIONS[:2], ids=lambda r: ", ".join(r.values()))
def test_ucmts_second_step_is_on_mixed_images_and_labels(
    dimensions: int, step2_teacher: str, uncertainty_from: str, reductions: dict[str, str]
) -> None:
    settings = {"step2_teacher": step2_teacher, "uncertainty_from": uncertainty_from, **reductions}
    lab = laboratory("ucmt-cutmix", dimensions, **settings)
    updates = lab.updates()
    next(updates)
    begin = len(lab.calls)
    update = next(updates)
    assert not list(updates)
    (labeled1, unlabeled1), (labeled2, unlabeled2) = (lab.calls_of(f"student{i}", begin) for i in (1, 2))
    assert torch.equal(labeled1.images, labeled2.images)
    assert torch.equal(unlabeled1.images, unlabeled2.images)
    labeled_mask = mask_of(labeled1.images, lab.labeled["mixed"])
    unlabeled_mask = mask_of(unlabeled1.images, lab.unlabeled["mixed"])
    assert not np.array_equal(labeled_mask, unlabeled_mask[:LABELED])
    again = lab.calls_of("teacher", begin)
    if step2_teacher == "run-again":
        (teacher,) = again
        assert torch.equal(teacher.images, unlabeled1.images)
        pseudo_labels = hard(teacher.logits)
    else:
        assert not again
        (teacher,) = lab.calls_of("teacher")
        assert teacher.images is lab.unlabeled["teacher"]
        pseudo_labels = naive_mix(hard(teacher.logits), unlabeled_mask)
        assert not np.array_equal(pseudo_labels, hard(teacher.logits))
    labels = naive_mix(lab.labels.numpy(), labeled_mask)
    y1, y2 = unlabeled1.logits, unlabeled2.logits
    assert_terms(
        update,
        lab.protocol,
        supervised=[(labeled1.logits, labels), (labeled2.logits, labels)],
        cps=[(y1, hard(y2)), (y2, hard(y1))],
        mts=[(y1, pseudo_labels), (y2, pseudo_labels)],
    )
    assert update.branches is not None
    assert update.branches[0] is y1
    assert update.branches[1] is y2


def test_ucmts_second_pseudo_labels_are_constants(dimensions: int) -> None:
    lab = laboratory("ucmt-cutmix", dimensions, unsupervised_reduction="sum")
    updates = lab.updates()
    next(updates)
    begin = len(lab.calls)
    update = next(updates)
    y1, y2 = (lab.calls_of(f"student{i}", begin)[1] for i in (1, 2))
    (teacher,) = lab.calls_of("teacher")
    pseudo_labels = naive_mix(hard(teacher.logits), mask_of(y1.images, lab.unlabeled["mixed"]))
    for own, other in [(y1, y2), (y2, y1)]:
        both = update.terms["cps"][1] + update.terms["mts"][1]
        assert_gradient_of_fixed_labels(both, own.logits, hard(other.logits), pseudo_labels)

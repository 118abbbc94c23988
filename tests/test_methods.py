"""The method contract, for every method of the registry; the losses' values; UCMT's second step; the registry."""

import dataclasses
import hashlib
import importlib.metadata
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_bench import method as registry_module
from ssl_bench.errors import UserError
from ssl_bench.method import (
    Batch,
    Hyperparameters,
    Images,
    Progress,
    Setup,
    SSLMethod,
    Update,
    find_method,
    load_methods,
    parse_hyperparameters,
    register,
    source_hash,
)
from ssl_bench.ops import ExponentialMovingAverage
from ssl_bench.spec import Protocol, load_protocol

METHODS = load_methods()
NAMES = sorted(METHODS)
PROTOCOLS = ["paper", "released-code", "mini"]
CMT_FAMILY = ["cmtv1", "cmtv2", "cmtv3", "ucmt"]
SIDE, CLASSES, LABELED, UNLABELED = 32, 2, 3, 2
PROGRESS = Progress(iteration=7, iterations=20, lambda_u=0.0625)
VIEWS = ("weak", "strong1", "strong2")

# What the paper's Table 4 and PROTOCOLS.md say of each method: its check marks, its loss terms, the network scored, and
# the two branches of Figure 1.
TABLE_4 = {
    "supervised": set(),
    "mt": {"TS", "L_mts"},
    "cps": {"SS", "L_cps"},
    "cmtv1": {"STS", "L_mts"},
    "cmtv2": {"STS", "L_cps"},
    "cmtv3": {"STS", "L_cps", "L_mts"},
    "ucmt": {"STS", "L_cps", "L_mts", "U"},
}
TERMS = {
    "supervised": {"supervised"},
    "mt": {"supervised", "mts"},
    "cps": {"supervised", "cps"},
    "cmtv1": {"supervised", "mts"},
    "cmtv2": {"supervised", "cps"},
    "cmtv3": {"supervised", "cps", "mts"},
    "ucmt": {"supervised", "cps", "mts"},
}
SCORED = {"supervised": "network", "mt": "teacher", "cps": "student1"} | dict.fromkeys(CMT_FAMILY, "teacher")
BRANCHES = {"mt": ("student", "teacher")} | dict.fromkeys(["cps", *CMT_FAMILY], ("student1", "student2"))
STUDENTS = {"supervised": ("network",), "mt": ("student",)} | dict.fromkeys(
    ["cps", *CMT_FAMILY], ("student1", "student2")
)


# -------------------------------------------------------------------------------------------------- a tiny laboratory


class TinyNetwork(nn.Sequential):
    """Convolution, batch norm, dropout, convolution: (B, 3, H, W) -> (B, 2, H, W), about as much of each class."""

    def __init__(self) -> None:
        head = nn.Conv2d(6, CLASSES, 1, bias=False)
        super().__init__(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.2), head)


@dataclass
class Call:
    """One forward pass of one of a method's networks."""

    network: str
    images: Tensor
    logits: Tensor


@dataclass
class Laboratory:
    """A method on random images, with every forward pass of its networks recorded."""

    method: SSLMethod
    protocol: Protocol
    batch: Batch
    labeled: dict[str, Tensor]
    unlabeled: dict[str, Tensor]
    calls: list[Call] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def logits(self, network: str, images: Tensor) -> Tensor:
        """The output of the one pass of a network over just these images."""
        (call,) = [c for c in self.calls if c.network == network and c.images is images]
        return call.logits

    def calls_of(self, network: str, since: int = 0) -> list[Call]:
        return [call for call in self.calls[since:] if call.network == network]

    def trained(self) -> dict[str, nn.Module]:
        """The networks that the optimiser moves."""
        networks = self.method.networks.items()
        return {name: net for name, net in networks if any(p.requires_grad for p in net.parameters())}

    def updates(self, learning_rate: float = 0.05) -> Iterator[Update]:
        """Run one iteration as the training loop does."""
        optimizer = torch.optim.SGD([p for p in self.method.parameters() if p.requires_grad], lr=learning_rate)
        for update in self.method.updates(self.batch, PROGRESS):
            yield update
            optimizer.zero_grad()
            update.total.backward()
            optimizer.step()
            self.method.after_update(PROGRESS)


def random_views(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {name: torch.randn(count, 3, SIDE, SIDE, generator=generator) for name in VIEWS}


def images_of(views: dict[str, Tensor], asked: set[str], part: str, **names: str) -> Images:
    def view(name: str) -> Tensor:
        asked.add(f"{part} {name}")
        return views[name]

    return Images(view, **names)


def protocol_of(name: str, **settings: Any) -> Protocol:
    return load_protocol(name, {"image_size": SIDE, "augment_size": SIDE, "lambda_max": 0.1, **settings})


def hyper_of(method: type[SSLMethod], **values: Any) -> Hyperparameters:
    """A method's hyperparameters with four regions a side where it cuts images into regions."""
    return method.hyperparameters(**({"r": 4} if "r" in method.hyperparameters.model_fields else {}), **values)


def laboratory(name: str, protocol: Protocol, seed: int = 0, **hyper: Any) -> Laboratory:
    torch.manual_seed(seed)
    method = METHODS[name](Setup(protocol, TinyNetwork), hyper_of(METHODS[name], **hyper)).train()
    generator = torch.Generator().manual_seed(seed + 1)
    labeled, unlabeled = random_views(LABELED, generator), random_views(UNLABELED, generator)
    labels = torch.randint(0, CLASSES, (LABELED, SIDE, SIDE), generator=generator)
    views, asked = protocol.views, set()
    batch = Batch(
        labeled=images_of(
            labeled, asked, "labeled", student1=views.labeled_student1, student2=views.labeled_student2,
            teacher=views.labeled_teacher, mixed=views.labeled_mixed,
        ),
        labels=labels,
        unlabeled=images_of(
            unlabeled, asked, "unlabeled", student1=views.student1, student2=views.student2, teacher=views.teacher,
            mixed=views.mixed,
        ),
    )  # fmt: skip
    lab = Laboratory(method, protocol, batch, labeled, unlabeled, asked=asked)
    for network_name, network in method.networks.items():

        def record(_: nn.Module, inputs: tuple[Tensor], output: Tensor, network_name: str = network_name) -> None:
            lab.calls.append(Call(network_name, inputs[0], output))

        network.register_forward_hook(record)
    return lab


@pytest.fixture(params=list(itertools.product(NAMES, PROTOCOLS)), ids=lambda case: f"{case[0]}, {case[1]}")
def lab(request: pytest.FixtureRequest) -> Laboratory:
    """Every method under every protocol."""
    name, protocol = request.param
    return laboratory(name, protocol_of(protocol))


def teachers(method: SSLMethod) -> list[nn.Module]:
    return [network for network in method.networks.values() if isinstance(network, ExponentialMovingAverage)]


def naive_dice_loss(logits: Tensor, labels: Tensor | np.ndarray, smooth: float) -> float:
    """Soft Dice loss in float64, a loop over samples and classes."""
    scores = logits.detach().double().numpy()
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    losses = []
    for p, truth in zip(probabilities, np.asarray(labels), strict=True):
        for c in range(CLASSES):
            y = (truth == c).astype(np.float64)
            losses.append(1 - (2 * (p[c] * y).sum() + smooth) / (p[c].sum() + y.sum() + smooth))
    return float(np.mean(losses))


def reduced(how: str, losses: list[float]) -> float:
    return sum(losses) if how == "sum" else sum(losses) / len(losses)


def naive_terms(
    name: str,
    protocol: Protocol,
    on_labeled: list[Tensor],
    labels: Any,
    on_unlabeled: list[Tensor],
    teacher_labels: Any,
) -> dict[str, float]:
    """The values of a step's loss terms from the students' logits: equations 3, 5 and 7."""
    s = protocol.dice_smooth
    terms = {"supervised": reduced(protocol.supervised_reduction, [naive_dice_loss(y, labels, s) for y in on_labeled])}
    if "cps" in TERMS[name]:
        y1, y2 = on_unlabeled
        directions = [naive_dice_loss(y1, hard(y2), s), naive_dice_loss(y2, hard(y1), s)]
        terms["cps"] = reduced(protocol.unsupervised_reduction, directions)
    if "mts" in TERMS[name]:
        directions = [naive_dice_loss(y, teacher_labels, s) for y in on_unlabeled]
        terms["mts"] = reduced(protocol.unsupervised_reduction, directions)
    return terms


def hard(logits: Tensor) -> np.ndarray:
    """Hard labels: the class of the largest logit."""
    return np.argmax(logits.detach().numpy(), axis=1)


def assert_terms(update: Update, expected: dict[str, float]) -> None:
    assert {name: value.item() for name, (_, value) in update.terms.items()} == pytest.approx(expected, abs=2e-6)


# ---------------------------------------------------------------------------------------- the contract, every method


def test_the_registry_has_the_papers_methods() -> None:
    assert set(TABLE_4) <= set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name
        assert method.title
        assert method.reference


def test_it_yields_as_many_updates_as_it_says(lab: Laboratory) -> None:
    assert len(list(lab.updates())) == lab.method.updates_per_iteration


def test_only_ucmt_updates_twice() -> None:
    assert {name for name in TABLE_4 if METHODS[name].updates_per_iteration == 2} == {"ucmt"}
    assert all(METHODS[name].updates_per_iteration == 1 for name in TABLE_4 if name != "ucmt")


def test_no_gradient_reaches_a_teacher(lab: Laboratory) -> None:
    parameters = [parameter for teacher in teachers(lab.method) for parameter in teacher.parameters()]
    before = [parameter.clone() for parameter in parameters]
    for update in lab.updates():
        assert not any(parameter.requires_grad for parameter in parameters)
        update.total.backward(retain_graph=True)
        assert all(parameter.grad is None for parameter in parameters)
    assert all(parameter.grad is None for parameter in parameters)
    for call in lab.calls:
        if isinstance(lab.method.networks[call.network], ExponentialMovingAverage):
            assert not call.logits.requires_grad
    if parameters:  # and yet it moves, by its average alone
        assert any(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))


def test_a_teacher_moves_only_in_after_update(lab: Laboratory) -> None:
    parameters = [parameter for teacher in teachers(lab.method) for parameter in teacher.parameters()]
    generator = lab.method.updates(lab.batch, PROGRESS)
    for update in generator:
        before = [parameter.clone() for parameter in parameters]
        update.total.backward()
        assert all(torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
        lab.method.after_update(PROGRESS)


def test_methods_have_the_networks_that_the_paper_gives_them() -> None:
    for name in TABLE_4:
        lab = laboratory(name, protocol_of("paper"))
        assert set(lab.trained()) == set(STUDENTS[name])
        expected_teachers = {"teacher"} if TABLE_4[name] & {"TS", "STS"} else set()
        assert set(lab.method.networks) - set(STUDENTS[name]) == expected_teachers
        assert len(teachers(lab.method)) == len(expected_teachers)


def test_every_term_reaches_every_student(lab: Laboratory) -> None:
    for update in lab.updates():
        for term, (_, value) in update.terms.items():
            assert value.shape == ()
            for name, network in lab.trained().items():
                parameters = [p for p in network.parameters() if p.requires_grad]
                gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
                found = [g for g in gradients if g is not None]
                assert any(g.abs().sum() > 0 for g in found), f"{term} does not reach {name}"
                assert all(torch.isfinite(g).all() for g in found)


@pytest.mark.parametrize("name", sorted(TABLE_4))
def test_the_terms_are_those_of_the_paper(name: str) -> None:
    for update in laboratory(name, protocol_of("paper")).updates():
        assert set(update.terms) == TERMS[name]


def test_lambda_multiplies_the_unsupervised_terms_alone(lab: Laboratory) -> None:
    for update in lab.updates():
        weights = {term: weight for term, (weight, _) in update.terms.items()}
        assert weights.pop("supervised") == 1
        assert all(weight == PROGRESS.lambda_u for weight in weights.values())
        assert bool(weights) == lab.method.uses_unlabeled


def test_the_total_is_the_weighted_sum(lab: Laboratory) -> None:
    for update in lab.updates():
        expected = math.fsum(weight * value.item() for weight, value in update.terms.values())
        assert update.total.shape == ()
        assert update.total.item() == pytest.approx(expected, rel=1e-6)


def test_with_lambda_zero_the_gradient_is_the_supervised_one(lab: Laboratory) -> None:
    progress = dataclasses.replace(PROGRESS, lambda_u=0.0)
    update = next(lab.method.updates(lab.batch, progress))
    parameters = [p for network in lab.trained().values() for p in network.parameters()]
    whole = torch.autograd.grad(update.total, parameters, retain_graph=True)
    supervised = torch.autograd.grad(update.terms["supervised"][1], parameters)
    for a, b in zip(whole, supervised, strict=True):
        torch.testing.assert_close(a, b)


def test_labels_of_unlabelled_images_cannot_be_seen(lab: Laboratory) -> None:
    assert Batch._fields == ("labeled", "labels", "unlabeled")
    assert len(lab.batch.labels) == LABELED != UNLABELED
    assert not [name for name in dir(lab.batch.unlabeled) if "label" in name or "mask" in name]


def test_labels_decide_the_supervised_term_alone(lab: Laboratory) -> None:
    state = {key: value.clone() for key, value in lab.method.state_dict().items()}
    values = []
    for labels in (lab.batch.labels, 1 - lab.batch.labels):
        lab.method.load_state_dict(state)
        torch.manual_seed(3)  # dropout
        updates = list(lab.method.updates(lab.batch._replace(labels=labels), PROGRESS))  # no optimiser step
        values.append([{term: value.item() for term, (_, value) in update.terms.items()} for update in updates])
    for first, second in zip(*values, strict=True):
        assert first.pop("supervised") != second.pop("supervised")
        assert first == second


def test_the_predictor_is_one_of_the_networks(lab: Laboratory) -> None:
    networks = lab.method.networks
    assert any(lab.method.predictor is network for network in networks.values())
    assert networks[lab.method.predictor_name] is lab.method.predictor
    lab.method.eval()
    with torch.no_grad():
        assert lab.method.predictor(torch.randn(2, 3, SIDE, SIDE)).shape == (2, CLASSES, SIDE, SIDE)


@pytest.mark.parametrize("name", sorted(TABLE_4))
def test_the_network_scored_is_the_one_that_is_settled(name: str) -> None:
    method = laboratory(name, protocol_of("paper")).method
    assert method.predictor_name == SCORED[name]


def test_branches_are_logits_on_the_unlabelled_images(lab: Laboratory) -> None:
    updates = list(lab.updates())
    assert (updates[0].branches is not None) == lab.method.uses_unlabeled
    for update in updates:
        if update.branches is not None:
            assert [branch.shape for branch in update.branches] == [(UNLABELED, CLASSES, SIDE, SIDE)] * 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", sorted(BRANCHES))
def test_branches_are_the_two_of_figure_1_as_each_sees_the_images(name: str, protocol: str) -> None:
    lab = laboratory(name, protocol_of(protocol))
    views = lab.protocol.views
    seen = {"student": views.student1, "student1": views.student1, "student2": views.student2, "teacher": views.teacher}
    first = next(lab.updates())
    assert first.branches is not None
    for branch, network in zip(first.branches, BRANCHES[name], strict=True):
        assert branch is lab.logits(network, lab.unlabeled[seen[network]])


@pytest.mark.parametrize("name", sorted(TABLE_4))
def test_components_are_table_4s_check_marks(name: str) -> None:
    assert METHODS[name].components == TABLE_4[name]


@pytest.mark.parametrize("name", sorted(TABLE_4))
def test_every_network_sees_the_view_that_the_protocol_gives_it(name: str) -> None:
    views = {
        "views.labeled_student1": "strong2", "views.labeled_student2": "strong2", "views.labeled_teacher": "strong1", "views.student1": "weak",
        "views.student2": "strong1", "views.teacher": "strong2",
    }  # fmt: skip
    lab = laboratory(name, protocol_of("paper", **views))
    next(lab.updates())
    seen: dict[str, list[Tensor]] = {}
    for call in lab.calls:
        seen.setdefault(call.network, []).append(call.images)
    labeled, unlabeled = lab.labeled, lab.unlabeled
    first = [labeled["strong2"], unlabeled["weak"]]
    expected = {
        "network": [labeled["strong2"]], "student": first, "student1": first,
        "student2": [labeled["strong2"], unlabeled["strong1"]],
        "teacher": [labeled["strong1"], unlabeled["strong2"]] if name == "ucmt" else [unlabeled["strong2"]],
    }  # fmt: skip
    if name == "cmtv2":
        expected["teacher"] = seen.get("teacher", [])  # it has no loss on it
    for network, images in seen.items():
        assert [id(i) for i in images] == [id(i) for i in expected[network]], network


def test_supervised_does_not_ask_for_unlabelled_images() -> None:
    lab = laboratory("supervised", protocol_of("paper"))
    list(lab.updates())
    assert lab.asked == {"labeled weak"}
    assert not METHODS["supervised"].uses_unlabeled
    assert all(METHODS[name].uses_unlabeled for name in TABLE_4 if name != "supervised")


def test_after_an_iteration_the_students_have_learnt(lab: Laboratory) -> None:
    before = {name: [p.clone() for p in net.parameters()] for name, net in lab.trained().items()}
    list(lab.updates())
    for name, network in lab.trained().items():
        moved = [not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True)]
        assert any(moved), name


def test_methods_are_deterministic(lab: Laboratory) -> None:
    state = {key: value.clone() for key, value in lab.method.state_dict().items()}
    ends = []
    for _ in range(2):
        lab.method.load_state_dict(state)
        torch.manual_seed(5)
        list(lab.updates())
        ends.append({key: value.clone() for key, value in lab.method.state_dict().items()})
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in state)


# ------------------------------------------------------------------------------------------- how networks are started


def state_of(network: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in network.parameters()]


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(state_of(first), state_of(second), strict=True))


@pytest.mark.parametrize("name", ["cps", *CMT_FAMILY])
def test_students_start_as_the_protocol_says(name: str) -> None:
    different = laboratory(name, protocol_of("paper", student_init="different")).method
    assert not same(different.student1, different.student2)
    alike = laboratory(name, protocol_of("paper", student_init="same")).method
    assert same(alike.student1, alike.student2)
    assert alike.student1 is not alike.student2
    assert alike.student1[0].weight is not alike.student2[0].weight


@pytest.mark.parametrize("student_init", ["same", "different"])
@pytest.mark.parametrize("name", ["mt", *CMT_FAMILY])
def test_the_teacher_starts_as_the_protocol_says(name: str, student_init: str) -> None:
    own = laboratory(name, protocol_of("paper", teacher_start="own", student_init=student_init)).method
    students = [network for network in own.networks.values() if network is not own.teacher]
    assert not any(same(own.teacher, student) for student in students)
    copied = laboratory(name, protocol_of("paper", teacher_start="student1", student_init=student_init)).method
    first = copied.student if name == "mt" else copied.student1
    assert same(copied.teacher, first)
    assert copied.teacher.network[0].weight is not first[0].weight


@pytest.mark.parametrize("name", ["mt", *CMT_FAMILY])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_teacher_is_the_protocols(name: str, protocol: str) -> None:
    lab = laboratory(name, protocol_of(protocol))
    teacher = lab.method.teacher
    assert all(module.training == (lab.protocol.teacher_mode == "train") for module in teacher.modules())
    assert (teacher.decay, teacher.warmup) == (lab.protocol.ema_decay, lab.protocol.ema_warmup)
    assert teacher.source == ((1.0,) if name == "mt" else lab.protocol.teacher_source)
    assert teacher.average_buffers == (lab.protocol.teacher_buffers == "ema")


@pytest.mark.parametrize("name", ["mt", *CMT_FAMILY])
@pytest.mark.parametrize(("iteration", "alpha"), [(1, 0.0), (2, 0.5), (4, 0.75), (1000, 0.9)])
def test_iterations_count_from_zero_in_the_decays_warm_up(name: str, iteration: int, alpha: float) -> None:
    protocol = protocol_of("paper", ema_warmup=True, ema_decay=0.9, teacher_source=[0.75, 0.25])
    method = laboratory(name, protocol).method
    before = [p.double() for p in state_of(method.teacher)]
    students = [method.student] if name == "mt" else [method.student1, method.student2]
    weights = [1.0] if name == "mt" else [0.75, 0.25]
    method.after_update(Progress(iteration, 2000, 0.1))
    for i, found in enumerate(state_of(method.teacher)):
        mean = sum(w * state_of(student)[i].double() for w, student in zip(weights, students, strict=True))
        torch.testing.assert_close(found.double(), alpha * before[i] + (1 - alpha) * mean, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ the losses' values


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("unsupervised", ["sum", "mean"])
@pytest.mark.parametrize("supervised", ["sum", "mean"])
@pytest.mark.parametrize("name", ["supervised", "mt", "cps", *CMT_FAMILY])
def test_the_first_losses_are_the_papers_formulas(name: str, supervised: str, unsupervised: str, protocol: str) -> None:
    settings = {"supervised_reduction": supervised, "unsupervised_reduction": unsupervised}
    lab = laboratory(name, protocol_of(protocol, **settings))
    update = next(lab.updates())
    views = lab.protocol.views
    students = STUDENTS[name]
    on_labeled = [lab.logits(student, lab.labeled[views.labeled_student1]) for student in students]
    on_unlabeled, teacher_labels = [], None
    if name != "supervised":
        seen = [views.student1, views.student2]
        on_unlabeled = [lab.logits(student, lab.unlabeled[view]) for student, view in zip(students, seen, strict=False)]
    if "mts" in TERMS[name]:
        teacher_labels = hard(lab.logits("teacher", lab.unlabeled[views.teacher]))
    assert_terms(
        update, naive_terms(name, lab.protocol, on_labeled, lab.batch.labels.numpy(), on_unlabeled, teacher_labels)
    )


@pytest.mark.parametrize("name", ["mt", "cps", "cmtv3"])
def test_pseudo_labels_are_constants(name: str) -> None:
    """The gradient is that of the loss against fixed labels: none flows through the network that made them."""
    lab = laboratory(name, protocol_of("paper"))
    update = next(lab.updates())
    first = "student" if name == "mt" else "student1"
    y1 = lab.logits(first, lab.unlabeled["strong1"])
    labels = [hard(lab.logits("teacher", lab.unlabeled["weak"]))] if name != "cps" else []
    if name != "mt":
        labels.append(hard(lab.logits("student2", lab.unlabeled["strong2"])))
    unsupervised = sum(value for term, (_, value) in update.terms.items() if term != "supervised")
    (found,) = torch.autograd.grad(unsupervised, y1, retain_graph=True)
    logits = y1.detach().double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for fixed in labels:
        p, y = logits.softmax(1), torch.stack([torch.from_numpy(fixed == c) for c in range(CLASSES)], 1).double()
        for b, c in itertools.product(range(UNLABELED), range(CLASSES)):
            dice = (2 * (p[b, c] * y[b, c]).sum() + 1e-5) / (p[b, c].sum() + y[b, c].sum() + 1e-5)
            total = total + (1 - dice) / (UNLABELED * CLASSES)
    (expected,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-9)


# ------------------------------------------------------------------------------------------------ UCMT's second step

R = 4
BOXES = [
    (slice(None), slice(i, i + SIDE // R), slice(j, j + SIDE // R))
    for i, j in itertools.product(range(0, SIDE, SIDE // R), repeat=2)
]


@dataclass
class SecondStep:
    """One UCMT iteration, split where the second step begins."""

    lab: Laboratory
    first: Update
    second: Update
    begin: int  # number of forward passes in step 1
    labeled: Tensor
    unlabeled: Tensor


def second_step(protocol: Protocol, seed: int = 0, **hyper: Any) -> SecondStep:
    lab = laboratory("ucmt", protocol, seed, **hyper)
    updates = lab.updates(learning_rate=2.0)  # so that maps after the update are others than those before
    first = next(updates)
    begin = len(lab.calls)
    second = next(updates)
    mixed = [call.images for call in lab.calls_of("student1", begin)][-2:]
    with pytest.raises(StopIteration):
        next(updates)
    return SecondStep(lab, first, second, begin, *mixed)


def sources_of(mixed: Tensor, original: Tensor) -> list[list[int]]:
    """Read from the pixels which region each region of a mixed image comes from, sample by sample."""
    found = []
    for after, before in zip(mixed.numpy(), original.numpy(), strict=True):
        pieces = [before[box] for box in BOXES]
        matches = [[i for i, piece in enumerate(pieces) if np.array_equal(after[box], piece)] for box in BOXES]
        assert all(len(match) == 1 for match in matches)
        found.append([match[0] for match in matches])
    return found


def rearranged(labels: np.ndarray, sources: list[list[int]]) -> np.ndarray:
    """Bring label maps (B, H, W) into the order of the regions of mixed images."""
    result = labels.copy()
    for b, plan in enumerate(sources):
        for target, source in enumerate(plan):
            result[b : b + 1][BOXES[target]] = labels[b : b + 1][BOXES[source]]
    return result


def naive_plan(y1: Tensor, y2: Tensor, y0: Tensor, k: int, order: str) -> list[list[int]]:
    """UMIX by equation 8 and section 3.4: the region that each region's content comes from, sample by sample."""
    p1, p2, p0 = (np.exp(y) / np.exp(y).sum(axis=1, keepdims=True) for y in (t.double().numpy() for t in (y1, y2, y0)))
    plans = []
    for b in range(len(p0)):
        ranks = []
        for p in (p1, p2):
            mean = (p[b] + p0[b]) / 2
            entropy = -(mean * np.log(mean)).sum(axis=0, keepdims=True)
            values = [float(entropy[box].mean()) for box in BOXES]
            ranks.append(sorted(range(R * R), key=values.__getitem__))
        certain1, certain2 = (rank[:k] for rank in ranks)
        uncertain1, uncertain2 = (rank[::-1][:k] for rank in ranks)
        plan = dict(zip(uncertain1, certain2, strict=True))
        if order == "simultaneous":
            plan = dict(zip(uncertain2, certain1, strict=True)) | plan
        else:
            plan |= {t: plan.get(s, s) for t, s in zip(uncertain2, certain1, strict=True)}
        plans.append([plan.get(region, region) for region in range(R * R)])
    return plans


SWITCHES = list(
    itertools.product(["step1", "after-update"], ["mixed-labels", "run-again"], ["simultaneous", "in-place"])
)


@pytest.fixture(params=SWITCHES, ids=", ".join)
def switches(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(zip(("uncertainty_from", "step2_teacher", "umix_order"), request.param, strict=True))


def test_both_students_see_the_same_mixed_images_and_nothing_else(switches: dict[str, str]) -> None:
    step = second_step(protocol_of("released-code", **switches))
    last = {name: step.lab.calls_of(name, step.begin)[-2:] for name in ("student1", "student2")}
    for one, two in zip(last["student1"], last["student2"], strict=True):
        assert torch.equal(one.images, two.images)
    assert step.labeled.shape == (LABELED, 3, SIDE, SIDE)
    assert step.unlabeled.shape == (UNLABELED, 3, SIDE, SIDE)
    assert not torch.equal(step.labeled, step.lab.labeled["strong1"])
    assert not torch.equal(step.unlabeled, step.lab.unlabeled["strong1"])


@pytest.mark.parametrize("view", VIEWS)
def test_the_view_that_is_mixed_is_the_protocols(view: str) -> None:
    step = second_step(protocol_of("released-code", **{"views.mixed": view, "views.labeled_mixed": view}))
    sources_of(step.labeled, step.lab.labeled[view])
    sources_of(step.unlabeled, step.lab.unlabeled[view])


def test_forward_passes_of_the_second_step(switches: dict[str, str]) -> None:
    step = second_step(protocol_of("paper", **switches))
    again = 2 if switches["uncertainty_from"] == "after-update" else 0
    on_mixed = 1 if switches["step2_teacher"] == "run-again" else 0
    counts = {name: len(step.lab.calls_of(name, step.begin)) for name in ("student1", "student2", "teacher")}
    assert counts == {"student1": again + 2, "student2": again + 2, "teacher": again + on_mixed}
    first = {name: len(step.lab.calls_of(name)) - count for name, count in counts.items()}
    assert first == {"student1": 2, "student2": 2, "teacher": 2}


def test_maps_after_the_update_are_made_without_a_graph() -> None:
    step = second_step(protocol_of("paper", uncertainty_from="after-update"))
    calls = step.lab.calls[step.begin :]
    again = [call for call in calls if any(call.images is i for i in step.lab.labeled.values())]
    again += [call for call in calls if any(call.images is i for i in step.lab.unlabeled.values())]
    assert len(again) == 6
    assert not any(call.logits.requires_grad for call in again)


@pytest.mark.parametrize("protocol", ["paper", "mini"])
@pytest.mark.parametrize("k", [2, 8])
def test_images_are_mixed_by_the_maps_that_the_protocol_names(switches: dict[str, str], protocol: str, k: int) -> None:
    step = second_step(protocol_of(protocol, **switches), k=k)
    views = step.lab.protocol.views
    begin = step.begin if switches["uncertainty_from"] == "after-update" else 0
    calls = step.lab.calls[begin : None if begin else step.begin]
    parts = [
        (step.labeled, step.lab.labeled, [views.labeled_student1, views.labeled_student2, views.labeled_teacher]),
        (step.unlabeled, step.lab.unlabeled, [views.student1, views.student2, views.teacher]),
    ]
    for mixed, originals, seen in parts:
        y1, y2, y0 = (
            next(c.logits for c in calls if c.network == network and c.images is originals[view]).detach()
            for network, view in zip(("student1", "student2", "teacher"), seen, strict=True)
        )
        expected = naive_plan(y1, y2, y0, k, switches["umix_order"])
        assert sources_of(mixed, originals[views.mixed]) == expected


def test_maps_after_the_update_are_others_than_those_before() -> None:
    """Without this the test above could not tell the two apart."""
    plans = [
        sources_of(step.unlabeled, step.lab.unlabeled["strong1"])
        for step in (second_step(protocol_of("paper", uncertainty_from=when)) for when in ("step1", "after-update"))
    ]
    assert plans[0] != plans[1]


@pytest.mark.parametrize("unsupervised", ["sum", "mean"])
def test_the_second_losses_are_on_mixed_images_labels_and_pseudo_labels(
    switches: dict[str, str], unsupervised: str
) -> None:
    """Labels and step 1's pseudo labels move with the images; CPS's pseudo labels are taken anew."""
    protocol = protocol_of("released-code", unsupervised_reduction=unsupervised, **switches)
    step = second_step(protocol, k=5)
    on_labeled = [
        call.logits for name in ("student1", "student2") for call in step.lab.calls_of(name, step.begin)[-2:-1]
    ]
    on_unlabeled = [
        call.logits for name in ("student1", "student2") for call in step.lab.calls_of(name, step.begin)[-1:]
    ]
    labels = rearranged(step.lab.batch.labels.numpy(), sources_of(step.labeled, step.lab.labeled["strong1"]))
    assert not np.array_equal(labels, step.lab.batch.labels.numpy())
    if switches["step2_teacher"] == "run-again":
        (call,) = step.lab.calls_of("teacher", step.begin)[-1:]
        assert torch.equal(call.images, step.unlabeled)
        teacher_labels = hard(call.logits)
    else:
        before = step.lab.calls_of("teacher")[1]  # step 1's pass over the unlabelled images
        assert before.images is step.lab.unlabeled["weak"]
        teacher_labels = rearranged(hard(before.logits), sources_of(step.unlabeled, step.lab.unlabeled["strong1"]))
        assert not np.array_equal(teacher_labels, hard(before.logits))
    assert_terms(step.second, naive_terms("ucmt", protocol, on_labeled, labels, on_unlabeled, teacher_labels))


def test_the_first_step_of_ucmt_is_cmtv3s() -> None:
    protocol = protocol_of("paper")  # the teacher is in evaluation mode: its extra pass leaves no trace
    ucmt, cmtv3 = laboratory("ucmt", protocol), laboratory("cmtv3", protocol)
    ucmt.method.load_state_dict(cmtv3.method.state_dict())
    for network in [*ucmt.method.modules(), *cmtv3.method.modules()]:
        if isinstance(network, nn.Dropout):
            network.p = 0.0
    first, only = next(ucmt.updates()), next(cmtv3.updates())
    for term, (weight, value) in only.terms.items():
        assert first.terms[term][0] == weight
        torch.testing.assert_close(first.terms[term][1], value)


@pytest.mark.parametrize(("size", "hyper", "key"), [(256, {"r": 12}, "r: "), (32, {"r": 64}, "r: ")])
def test_ucmt_wants_sides_that_r_divides(size: int, hyper: dict[str, int], key: str) -> None:
    ucmt = METHODS["ucmt"]
    with pytest.raises(UserError, match=f"^{key}sides of {size}x{size} must be divisible by r, found r = {hyper['r']}"):
        ucmt.check(ucmt.hyperparameters(**hyper), load_protocol("paper", {"image_size": size}))


def test_ucmt_wants_2k_regions() -> None:
    ucmt, protocol = METHODS["ucmt"], protocol_of("paper")
    ucmt.check(ucmt.hyperparameters(k=8, r=4), protocol)
    with pytest.raises(UserError, match=r"^k: UMIX needs 2k regions, found k = 9 and r = 4, which are 16"):
        ucmt.check(ucmt.hyperparameters(k=9, r=4), protocol)
    with pytest.raises(UserError, match=r"^k: UMIX needs 2k regions"):
        ucmt.check(ucmt.hyperparameters(k=1, r=1), protocol)


def test_ucmts_hyperparameters_are_the_papers() -> None:
    hyper = METHODS["ucmt"].hyperparameters()
    assert hyper.resolved(2).model_dump() == {"k": 2, "r": 16}
    assert hyper.resolved(3).model_dump() == {"k": 2, "r": 8}
    assert METHODS["ucmt"].hyperparameters(r=4).resolved(3).r == 4


def test_hyperparameters_are_checked_all_at_once() -> None:
    assert parse_hyperparameters(METHODS["ucmt"], {"k": 3}).model_dump() == {"k": 3, "r": "auto"}
    with pytest.raises(UserError) as caught:
        parse_hyperparameters(METHODS["ucmt"], {"k": 0, "r": "many", "q": 1})
    lines = str(caught.value).splitlines()
    assert all(line.startswith("--set (ucmt): ") for line in lines)
    assert list(dict.fromkeys(line.split(": ")[1] for line in lines)) == ["k", "r", "q"]


# ------------------------------------------------------------------------------------------------------ the registry

METHOD_FILE = '''
"""A user's method."""

from ssl_bench.method import Hyperparameters, SSLMethod, Update, register
from ssl_bench.ops import dice_loss


class MineHyperparameters(Hyperparameters):
    tau: float = 0.9


@register
class Mine(SSLMethod):
    name = "NAME"
    title = "Mine"
    reference = "none"
    hyperparameters = MineHyperparameters

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch, progress):
        yield Update({"supervised": (1.0, dice_loss(self.network(batch.labeled.student1), batch.labels, 1e-5))})

    @property
    def predictor(self):
        return self.network
'''

WriteMethod = Callable[..., Path]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[SSLMethod]]]:
    """A copy of the registry that a test may spoil."""
    copy = dict(registry_module._REGISTRY)
    monkeypatch.setattr(registry_module, "_REGISTRY", copy)
    monkeypatch.setattr(registry_module, "_LOADED", set(registry_module._LOADED))
    before = set(sys.modules)
    yield copy
    for name in set(sys.modules) - before:
        if name.startswith("ssl_bench_methods_"):
            del sys.modules[name]


@pytest.fixture
def write_method(tmp_path: Path, registry: dict[str, type[SSLMethod]]) -> WriteMethod:
    """Write a method file and give its folder."""

    def write(file: str = "mine.py", name: str = "mine", text: str = METHOD_FILE, folder: str = "methods") -> Path:
        path = tmp_path / folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("NAME", name), encoding="utf-8")
        return path.parent

    return write


def a_method(**attributes: Any) -> type[SSLMethod]:
    given = {"name": "mine", "title": "Mine", "reference": "none", "__module__": __name__} | attributes
    return type("Mine", (SSLMethod,), {key: value for key, value in given.items() if value is not None})


def test_register_adds_a_class_and_gives_it_back(registry: dict[str, type[SSLMethod]]) -> None:
    mine = a_method()
    assert register(mine) is mine
    assert registry["mine"] is mine
    assert find_method("mine") is mine


@pytest.mark.parametrize("attribute", ["name", "title", "reference"])
def test_a_missing_attribute_is_an_error(attribute: str, registry: dict[str, type[SSLMethod]]) -> None:
    before = dict(registry)
    with pytest.raises(UserError, match=rf"test_methods\.py: Mine: class attribute '{attribute}' is missing"):
        register(a_method(**{attribute: None}))
    assert registry == before


def test_a_name_that_is_taken_is_an_error_that_names_both_files(registry: dict[str, type[SSLMethod]]) -> None:
    before = dict(registry)
    with pytest.raises(UserError, match=r"test_methods\.py: method 'ucmt' is already defined in .*cmt\.py"):
        register(a_method(name="ucmt"))
    assert registry == before


def test_a_hyperparameter_that_is_a_protocol_field_is_an_error(registry: dict[str, type[SSLMethod]]) -> None:
    class Colliding(Hyperparameters):
        tau: float = 0.9
        ema_decay: float = 0.5
        epochs: int = 3

    before = dict(registry)
    with pytest.raises(UserError, match=r"hyperparameters \['ema_decay', 'epochs'\] of 'mine' are protocol fields"):
        register(a_method(hyperparameters=Colliding))
    assert registry == before


def test_no_method_has_a_hyperparameter_of_a_protocols_name() -> None:
    for method in METHODS.values():
        assert not set(method.hyperparameters.model_fields) & set(Protocol.model_fields)


def test_an_unknown_method_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"--methods: expected some of .*cps.*ucmt; found 'umct'"):
        find_method("umct")


def test_a_users_method_file_is_found(write_method: WriteMethod) -> None:
    methods = load_methods(write_method())
    assert set(methods) == {*METHODS, "mine"}
    assert find_method("mine") is methods["mine"]
    hyper = parse_hyperparameters(methods["mine"], {"tau": 0.5})
    method = methods["mine"](Setup(protocol_of("paper"), TinyNetwork), hyper)
    assert method.predictor_name == "network"
    assert set(load_methods(write_method())) == {*METHODS, "mine"}  # a second time is no error


def test_the_source_of_a_method_is_its_file(write_method: WriteMethod) -> None:
    folder = write_method()
    expected = hashlib.sha256((folder / "mine.py").read_bytes()).hexdigest()
    assert source_hash(load_methods(folder)["mine"]) == expected


def test_files_of_the_same_name_in_two_folders_keep_their_own_source(write_method: WriteMethod) -> None:
    folders = [write_method(name="one", folder="a"), write_method(name="another", folder="b")]
    methods = load_methods(*folders)
    for name, folder in zip(("one", "another"), folders, strict=True):
        assert source_hash(methods[name]) == hashlib.sha256((folder / "mine.py").read_bytes()).hexdigest()


def test_files_that_begin_with_an_underscore_are_not_methods(write_method: WriteMethod) -> None:
    assert "mine" not in load_methods(write_method("_helpers.py"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError.*a_module_that_is_not_there"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_an_error_that_names_it(
    text: str, words: str, write_method: WriteMethod, registry: dict[str, type[SSLMethod]]
) -> None:
    folder, before = write_method("broken.py", text=text), dict(registry)
    with pytest.raises(UserError, match=rf"{folder}/broken\.py: .*{words}"):
        load_methods(folder)
    assert registry == before
    with pytest.raises(UserError, match=r"broken\.py"):  # and it is not taken for loaded
        load_methods(folder)


def test_a_users_method_cannot_replace_a_built_in_one(write_method: WriteMethod) -> None:
    with pytest.raises(UserError, match=r"mine\.py: method 'cps' is already defined in .*cps\.py"):
        load_methods(write_method(name="cps"))
    assert find_method("cps") is METHODS["cps"]


def test_a_methods_dir_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--methods-dir: expected a folder of method files, found no .*absent"):
        load_methods(tmp_path / "absent")


def entry_point(load: Callable[[], object]) -> Callable[..., list[SimpleNamespace]]:
    def entry_points(group: str) -> list[SimpleNamespace]:
        assert group == "ssl_bench.methods"
        return [SimpleNamespace(name="theirs", value="their_package.methods", load=load)]

    return entry_points


def test_methods_of_installed_packages_are_found(
    registry: dict[str, type[SSLMethod]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", entry_point(lambda: register(a_method(name="theirs"))))
    assert "theirs" in load_methods()


def test_an_installed_package_that_cannot_be_imported_is_an_error_that_names_it(
    registry: dict[str, type[SSLMethod]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise ImportError("no such module")

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_point(load))
    with pytest.raises(UserError, match="theirs"):
        load_methods()

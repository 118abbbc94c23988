"""The losses' values, UCMT's second step, hyperparameters, and the registry of methods."""

import hashlib
import importlib.metadata
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
import torch
from facts import FACTS
from laboratory import (
    LABELED,
    METHODS,
    NAMES,
    SIDES,
    UNLABELED,
    VIEWS,
    Laboratory,
    R,
    TinyNetwork,
    laboratory,
    protocol_of,
)
from torch import Tensor, nn

from ssl_bench import plugins
from ssl_bench.cards import Protocol, authors_settings, load_protocol
from ssl_bench.errors import UserError
from ssl_bench.method import (
    Hyperparameters,
    Setup,
    SSLMethod,
    Update,
    contract,
    find_method,
    load_methods,
    parse_hyperparameters,
    register,
    source_hash,
)
from ssl_bench.method import registry as registry_module
from ssl_bench.method.contract import Group
from ssl_bench.method.registry import by_group
from ssl_bench.training.tuned import tuned_settings

# -------------------------------------------------------------------------------------------------------- the oracles


def naive_dice_loss(logits: Tensor, labels: Tensor | np.ndarray, smooth: float) -> float:
    """Soft Dice loss in float64, a loop over samples and classes."""
    scores = logits.detach().double().numpy()
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    losses = []
    for p, truth in zip(probabilities, np.asarray(labels), strict=True):
        for c in range(len(p)):
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
    if "cps" in FACTS[name].terms:
        y1, y2 = on_unlabeled
        directions = [naive_dice_loss(y1, hard(y2), s), naive_dice_loss(y2, hard(y1), s)]
        terms["cps"] = reduced(protocol.unsupervised_reduction, directions)
    if "mts" in FACTS[name].terms:
        directions = [naive_dice_loss(y, teacher_labels, s) for y in on_unlabeled]
        terms["mts"] = reduced(protocol.unsupervised_reduction, directions)
    return terms


def hard(logits: Tensor) -> np.ndarray:
    """Hard labels: the class of the largest logit."""
    return np.argmax(logits.detach().numpy(), axis=1)


def assert_terms(update: Update, expected: dict[str, float]) -> None:
    assert {name: value.item() for name, (_, value) in update.terms.items()} == pytest.approx(expected, abs=2e-6)


# ------------------------------------------------------------------------------------------------ the losses' values


@pytest.mark.parametrize(
    ("protocol", "dimensions", "classes"),
    [("paper", 2, 2), ("released-code", 2, 4), ("mini", 2, 2), ("released-code", 3, 4)],
)
@pytest.mark.parametrize("unsupervised", ["sum", "mean"])
@pytest.mark.parametrize("supervised", ["sum", "mean"])
@pytest.mark.parametrize("name", ["supervised", "mt", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"])
def test_the_first_losses_are_the_papers_formulas(
    name: str, supervised: str, unsupervised: str, protocol: str, dimensions: int, classes: int
) -> None:
    settings = {"supervised_reduction": supervised, "unsupervised_reduction": unsupervised}
    lab = laboratory(name, protocol_of(protocol, dimensions, **settings), classes)
    update = next(lab.updates())
    views, students = lab.protocol.views, FACTS[name].students
    seen = [views.labeled_student1, views.labeled_student2]
    on_labeled = [lab.logits(student, lab.labeled[view]) for student, view in zip(students, seen, strict=False)]
    on_unlabeled, teacher_labels = [], None
    if name != "supervised":
        seen = [views.student1, views.student2]
        on_unlabeled = [lab.logits(student, lab.unlabeled[view]) for student, view in zip(students, seen, strict=False)]
    if "mts" in FACTS[name].terms:
        teacher_labels = hard(lab.logits("teacher", lab.unlabeled[views.teacher]))
    assert_terms(
        update, naive_terms(name, lab.protocol, on_labeled, lab.batch.labels.numpy(), on_unlabeled, teacher_labels)
    )


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", ["mt", "cps", "cmtv3"])
def test_pseudo_labels_are_constants(name: str, classes: int) -> None:
    """The gradient is that of the loss against fixed labels: none flows through the network that made them."""
    lab = laboratory(name, protocol_of("paper"), classes)
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
        p, y = logits.softmax(1), torch.stack([torch.from_numpy(fixed == c) for c in range(classes)], 1).double()
        for b, c in itertools.product(range(UNLABELED), range(classes)):
            dice = (2 * (p[b, c] * y[b, c]).sum() + 1e-5) / (p[b, c].sum() + y[b, c].sum() + 1e-5)
            total = total + (1 - dice) / (UNLABELED * classes)
    (expected,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_dice_and_cross_entropy_is_the_mean_of_both(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dimensions, pixels = METHODS[name].dimensions[0], []

    def first_term(loss: str, classes: int = 3) -> float:
        torch.manual_seed(3)
        lab = laboratory(name, protocol_of("mini", dimensions, supervised_loss=loss), classes)
        return next(lab.updates()).terms["supervised"][1].item()

    def naive_cross_entropy(logits: Tensor, labels: Tensor, _: float, *, ignores: bool, keep: Tensor | None) -> Tensor:
        assert not ignores
        kept = torch.ones_like(labels, dtype=torch.bool) if keep is None else keep
        pixels.append(int(kept.sum()))
        p = logits.exp() / logits.exp().sum(1, keepdim=True)
        return -p.gather(1, labels.unsqueeze(1))[:, 0][kept].log().mean()

    dice, both = first_term("dice"), first_term("dice+cross-entropy")
    monkeypatch.setattr(contract, "dice_loss", naive_cross_entropy)
    assert first_term("dice") != pytest.approx(dice, abs=1e-3)
    assert both == pytest.approx((dice + first_term("dice")) / 2, rel=1e-5)
    assert min(pixels) > 0


# ------------------------------------------------------------------------------------------------ UCMT's second step

# The regions of an image (C, *sides), by its number of axes.
BOXES = {
    len(sides) + 1: [
        (slice(None), *(slice(start, start + side // R) for start, side in zip(corner, sides, strict=True)))
        for corner in itertools.product(*(range(0, side, side // R) for side in sides))
    ]
    for sides in SIDES.values()
}


@dataclass
class SecondStep:
    """One UCMT iteration, split where the second step begins."""

    lab: Laboratory
    first: Update
    second: Update
    begin: int  # number of forward passes in step 1
    labeled: Tensor
    unlabeled: Tensor


def second_step(protocol: Protocol, classes: int = 2, **hyper: Any) -> SecondStep:
    lab = laboratory("ucmt", protocol, classes, **hyper)
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
        boxes = BOXES[before.ndim]
        sources = {before[box].tobytes(): i for i, box in enumerate(boxes)}
        assert len(sources) == len(boxes)
        found.append([sources[after[box].tobytes()] for box in boxes])
    return found


def rearranged(labels: np.ndarray, sources: list[list[int]]) -> np.ndarray:
    """Bring label maps (B, *sides) into the order of the regions of mixed images."""
    result, boxes = labels.copy(), BOXES[labels.ndim]
    for b, plan in enumerate(sources):
        for target, source in enumerate(plan):
            result[b : b + 1][boxes[target]] = labels[b : b + 1][boxes[source]]
    return result


def naive_plan(y1: Tensor, y2: Tensor, y0: Tensor, k: int, order: str) -> list[list[int]]:
    """UMIX by equation 8 and section 3.4: the region that each region's content comes from, sample by sample."""
    p1, p2, p0 = (np.exp(y) / np.exp(y).sum(axis=1, keepdims=True) for y in (t.double().numpy() for t in (y1, y2, y0)))
    plans, boxes = [], BOXES[p0.ndim - 1]
    for b in range(len(p0)):
        ranks = []
        for p in (p1, p2):
            mean = (p[b] + p0[b]) / 2
            entropy = -(mean * np.log(mean)).sum(axis=0, keepdims=True)
            values = [float(entropy[box].mean()) for box in boxes]
            ranks.append(sorted(range(len(boxes)), key=values.__getitem__))
        certain1, certain2 = (rank[:k] for rank in ranks)
        uncertain1, uncertain2 = (rank[::-1][:k] for rank in ranks)
        plan = dict(zip(uncertain1, certain2, strict=True))
        if order == "simultaneous":
            plan = dict(zip(uncertain2, certain1, strict=True)) | plan
        else:
            plan |= {t: plan.get(s, s) for t, s in zip(uncertain2, certain1, strict=True)}
        plans.append([plan.get(region, region) for region in range(len(boxes))])
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
    assert step.labeled.shape == (LABELED, 3, *SIDES[2])
    assert step.unlabeled.shape == (UNLABELED, 3, *SIDES[2])
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
    on_labeled = 0 if again else 1  # a teacher in evaluation mode sees labelled images for the maps alone
    assert first == {"student1": 2, "student2": 2, "teacher": 1 + on_labeled}


def test_maps_after_the_update_are_made_without_a_graph() -> None:
    step = second_step(protocol_of("paper", uncertainty_from="after-update"))
    calls = step.lab.calls[step.begin :]
    again = [call for call in calls if any(call.images is i for i in step.lab.labeled.values())]
    again += [call for call in calls if any(call.images is i for i in step.lab.unlabeled.values())]
    assert len(again) == 6
    assert not any(call.logits.requires_grad for call in again)


@pytest.mark.parametrize(
    ("protocol", "dimensions", "classes", "k"),
    [("paper", 2, 2, 2), ("paper", 2, 4, 8), ("mini", 2, 2, 8), ("mini", 2, 4, 2), ("mini", 3, 4, 9)],
)
def test_images_are_mixed_by_the_maps_that_the_protocol_names(
    switches: dict[str, str], protocol: str, dimensions: int, classes: int, k: int
) -> None:
    step = second_step(protocol_of(protocol, dimensions, **switches), classes, k=k)
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


@pytest.mark.parametrize("dimensions", [2, 3])
def test_random_regions_are_drawn_and_everything_else_stays(switches: dict[str, str], dimensions: int) -> None:
    """The forward passes and the first update are those of uncertain regions; the second update has other regions."""
    protocol = protocol_of("released-code", dimensions, **switches)
    random = protocol_of("released-code", dimensions, **switches, umix_regions="random")
    plans = []
    steps = [second_step(one) for one in (protocol, random)]
    for step in steps:
        parts = [(step.labeled, step.lab.labeled), (step.unlabeled, step.lab.unlabeled)]
        plans.append([plan for mixed, own in parts for plan in sources_of(mixed, own[protocol.views.mixed])])
    assert [call.network for call in steps[0].lab.calls] == [call.network for call in steps[1].lab.calls]
    assert steps[0].first.total.equal(steps[1].first.total)
    assert plans[0] != plans[1]
    moved = [sum(source != place for place, source in enumerate(plan)) for plan in plans[1]]
    assert 0 < max(moved) <= 4  # k = 2 regions by each of two maps


def test_maps_after_the_update_are_others_than_those_before() -> None:
    """Without this the test above could not tell the two apart."""
    plans = [
        sources_of(step.unlabeled, step.lab.unlabeled["strong1"])
        for step in (second_step(protocol_of("paper", uncertainty_from=when)) for when in ("step1", "after-update"))
    ]
    assert plans[0] != plans[1]


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (3, 4)])
@pytest.mark.parametrize("unsupervised", ["sum", "mean"])
def test_the_second_losses_are_on_mixed_images_labels_and_pseudo_labels(
    switches: dict[str, str], unsupervised: str, dimensions: int, classes: int
) -> None:
    """Labels and step 1's pseudo labels move with the images; CPS's pseudo labels are taken anew."""
    protocol = protocol_of("released-code", dimensions, unsupervised_reduction=unsupervised, **switches)
    step = second_step(protocol, classes, k=5)
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
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
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
    with pytest.raises(UserError, match=rf"test_registry_wide\.py: Mine: class attribute '{attribute}' is missing"):
        register(a_method(**{attribute: None}))
    assert registry == before


def test_a_name_that_is_taken_is_an_error_that_names_both_files(registry: dict[str, type[SSLMethod]]) -> None:
    before = dict(registry)
    with pytest.raises(UserError, match=r"test_registry_wide\.py: method 'ucmt' is already defined in .*cmt\.py"):
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
    with pytest.raises(UserError) as caught:
        find_method("umct")
    said = (
        f"--methods: expected one of the {len(NAMES)} methods that `ssl-bench methods` lists, or one of your own in a "
        "--methods-dir; found 'umct'; did you mean ucmt?"
    )
    assert str(caught.value) == said


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_method_says_its_group_its_year_and_its_venue(name: str) -> None:
    method = METHODS[name]
    assert method.group in set(get_args(Group)) - {"other"}
    assert method.year is not None
    assert 1990 < method.year < 2030
    assert method.venue.strip()
    assert str(method.year) in method.reference
    assert method.venue in method.reference


@pytest.mark.parametrize("name", NAMES)
def test_the_authors_settings_of_a_built_in_method_are_valid(name: str) -> None:
    method = METHODS[name]
    for dimensions in method.dimensions:
        for protocol in ("paper", "released-code", "mini"):
            tuned_settings(name, {}, protocol, dimensions)


def test_authors_can_differ_by_dimension() -> None:
    authors = {"lambda_max": 0.3, "rampup_epochs": "run", "2d": {"lambda_max": 0.1}, "3d": {"lambda_max": 1.0}}
    assert authors_settings(authors, {}, 2) == {"lambda_max": 0.1, "rampup_epochs": "run"}
    assert authors_settings(authors, {}, 3) == {"lambda_max": 1.0, "rampup_epochs": "run"}
    assert authors_settings(authors, {"lambda_max": 2.0}, 3) == {"rampup_epochs": "run"}
    assert authors_settings({"lambda_max": 0.3, "2d": {}}, {}, 3) == {"lambda_max": 0.3}
    found = {d: tuned_settings("mcnet", {}, "paper", d)["lambda_max"] for d in (2, 3)}
    assert found == {2: 0.1, 3: 1.0}  # the authors' two scripts


def test_a_wrong_key_of_one_dimension_is_an_error(registry: dict[str, type[SSLMethod]]) -> None:
    with pytest.raises(UserError, match=r"found 'lambda_maxi'; did you mean lambda_max\?"):
        register(a_method(authors={"3d": {"lambda_maxi": 1.0}}))
    assert "mine" not in registry


def test_authors_settings_that_are_nobodys_are_an_error(registry: dict[str, type[SSLMethod]]) -> None:
    before = dict(registry)
    for key, near in {
        "lambda_maxi": "; did you mean lambda_max?",
        "stride": "",
        "score_every": "",
        "split": "",
    }.items():
        with pytest.raises(UserError) as caught:
            register(a_method(authors={key: 1}))
        assert "authors of 'mine': expected protocol fields that decide the training" in str(caught.value)
        assert f"found '{key}'{near}" in str(caught.value)
    with pytest.raises(UserError, match=r"group of 'mine': expected one of baseline, .*; found 'consistancy'"):
        register(a_method(group="consistancy"))
    with pytest.raises(UserError, match="name: expected another than 'all'"):
        register(a_method(name="all"))
    assert registry == before
    register(a_method(authors={"lambda_max": -1.0}))
    with pytest.raises(UserError, match=r"--tuned authors: mine: .*lambda_max: .*greater than or equal to 0"):
        tuned_settings("mine", {}, "paper", 2)


def test_authors_settings_are_those_of_one_method_or_of_a_family_without_a_name() -> None:
    class Family(SSLMethod):
        authors: ClassVar = {"lambda_max": 1.0}

    one = type("One", (Family,), {"name": "one"})
    own = type("Own", (one,), {"name": "own", "authors": {"lambda_max": 2.0}})
    assert one.authors == {"lambda_max": 1.0}
    assert own.authors == {"lambda_max": 2.0}
    assert type("Other", (own,), {"name": "other"}).authors == {}
    assert type("Same", (own,), {}).authors == own.authors


def test_the_methods_are_grouped_the_oldest_first(registry: dict[str, type[SSLMethod]]) -> None:
    made = [
        a_method(name=name, group=group, year=year)
        for name, group, year in (
            ("c", "mixing", 2020), ("b", "mixing", None), ("a", "mixing", 2020), ("d", "baseline", 2024),
            ("e", "mixing", 1999),
        )
    ]  # fmt: skip
    found = by_group({one.name: one for one in made})
    assert {group: [one.name for one in own] for group, own in found.items()} == {
        "baseline": ["d"],
        "mixing": ["e", "a", "c", "b"],
    }
    assert list(found) == ["baseline", "mixing"]


def test_a_users_method_file_is_found(write_method: WriteMethod) -> None:
    methods = load_methods(write_method())
    assert set(methods) == {*METHODS, "mine"}
    assert find_method("mine") is methods["mine"]
    hyper = parse_hyperparameters(methods["mine"], {"tau": 0.5})
    method = methods["mine"](Setup(protocol_of("paper"), lambda **_: TinyNetwork(), 2, 3), hyper)
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
    with pytest.raises(UserError, match=r"--methods-dir: expected a folder, found none at .*absent"):
        load_methods(tmp_path / "absent")


def entry_point(load: Callable[[], object]) -> Callable[[], SimpleNamespace]:
    def select(group: str) -> list[SimpleNamespace]:
        assert group == "ssl_bench.methods"
        return [SimpleNamespace(name="theirs", value="their_package.methods", load=load)]

    return lambda: SimpleNamespace(select=select)


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

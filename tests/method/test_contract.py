"""The method contract, for every method of the registry: in 2D and 3D, two and four classes, on every network."""

import copy
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from facts import FACTS, WITH_TEACHER, WITH_TWO_STUDENTS
from laboratory import (
    LABELED,
    METHODS,
    NAMES,
    PROGRESS,
    UNLABELED,
    Laboratory,
    laboratory,
    protocol_of,
)
from torch import Tensor, nn

from ssl_bench.cards import Protocol, card_names, load_protocol
from ssl_bench.method import Batch, Progress
from ssl_bench.networks import build_network
from ssl_bench.testing.checks import CHECKS, Check, of_networks, part_of, weights_at

PROTOCOLS = ["paper", "released-code", "mini"]
USUAL_TEACHER = [name for name in WITH_TEACHER if FACTS[name].usual_teacher]
# Protocol, dimensions, classes: every protocol's switches in 2D, the two that differ in 3D.
CASES = [("paper", 2, 2), ("released-code", 2, 4), ("mini", 2, 2), ("paper", 3, 4), ("released-code", 3, 2)]


def cases_of(number: int, name: str) -> Iterator[Any]:
    """The cases of the method of this number, slow ones but for one of them, by turns."""
    fitting = [case for case in CASES if case[1] in METHODS[name].dimensions]
    for turn, case in enumerate(fitting):
        yield pytest.param((name, *case), marks=() if turn == number % len(fitting) else pytest.mark.slow)


EVERYTHING: Any = {
    "params": [case for number, name in enumerate(NAMES) for case in cases_of(number, name)],
    "ids": lambda case: "{}, {}, {}D, {} classes".format(*case),
}
small_protocol = functools.cache(protocol_of)


@pytest.fixture(**EVERYTHING)
def lab(request: pytest.FixtureRequest) -> Laboratory:
    """Every method under every protocol."""
    name, protocol, dimensions, classes = request.param
    return laboratory(name, small_protocol(protocol, dimensions), classes)


# -------------------------------------------------------------------------------------------------------- the registry


def test_the_registry_has_the_methods_of_the_paper_and_the_usual_ones() -> None:
    listed = "supervised, mt, cct, cps, cmtv1, cmtv2, cmtv3, ucmt, ucmt-cutmix, mt-cutmix, cps-cutmix, uamt"
    assert set(listed.split(", ")) <= set(FACTS) <= set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name
        assert method.title
        assert method.reference
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_for_2d_or_3d_or_both(name: str) -> None:
    dimensions = METHODS[name].dimensions
    assert dimensions in ([FACTS[name].dimensions] if name in FACTS else [(2,), (3,), (2, 3)])


@pytest.mark.parametrize("name", NAMES)
def test_default_hyperparameters_fit_every_protocol(name: str) -> None:
    for protocol in card_names("protocols"):
        for dimensions in METHODS[name].dimensions:
            hyper = METHODS[name].hyperparameters().resolved(dimensions)
            assert "auto" not in hyper.model_dump().values()
            METHODS[name].check(hyper, load_protocol(protocol, dimensions=dimensions))


@pytest.mark.parametrize("name", FACTS)
def test_components_are_table_4s_check_marks(name: str) -> None:
    assert METHODS[name].components == FACTS[name].components


@pytest.mark.parametrize("name", FACTS)
def test_methods_have_the_networks_that_their_papers_give_them(name: str) -> None:
    lab, facts = laboratory(name, protocol_of("paper")), FACTS[name]
    assert set(lab.trained()) == set(facts.students)
    assert set(lab.method.networks) - set(facts.students) == set(facts.teachers)
    assert len(lab.teachers()) == len(facts.teachers)
    assert set(lab.method.adversaries) == set(facts.adversaries)


def test_only_ucmt_updates_twice() -> None:
    updates = {name: METHODS[name].updates_per_iteration for name in FACTS}
    assert {name for name, count in updates.items() if count == 2} == {"ucmt", "ucmt-cutmix"}
    assert set(updates.values()) == {1, 2}


# ------------------------------------------------------------------------------------------------------------ updates


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_method_keeps_the_contract(check: Check, lab: Laboratory) -> None:
    """`check_method` holds the methods of users to the same."""
    check(lab)


def test_a_method_with_adversaries_trains_them(lab: Laboratory) -> None:
    assert ("adversaries" in [update.trains for update in lab.updates()]) == bool(lab.method.adversaries)


@pytest.mark.parametrize("name", FACTS)
def test_the_terms_are_those_of_the_papers(name: str) -> None:
    updates = of_networks(laboratory(name, protocol_of("paper")).updates())
    assert [set(update.terms) for update in updates] == [FACTS[name].terms] * FACTS[name].updates


def test_every_students_parts_are_reached(lab: Laboratory) -> None:
    """Some term has a gradient in each part of each student: encoder, decoder and head.

    Each term of the methods in FACTS reaches all of these and nothing else, but for those that FACTS excepts. An
    update of the adversaries reaches all of them.
    """
    learning = {name: p for name, p in lab.method.named_parameters() if p.requires_grad}
    students = {part_of(name) for name in learning if name.split(".")[0] in lab.trained()}
    assert len(students) >= 3 * len(lab.trained())
    together = set()
    for update in lab.updates():
        if update.trains == "adversaries":
            opponents = [p for one in lab.method.adversaries.values() for p in one.parameters()]
            gradients = torch.autograd.grad(update.total, opponents, retain_graph=True)
            assert all(g.isfinite().all() for g in gradients)
            assert any(g.abs().sum() > 0 for g in gradients)
            continue
        for term, (_, value) in update.terms.items():
            assert value.shape == ()
            gradients = torch.autograd.grad(value, list(learning.values()), retain_graph=True, allow_unused=True)
            found = {name: g for name, g in zip(learning, gradients, strict=True) if g is not None}
            assert all(torch.isfinite(g).all() for g in found.values())
            reached = {part_of(name) for name, g in found.items() if g.abs().sum() > 0}
            together |= reached
            if lab.method.name in FACTS:
                own = {part for part in reached if part.split(".")[0] not in lab.method.adversaries}
                assert own == FACTS[lab.method.name].reached.get(term, students), term
    assert students <= together


def test_lambda_multiplies_the_unsupervised_terms_alone(lab: Laboratory) -> None:
    """A weight is a constant, or it is 0 where lambda is 0; it is 1 or lambda for the methods in FACTS."""
    zero, once, twice = (weights_at(lab, factor * PROGRESS.lambda_u) for factor in (0, 1, 2))
    ramped = set()
    for none, some, double in zip(zero, once, twice, strict=True):
        for term, weight in some.items():
            if none.get(term, 0.0) == 0 and weight != 0:
                ramped.add(term)
            else:
                assert none.get(term, 0.0) == weight == double.get(term, 0.0)
    assert lab.method.uses_unlabeled or not ramped
    if lab.method.name in FACTS:
        assert bool(ramped) == lab.method.uses_unlabeled
        for some, double in zip(once, twice, strict=True):
            assert double == {term: 2 * weight if term in ramped else weight for term, weight in some.items()}
        assert ramped == FACTS[lab.method.name].terms - {"supervised"}
        for some in once:
            assert some == {term: PROGRESS.lambda_u if term in ramped else 1 for term in FACTS[lab.method.name].terms}


def test_with_lambda_zero_the_gradient_is_the_supervised_one(lab: Laboratory) -> None:
    progress = dataclasses.replace(PROGRESS, lambda_u=0.0)
    parameters = [p for network in lab.trained().values() for p in network.parameters()]
    unused = lab.method.name not in FACTS  # a network may learn from the unsupervised terms alone
    gradient = functools.partial(
        torch.autograd.grad, inputs=parameters, retain_graph=True, allow_unused=unused, materialize_grads=unused
    )
    weights = weights_at(lab, 0.0)
    for constants, update in zip(weights, of_networks(lab.method.updates(lab.batch, progress)), strict=True):
        if lab.method.name in FACTS:
            assert [term for term, weight in constants.items() if weight != 0] == ["supervised"]
        constant = sum(weight * update.terms[term][1] for term, weight in constants.items() if weight != 0)
        if isinstance(constant, torch.Tensor):
            for a, b in zip(gradient(update.total), gradient(constant), strict=True):
                torch.testing.assert_close(a, b)
        else:  # an update of unsupervised terms alone
            assert update.total == 0


# ----------------------------------------------------------------------------------------------- what a method may see


def test_labels_of_unlabelled_images_cannot_be_seen(lab: Laboratory) -> None:
    assert Batch._fields == ("labeled", "labels", "unlabeled")
    assert len(lab.batch.labels) == LABELED != UNLABELED
    names = [name for name in dir(lab.batch.unlabeled) if "label" in name or "mask" in name]
    assert names == ["as_labeled"]  # images, in the view of labelled ones
    assert lab.batch.unlabeled.as_labeled is lab.unlabeled[lab.protocol.views.labeled_student1]


def test_labels_decide_the_supervised_term(lab: Laboratory) -> None:
    """And no other term of the methods in FACTS."""
    state = {key: value.clone() for key, value in lab.method.state_dict().items()}
    values = []
    for labels in (lab.batch.labels, lab.classes - 1 - lab.batch.labels):
        lab.method.load_state_dict(state)
        torch.manual_seed(3)  # dropout
        updates = of_networks(lab.method.updates(lab.batch._replace(labels=labels), PROGRESS))  # no optimiser step
        values.append([{term: value.item() for term, (_, value) in update.terms.items()} for update in updates])
    assert values[0] != values[1]
    if lab.method.name in FACTS:
        for first, second in zip(*values, strict=True):
            for term in {"supervised", *FACTS[lab.method.name].labels_decide}:
                assert first.pop(term) != second.pop(term), term
            assert first == second


@pytest.mark.parametrize("name", FACTS)
def test_every_network_sees_the_view_that_the_protocol_gives_it(name: str) -> None:
    views = {
        "views.labeled_student1": "strong2", "views.labeled_student2": "weak", "views.labeled_teacher": "strong1",
        "views.student1": "weak", "views.student2": "strong1", "views.teacher": "strong2",
    }  # fmt: skip
    lab, facts = laboratory(name, protocol_of("paper", **views)), FACTS[name]
    next(lab.updates())
    labeled, unlabeled = lab.labeled, lab.unlabeled
    first = [labeled["strong2"], unlabeled["weak"]]
    expected = {
        "network": first if METHODS[name].uses_unlabeled else first[:1],
        "student": first, "student1": first, "student2": [labeled["weak"], unlabeled["strong1"]],
        # in evaluation mode, and with entropies that are taken after the step, it makes no pass that nothing reads
        "teacher": [] if name == "cmtv2" else [unlabeled["strong2"]],
    }  # fmt: skip
    if facts.plain:
        for network in lab.method.networks:
            seen = [call.images for call in lab.calls_of(network)]
            assert [id(images) for images in seen] == [id(images) for images in expected[network]], network
    asked = {"labeled strong2"} | ({"unlabeled weak"} if METHODS[name].uses_unlabeled else set())
    asked |= {"labeled weak", "unlabeled strong1"} if "student2" in facts.students else set()
    asked |= {"unlabeled strong2"} if facts.teachers and name != "cmtv2" else set()
    assert lab.asked == (asked if facts.asks is None else set(facts.asks))


@pytest.mark.parametrize(("dimensions", "view"), [(2, "weak"), (3, "strong1")])
def test_supervised_does_not_ask_for_unlabelled_images(dimensions: int, view: str) -> None:
    lab = laboratory("supervised", protocol_of("paper", dimensions))
    list(lab.updates())
    assert lab.asked == {f"labeled {view}"}
    assert not METHODS["supervised"].uses_unlabeled
    assert all(METHODS[name].uses_unlabeled for name in FACTS if name != "supervised")


# ---------------------------------------------------------------------------------------- what is scored, and branches


@pytest.mark.parametrize("name", FACTS)
def test_the_network_scored_is_the_one_that_is_settled(name: str) -> None:
    method = laboratory(name, protocol_of("paper")).method
    assert method.predictor_name == FACTS[name].scored


def test_a_method_with_several_networks_has_branches(lab: Laboratory) -> None:
    for update in of_networks(lab.updates()):
        if lab.method.name in FACTS:
            assert (update.branches is not None) == (len(lab.method.networks) > 1)


@pytest.mark.parametrize(("protocol", "dimensions", "classes"), CASES)
@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.branches])
def test_branches_are_the_two_of_figure_1_as_each_sees_the_images(
    name: str, protocol: str, dimensions: int, classes: int
) -> None:
    lab = laboratory(name, small_protocol(protocol, dimensions), classes)
    views = lab.protocol.views
    seen = {"student": views.student1, "student1": views.student1, "student2": views.student2, "teacher": views.teacher}
    first = next(lab.updates())
    assert first.branches is not None
    for branch, network in zip(first.branches, FACTS[name].branches, strict=True):
        if FACTS[name].plain:
            assert branch is lab.logits(network, lab.unlabeled[seen[network]])
        else:  # a pixel's logits are of one pass of the network, over the image or over the one mixed into it
            passes = torch.stack([call.logits for call in lab.calls_of(network) if len(call.logits) == UNLABELED])
            own, partners = (passes == branch).all(2), (passes.roll(-1, 1) == branch).all(2)
            assert (own | partners).any(0).all()
            assert own.any(0).float().mean() > 0.4


# ------------------------------------------------------------------------------------------- how networks are started


def state_of(network: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in network.parameters()]


def same(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks have equal weights, in tensors of their own."""
    assert all(a is not b for a, b in zip(first.parameters(), second.parameters(), strict=True))
    return all(torch.equal(a, b) for a, b in zip(state_of(first), state_of(second), strict=True))


def students_of(method: Any) -> list[nn.Module]:
    return [getattr(method, name) for name in FACTS[method.name].students]


@pytest.mark.parametrize("name", WITH_TWO_STUDENTS)
def test_students_start_as_the_protocol_says(name: str) -> None:
    different = laboratory(name, protocol_of("paper", student_init="different")).method
    assert not same(different.student1, different.student2)
    alike = laboratory(name, protocol_of("paper", student_init="same")).method
    assert same(alike.student1, alike.student2)


@pytest.mark.parametrize("student_init", ["same", "different"])
@pytest.mark.parametrize("name", WITH_TEACHER)
def test_the_teacher_starts_as_the_protocol_says(name: str, student_init: str) -> None:
    own = laboratory(name, protocol_of("paper", teacher_start="own", student_init=student_init)).method
    assert not any(same(own.teacher, student) for student in students_of(own))
    copied = laboratory(name, protocol_of("paper", teacher_start="student1", student_init=student_init)).method
    assert same(copied.teacher, students_of(copied)[0])


@pytest.mark.parametrize("name", USUAL_TEACHER)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_teacher_is_the_protocols(name: str, protocol: str) -> None:
    lab = laboratory(name, protocol_of(protocol))
    teacher = lab.method.teacher
    assert all(module.training == (lab.protocol.teacher_mode == "train") for module in teacher.modules())
    assert (teacher.decay, teacher.warmup) == (lab.protocol.ema_decay, lab.protocol.ema_warmup)
    assert teacher.source == (lab.protocol.teacher_source if name in WITH_TWO_STUDENTS else (1.0,))
    assert teacher.average_buffers == (lab.protocol.teacher_buffers == "ema")


@pytest.mark.parametrize("name", USUAL_TEACHER)
@pytest.mark.parametrize(("iteration", "alpha"), [(1, 0.0), (2, 0.5), (4, 0.75), (1000, 0.9)])
def test_iterations_count_from_zero_in_the_decays_warm_up(name: str, iteration: int, alpha: float) -> None:
    protocol = protocol_of("paper", ema_warmup=True, ema_decay=0.9, teacher_source=[0.75, 0.25])
    method = laboratory(name, protocol).method
    before = [p.double() for p in state_of(method.teacher)]
    weights = [0.75, 0.25] if name in WITH_TWO_STUDENTS else [1.0]
    method.after_update(Progress(iteration, 2000, 0.1))
    for i, found in enumerate(state_of(method.teacher)):
        mean = sum(w * state_of(student)[i].double() for w, student in zip(weights, students_of(method), strict=True))
        torch.testing.assert_close(found.double(), alpha * before[i] + (1 - alpha) * mean, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ every network


# Two auxiliary decoders of CCT, two passes of UA-MT.
FEW = {"passes": 2, "vat": 1, "cutout": 1} | dict.fromkeys(
    ["spatial_dropout", "context_masking", "object_masking", "feature_dropout", "feature_noise"], 0
)


@functools.cache
def built(network: str, classes: int) -> tuple[Protocol, nn.Module]:
    protocol = load_protocol("tiny", {"network": network}, dimensions=3 if network == "vnet" else 2)
    return protocol, build_network(protocol, classes=classes)


def drawn_anew(network: nn.Module) -> nn.Module:
    """A copy with other weights: faster than to build it again."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return copied


NETWORKS = {"deeplabv3plus": 2, "unet": 2, "unet-small": 2, "vnet": 3}
ON_NETWORKS = [  # not slow: one 2D network or the V-Net, with two classes or four, by turns
    pytest.param(name, network, classes, marks=() if quick else pytest.mark.slow)
    for turn, network in enumerate(NETWORKS)  # goes first, so that the library keeps what it prepared for a network
    for number, name in enumerate(NAMES)
    for classes in (2, 4)
    if NETWORKS[network] in METHODS[name].dimensions
    for quick in [number % 2 == classes // 4 and number % len(NETWORKS) == turn]
]


@pytest.mark.parametrize(("name", "network", "classes"), ON_NETWORKS)
def test_every_network_goes_through_an_iteration(name: str, network: str, classes: int) -> None:
    protocol, template = built(network, classes)
    few = {key: value for key, value in FEW.items() if key in METHODS[name].hyperparameters.model_fields}
    lab = laboratory(name, protocol, classes, build=lambda: drawn_anew(template), **few)
    before = {name: p.clone() for name, p in lab.method.named_parameters() if p.requires_grad}
    updates = [
        {term: value.item() for term, (_, value) in update.terms.items()} for update in lab.updates(learning_rate=1e-3)
    ]
    assert len(updates) >= lab.method.updates_per_iteration
    assert all(math.isfinite(value) for values in updates for value in values.values())
    assert all(tensor.isfinite().all() for tensor in lab.method.state_dict().values())
    after = dict(lab.method.named_parameters())
    moved = {part_of(name) for name, old in before.items() if not torch.equal(old, after[name])}
    assert moved == {part_of(name) for name in before}
    lab.method.eval()
    with torch.no_grad():
        logits = lab.method.predictor(lab.unlabeled["weak"])
    assert logits.shape == (UNLABELED, classes, *protocol.sides)
    assert logits.isfinite().all()

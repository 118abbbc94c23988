"""What a method must do: each is a function that raises AssertionError with what was expected and what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ssl_bench.command import quantity
from ssl_bench.method import Update
from ssl_bench.ops import ExponentialMovingAverage
from ssl_bench.testing.laboratory import PROGRESS, UNLABELED, Laboratory

State = dict[str, Tensor]
Check = Callable[[Laboratory], None]
TERM_DIGITS = 1e-6  # relative error of a sum in float32


def yields_what_it_declares(lab: Laboratory) -> None:
    """It yields as many updates of the networks as `updates_per_iteration` says."""
    found, declared = len(of_networks(lab.updates())), lab.method.updates_per_iteration
    expect(found == declared, f"expected {quantity(declared, 'update')} an iteration, found {found}")


def totals_are_weighted_sums_of_finite_terms(lab: Laboratory) -> None:
    """Each term is a finite scalar, and the total is the sum of weight times term."""
    for update in lab.updates():
        for term, (_, value) in update.terms.items():
            finite = value.shape == () and bool(value.isfinite())
            expect(finite, f"term '{term}': expected a finite scalar, found {value}")
        expected = math.fsum(weight * value.item() for weight, value in update.terms.values())
        total = update.total.item()
        expect(
            math.isclose(total, expected, rel_tol=TERM_DIGITS, abs_tol=TERM_DIGITS),
            f"expected the total {expected:g}, the weighted sum of the terms, found {total:g}",
        )


def no_gradient_reaches_a_teacher(lab: Laboratory) -> None:
    """No loss has a gradient in a moving average, nor does one flow through its output."""
    parameters = [(name, p) for name, p in _of_teachers(lab)]
    before = {name: p.detach().clone() for name, p in parameters}
    for update in lab.updates():
        update.total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        reached = [name for name, p in parameters if p.requires_grad or p.grad is not None]
        expect(not reached, f"expected no gradient in a teacher, found one in {reached[:1]}")
    for call in lab.calls:
        if isinstance(lab.method.networks[call.network], ExponentialMovingAverage):
            expect(not call.logits.requires_grad, f"expected {call.network}'s logits without a gradient, found one")
    if parameters:
        moved = any(not torch.equal(before[name], p) for name, p in parameters)
        expect(moved, "expected a teacher that follows its students, found one that stays as it is")


def a_teacher_moves_in_after_update_alone(lab: Laboratory) -> None:
    """A moving average is the same before and after `updates` and the gradients of its losses."""
    before = _copies(_of_teachers(lab))
    for update in lab.method.updates(lab.batch, PROGRESS):
        update.total.backward()  # type: ignore[no-untyped-call]
        _expect_equal(before, _copies(_of_teachers(lab)), "expected a teacher that moves in after_update alone")
        if update.trains == "networks":
            lab.method.after_update(PROGRESS)
        before = _copies(_of_teachers(lab))
    _expect_equal(before, _copies(_of_teachers(lab)), "expected a teacher that moves in after_update alone")


def every_part_is_reached(lab: Laboratory) -> None:
    """Some term has a gradient in each part (encoder, decoder, head) of each network that learns."""
    learning = {name: p for name, p in lab.method.named_parameters() if p.requires_grad}
    parts = {part_of(name) for name in learning if name.split(".")[0] in lab.trained()}
    reached = set[str]()
    for update in lab.updates():
        if update.trains == "networks":
            gradients = torch.autograd.grad(update.total, list(learning.values()), retain_graph=True, allow_unused=True)
            for name, gradient in zip(learning, gradients, strict=True):
                if gradient is not None and bool(gradient.any()):
                    reached.add(part_of(name))
    missing = sorted(parts - reached)
    expect(not missing, f"expected a gradient in every part of a student, found none in {', '.join(missing)}")


def the_networks_learn(lab: Laboratory) -> None:
    """After an iteration, every network that can learn has other weights."""
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in lab.trained().items()}
    list(lab.updates())
    for name, network in lab.trained().items():
        moved = any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True))
        expect(moved, f"expected {name} to learn, found its weights as before the iteration")


def lambda_weighs_the_unsupervised_terms_alone(lab: Laboratory) -> None:
    """A term's weight is constant, or 0 where lambda is 0. Without unlabelled images it is constant."""
    zero, once, twice = (weights_at(lab, factor * PROGRESS.lambda_u) for factor in (0, 1, 2))
    counts = [len(own) for own in (zero, once, twice)]
    expect(len(set(counts)) == 1, f"expected as many updates at every lambda_u, found {counts} at 0, once and twice")
    for none, some, double in zip(zero, once, twice, strict=True):
        for term, weight in some.items():
            ramped = none.get(term, 0.0) == 0 and weight != 0
            constant = none.get(term, 0.0) == weight == double.get(term, 0.0)
            expect(
                ramped or constant,
                f"term '{term}': expected a weight that is constant, or 0 where lambda_u is 0; found "
                f"{none.get(term, 0.0):g}, {weight:g} and {double.get(term, 0.0):g} at lambda_u = 0, once and twice",
            )
            expect(
                lab.method.uses_unlabeled or not ramped,
                f"term '{term}': expected a constant weight without unlabelled images, found one with lambda_u",
            )


def every_weighted_term_has_a_gradient(lab: Laboratory) -> None:
    """A term whose weight is not 0 depends on weights: nothing cuts it off from the networks."""
    for update in lab.updates():
        for term, (weight, value) in update.terms.items():
            expect(
                weight == 0 or value.requires_grad,
                f"term '{term}': expected a gradient, found none (is it detached, or computed under torch.no_grad?)",
            )


def it_is_deterministic(lab: Laboratory) -> None:
    """The same weights and the same seed give the same weights: all state is in `state_dict`, all draws are torch's."""
    state, ends = _copies(lab.method.state_dict().items()), list[State]()
    for _ in range(2):
        lab.method.load_state_dict(state)
        torch.manual_seed(5)
        list(lab.updates())
        ends.append(_copies(lab.method.state_dict().items()))
    _expect_equal(ends[0], ends[1], "expected the same weights from the same start and seed (is all state in buffers?)")


def labels_decide_the_loss(lab: Laboratory) -> None:
    """Other labels give another loss."""
    state, values = _copies(lab.method.state_dict().items()), list[list[float]]()
    for labels in (lab.batch.labels, lab.classes - 1 - lab.batch.labels):
        lab.method.load_state_dict(state)
        torch.manual_seed(3)  # dropout
        updates = lab.method.updates(lab.batch._replace(labels=labels), PROGRESS)
        values.append([update.total.item() for update in updates])
    expect(values[0] != values[1], "expected a loss that the labels decide, found the same one with other labels")


def the_batch_is_left_as_it_is(lab: Laboratory) -> None:
    """Neither images nor labels are changed in place."""
    parts = {"labelled": lab.labeled, "unlabelled": lab.unlabeled}
    before = {(part, view): tensor.clone() for part, views in parts.items() for view, tensor in views.items()}
    labels = lab.batch.labels.clone()
    list(lab.updates())
    expect(torch.equal(lab.batch.labels, labels), "expected labels as they were given, found them changed in place")
    for (part, view), tensor in before.items():
        same = torch.equal(parts[part][view], tensor)
        expect(same, f"expected {part} images (view {view}) as they were given, found them changed in place")


def networks_give_logits(lab: Laboratory) -> None:
    """The predictor is one of the networks; each maps images (B, C, *sides) to logits (B, classes, *sides)."""
    networks = lab.method.networks
    known = any(lab.method.predictor is network for network in networks.values())
    expect(known, f"expected a predictor that is one of the networks {', '.join(networks)}, found another module")
    lab.method.eval()
    with torch.no_grad():
        for name, network in networks.items():
            found, expected = network(lab.unlabeled["weak"]), (UNLABELED, lab.classes, *lab.protocol.sides)
            expect(tuple(found.shape) == expected, f"{name}: expected logits {expected}, found {tuple(found.shape)}")
    lab.method.train()


def branches_are_logits_of_the_unlabelled_images(lab: Laboratory) -> None:
    """`branches`, where it is given, is two tensors (unlabelled images, classes, *sides)."""
    expected = [(UNLABELED, lab.classes, *lab.protocol.sides)] * 2
    for update in lab.updates():
        if update.branches is not None:
            found = [tuple(branch.shape) for branch in update.branches]
            expect(found == expected, f"branches: expected shapes {expected}, found {found}")


def it_draws_with_torch(lab: Laboratory) -> None:
    """It leaves the global generators of Python and NumPy alone, whose states no checkpoint keeps."""
    import random

    import numpy as np

    def states() -> tuple[object, list[object]]:
        kept: Any = np.random.get_state()
        return random.getstate(), [kept[1].tolist(), *kept[2:]]

    before = states()
    list(lab.updates())
    after = states()
    expect(before[0] == after[0], "expected draws by torch alone, found some by Python's random")
    expect(before[1] == after[1], "expected draws by torch alone, found some by numpy.random")


CHECKS: tuple[Check, ...] = (
    networks_give_logits,
    yields_what_it_declares,
    totals_are_weighted_sums_of_finite_terms,
    no_gradient_reaches_a_teacher,
    a_teacher_moves_in_after_update_alone,
    every_part_is_reached,
    the_networks_learn,
    lambda_weighs_the_unsupervised_terms_alone,
    every_weighted_term_has_a_gradient,
    it_is_deterministic,
    it_draws_with_torch,
    labels_decide_the_loss,
    the_batch_is_left_as_it_is,
    branches_are_logits_of_the_unlabelled_images,
)


def expect(holds: bool, problem: str) -> None:
    """Raise AssertionError with the problem unless something holds."""
    if not holds:
        raise AssertionError(problem)


def of_networks(updates: Iterable[Update]) -> list[Update]:
    """Return the updates that train the networks, without those of adversaries."""
    return [update for update in updates if update.trains == "networks"]


def part_of(parameter: str) -> str:
    """Return the part of a method that a parameter belongs to: `student1.encoder`, `auxiliary.2`."""
    return ".".join(parameter.split(".")[:2])


def weights_at(lab: Laboratory, lambda_u: float) -> list[dict[str, float]]:
    """Return the weight of each term in each update of an iteration at a lambda; the method stays as it is."""
    state = _copies(lab.method.state_dict().items())
    updates = of_networks(lab.method.updates(lab.batch, replace(PROGRESS, lambda_u=lambda_u)))
    weights = [{term: weight for term, (weight, _) in update.terms.items()} for update in updates]
    lab.method.load_state_dict(state)
    return weights


def _of_teachers(lab: Laboratory) -> Iterable[tuple[str, Tensor]]:
    for name, network in lab.method.networks.items():
        if isinstance(network, ExponentialMovingAverage):
            yield from ((f"{name}.{own}", parameter) for own, parameter in network.named_parameters())


def _copies(tensors: Iterable[tuple[str, Tensor]]) -> State:
    return {name: tensor.detach().clone() for name, tensor in tensors}


def _expect_equal(first: State, second: State, what: str) -> None:
    different = [name for name in first if not torch.equal(first[name], second[name])]
    expect(not different, f"{what}, found {different[0] if different else ''} changed")

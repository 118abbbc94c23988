"""Checks a method against its contract: its networks before training, each update as it comes, more at iteration 1.

Each error is one line that names the method's file and line.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any, NoReturn

import torch
from torch import Tensor

from ssl_bench.command import quantity
from ssl_bench.errors import MethodError
from ssl_bench.method import AdversaryHyperparameters, Batch, Progress, SSLMethod, Update
from ssl_bench.plugins import source_file


def check_networks(method: SSLMethod) -> None:
    """Check that a method has `updates`, a predictor among its networks, and parameters that learn.

    Raises:
        MethodError: it lacks one of these.
    """
    kind = type(method)
    if kind.updates is SSLMethod.updates:
        _refuse(method, "expected a method `updates`, found none")
    if kind.predictor is SSLMethod.predictor:
        _refuse(method, "expected a property `predictor` (the network used at test time), found none")
    if not isinstance(found := method.adversaries, dict):
        _refuse(method, f"`adversaries`: expected a dict of modules by name, found {type(found).__name__}")
    if not any(parameter.requires_grad for parameter in method.parameters()):
        _refuse(method, "no parameter requires a gradient; set networks as attributes in __init__: new_student()")
    try:
        predictor: Any = method.predictor
    except AttributeError:  # torch's modules say that `predictor` is missing, whatever is
        names = ", ".join(f"self.{name}" for name, _ in method.named_children())
        _refuse(method, f"`predictor` asks for an attribute that does not exist; expected a network, such as {names}")
    if not any(network is predictor for network in method.networks.values()):
        _refuse(
            method,
            f"`predictor`: expected one of the networks {', '.join(method.networks)}, found {type(predictor).__name__}",
        )
    if method.adversaries and not isinstance(method.hyper, AdversaryHyperparameters):
        _refuse(
            method,
            "`adversaries`: expected hyperparameters of a subclass of AdversaryHyperparameters, found "
            f"{type(method.hyper).__name__}",
        )


def check_logits(method: SSLMethod, batch: Batch, classes: int) -> None:
    """Check the shape of every network's output on the labelled images. It changes no weight and no random draw.

    Raises:
        MethodError: an output is not (B, classes, *spatial).
    """
    images = batch.labeled.student1
    devices = [] if images.device.type == "cpu" else [images.device]
    with torch.no_grad(), torch.random.fork_rng(devices, enabled=images.device.type != "meta"):
        method.eval()
        for name, network in method.networks.items():
            problem = _problem_of_logits(network(images), images, classes)
            if problem:
                _refuse(method, f"network `{name}`: {problem}")
        method.train()


class UpdateCheck:
    """Iterates over one iteration's updates and checks each; a method must yield as many as it declares.

    Args:
        method: the method.
        batch: the iteration's images.
        progress: the iteration.

    """

    def __init__(self, method: SSLMethod, batch: Batch, progress: Progress) -> None:
        self.method, self.batch, self.is_first = method, batch, progress.iteration == 1
        self.generator: Any = method.updates(batch, progress)
        self.count = 0
        self.names: set[str] = set()  # of the terms since the last update of the networks
        if not isinstance(self.generator, Iterator):
            self._refuse(f"`updates` must yield an Update per optimiser step; it returned {_kind(self.generator)}")

    def following(self) -> tuple[Update, Tensor] | None:
        """Return the next update and its total; None after the last.

        Raises:
            MethodError: it is not an Update of scalars with a gradient, or there are more or fewer than declared.
        """
        update: Any = next(self.generator, None)
        declared = type(self.method).updates_per_iteration
        if update is None:
            if self.count != declared:
                self._refuse(
                    f"`updates` yielded {quantity(self.count, 'update')}; updates_per_iteration declares {declared}"
                )
            return None
        if not isinstance(update, Update):
            self._refuse(f"`updates` must yield an Update; it yielded {_kind(update)}")
        if update.trains == "networks":
            self.count += 1
        elif update.trains != "adversaries" or not self.method.adversaries:
            self._refuse(f"trains = '{update.trains}': expected networks, or adversaries of a method that has any")
        elif self.count == 0:
            self._refuse("an update of the adversaries came first; expected one of the networks before it")
        if self.count > declared:
            self._refuse(f"`updates` yielded more than the {declared} that updates_per_iteration declares")
        self._check_terms(update)
        total = update.total
        if not total.requires_grad:
            self._refuse("no term of the update depends on a weight: the loss has no gradient")
        if self.is_first:
            self._check_first(update, total)
        return update, total

    def close(self, update: Update, progress: Progress) -> None:
        """Call `after_update` after an update of the networks; at iteration 1 check that it moves no weight of theirs.

        Raises:
            MethodError: a gradient is not finite, a teacher receives one, or an adversary does not.
        """
        if not self.is_first:
            if update.trains == "networks":
                self.method.after_update(progress)
            return
        learning = {n: p for n, p in self.method.named_parameters() if p.grad is not None}
        for name, parameter in learning.items():
            if not bool(parameter.grad.isfinite().all()):  # type: ignore[union-attr]
                self._refuse(f"the gradient of `{name}` is not finite before any training, though the loss is")
        if update.trains == "adversaries":
            adversaries = self.method.adversaries.values()
            if not any(p.grad is not None for one in adversaries for p in one.parameters()):
                self._refuse("an update trains the adversaries, but no gradient reaches them")
            return
        before = {name: parameter.detach().clone() for name, parameter in learning.items()}
        self.method.after_update(progress)
        for name, parameter in learning.items():
            if not torch.equal(before[name], parameter):
                self._refuse(
                    f"`after_update` changes `{name}`, which also receives a gradient; a teacher must not: "
                    "build it with new_teacher() or call its network under torch.no_grad()"
                )

    def _check_terms(self, update: Update) -> None:
        if not update.terms:
            self._refuse("the update has no terms")
        if update.trains == "networks":
            self.names = {"loss"}  # the total's column in the curves
        for name in update.terms:
            if name in self.names:
                self._refuse(f"term '{name}': expected a name of its own, since curves have a column per name")
            self.names.add(name)
        for name, term in update.terms.items():
            if not isinstance(term, tuple) or len(term) != 2 or not isinstance(term[0], int | float):
                self._refuse(f"term '{name}': expected (weight, value) with a number as weight, found {_kind(term)}")
            if not isinstance(term[1], Tensor) or term[1].shape != ():
                self._refuse(f"term '{name}': expected a scalar tensor (reduce it by mean()), found {_kind(term[1])}")

    def _check_first(self, update: Update, total: Tensor) -> None:
        if not bool(total.isfinite()):
            terms = [f"{weight:g} * {value.item():g} ({name})" for name, (weight, value) in update.terms.items()]
            self._refuse(f"the loss is not finite before any training: {total.item():g} = {' + '.join(terms)}")
        if update.branches is not None:
            classes = update.branches[0].shape[1]
            for logits in update.branches:
                problem = _problem_of_logits(logits, self.batch.unlabeled.student1, classes)
                if problem:
                    self._refuse(f"`branches`: {problem}")

    def _refuse(self, problem: str) -> NoReturn:
        frame = getattr(self.generator, "gi_frame", None)  # where the generator stands: at its last yield
        _refuse(self.method, problem, "" if frame is None else _line(frame.f_code, frame.f_lineno))


def place_of(error: BaseException, method: type[SSLMethod]) -> str:
    """Return the line of the method's file in which an exception arose, as `FILE:LINE`; empty if it arose elsewhere."""
    file, place, trace = str(source_file(method.__module__)), "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _problem_of_logits(logits: Any, images: Tensor, classes: int) -> str:
    expected = (len(images), classes, *images.shape[2:])
    if isinstance(logits, Tensor) and tuple(logits.shape) == expected:
        return ""
    return f"expected logits of shape {expected} (images, classes, sides), found {_kind(logits)}"


def _kind(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _place(method: SSLMethod) -> str:
    """The line of a method's `updates`, or of its class if it has none."""
    kind = type(method)
    if kind.updates is SSLMethod.updates:
        return f"{source_file(kind.__module__)}:{inspect.getsourcelines(kind)[1]}"
    return _line(kind.updates.__code__, kind.updates.__code__.co_firstlineno)


def _line(code: CodeType, line: int) -> str:
    return f"{code.co_filename}:{line}"


def _refuse(method: SSLMethod, problem: str, place: str = "") -> NoReturn:
    raise MethodError(f"{place or _place(method)}: method '{type(method).name}': {problem}")

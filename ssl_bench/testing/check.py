"""Holds a method to the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ssl_bench.errors import MethodError
from ssl_bench.method import SSLMethod
from ssl_bench.testing.checks import CHECKS, Check
from ssl_bench.testing.laboratory import PROGRESS, Laboratory, set_up, small_protocol
from ssl_bench.training.method_check import UpdateCheck, check_logits, check_networks

PROTOCOLS = ("paper", "mini")  # which differ in the teacher and in the views


def check_method(
    method: type[SSLMethod],
    *,
    protocols: Sequence[str] = PROTOCOLS,
    classes: Sequence[int] = (2, 4),
    **hyper: Any,
) -> None:
    """Hold a method to the contract, in each of its dimensions, on a tiny network and random images; takes seconds.

    It holds that no gradient reaches a teacher, that every network learns, that the losses are finite and weighed as
    declared, that the labels decide them, that the batch is left as it is, and that the same seed gives the same
    weights. It does not hold that the losses are the paper's: that needs a test of your own.

    Args:
        method: its class.
        protocols: names of protocols or .toml cards; one that the method's `check` refuses is an error.
        classes: numbers of classes, with the background.
        hyper: hyperparameters other than their defaults.

    Raises:
        AssertionError: a line for each demand that is not met, with the form in which it is not.
        ValueError: there is no form to check.

    """
    if not (method.dimensions and protocols and classes):
        raise ValueError("expected dimensions, protocols and classes to check in, found none of one of them")
    problems: dict[str, str] = {}
    for dimensions in method.dimensions:
        for protocol in protocols:
            for count in classes:
                where = f"{protocol}, {dimensions}D, {count} classes"
                for problem in _problems(method, protocol, dimensions, count, hyper):
                    problems.setdefault(problem, where)
    if problems:
        lines = [f"{problem} ({where})" for problem, where in problems.items()]
        raise AssertionError("\n".join([f"method '{method.name}' breaks its contract:", *lines]))


def _problems(
    method: type[SSLMethod], protocol: str, dimensions: int, classes: int, hyper: dict[str, Any]
) -> list[str]:
    """What one form of the method does not meet; the first problem of training itself ends the search."""

    chosen, small = method.hyperparameters(**hyper).resolved(dimensions), small_protocol(protocol, dimensions)

    def fresh() -> Laboratory:
        return set_up(method, chosen, small, classes)  # which also seeds torch

    try:
        _train_once(fresh())
    except MethodError as error:
        return [str(error)]
    return [problem for check in CHECKS if (problem := _problem(check, fresh())) is not None]


def _train_once(lab: Laboratory) -> None:
    """Run an iteration under the checks that every training begins with."""
    check_networks(lab.method)
    check_logits(lab.method, lab.batch, lab.classes)
    first = replace(PROGRESS, iteration=1)
    checked = UpdateCheck(lab.method, lab.batch, first)
    while (found := checked.following()) is not None:
        update, total = found
        lab.method.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        checked.close(update, first)


def _problem(check: Check, lab: Laboratory) -> str | None:
    try:
        check(lab)
    except AssertionError as error:
        return f"{check.__name__.replace('_', ' ')}: {error}"
    return None

"""From a request to one for each choice of settings: those of the protocol, or of the methods' authors.

Their settings stand in the requests as plain settings, as if `--set` had named them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ssl_bench.cards import Request, authors_settings, divide
from ssl_bench.command import listed
from ssl_bench.data.cache import Advance
from ssl_bench.data.dataset import Dataset
from ssl_bench.errors import UserError
from ssl_bench.method import find_method
from ssl_bench.method.registry import ALL, by_group, registered
from ssl_bench.store import Store
from ssl_bench.training.job import Job
from ssl_bench.training.plan import MOST, methods_named, plan_costs, plan_runs, settle

log = logging.getLogger("ssl_bench")


@dataclass(frozen=True)
class Asked:
    """The request of a method's runs. `authors` are those of its settings that come from the method's authors."""

    request: Request
    authors: dict[str, Any] = field(default_factory=dict)


def every_method(request: Request, device: torch.device) -> Request:
    """Return the request with every method that fits its data and protocol, where it names `all`; log the others.

    Raises:
        UserError: the request or a card is wrong, or no method fits.
    """
    if ALL not in request.methods:
        return request
    names = tuple(one.name for own in by_group(registered()).values() for one in own)
    fitting, _, left_out = plan_costs(replace(request, methods=names), device, every=True)
    if not fitting:
        raise UserError(f"--methods: expected a method that fits the data, found none: {left_out[0]}")
    for line in left_out:
        log.info("note: %s", line)
    return replace(request, methods=tuple(method.name for method in fitting))


def tuned_requests(request: Request, tuned: str) -> dict[str, Asked]:
    """Return the request of each method's runs; methods with equal settings share one.

    Args:
        request: takes precedence over the authors' settings.
        tuned: "common" or "authors".

    Raises:
        UserError: a setting of the request is wrong, or a method's own settings do not fit the protocol.
    """
    if tuned not in ("common", "authors"):
        raise UserError(f"--tuned: expected common or authors, found '{tuned}'")
    methods, dimensions = methods_named(request.methods), request.benchmark.network_dimensions
    names = [method.name for method in methods]
    if tuned == "common":
        return dict.fromkeys(names, Asked(request))
    settle(request.protocol, request.settings, methods, dimensions)
    own = {name: tuned_settings(name, request.settings, request.protocol, dimensions) for name in names}
    lacking = [name for name in names if not own[name]]
    if lacking:
        log.info("note: --tuned authors: no authors' settings for %s: as with --tuned common", listed(lacking, MOST))
    found = dict[str, Asked]()
    for name in names:
        members = [other for other in names if own[other] == own[name]]
        fields = {key for member in members for key in find_method(member).hyperparameters.model_fields}
        unknown = divide(request.settings, fields).unknown  # hyperparameters of the other methods
        given = {key: value for key, value in request.settings.items() if key not in unknown}
        found[name] = Asked(replace(request, methods=tuple(members), settings={**own[name], **given}), own[name])
    return found


def tuned_settings(name: str, given: Mapping[str, Any], protocol: str, dimensions: int) -> dict[str, Any]:
    """Return the settings of a method's authors that hold beside the given ones; empty where there are none.

    Raises:
        UserError: the method is unknown, or the settings do not fit the protocol.
    """
    method = find_method(name)
    own = authors_settings(method.authors, given, dimensions)
    if own:
        unknown = divide(given, method.hyperparameters.model_fields).unknown
        try:
            settle(protocol, own | {k: v for k, v in given.items() if k not in unknown}, [method], dimensions)
        except UserError as error:
            raise UserError(f"--tuned authors: {name}: {error}") from None
    return own


def plan_tuned(
    asked: Mapping[str, Asked],
    device: torch.device,
    data_root: Path | None,
    *,
    allow_partial: bool,
    advance: Advance | None,
    store: Store,
) -> list[tuple[Request, Job]]:
    """Plan the runs of all methods, ordered by seed, label seed and method. Arguments are as in `plan_runs`.

    Raises:
        UserError: as `plan_runs`.
    """
    prepared = dict[tuple[str, int | None], Dataset]()
    different = [one.request for name, one in asked.items() if name == one.request.methods[0]]
    pairs = [
        (request, job)
        for request in different
        for job in plan_runs(
            request, device, data_root, allow_partial=allow_partial, advance=advance, prepared=prepared, store=store
        )
    ]
    order = {name: number for number, name in enumerate(asked)}
    draws = different[0].draws
    return sorted(pairs, key=lambda pair: (draws.index(pair[1].spec.draws), order[pair[1].spec.method]))

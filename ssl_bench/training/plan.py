"""Turns a request (methods, data set, protocol, seeds) into runs that are ready to train."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ssl_bench.cards import (
    CHANNELS,
    HARNESS,
    Benchmark,
    ImageAxes,
    ImageProtocol,
    Protocol,
    Request,
    RunSpec,
    VolumeProtocol,
    Volumes,
    divide,
    image_axes,
    load_protocol,
    measurement_of,
    parse_share,
    protocol_keys,
    share_of,
    with_split_file,
)
from ssl_bench.cards.card import nearest
from ssl_bench.cards.protocol import ResolvedProtocol
from ssl_bench.command import listed, quantity
from ssl_bench.data.cache import Advance, prepare
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.extra import chosen_extras
from ssl_bench.data.groups import card_groups, straddling
from ssl_bench.data.reader import memory_mode
from ssl_bench.data.split import draw_labeled, kept_together, labelable, set_apart, split_cases, units_of
from ssl_bench.errors import UnfitError, UserError
from ssl_bench.method import Hyperparameters, SSLMethod, find_method, parse_hyperparameters
from ssl_bench.networks import find_network, weights_fingerprint
from ssl_bench.store import Store
from ssl_bench.training.device import bf16_gradients_are_right
from ssl_bench.training.job import Job
from ssl_bench.training.measure import require_known_pixels
from ssl_bench.training.network_check import require_architectures, require_buildable, require_network, require_parts

MOST = 20  # methods or hyperparameters that a message names


def plan_runs(
    request: Request,
    device: torch.device,
    data_root: Path | None,
    *,
    allow_partial: bool,
    advance: Advance | None,
    prepared: dict[tuple[str, int | None], Dataset] | None = None,
    store: Store | None = None,
) -> list[Job]:
    """Resolve a request to its runs, ordered by seed, then label seed; prepares the data set if it is not in the cache.

    `prepared` keeps data sets between requests, since checking that one is unchanged means reading it. The network is
    built once, to see that it can be, unless all runs are done in `store`.

    Raises:
        UserError: the request, the cards or the data cannot be run. Nothing has been trained.
    """
    memory_mode()  # a wrong value ends it here
    methods, hyperparameters, protocol = settle_fitting(request)
    benchmark = with_split_file(request.benchmark, protocol.split)
    parse_share(request.labeled, "--labeled")
    measurement = measurement_of(protocol, benchmark)
    first_look = protocol.resolved(benchmark, 1, device.type)
    split = benchmark.splits[first_look.split]
    if request.label_seeds and split.labeled == "first":
        raise UserError(
            f"--label-seeds: expected a split whose labelled cases are drawn; found '{first_look.split}', which takes "
            "the first training cases whatever the seed"
        )
    on_cpu_in_half = device.type == "cpu" and first_look.precision == "bf16"
    if on_cpu_in_half and protocol.dimensions == 3 and not bf16_gradients_are_right():
        raise UserError(
            "--set precision: bf16 on this CPU gives 3D convolutions wrong gradients (a fault of oneDNN, which torch "
            "uses); expected fp32"
        )
    chosen_extras(first_look)
    build_once = functools.cache(lambda: require_buildable(request, first_look, methods, hyperparameters))
    fingerprint = weights_fingerprint(first_look)
    prepared, key = {} if prepared is None else prepared, (request.benchmark.option, protocol.stored_size)
    if key not in prepared:
        prepared[key] = prepare(
            benchmark, data_root, key[1], allow_partial=allow_partial, advance=_after(build_once, advance)
        )
    dataset, channels = prepared[key], benchmark.channel_count
    groups = card_groups(benchmark, dataset.ids)
    train_ids, test_ids = split_cases(
        split, dataset.ids, dataset.contents, masked=dataset.masked, allow_partial=allow_partial, groups=groups
    )
    if measurement.distance_unit == "mm":
        dataset.spacings(test_ids)  # a file without one ends it here
    train_slices = None if dataset.slice_window is None else dataset.count_images(train_ids)
    resolved = protocol.resolved(benchmark, train_slices or len(train_ids), device.type)
    train_groups = None if groups is None else len({groups[name] for name in train_ids})
    units = train_groups or len(train_ids)
    labeled = share_of(request.labeled, units, "--labeled", "image" if groups is None else "group")
    if groups is None or dataset.masked.issuperset(train_ids):  # else a labelled group has unlabelled images, too
        _require_unlabeled(methods, labeled, units, "images" if groups is None else "groups", protocol)
    if request.label_seeds and labeled == len(labelable(train_ids, dataset.masked, groups)):
        raise UserError(
            f"--label-seeds: expected fewer labelled cases than can be drawn; found all {labeled} of them labelled, "
            "whatever the seed"
        )
    together = None if resolved.validation is None else kept_together(split, dataset.ids, dataset.contents, groups)
    is_whole = together is not None and any(together[name] != own for name, own in units_of(train_ids, groups).items())
    jobs = []
    for seed, label_draw in request.draws:
        splits = draw_labeled(
            train_ids, test_ids, labeled, label_draw,
            masked=dataset.masked, first=split.labeled == "first", groups=groups,
        )  # fmt: skip
        if resolved.validation is not None:
            splits = set_apart(
                splits, resolved.validation, resolved.validation_share, seed, masked=dataset.masked, together=together
            )
        for method, hyper in zip(methods, hyperparameters, strict=True):
            spec = RunSpec(
                benchmark=benchmark.name,
                channels=None if channels == CHANNELS[benchmark.dimensions] else channels,
                classes=benchmark.classes,
                label_values=dataset.label_values,
                intensity=dataset.intensity,
                split=split,
                data_fingerprint=dataset.fingerprint,
                train_count=len(train_ids),
                test_count=len(test_ids),
                group=benchmark.group_rule,
                train_groups=train_groups,
                train_slices=train_slices,
                slice_window=dataset.slice_window,
                axes=None if dataset.axes == "xyz" else dataset.axes,
                layout=dataset.layout,
                channel_names=benchmark.channel_names or None,
                image_axes=_image_axes(benchmark, dataset),
                labeled=labeled,
                protocol=resolved,
                weights_fingerprint=fingerprint,
                method=method.name,
                method_version=method.version,
                hyperparameters=hyper.model_dump(mode="json"),
                seed=seed,
                label_seed=None if label_draw == seed else label_draw,
                kept_whole=True if is_whole else None,
                harness=HARNESS,
            )
            jobs.append(Job(spec, method, hyper, dataset, splits, measurement))
    require_known_pixels(jobs, benchmark, data_root)
    if store is None or not all(store.is_done(job.spec, job.measurement) for job in jobs):
        build_once()
    return jobs


def settle_fitting(
    request: Request,
) -> tuple[list[type[SSLMethod]], list[Hyperparameters], ImageProtocol | VolumeProtocol]:
    """Return a request's methods, their hyperparameters and its protocol, which fit each other and the data's kind.

    No data is read.

    Raises:
        UserError: a card or a setting is wrong, or a method or the network does not fit.
    """
    methods = methods_named(request.methods)
    protocol, hyperparameters = settle(
        request.protocol, request.settings, methods, request.benchmark.network_dimensions
    )
    benchmark = with_split_file(request.benchmark, protocol.split)
    for method, hyper in zip(methods, hyperparameters, strict=True):
        _require_fit(method, hyper, protocol, benchmark)
    require_parts(require_network(request, protocol), methods)
    return methods, hyperparameters, protocol


def plan_costs(
    request: Request, device: torch.device, *, every: bool
) -> tuple[dict[type[SSLMethod], Hyperparameters], ResolvedProtocol, list[str]]:
    """Resolve a request for the prediction of costs, without its data.

    Args:
        request: its labelled share and seeds have no effect.
        device: whose kind decides the precision.
        every: leave out methods that do not fit the data or the protocol, instead of refusing them.

    Returns:
        The methods with their hyperparameters, the protocol, and why a method was left out.

    Raises:
        UserError: the request or a card is wrong.

    """
    methods, benchmark = methods_named(request.methods), request.benchmark
    protocol, hyperparameters = settle(request.protocol, request.settings, methods, benchmark.network_dimensions)
    entry = require_network(request, protocol)
    fitting, left_out = dict[type[SSLMethod], Hyperparameters](), list[str]()
    for method, hyper in zip(methods, hyperparameters, strict=True):
        try:
            _require_fit(method, hyper, protocol, benchmark)
            require_parts(entry, [method])
        except UserError as error:
            if not every:
                raise
            reason = str(error).removeprefix(f"{method.name}: ")
            left_out.append(f"{method.name} is left out: {reason}")
        else:
            fitting[method] = hyper
    return fitting, protocol.resolved(benchmark, benchmark.cases, device.type), left_out


def short_ramps(jobs: Sequence[Job]) -> list[str]:
    """Warn about runs that end before lambda has ramped up."""
    lines = {}
    for job in jobs:
        if job.method.uses_unlabeled and job.rampup_length > job.iterations:
            reached = job.ramp(job.iterations)
            lines[job.method.name] = (
                f"{job.method.name}: lambda's ramp-up takes {job.rampup_length:.0f} iterations, but the run has "
                f"{job.iterations} and ends at {reached:.2f} of lambda_max; --set rampup_epochs=run shortens it"
            )
    return list(lines.values())


def alike_decoders(jobs: Sequence[Job]) -> list[str]:
    """Say which methods have decoders that should differ by their upsampling, on a network without the choice."""
    lines = {}
    for job in jobs:
        protocol = job.spec.protocol
        if job.method.wants_upsampling and not find_network(protocol.network, protocol.dimensions).upsampling:
            lines[job.method.name] = (
                f"{job.method.name}: its decoders should differ by how they double sides; network "
                f"'{protocol.network}' does not have every way, so some differ by their initial weights alone"
            )
    return list(lines.values())


def parted_groups(jobs: Sequence[Job]) -> list[str]:
    """Say which splits have cases of one group in training and in test: a file's or a list of parts."""
    lines = {}
    for job in jobs:
        splits, groups = job.splits, job.splits.groups
        if groups is not None:
            train = (*splits.labeled, *splits.unlabeled, *splits.validation)
            parted = straddling(groups, train, splits.test)
            if parted:
                name = job.spec.split.file or f"split {job.spec.protocol.split}"
                lines[name] = (
                    f"{name}: {quantity(len(parted), 'group')}, such as {parted[0]}, in training and in "
                    f"test; the scores may be too good"
                )
    return list(lines.values())


def settle(
    protocol: str, settings: dict[str, Any], methods: Sequence[type[SSLMethod]], dimensions: int
) -> tuple[ImageProtocol | VolumeProtocol, list[Hyperparameters]]:
    """Assign each `--set` to the protocol or to the methods that have the field. An unknown key is an error."""
    fields = sorted({field for method in methods for field in method.hyperparameters.model_fields})
    divided = divide(settings, fields)
    for key in divided.unknown:
        near = nearest(key, [*sorted(protocol_keys(dimensions)), *fields])
        raise UserError(
            f"--set {key}: unknown key{f'; did you mean {near}?' if near else ''}; expected a field of the protocol "
            f"(`ssl-bench benchmarks {protocol}` lists them) or a hyperparameter of these methods "
            f"({listed(fields, MOST) or 'which have none'})"
        )
    card = load_protocol(protocol, divided.protocol, dimensions=dimensions)
    own = [divide(settings, method.hyperparameters.model_fields).method for method in methods]
    return card, [
        parse_hyperparameters(method, given).resolved(dimensions) for method, given in zip(methods, own, strict=True)
    ]


def _image_axes(benchmark: Benchmark, dataset: Dataset) -> ImageAxes | None:
    """The axes of a 3D data set's images; those of drawn volumes have no meaning."""
    if benchmark.dimensions == 2:
        return None
    return image_axes(dataset.layout) if isinstance(dataset.layout, Volumes) else "unknown"


def methods_named(names: Sequence[str]) -> list[type[SSLMethod]]:
    """Return the methods of these names, each once.

    Raises:
        UserError: there is no name, or no such method.
    """
    if not names:
        raise UserError("--methods: expected at least one method")
    return [find_method(name) for name in dict.fromkeys(names)]


def _require_fit(
    method: type[SSLMethod], hyper: Hyperparameters, protocol: ImageProtocol | VolumeProtocol, benchmark: Benchmark
) -> None:
    """Check that a method supports the data and the protocol.

    Raises:
        UserError: it does not.
    """
    if protocol.dimensions not in method.dimensions:
        raise UserError(f"--methods: {method.name} does not support {protocol.dimensions}D data")
    if benchmark.ignores and not method.handles_ignored:
        raise UserError(
            f"--methods: {method.name} does not support masks with ignored pixels (`ignore` on the card); "
            "its file says handles_ignored = True once it leaves them out"
        )
    try:
        method.check(hyper, protocol)
    except UserError as error:
        raise UnfitError(f"{method.name}: {error}") from None
    require_architectures(method, hyper, protocol)


def _require_unlabeled(
    methods: Sequence[type[SSLMethod]], labeled: int, train: int, what: str, protocol: Protocol
) -> None:
    needy = [method.name for method in methods if method.uses_unlabeled]
    if labeled == train and protocol.unlabeled_pool == "unlabeled" and needy:
        raise UserError(
            f"--labeled: all {train} training {what} are labelled, which leaves none unlabelled for "
            f"{listed(needy, MOST)}"
        )


def _after(check: Callable[[], None], advance: Advance | None) -> Advance:
    """Return `advance`, which is first called when the first of many cases is decoded, with a check before it."""

    def checked(done: int, total: int) -> None:
        check()
        if advance is not None:
            advance(done, total)

    return checked

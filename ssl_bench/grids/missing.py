"""The runs that a table or figure lacks, and how long they will take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ssl_bench.cards import Benchmark, Grid, Request, RunSpec, training_fields
from ssl_bench.cards.protocol import ResolvedProtocol
from ssl_bench.declarations import Declarations
from ssl_bench.errors import UnfitError, UserError
from ssl_bench.grids.aim import Place, Target, aim, places, upper_line
from ssl_bench.grids.match import DataChoice, select
from ssl_bench.store import Run

NETWORK = ("network", "encoder", "output_stride", "aspp", "filters")
SIZES = ("image_size", "patch_size", "labeled_batch", "unlabeled_batch", "iterations", "precision", "compile")
COSTLY = NETWORK + SIZES  # protocol fields that decide the cost or the number of iterations


@dataclass(frozen=True)
class Lack:
    """A run that a grid needs, and that is not finished in the store or not scored as requested."""

    place: Place
    seed: int
    is_trained: bool = False
    label_seed: int | None = None


def wanted_runs(
    grids: Sequence[Grid],
    target: Target,
    methods: Declarations,
    runs: Sequence[Run] = (),
) -> dict[str, Place]:
    """Return one place for each distinct cell of the grids. A run that several grids show is needed once.

    If the store has any run of an upper line, all its runs are needed, since the line is then shown.
    """
    found: dict[str, Place] = {}
    for grid in grids:
        aimed = aim(grid, target, methods)
        upper = upper_line(aimed, methods)
        above = [] if upper is None else [place for place in places(upper, target, methods)[0] if place is not None]
        is_begun = any(select(runs, [place.wanted for place in above]))
        body = [place for row in places(aimed, target, methods) for place in row if place is not None]
        for place in [*(above if is_begun else []), *body]:
            found.setdefault(place.wanted.identity, place)
    return found


def lacking(wanted: Mapping[str, Place], seeds: Sequence[int], runs: Sequence[Run]) -> list[Lack]:
    """Return the missing runs, those of the first seed first.

    If scores during training are requested (`score_every`, `validate_every`), a run without scores at these iterations
    is missing.
    """
    places = list(wanted.values())
    there = [
        {run.spec.draws: run for run in own if run.spec.has_curves_of(place.wanted.protocol)}
        for place, own in zip(places, select(runs, [place.wanted for place in places]), strict=True)
    ]
    return [
        Lack(place, seed, is_trained=draws in own, label_seed=draws[1] if place.wanted.label_seeds else None)
        for seed in seeds
        for place, own in zip(places, there, strict=True)
        for draws in place.wanted.draws_of(seed)
        if draws not in own or not own[draws].is_scored(place.wanted.measurement)
    ]


def require_one_precision(wanted: Mapping[str, Place], specs: Sequence[RunSpec], runs: Sequence[Run]) -> None:
    """Refuse to train runs that no table could show beside the existing runs of these cells.

    Args:
        wanted: one place for each cell.
        specs: the runs that are about to be trained.
        runs: all runs of the store.

    Raises:
        UserError: runs on the same data exist in another precision.
    """
    found = select(runs, [place.wanted for place in wanted.values()])
    there = {(run.spec.data_fingerprint, run.spec.protocol.precision) for own in found for run in own}
    for spec in specs:
        others = sorted(kind for data, kind in there if data == spec.data_fingerprint)
        if others and spec.protocol.precision not in others:
            raise UserError(
                f"reproduce: the runs on {spec.benchmark} have precision {others[0]}, the missing ones would have "
                f"{spec.protocol.precision}, and a table cannot mix them; --set precision={others[0]} completes the "
                f"existing runs, --set precision={spec.protocol.precision} starts new ones"
            )


def require_chosen_data(choice: DataChoice, specs: Sequence[RunSpec]) -> None:
    """Refuse to train on data that was not chosen.

    Raises:
        UserError: the data below the data root is not the data chosen for its data set.
    """
    for spec in specs:
        if not choice.includes(spec):
            raise UserError(
                f"--data: expected {spec.benchmark} under --data-root to have a data fingerprint that begins with "
                f"'{' or '.join(choice.beginnings)}'; found {spec.data_fingerprint}"
            )


def requests(lacks: Sequence[Lack]) -> list[Request]:
    """Join runs that differ only in their method into one request each, in the given order."""
    groups: dict[tuple[object, ...], list[Lack]] = {}
    for lack in lacks:
        place = lack.place
        key = (
            lack.seed,
            lack.label_seed,
            place.column.dataset,
            place.column.labeled,
            place.protocol,
            str(sorted(place.settings.items())),
        )
        groups.setdefault(key, []).append(lack)
    return [
        Request(
            benchmark=own[0].place.benchmark,
            methods=tuple(lack.place.method for lack in own),
            labeled=own[0].place.column.labeled,
            protocol=own[0].place.protocol,
            settings=own[0].place.settings,
            seeds=(own[0].seed,),
            label_seeds=() if (label := own[0].label_seed) is None else (label,),
        )
        for own in groups.values()
    ]


@dataclass(frozen=True)
class Unfit:
    """Missing runs that the settings of their row do not let train under the protocol, and why."""

    lacks: tuple[Lack, ...]
    reason: str


RequireFit = Callable[[Request], object]
"""Raises UnfitError if a request's methods, network and protocol do not fit each other, UserError if it is wrong."""


def set_apart_unfit(
    lacks: Sequence[Lack], runs: Sequence[Run], require_fit: RequireFit
) -> tuple[list[Lack], list[Unfit]]:
    """Return the missing runs that can be trained, and those that the settings of their row keep from it.

    An example is a row whose network cannot take the protocol's images. A run stays if it could not be trained without
    these settings either, or if they are wrong under any protocol: it is for planning to refuse.

    Args:
        lacks: the missing runs.
        runs: all runs of the store. A cell with a finished run is not tried.
        require_fit: tries a request. It is not called for a row without settings.

    """
    tried: dict[str, str] = {}  # the reason by the cell
    kept: list[Lack] = []
    apart: dict[tuple[str, str, str], list[Lack]] = {}  # by method, data set and reason
    for lack in lacks:
        place = lack.place
        cell = place.wanted.identity
        if cell not in tried:
            is_sure = not place.row.settings or any(place.wanted.matches(run) for run in runs)
            tried[cell] = "" if is_sure else _obstacle(lack, require_fit)
        key = place.method, place.benchmark.name, tried[cell]
        (apart.setdefault(key, []) if tried[cell] else kept).append(lack)
    return kept, [Unfit(tuple(own), reason) for (_, _, reason), own in apart.items()]


def _obstacle(lack: Lack, require_fit: RequireFit) -> str:
    """Why the settings of its row do not let a run be trained; empty if they do, or if planning has to refuse it."""
    (request,) = requests([lack])
    with suppress(UserError):
        try:
            require_fit(request)
        except UnfitError as error:
            require_fit(replace(request, settings=lack.place.settings_without_row))
            return str(error)
    return ""


@dataclass(frozen=True)
class Estimate:
    """How long a run takes, from runs like it or, if `is_scaled`, from other runs by their operations."""

    seconds: float
    is_scaled: bool = False


Operations = Callable[[Benchmark, str, Mapping[str, Any], ResolvedProtocol], float | None]
"""Predicts the operations of a run on a data set, of a method (by name), its hyperparameters and protocol."""


def estimate(lack: Lack, runs: Sequence[Run], operations: Operations | None = None) -> Estimate | None:
    """Estimate how long a missing run takes, from the times of finished runs. None if no similar run is finished.

    A run that is trained already needs the time of its scoring alone. If no run is similar, the training time of the
    slowest runs at the same cost, else with another network, is multiplied by the ratio of the operations.
    """
    place = lack.place
    if found := _similar(lack, runs):
        seconds = [run.headline.seconds + (0 if lack.is_trained else _training(run)) for run in found]
        return Estimate(statistics.fmean(seconds))
    finished = _finished(lack, runs)
    others = [run for run in finished if _agrees(place, run, COSTLY)] or [
        run for run in finished if _agrees(place, run, SIZES)
    ]
    if operations is None or not others:
        return None
    spec = max(others, key=_training).spec
    beside = [run for run in others if _kind(run.spec) == _kind(spec)]
    protocol = place.wanted.protocol.resolved(place.benchmark, spec.train_images, "cpu")
    here = operations(place.benchmark, place.method, place.wanted.hyperparameters, protocol)
    there = operations(place.benchmark, spec.method, spec.hyperparameters, spec.protocol)
    if not here or not there:
        return None
    training = statistics.fmean(_training(run) for run in beside) * here / there
    return Estimate(training + statistics.fmean(run.headline.seconds for run in beside), is_scaled=True)


def _finished(lack: Lack, runs: Sequence[Run]) -> list[Run]:
    """The finished runs on the data set of a missing one."""
    return [run for run in runs if run.status == "finished" and run.spec.benchmark == lack.place.benchmark.name]


def _similar(lack: Lack, runs: Sequence[Run]) -> list[Run]:
    """Finished runs that cost as much as a missing one.

    They are those of the same cell with other seeds, else of its method on that data under the same protocol, else
    under a protocol of equal cost: the same network, sides, batches, length and precision.
    """
    place = lack.place
    own = [run for run in _finished(lack, runs) if run.spec.method == place.method]
    same = [run for run in own if place.wanted.matches(run)]
    alike = [run for run in own if training_fields(run.spec.protocol) in place.wanted.trainings(run.spec.train_images)]
    return same or alike or [run for run in own if _agrees(place, run, COSTLY)]


def _agrees(place: Place, run: Run, keys: Sequence[str]) -> bool:
    """Whether a run's protocol has the values of a place in these fields."""
    fields = training_fields(run.spec.protocol)
    trainings = place.wanted.trainings(run.spec.train_images)
    return any(all(fields.get(key) == one.get(key) for key in keys) for one in trainings)


def _kind(spec: RunSpec) -> tuple[object, ...]:
    """Equal for two runs of equal operations."""
    return spec.method, spec.hyperparameters, training_fields(spec.protocol)


def _training(run: Run) -> float:
    return float(run.result["train_seconds"])

"""The table of missing runs, with an estimate of the time that they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.cards import Benchmark, Request
from ssl_bench.cards.protocol import ResolvedProtocol
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.grids.missing import Estimate, Lack, Operations, RequireFit, Unfit, estimate
from ssl_bench.reporting.table import Table
from ssl_bench.store import Run

if TYPE_CHECKING:
    from ssl_bench.training.costs import RunOperations

RUN, SCORES = "run", "scores"
SCALED = "≈ "
SENTENCES = {  # by whether the times come from another method's runs
    False: "Estimated time of {runs}, one after the other: {hours:.2f} hours (from similar finished runs).",
    True: SCALED + "Estimated time of {runs} of methods without a similar finished run: {hours:.2f} hours (from other "
    "runs on the data set, by the operations that an iteration is predicted to need).",
}


def lack_table(
    lacks: Sequence[Lack],
    wanted: int,
    runs: Sequence[Run],
    operations: Operations | None = None,
    unfit: Sequence[Unfit] = (),
) -> Table:
    """List the missing runs by data set, share, protocol and method, with an estimate of the time that they take.

    Args:
        lacks: the missing runs.
        wanted: how many runs are wanted, with those that exist, without those that are set apart.
        runs: all runs of the store.
        operations: predicts the operations of a run, for methods of which no similar run has finished.
        unfit: missing runs that cannot be trained.

    """
    groups: dict[tuple[str, str, str, str, str, str], list[Lack]] = {}
    for lack in lacks:
        place = lack.place
        settings = " ".join(f"{key}={value}" for key, value in place.settings.items())
        key = (
            place.benchmark.name,
            place.column.labeled,
            place.protocol,
            place.method,
            settings,
            SCORES if lack.is_trained else RUN,
        )
        groups.setdefault(key, []).append(lack)
    estimated = [(own, estimate(own[0], runs, operations)) for own in groups.values()]
    rows = [[*key, _seeds(own), _hours(each, len(own))] for key, (own, each) in zip(groups, estimated, strict=True)]
    verb = "is" if wanted == 1 else "are"
    notes = [f"{len(lacks)} of {quantity(wanted, 'run')} {verb} missing; {wanted - len(lacks)} exist."]
    scores = sum(lack.is_trained for lack in lacks)
    if scores:
        notes.append(f"{scores} of them are already trained and only need scoring.")
    for is_scaled, sentence in SENTENCES.items():
        kind = [(len(own), each.seconds) for own, each in estimated if each is not None and each.is_scaled == is_scaled]
        hours = sum(count * seconds for count, seconds in kind) / 3600
        if kind:
            notes.append(sentence.format(runs=quantity(sum(count for count, _ in kind), "run"), hours=hours))
    unknown = sum(len(own) for own, each in estimated if each is None)
    if unknown:
        notes.append(f"{unknown} of them cannot be estimated, since no similar run has finished.")
    for one in unfit:
        place, count = one.lacks[0].place, len(one.lacks)
        which = f"{quantity(count, 'run')} of {place.method} on {place.benchmark.name}"
        left = "is" if count == 1 else "are"
        notes.append(f"{which} cannot be trained at the settings of their row and {left} left out: {one.reason}")
    header = ["Data set", "Labelled", "Protocol", "Method", "Settings", "Missing", "Seeds", "Hours"]
    return Table("Missing runs", header, rows, frozenset({"Hours"}), notes)


def _hours(each: Estimate | None, count: int) -> str:
    return "unknown" if each is None else f"{SCALED * each.is_scaled}{each.seconds * count / 3600:.2f}"


def predicted_operations(folders: Sequence[Path]) -> Operations:
    """Return what predicts the operations of a run. The first prediction imports torch and the methods.

    Args:
        folders: with methods of the user's own. If one of these cannot be imported, nothing is predicted.

    """

    @cache
    def loaded() -> RunOperations | None:
        from ssl_bench.method import load_methods
        from ssl_bench.training.costs import RunOperations

        try:
            load_methods(*folders)
        except UserError:
            return None
        return RunOperations()

    def operations(
        benchmark: Benchmark, method: str, hyper: Mapping[str, Any], protocol: ResolvedProtocol
    ) -> float | None:
        from ssl_bench.training.device import keeping_torch_state

        with keeping_torch_state():
            predict = loaded()
            return None if predict is None else predict(benchmark, method, hyper, protocol)

    return operations


def fit_check(folders: Sequence[Path]) -> RequireFit:
    """Return what tries whether a request fits together. The first trial imports torch and the methods.

    Args:
        folders: with methods of the user's own.

    """

    def require_fit(request: Request) -> None:
        from ssl_bench.method import load_methods
        from ssl_bench.training.device import keeping_torch_state
        from ssl_bench.training.plan import settle_fitting

        with keeping_torch_state():
            load_methods(*folders)
            settle_fitting(request)

    return require_fit


def _seeds(lacks: Sequence[Lack]) -> str:
    """The seeds, each with its label seeds: "1, 2", or "1 (labels 1, 2), 2 (labels 2)"."""
    labels: dict[int, list[str]] = {}
    for lack in lacks:
        labels.setdefault(lack.seed, []).extend([] if lack.label_seed is None else [str(lack.label_seed)])
    return ", ".join(f"{seed} (labels {', '.join(own)})" if own else str(seed) for seed, own in labels.items())

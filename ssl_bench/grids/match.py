"""Which runs of the store belong to a cell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ssl_bench.atomic import WEIGHT_FILES, file_fingerprint
from ssl_bench.cards import (
    HARNESS,
    Benchmark,
    ImageProtocol,
    Measurement,
    RunSpec,
    Split,
    VolumeProtocol,
    measurement_of,
    number_of,
    parse_share,
    training_fields,
)
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.store import Run


@dataclass(frozen=True)
class Wanted:
    """The runs that a cell needs. `protocol` has the values of the card and `--set`; it is not yet resolved.

    `label_seeds` are the label draws whose runs are shown. Without them, the cell shows the runs whose labelled cases
    their own seed draws. The two kinds are never mixed, but a run is of both kinds if its seed is one of these draws.
    """

    benchmark: Benchmark
    labeled: str
    protocol: ImageProtocol | VolumeProtocol
    method: str
    method_version: int
    hyperparameters: Mapping[str, Any]
    label_seeds: tuple[int, ...] = ()
    _trainings: dict[int, list[dict[str, Any]]] = field(default_factory=dict, compare=False, repr=False)

    def matches(self, run: Run) -> bool:
        """Whether a finished run belongs to this cell. The run's device does not matter."""
        return self.draws_labels_as(run) and self.matches_but_for_labels(run)

    def draws_labels_as(self, run: Run) -> bool:
        """Whether a run's labelled cases are one of the draws that the cell shows."""
        spec = run.spec
        return spec.label_draw in self.label_seeds if self.label_seeds else spec.label_seed is None

    def matches_but_for_labels(self, run: Run) -> bool:
        """Whether a finished run belongs to this cell, or would with another choice of label seeds."""
        spec = run.spec
        return (
            run.status == "finished"
            and (spec.benchmark, spec.method, spec.method_version)
            == (self.benchmark.name, self.method, self.method_version)
            and spec.hyperparameters == dict(self.hyperparameters)
            and spec.harness == HARNESS
            and spec.channel_count == self.benchmark.channel_count
            and spec.group == self.benchmark.group_rule
            and spec.labeled == _count(self.labeled, spec.train_units)
            and training_fields(spec.protocol) in self.trainings(spec.train_images)
            and self._is_split(spec.protocol.split, spec.split)
            and self._has_the_weights(spec.weights_fingerprint)
            and _validates_apart(spec)
        )

    @property
    def measurement(self) -> Measurement:
        """The measurement that the cell's runs need."""
        return measurement_of(self.protocol, self.benchmark)

    @property
    def draws(self) -> int:
        """How many runs the cell needs for each seed."""
        return max(1, len(self.label_seeds))

    def draws_of(self, seed: int) -> list[tuple[int, int]]:
        """Seed and label draw of the runs that the cell needs for a seed."""
        return [(seed, label) for label in self.label_seeds or (seed,)]

    @property
    def identity(self) -> str:
        """A text that is equal for two cells if they need the same runs with the same scoring."""
        protocol = self.protocol
        return str((
            self.benchmark.name, self.labeled, self.method, sorted(self.hyperparameters.items()),
            sorted(training_fields(protocol).items()), protocol.split, protocol.epochs, protocol.score_every,
            protocol.validate_every, self.measurement.key, self.label_seeds,
        ))  # fmt: skip

    def trainings(self, train_count: int) -> list[dict[str, Any]]:
        """Return the fields that decide the training of a run on this number of images: on a CPU, and on a GPU."""
        if train_count not in self._trainings:
            resolved = [self.protocol.resolved(self.benchmark, train_count, device) for device in ("cpu", "cuda")]
            self._trainings[train_count] = [training_fields(protocol) for protocol in resolved]
        return self._trainings[train_count]

    def _is_split(self, name: str, split: Split) -> bool:
        """Whether a run's split is the requested one. A split file is compared by content, not by name."""
        wanted = self.protocol.split_of(self.benchmark)
        same_rule = split.model_dump(exclude={"file"}) == self.benchmark.splits[wanted].model_dump(exclude={"file"})
        return same_rule and (split.file is not None or name == wanted)

    def _has_the_weights(self, fingerprint: str | None) -> bool:
        """Whether a run's encoder weights are those of the requested file. True if that file does not exist here."""
        named = str(getattr(self.protocol, "encoder_weights", "none"))
        path = Path(named)
        return not (named.endswith(WEIGHT_FILES) and path.is_file()) or fingerprint == _fingerprint(path)


@dataclass(frozen=True)
class DataChoice:
    """Beginnings of data fingerprints, and the names of the data sets that they apply to."""

    beginnings: tuple[str, ...] = ()
    data_sets: frozenset[str] = frozenset()

    def includes(self, spec: RunSpec) -> bool:
        """Whether a run's data was chosen. True for a data set that no beginning applies to."""
        return spec.benchmark not in self.data_sets or spec.data_fingerprint.startswith(self.beginnings)


def choose_data(beginnings: Sequence[str], specs: Iterable[RunSpec], to_come: Collection[str] = ()) -> DataChoice:
    """Find the data sets whose data fingerprints have these beginnings.

    Args:
        beginnings: the values of `--data`.
        specs: of the runs to choose among.
        to_come: names of the data sets that a beginning without a run may apply to; it applies if there is one name.

    Raises:
        UserError: no run has such data, and `to_come` is not exactly one name.
    """
    there = sorted({(spec.data_fingerprint, spec.benchmark) for spec in specs})
    data_sets = set[str]()
    for beginning in beginnings:
        found = {name for fingerprint, name in there if fingerprint.startswith(beginning)}
        if not found and len(to_come) != 1:
            if not there:
                raise UserError(f"--data {beginning}: there are no runs to choose from yet")
            known = ", ".join(f"{fingerprint} ({name})" for fingerprint, name in there)
            raise UserError(f"--data: expected the beginning of one of {known}; found '{beginning}'")
        data_sets |= found or set(to_come)
    return DataChoice(tuple(beginnings), frozenset(data_sets))


def select(runs: Sequence[Run], cells: Sequence[Wanted | None]) -> list[list[Run]]:
    """Return each cell's runs, one per seed and label draw, ordered by these. No runs for an empty place.

    Runs that differ in `score_every` or `validate_every` alone have the same training. Of these the first choice is a
    run with every point of the cell's curves, the second a run with all scores of the cell, the third a run that scored
    the test set exactly as often as the cell asks for, the fourth the run that did so most often.

    Raises:
        UserError: runs on one data set differ in data or precision. One table must not mix these.
    """
    shelf: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        shelf.setdefault((run.spec.benchmark, run.spec.method), []).append(run)
    chosen = [
        [] if cell is None else [run for run in shelf.get((cell.benchmark.name, cell.method), []) if cell.matches(run)]
        for cell in cells
    ]
    together = [run for own in chosen for run in own]
    for name in {run.spec.benchmark for run in together}:
        of_data = [run for run in together if run.spec.benchmark == name]
        _require_one("data", "--data FINGERPRINT", [(run.spec.data_fingerprint, run) for run in of_data])
        weights = [(str(run.spec.weights_fingerprint), run) for run in of_data if _has_encoder(run)]
        _require_one("encoder weights", "--set encoder_weights=FILE", weights)
        _require_one("precision", "--set precision=...", [(run.spec.protocol.precision, run) for run in of_data])
    return [[] if cell is None else _one_per_training(own, cell) for own, cell in zip(chosen, cells, strict=True)]


def _has_encoder(run: Run) -> bool:
    return getattr(run.spec.protocol, "encoder", "none") != "none"


def complete_seeds(runs: Sequence[Run], cell: Wanted) -> list[Run]:
    """Keep the runs of seeds that have a run for each of the cell's label seeds, so that draws weigh equally."""
    there = {run.spec.draws for run in runs}
    return [run for run in runs if there.issuperset(cell.draws_of(run.spec.seed))]


def _one_per_training(runs: Sequence[Run], cell: Wanted) -> list[Run]:
    score_every, measurement = cell.protocol.score_every, cell.measurement

    def rank(run: Run) -> tuple[bool, bool, bool, float, str]:
        own = run.spec.protocol.score_every
        is_other = score_every is not None and own != score_every
        has_points = run.spec.has_curves_of(cell.protocol)
        return not has_points, not run.is_scored(measurement), is_other, own or math.inf, run.path.name

    if any(run.spec.kept_whole for run in runs):  # beside runs of earlier versions, whose validation had copies
        runs = [run for run in runs if run.spec.kept_whole]
    by_draws: dict[tuple[int, int], Run] = {}
    for run in sorted(runs, key=rank):
        by_draws.setdefault(run.spec.draws, run)
    return [by_draws[draws] for draws in sorted(by_draws)]


def _validates_apart(spec: RunSpec) -> bool:
    """Whether no validation image of a run is of a sequence that it was trained on, as in runs of earlier versions."""
    return spec.protocol.validation is None or not spec.split.sequence_starts or spec.kept_whole is True


@cache
def _fingerprint(path: Path) -> str:
    """The fingerprint of a file. Each file is read only once."""
    return file_fingerprint(path)


@cache
def _count(share: str, train_count: int) -> int | None:
    """The number of labelled images in a share. None if the data set has fewer images, or the number is 0."""
    count = number_of(parse_share(share, "--labeled"), train_count)
    return count if 1 <= count <= train_count else None


def _require_one(what: str, option: str, found: Sequence[tuple[str, Run]]) -> None:
    """Raise UserError if runs are of several kinds; it names them with their numbers of runs, the latest one last."""
    last: dict[str, str] = {}
    for kind, run in found:
        last[kind] = max(last.get(kind, ""), str(run.provenance.get("finished", ""))[:10])
    if len(last) > 1:
        counts = Counter(kind for kind, _ in found)
        ordered = sorted(last, key=lambda kind: (last[kind], kind))
        each = ", ".join(f"{kind} ({quantity(counts[kind], 'run')}, the last of {last[kind]})" for kind in ordered)
        raise UserError(f"{option}: needed, as a table cannot mix runs with different {what}: {each}")

"""Scores a finished run in another way, from its weights. Nothing is trained."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ssl_bench.atomic import write_json
from ssl_bench.cards import PROTOCOLS, Benchmark, card_names, fields_that, load_benchmark, measurement_of, parse_card
from ssl_bench.data.cache import Advance, prepare
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.split import Splits
from ssl_bench.errors import RunFailedError, UserError, first_line
from ssl_bench.method import SSLMethod
from ssl_bench.scoring.scorer import Scorer, ScoreRow
from ssl_bench.store import Run, RunFolder
from ssl_bench.store.run_folder import now
from ssl_bench.training.device import is_out_of_memory
from ssl_bench.training.job import Job, method_of, trained_method
from ssl_bench.training.measure import require_known_pixels, score_all, scorers, validated, write_scores
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.waiting import Display

SAVE_SECONDS = 30.0


def scoring_job(
    run: Run,
    methods: Mapping[str, type[SSLMethod]],
    benchmark: Benchmark,
    dataset: Dataset,
    settings: Mapping[str, Any],
) -> Job:
    """Return a finished run as a job that can be scored as the data set's card and the settings say.

    Args:
        run: finished.
        methods: the registry.
        benchmark: the data set's card.
        dataset: the run's data.
        settings: protocol fields that measure (metrics, stride, ...); the others are the run's own.

    Raises:
        UserError: the run is not finished, a setting does not measure, or the data is not that of the run.
    """
    spec = run.spec
    if run.status != "finished":
        raise UserError(f"{run.path}: expected a finished run, found one that is {run.status}")
    known = fields_that("measures", type(spec.protocol))
    for key in settings:
        if key not in known:
            observed = key in fields_that("observes", type(spec.protocol))
            why = "needs a new training with `ssl-bench run`" if observed else "affects the weights"
            raise UserError(f"--set {key}: expected one of {', '.join(sorted(known))}; {key} {why}")
    if dataset.fingerprint != spec.data_fingerprint:
        raise UserError(
            f"{run.path}: expected the data that the run was trained on ({spec.data_fingerprint}) under --data-root, "
            f"found {dataset.fingerprint}"
        )
    if benchmark.channel_count != spec.channel_count:
        raise UserError(
            f"{run.path}: expected a card with the run's channels ({spec.channel_count}), found one with "
            f"{benchmark.channel_count}"
        )
    data = {**spec.protocol.model_dump(), "metrics": "auto", **settings}
    protocol = parse_card(PROTOCOLS[benchmark.network_dimensions], data, "--set")
    method, hyper = method_of(run.path, spec, methods)
    measurement = measurement_of(protocol, benchmark)
    return Job(spec, method, hyper, dataset, _splits(RunFolder(run.path)), measurement)


def scoring_jobs(
    runs: Sequence[Run],
    methods: Mapping[str, type[SSLMethod]],
    settings: Mapping[str, Any],
    dataset: str | None,
    data_root: Path | None,
    advance: Advance | None,
) -> list[Job]:
    """Return finished runs as jobs that score them; the data sets are prepared once. Arguments as in `api.score`.

    Raises:
        UserError: see `scoring_job`; or a run's data set has no card of its name.
    """
    prepared: dict[tuple[str, int | None], Dataset] = {}
    jobs = []
    for run in runs:
        if dataset is None and run.spec.benchmark not in card_names("datasets"):
            raise UserError(
                f"--dataset: expected the card of '{run.spec.benchmark}', the data set of {run.path}, found none"
            )
        benchmark = load_benchmark(dataset or run.spec.benchmark)
        if benchmark.name != run.spec.benchmark:
            raise UserError(f"--dataset: expected the card of '{run.spec.benchmark}', found that of '{benchmark.name}'")
        key = (benchmark.name, run.spec.protocol.stored_size)
        if key not in prepared:  # the fingerprint is compared, so the number of cases need not be
            prepared[key] = prepare(benchmark, data_root, key[1], allow_partial=True, advance=advance)
        jobs.append(scoring_job(run, methods, benchmark, prepared[key], settings))
        require_known_pixels(jobs[-1:], benchmark, data_root)
    return jobs


def rescore(
    job: Job, folder: RunFolder, device: torch.device, stop: StopSignal, display: Display, provenance: dict[str, Any]
) -> None:
    """Score a finished run's networks as its job says (hold the run's claim).

    If it is stopped or killed, the next call continues from the last saved case.

    Raises:
        InterruptedRunError: `stop` was set.
        RunFailedError: memory ran out; the run stays finished.
        UserError: the weights are not there or do not fit.
    """
    started = time.monotonic()
    test, validation = scorers(job, device)
    partial = PartialScores(folder.partial_cases(job.measurement.key), test)
    try:
        method = trained_method(folder, job.spec, job.method, job.hyper, device)
        apart = validated(validation, method, stop, display)
        rows = score_all(test, method.networks, stop, display, partial=partial)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunFailedError(f"out of memory while scoring: {first_line(error)}") from error
    seconds = partial.seconds + time.monotonic() - started
    entry = write_scores(folder, test, rows, seconds, apart, {"finished": now(), **provenance})
    folder.add_scores(job.measurement.key, entry)


@dataclass
class PartialScores:
    """The rows of an unfinished scoring, saved every SAVE_SECONDS and when it is stopped."""

    path: Path
    scorer: Scorer
    rows: list[ScoreRow] = field(default_factory=list)
    skip: int = 0
    seconds: float = 0.0
    _saved: float = field(default_factory=time.monotonic)
    _begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Read the saved rows. A file that is unreadable, or has other names of classes, costs only time."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            rows, seconds = [tuple(row) for row in data["rows"]], float(data["seconds"])
            named = {row[2] for row in rows}
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return
        classes = self.scorer.spec.classes[1:]
        if named <= set(classes):
            self.skip = self.scorer.repeatable(len(rows) // len(classes))
            self.rows, self.seconds = rows[: self.skip * len(classes)], seconds

    def save(self, rows: list[ScoreRow], *, at_once: bool) -> None:
        """Save the rows if SAVE_SECONDS have passed, or `at_once`."""
        if at_once or time.monotonic() - self._saved > SAVE_SECONDS:
            self._saved = time.monotonic()
            write_json(self.path, {"seconds": self.seconds + self._saved - self._begun, "rows": rows})


def _splits(folder: RunFolder) -> Splits:
    try:
        data = json.loads(folder.splits.read_text(encoding="utf-8"))
        groups = data.pop("groups", None)
        return Splits(**{name: tuple(ids) for name, ids in data.items()}, groups=groups)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{folder.splits}: cannot be read: {error}") from None

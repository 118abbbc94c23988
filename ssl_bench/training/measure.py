"""Scores networks case by case, and writes the scores of one measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ssl_bench.atomic import csv_text, write_bytes
from ssl_bench.cards import Benchmark, ImageProtocol
from ssl_bench.data.sources import find_cases
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.method import SSLMethod
from ssl_bench.ops import IGNORED
from ssl_bench.scoring.scorer import Scorer, ScoreRow, summary, truths_to_score
from ssl_bench.store import RunFolder, scores_entry
from ssl_bench.training.examples import Album
from ssl_bench.training.job import Job
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.waiting import Display


class Partial(Protocol):
    """Keeps the rows of a scoring that may be stopped."""

    rows: list[ScoreRow]
    skip: int

    def save(self, rows: list[ScoreRow], *, at_once: bool) -> None:
        """Save the rows so far."""


def scorers(job: Job, device: torch.device) -> tuple[Scorer, Scorer]:
    """Return the scorers of a job's test cases and of its validation cases."""
    test, validation = (
        Scorer(job.dataset, ids, job.spec, job.measurement, device) for ids in (job.splits.test, job.splits.validation)
    )
    return test, validation


def require_known_pixels(jobs: Sequence[Job], benchmark: Benchmark, data_root: Path | None) -> None:
    """Check that each case that is scored has a pixel of a known class at its size: resizing can leave none.

    Raises:
        UserError: a mask has ignored pixels alone.
    """
    seen = set[tuple[str, object]]()
    for job in jobs:
        protocol = job.measurement.applied_to(job.spec.protocol)
        if not job.dataset.ignores or not isinstance(protocol, ImageProtocol) or protocol.score_size == "original":
            continue  # a mask without known pixels is not read
        scored = (*job.splits.test, *job.splits.validation)
        ids = [name for name in scored if (name, protocol.score_size) not in seen]
        for name, truth in zip(ids, truths_to_score(job.dataset, ids, protocol), strict=True):
            if (truth == IGNORED).all():
                _, cases = find_cases(benchmark, data_root)
                path = next(case.mask for case in cases if case.id == name)
                raise UserError(
                    f"{path}: expected a pixel with a known class at score_size = {protocol.score_size}, found ignored "
                    "ones alone; --set score_size=original scores masks at their own size"
                )
            seen.add((name, protocol.score_size))


def score_all(
    scorer: Scorer,
    networks: Mapping[str, nn.Module],
    stop: StopSignal,
    display: Display,
    *,
    album: Album | None = None,
    partial: Partial | None = None,
) -> list[ScoreRow]:
    """Score networks on a scorer's cases.

    Args:
        scorer: the cases.
        networks: by name.
        stop: ends it between two cases.
        display: counts the cases.
        album: takes the predictions for pictures.
        partial: rows of an earlier start, which are not computed again; takes those of this one.

    Raises:
        InterruptedRunError: `stop` was set.
    """
    rows, done = ([], 0) if partial is None else (list(partial.rows), partial.skip)
    total = len(scorer.ids) * len(networks)
    display.start("scoring", done, total)
    for one in scorer.predictions(networks, done):
        rows += scorer.rows(one)
        done += 1
        display.step()
        if album is not None:
            album.add(one)
        is_stopped = stop.signal_number is not None and done < total
        if partial is not None:
            partial.save(rows, at_once=is_stopped)
        if stop.signal_number is not None and is_stopped:
            raise InterruptedRunError(stop.signal_number)
    return rows


def validated(scorer: Scorer, method: SSLMethod, stop: StopSignal, display: Display) -> dict[str, Any] | None:
    """Score the predictor on the validation cases, where the protocol sets some apart."""
    if not scorer.ids:
        return None
    rows = score_all(scorer, {method.predictor_name: method.predictor}, stop, display)
    (means,) = summary(rows, scorer.measurement.metrics).values()
    return {"cases": len(scorer.ids), "scores": means}


def write_scores(
    folder: RunFolder,
    scorer: Scorer,
    rows: Sequence[ScoreRow],
    seconds: float,
    validation: Mapping[str, Any] | None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the cases file of a measurement; returns its entry for run.json."""
    content, measurement = csv_text(scorer.header, rows).encode(), scorer.measurement
    write_bytes(folder.cases(measurement.key), content)
    return scores_entry(measurement, summary(rows, measurement.metrics), content, seconds, validation, provenance)

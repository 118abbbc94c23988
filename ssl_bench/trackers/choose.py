"""Finds trackers by name, checks that they can be used, and makes the observers that feed them."""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ssl_bench.errors import UserError, first_line
from ssl_bench.plugins import load_entry_points
from ssl_bench.store import RunFolder
from ssl_bench.trackers.contract import REGISTRY
from ssl_bench.trackers.description import describe, draw_cases, final_scores
from ssl_bench.trackers.sender import End, Sender
from ssl_bench.training.job import Job
from ssl_bench.training.observer import Finished, Observer, Point, Stop, Unobserved

BUILT_IN = ("csv", "mlflow", "tensorboard", "wandb")
ENTRY_POINTS = "ssl_bench.trackers"
LOGS = "logs"  # in the results root
log = logging.getLogger("ssl_bench")


@dataclass(frozen=True)
class Trackers:
    """The trackers of a command, by name, each with the folder for its files.

    `words` name them to another process that trains.
    """

    folders: Mapping[str, Path]
    words: tuple[str, ...]

    def observe(self, job: Job, folder: RunFolder) -> Observer:
        """Start the trackers of a run."""
        try:
            run = describe(job, folder)
        except Exception as error:
            _warn_of(job.spec.label, error)
            return Unobserved()
        advice = f"the run goes on, and {folder.path} has all of it"
        senders = [Sender(name, partial(REGISTRY[name], place), run, advice) for name, place in self.folders.items()]
        return _Tracked(senders, run.name)


class _Tracked:
    """The observer of a run that has trackers."""

    def __init__(self, senders: Sequence[Sender], name: str) -> None:
        self._senders, self._name = senders, name
        self._has_ended = False

    def show(self, point: Point) -> None:
        for sender in self._senders:
            sender.add(point)

    def finish(self, finished: Finished) -> None:
        try:
            pictures = draw_cases(finished.examples, finished.ranking, finished.result["predictor"])
        except Exception as error:
            _warn_of(self._name, error)
            pictures = []
        self._end(End(final_scores(finished.result, finished.scores), pictures))

    def stop(self, reason: Stop) -> None:
        if not self._has_ended:
            self._end(End({}, [], reason))

    def _end(self, end: End) -> None:
        self._has_ended, begun = True, time.monotonic()
        for sender in self._senders:
            sender.end(end)
        for sender in self._senders:
            sender.wait(begun)


def choose_trackers(names: Sequence[str], log_dir: Path | None, results_root: Path) -> Trackers | None:
    """Return the trackers of these names; None without names.

    A tracker's files go to a folder of its name in `log_dir`, else to the folder that its environment variable names,
    else to a folder of its name in `logs` in the results root.

    Raises:
        UserError: no tracker has such a name, one cannot be used here, or `log_dir` is given without a tracker.
    """
    if not names:
        if log_dir is not None:
            raise UserError("--log-dir: needs --log")
        return None
    for name in BUILT_IN:
        importlib.import_module(f"ssl_bench.trackers.{name}_tracker")
    load_entry_points(ENTRY_POINTS)
    folders = {}
    for name in dict.fromkeys(names):
        if name not in REGISTRY:
            raise UserError(f"--log: expected one or more of {', '.join(sorted(REGISTRY))}; found '{name}'")
        REGISTRY[name].check()
        variable = REGISTRY[name].folder_variable
        named = None if log_dir is not None or variable is None else os.environ.get(variable)
        folders[name] = Path(named) if named else (log_dir or results_root / LOGS) / name
    words = ["--log", ",".join(folders)]
    return Trackers(folders, (*words, *([] if log_dir is None else ["--log-dir", str(log_dir)])))


def _warn_of(run: str, error: Exception) -> None:
    """Log an error that is none of a tracker's; its effect is on what the trackers show."""
    log.warning("--log: %s: %s: %s; the run goes on", run, type(error).__name__, first_line(error))

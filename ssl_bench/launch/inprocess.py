"""Trains runs one after the other in this process; other processes may work on the same store."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Sequence
from typing import Protocol

import torch

from ssl_bench.errors import InterruptedRunError, RunFailedError, UserError
from ssl_bench.launch.task import Outcome
from ssl_bench.store import RunFolder, RunProgress, Store
from ssl_bench.training.device import set_determinism
from ssl_bench.training.job import Job
from ssl_bench.training.method_check import place_of
from ssl_bench.training.observer import Observe
from ssl_bench.training.provenance import edited_files, origin_of
from ssl_bench.training.rescore import rescore
from ssl_bench.training.stop import TIME_IS_UP, StopSignal
from ssl_bench.training.train import train
from ssl_bench.training.waiting import Display

PROGRESS_SECONDS = 1.0


class Console(Display, Protocol):
    """A display that also shows the start and end of runs."""

    def begin_run(self, number: int, total: int, job: Job) -> None:
        """A run starts or continues."""

    def end_run(self, outcome: str) -> None:
        """A run ended: finished, scored, failed (with the reason), or finished earlier."""

    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None:
        """So many runs are left, which other processes train; `job` is the first of them, with its progress there."""


def run_all(
    jobs: Sequence[Job],
    store: Store,
    device: torch.device,
    console: Console,
    deadline: float | None = None,
    observe: Observe | None = None,
) -> Outcome:
    """Train and score every run. Each run is trained by one process; a dead process is not waited for.

    Runs that another process is training are waited for after all others are done. At `deadline` (monotonic clock) the
    current run writes a checkpoint and training stops. `observe` makes the observer of each run that is trained.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; the current run has its checkpoint.
    """
    outcome = Outcome()
    waiting = list(enumerate(jobs, start=1))
    with StopSignal(deadline) as stop:
        try:
            while waiting:
                elsewhere = [
                    (n, job)
                    for n, job in waiting
                    if not _run_one(n, len(jobs), job, store, device, stop, console, outcome, observe)
                ]
                waiting = elsewhere
                if waiting:
                    first = waiting[0][1]
                    if store.is_claimed(first.spec):
                        console.wait(len(waiting), first, store.folder(first.spec).read_progress())
                    store.wait(first.spec, lambda: stop.signal_number is not None)
                if stop.signal_number is not None and waiting:
                    raise InterruptedRunError(stop.signal_number)
        except InterruptedRunError as error:
            if error.signal_number != TIME_IS_UP:
                raise
            outcome.time_is_up = True
    return outcome


def _run_one(
    number: int,
    total: int,
    job: Job,
    store: Store,
    device: torch.device,
    stop: StopSignal,
    console: Console,
    outcome: Outcome,
    observe: Observe | None,
) -> bool:
    """Train or score one run; False if another process holds it."""
    if stop.signal_number is not None:
        raise InterruptedRunError(stop.signal_number)
    folder = store.folder(job.spec)
    with store.claim(job.spec, folder) as mine:
        if not mine:
            return False
        console.begin_run(number, total, job)
        origin = origin_of(job, device)
        is_finished = folder.is_finished
        if is_finished and folder.is_scored(job.measurement):
            outcome.already_finished += 1
            edited = edited_files((folder.read() or {})["provenance"], origin)
            note = f"; the file of its {' and '.join(edited)} has changed since" if edited else ""
            if "method" in edited:
                note += ", which alone trains nothing again; raise the method's `version` if its numbers change"
            console.end_run(f"finished earlier{note}")
            return True
        if outcome.trained or outcome.failures:
            gc.collect()  # frees what an earlier run holds in cycles, such as memory of a GPU
        set_determinism()  # where something is computed, since it imports torch's compiler, which takes a second
        try:
            display = _Noting(console, folder)
            if is_finished:
                rescore(job, folder, device, stop, display, origin)
            else:
                train(job, folder, device, stop, display, origin, observe)
        except (RunFailedError, UserError) as error:
            outcome.failures.append(f"{job.spec.label}: {error}")
            outcome.user_error |= isinstance(error, UserError)
            console.end_run(f"failed: {error}")
            return True
        except InterruptedRunError:
            raise
        except Exception as error:  # an error in one run or in a user's method must not stop the others
            place = place_of(error, job.method)
            reason = f"{place}: {type(error).__name__}: {error}".removeprefix(": ")
            if not is_finished:
                folder.crash(reason, traceback.format_exc())
            outcome.failures.append(f"{job.spec.label}: {reason}; see {folder.traceback}")
            console.end_run(f"failed: {reason}")
            return True
        if is_finished:
            outcome.scored += 1
            console.end_run("scored")
        else:
            outcome.trained += 1
            console.end_run("finished")
        return True


class _Noting:
    """Forwards a run's progress to its display and, every PROGRESS_SECONDS, to its folder for other processes."""

    def __init__(self, display: Display, folder: RunFolder) -> None:
        self.display, self.folder = display, folder
        self.task, self.done, self.total, self.noted = "", 0, 0, 0.0
        self.iteration: int | None = None  # None: this process has not trained the run
        self._first, self._first_done = 0.0, 0  # the end of the task's first step, which is slower than the others

    def start(self, task: str, done: int, total: int) -> None:
        self.task, self.done, self.total = task, done, total
        self._first_done = done + 1
        self._follow()
        self.display.start(task, done, total)

    def step(self, text: str = "") -> None:
        self.done += 1
        self._follow()
        self.display.step(text)
        now = time.monotonic()
        if self.done == self._first_done:
            self._first = now
        if now - self.noted > PROGRESS_SECONDS:
            self.noted = now
            steps, seconds = self.done - self._first_done, now - self._first
            speed = steps / seconds if steps and seconds > 0 else None
            self.folder.note_progress(
                RunProgress(self.task, self.done, self.total, text, speed, iteration=self.iteration)
            )

    def _follow(self) -> None:
        """Keep the iteration over the scorings in between."""
        if self.task == "training":
            self.iteration = self.done

"""Runs one after the other in this process, beside other processes that work on the same store."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from ssl_bench.errors import InterruptedRunError, RunFailedError, UserError
from ssl_bench.provenance import provenance
from ssl_bench.signals import StopSignal
from ssl_bench.store import Store
from ssl_bench.train import Display, Job, set_determinism, train


class Console(Display, Protocol):
    """A display that also hears of whole runs."""

    def begin_run(self, number: int, total: int, job: Job) -> None:
        """A run is about to be trained, or trained on."""

    def end_run(self, outcome: str) -> None:
        """The run ended: finished, failed and why, finished before, or left to another process."""


@dataclass
class Outcome:
    """How many runs ended how; `user_error` says that a failure is for the user to mend (exit code 2)."""

    trained: int = 0
    already_finished: int = 0
    failures: list[str] = field(default_factory=list)
    user_error: bool = False


def run_all(jobs: Sequence[Job], store: Store, device: torch.device, console: Console) -> Outcome:
    """Bring every run to its end; each is trained by one process only, and the dead are not waited for.

    Runs that another process is training are left to it until all others are done, and then waited for.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; the current run has its checkpoint.
    """
    set_determinism()
    outcome = Outcome()
    waiting = list(enumerate(jobs, start=1))
    with StopSignal() as stop:
        while waiting:
            elsewhere = [
                (n, job) for n, job in waiting if not _run_one(n, len(jobs), job, store, device, stop, console, outcome)
            ]
            waiting = elsewhere
            if waiting:
                store.wait(waiting[0][1].spec, lambda: stop.signal_number is not None)
            if stop.signal_number is not None and waiting:
                raise InterruptedRunError(stop.signal_number)
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
) -> bool:
    """Bring one run to its end; False where another process is at it."""
    with store.claim(job.spec) as mine:
        if not mine:
            return False
        folder = store.folder(job.spec)
        console.begin_run(number, total, job)
        origin = provenance(job.method, device)
        if folder.is_finished:
            outcome.already_finished += 1
            same = (folder.read() or {})["provenance"].get("method_source_sha256") == origin["method_source_sha256"]
            console.end_run("finished before" if same else "finished before, by another text of its method's file")
            return True
        try:
            train(job, folder, device, stop, console, origin)
        except (RunFailedError, UserError) as error:
            outcome.failures.append(f"{job.spec.label}: {error}")
            outcome.user_error |= isinstance(error, UserError)
            console.end_run(f"failed: {error}")
            return True
        except InterruptedRunError:
            raise
        except Exception as error:  # a fault of one run, or of a user's method, never costs the others
            reason = f"{type(error).__name__}: {error}"
            folder.crash(reason, traceback.format_exc())
            outcome.failures.append(f"{job.spec.label}: {reason}; see {folder.path / 'traceback.txt'}")
            console.end_run(f"failed: {reason}")
            return True
        outcome.trained += 1
        console.end_run("finished")
        return True

"""Trains runs in separate processes, several at a time, distributed over the devices of this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from ssl_bench.errors import InterruptedRunError
from ssl_bench.launch.forks import UNKNOWN, ForkServer, Process, can_fork, wait_for_any
from ssl_bench.launch.task import Outcome, Task, sharing
from ssl_bench.store import Store
from ssl_bench.training.stop import TIME_IS_UP, StopSignal

TICK = 0.3  # seconds between two looks at the store, and at most between two at the processes


class PoolConsole(Protocol):
    """A display of runs in other processes."""

    def show(self, active: Sequence[Task], done: int, total: int) -> None:
        """Show the active runs; called repeatedly."""

    def ended(self, task: Task, outcome: str, done: int, total: int) -> None:
        """A run ended: finished, failed (with the reason), or finished earlier."""


@dataclass
class Pool:
    """The active processes, at most one per slot (a device may have several slots). Leaving the context ends them."""

    slots: Sequence[str]
    active: dict[Task, tuple[str, Process]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        on_cpu = self.slots.count("cpu")
        self._threads = max(1, _cores() // on_cpu) if on_cpu > 1 else None
        self.server = ForkServer(sharing(os.environ, self._threads)) if can_fork() else None

    @property
    def has_room(self) -> bool:
        """Whether another task can be started."""
        return len(self.active) < len(self.slots)

    def start(self, task: Task) -> None:
        """Start a task on the first slot that is free."""
        free = list(self.slots)
        for device, _ in self.active.values():
            free.remove(device)
        self.active[task] = (free[0], task.start(free[0], self._threads, self.server))

    def ended(self) -> list[tuple[Task, int]]:
        """Remove and return the processes that have ended, each with its exit code (minus a signal's number)."""
        codes = [(task, process.poll()) for task, (_, process) in self.active.items()]
        ended = [(task, code) for task, code in codes if code is not None]
        for task, _ in ended:
            del self.active[task]
        return ended

    def wait(self, seconds: float) -> None:
        """Wait until a process has ended, and for at most `seconds`."""
        wait_for_any([process for _, process in self.active.values()], seconds)

    def stop(self, task: Task) -> None:
        """Ask a process to write its checkpoint and exit."""
        self.active[task][1].send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes; each writes its checkpoint, unless Ctrl-C was pressed twice."""
        try:
            for task in self.active:
                if kind is KeyboardInterrupt:
                    self.active[task][1].kill()
                else:
                    self.stop(task)
            for _, process in self.active.values():
                process.wait()
        finally:
            if self.server is not None:
                self.server.close()


def deal(devices: Sequence[str], jobs: int) -> list[str]:
    """Return the device of each of `jobs` slots, assigned in turn."""
    return [devices[number % len(devices)] for number in range(jobs)]


def run_pool(
    tasks: Sequence[Task], store: Store, slots: Sequence[str], console: PoolConsole, deadline: float | None = None
) -> Outcome:
    """Train and score every run. Runs that another process is training are waited for at the end.

    A killed process affects its own run only, which counts as failed and continues with the next command. At `deadline`
    (monotonic clock) every process is asked to write its checkpoint and exit.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; every run has its checkpoint.
    """
    outcome, pool, waiting, total = Outcome(), Pool(slots), list(tasks), len(tasks)
    done, looked = 0, False
    with StopSignal(deadline) as stop, pool:
        while waiting or pool.active:
            for task, code in pool.ended():
                done += 1
                console.ended(task, settle(task, code, store, outcome), done, total)
            if stop.signal_number == TIME_IS_UP:
                outcome.time_is_up = True
                break  # leaving the pool stops its processes
            if stop.signal_number is not None:
                raise InterruptedRunError(stop.signal_number)
            for task in list(waiting) if pool.has_room or not looked else ():  # a look reads a file of each run
                if task.is_done(store):
                    outcome.already_finished += 1
                    done += 1
                    console.ended(task, "finished earlier", done, total)
                elif pool.has_room and task.is_open(store):
                    pool.start(task)
                else:
                    continue
                waiting.remove(task)
            looked = True
            console.show(list(pool.active), done, total)
            pool.wait(TICK)
    return outcome


def explain(task: Task, code: int, store: Store) -> str | None:
    """Return the reason why a process did not finish its run; None if it did."""
    assert task.spec is not None
    if task.is_done(store):
        return None
    run = store.find(task.spec)
    if code == UNKNOWN:
        return "killed, as was the server that started it; the same command continues from its last checkpoint"
    if code == -signal.SIGBUS:
        return "killed by SIGBUS: a file of the cache was cut or cannot be read; the same command continues"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; the same command continues from its last checkpoint"
    if run is not None and run.error is not None:
        return run.error
    return f"{task.last_words() or 'ended'} (exit code {code}; see {task.log})"


def settle(task: Task, code: int, store: Store, outcome: Outcome) -> str:
    """Count a run whose process has ended; returns a description of its outcome."""
    assert task.spec is not None
    reason = explain(task, code, store)
    if reason is None:
        outcome.trained += 1
        return "finished"
    outcome.failures.append(f"{task.label}: {reason}")
    outcome.user_error |= code == 2
    return f"failed: {reason}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Displays and tasks that stand for those of a person who waits."""

import subprocess
import sys
from collections.abc import Sequence

from ssl_bench.launch.forks import ForkServer
from ssl_bench.launch.task import Task
from ssl_bench.store import RunProgress
from ssl_bench.training.job import Job
from ssl_bench.training.stop import StopSignal


class Quick(Task):
    """A task that a tiny program stands for: `words` are its source."""

    started: list[tuple[str, int | None]]

    def start(
        self, device: str, threads: int | None = None, server: ForkServer | None = None
    ) -> subprocess.Popen[bytes]:
        self.started.append((device, threads))
        return subprocess.Popen([sys.executable, "-S", "-c", *self.words, device], start_new_session=True)


class Listener:
    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []
        self.most = 0

    def show(self, active: Sequence[Task], done: int, total: int) -> None:
        self.most = max(self.most, len(active))

    def ended(self, task: Task, outcome: str, done: int, total: int) -> None:
        self.ends.append((task.label, outcome))


class Silent:
    """A display that may stop a run at a step of a task."""

    def __init__(self, stop: StopSignal | None = None, at: tuple[str, int] = ("", 0)) -> None:
        self.stop, self.at, self.task, self.steps = stop, at, "", 0

    def start(self, task: str, done: int, total: int) -> None:
        self.task = task

    def step(self, text: str = "") -> None:
        self.steps += self.task == self.at[0]
        if self.stop is not None and self.task == self.at[0] and self.steps == self.at[1]:
            self.stop.signal_number = 15

    def begin_run(self, number: int, total: int, job: Job) -> None: ...

    def end_run(self, outcome: str) -> None: ...
    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None: ...

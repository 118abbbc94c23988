"""Progress of runs: bars on a terminal, a line every LINE_SECONDS elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from ssl_bench.command import quantity
from ssl_bench.launch.task import Task
from ssl_bench.store import RunProgress, Store
from ssl_bench.training.job import Job

LINE_SECONDS = 30.0


class _Speed(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Iterations per second, or seconds per iteration where they are slow."""
        speed = task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} it/s" if speed >= 1 else f"{1 / speed:.1f} s/it")


class RunDisplay:
    """Progress of runs; implements `launch.inprocess.Console`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._heading = ""
        self._begun = 0.0
        self._what, self._done, self._total, self._since, self._said, self._done_before = "", 0, 0, 0.0, 0.0, 0

    def begin_run(self, number: int, total: int, job: Job) -> None:
        """Name the run."""
        self._heading, self._begun = f"[{number}/{total}] {job.spec.label}", time.monotonic()

    def start(self, task: str, done: int, total: int) -> None:
        """Start a bar."""
        self._what, self._done, self._total = task, done, total
        self._since = self._said = time.monotonic()
        self._done_before = done
        if not self.console.is_terminal:
            return
        self._stop()
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"), console=self.console, transient=True,
        )  # fmt: skip
        self._progress.start()
        self._task = self._progress.add_task(escape(f"{self._heading} {task}"), total=total, completed=done, text="")

    def step(self, text: str = "") -> None:
        """Advance the bar by one; without a terminal, print a line every LINE_SECONDS."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._task, advance=1, text=text)
        elif not self.console.is_terminal and time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            speed = (self._done - self._done_before) / (self._said - self._since)
            left = (self._total - self._done) / speed
            self._print(
                f"{self._heading} {self._what} {self._done}/{self._total}, {speed:.2f} it/s, {left:.0f} s left {text}"
            )

    def end_run(self, outcome: str) -> None:
        """Say how the run ended."""
        self._stop()
        self._print(f"{self._heading}: {outcome} ({time.monotonic() - self._begun:.0f} s)")

    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None:
        """Say which runs other processes train."""
        at = "" if progress is None else f" ({progress.task} {progress.done}/{progress.total} on {progress.host})"
        other = "" if runs == 1 else f", and {quantity(runs - 1, 'other run')} after it"
        self._print(f"waiting for {job.spec.label}, which another process trains{at}{other}")

    def close(self) -> None:
        """Remove the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _print(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)


class PoolDisplay:
    """Progress of runs in other processes, read from the store; implements `launch.pool.PoolConsole`."""

    def __init__(self, console: Console, store: Store) -> None:
        self.console, self.store = console, store
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._bars: dict[Task, tuple[TaskID, str]] = {}
        self._begun: dict[Task, float] = {}
        self._said = time.monotonic()
        self._progress.start()

    def show(self, active: Sequence[Task], done: int, total: int) -> None:
        """Move the bars; without a terminal, print a line per run every LINE_SECONDS."""
        speaks = not self.console.is_terminal and time.monotonic() - self._said > LINE_SECONDS
        for task in active:
            self._begun.setdefault(task, time.monotonic())
            assert task.spec is not None
            progress = self.store.folder(task.spec).read_progress()
            if progress is None:
                continue
            self._move(task, progress)
            if speaks:
                self._print(
                    f"[{done}/{total}] {task.label} {progress.task} {progress.done}/{progress.total} {progress.text}"
                )
        if speaks:
            self._said = time.monotonic()

    def ended(self, task: Task, outcome: str, done: int, total: int) -> None:
        """Say how a run ended."""
        now = time.monotonic()
        seconds = now - self._begun.get(task, now)
        self._drop(task)
        self._print(f"[{done}/{total}] {task.label}: {outcome} ({seconds:.0f} s)")

    def close(self) -> None:
        """Remove the bars."""
        self._progress.stop()

    def _move(self, task: Task, progress: RunProgress) -> None:
        """Set a run's bar; each of its tasks has a new one."""
        bar, shown = self._bars.get(task, (None, ""))
        if bar is None or shown != progress.task:
            self._drop(task)
            label = escape(f"{task.label} {progress.task}")
            bar = self._progress.add_task(label, total=progress.total, completed=progress.done, text="")
            self._bars[task] = bar, progress.task
        self._progress.update(bar, completed=progress.done, text=escape(progress.text))

    def _drop(self, task: Task) -> None:
        bar, _ = self._bars.pop(task, (None, ""))
        if bar is not None:
            self._progress.remove_task(bar)

    def _print(self, text: str) -> None:
        self._progress.console.print(escape(text), highlight=False, soft_wrap=True)


@contextmanager
def counted(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar from the first (done, total) on; nothing if there is no work."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        tasks: list[TaskID] = []

        def advance(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bar.add_task(escape(what), total=total))
            bar.update(tasks[0], completed=done)

        yield advance

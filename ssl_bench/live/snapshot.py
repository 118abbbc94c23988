"""The state of every run of a store at one moment. Nothing is written, and no lock is taken."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ssl_bench.cards import RUN_ID, seed_text
from ssl_bench.errors import UserError
from ssl_bench.live.curve_files import brief_curve
from ssl_bench.store import Entry, RunFolder, load_entry, reading_only

State = Literal["running", "waiting", "interrupted", "failed", "damaged", "finished"]
STATES: tuple[State, ...] = get_args(State)  # in the order in which runs are listed
QUEUE_SECONDS = 30.0  # between two questions to a cluster's queue
TAIL = 8192  # bytes of a log's end
CURVE = 32  # values of a brief curve
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # colours, cursor movements, bells

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class LiveRun:
    """A run in brief. Its names have no control characters, which a terminal would obey.

    Attributes:
        id: the name of its folder.
        path: its folder; a run that waits in a queue may have none yet.
        state: a damaged run's description cannot be read.
        labeled: such as "90/1815".
        seed: with the label seed where there is one.
        task: what `done` and `total` count: training, scoring or validation.
        speed: steps per second; None where it is not known.
        error: why it failed, or what is damaged.
        headline: the predictor's mean of the headline metric, of a finished run.
        changed: seconds since the epoch.
    """

    id: str
    path: Path
    state: State
    benchmark: str = ""
    labeled: str = ""
    protocol: str = ""
    method: str = ""
    seed: str = ""
    task: str = "training"
    done: int = 0
    total: int = 0
    speed: float | None = None
    text: str = ""
    error: str = ""
    headline: float | None = None
    changed: float = 0.0

    @property
    def label(self) -> str:
        """A short, readable name."""
        parts = (self.method, f"{self.benchmark} {self.labeled}".strip(), self.protocol, f"seed {self.seed}")
        return " · ".join(part for part in parts if part and part != "seed ") or self.id

    @property
    def share(self) -> float:
        """The part of the task that is done, 0 to 1."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of the task; None where it is not known."""
        return None if self.state != "running" or not self.speed else max(self.total - self.done, 0) / self.speed


@dataclass(frozen=True)
class Snapshot:
    """All runs of a store: those that change first, of equal ones the latest first."""

    runs: tuple[LiveRun, ...]

    @property
    def counts(self) -> dict[State, int]:
        """How many runs there are in each state that occurs."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES if counted[state]}

    def find(self, name: str) -> LiveRun | None:
        """Return the run with this id; None if there is none."""
        return next((run for run in self.runs if run.id == name), None)


class StoreReader:
    """Reads a store again and again; what has not changed is not read twice.

    Args:
        root: the results root.
        dataset: show the runs of this data set only.
        method: show the runs of this method only.
    """

    def __init__(self, root: Path, dataset: str | None = None, method: str | None = None) -> None:
        self.root, self._dataset, self._method = root, dataset, method
        self._finished: dict[Path, tuple[Stamp, LiveRun]] = {}
        self._curves: dict[Path, tuple[tuple[Stamp | None, ...], tuple[str, list[float]]]] = {}
        self._queue, self._asked = dict[str, str](), float("-inf")
        self._lock = threading.Lock()  # of this object, which threads of a server share

    def snapshot(self) -> Snapshot:
        """Read the state of every run now."""
        with self._lock, reading_only():
            runs = [run for path in self._folders() if (run := self._read(path)) is not None]
            runs = self._with_queue(runs)
        order = {state: place for place, state in enumerate(STATES)}
        return Snapshot(tuple(sorted(runs, key=lambda run: (order[run.state], -run.changed, run.id))))

    def absence(self) -> str:
        """What to say where there is no run to show: of what, and what the store has instead."""
        words, folder = ["no runs"], self.root / "runs"
        if self._dataset is not None:
            words.append(f"of --dataset {self._dataset}{_instead(self._dataset, folder, '*')}")
        if self._method is not None:
            own = self._dataset if self._dataset is not None and (folder / self._dataset).is_dir() else "*"
            words.append(f"of --method {self._method}{_instead(self._method, folder, f'{own}/*')}")
        return " ".join(words)

    def curve(self, run: LiveRun) -> tuple[str, list[float]]:
        """Return the name and some values of a run's validation score or loss; nothing where there is none."""
        folder = RunFolder(run.path)
        stamps = (_stamp(folder.validation_curve), _stamp(folder.curves))
        with self._lock:
            known = self._curves.get(run.path)
        if known is None or known[0] != stamps:
            known = stamps, brief_curve(folder, CURVE)
            with self._lock:
                self._curves[run.path] = known
        return known[1]

    def _folders(self) -> Iterator[Path]:
        """Folders that may be runs'."""
        for dataset in _subfolders(self.root / "runs"):
            if self._dataset in (None, dataset.name):
                for method in _subfolders(dataset):
                    if self._method in (None, method.name):
                        yield from (path for path in _subfolders(method) if re.fullmatch(RUN_ID, path.name))

    def _read(self, path: Path) -> LiveRun | None:
        """Return the run in a folder; None if there is none."""
        folder = RunFolder(path)
        stamp = _stamp(folder.description)
        if stamp is None:
            return None
        known = self._finished.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            entry = load_entry(path)
            run = None if entry is None else self._live(entry, stamp[0] / 1e9)
        except (UserError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            reason = str(error).removeprefix(f"{path}/")
            dataset, method = map(plain_line, path.parts[-3:-1])
            return LiveRun(path.name, path, "damaged", dataset, method=method, error=reason, changed=stamp[0] / 1e9)
        if run is not None and run.state == "finished":
            self._finished[path] = stamp, run
        return run

    def _live(self, entry: Entry, changed: float) -> LiveRun:
        state: State = entry.status
        progress = RunFolder(entry.path).read_progress() if state == "running" else None
        reported = _stamp(RunFolder(entry.path).progress) if progress is not None else None
        task, done, total = "training", entry.iteration, entry.iterations
        speed, text = (None, "") if progress is None else (progress.speed, progress.text)
        if progress is not None:
            task, done, total = plain_line(progress.task), progress.done, progress.total
            if progress.iteration is not None and progress.iteration < entry.iterations and task != "training":
                task, done, total, speed = f"training, {task}", progress.iteration, entry.iterations, None
        return LiveRun(
            id=entry.hash, path=entry.path, state=state, benchmark=plain_line(str(entry.benchmark)),
            labeled=plain_line(f"{entry.labeled}/{entry.train_count}"), protocol=plain_line(str(entry.protocol)),
            method=plain_line(str(entry.method)), seed=plain_line(seed_text(entry.seed, entry.label_seed)),
            task=task, done=done, total=total,
            speed=speed, text=text,
            error="" if entry.error is None else str(entry.error),
            headline=None if entry.headline is None else float(entry.headline),
            changed=changed if reported is None else reported[0] / 1e9,
        )  # fmt: skip

    def _with_queue(self, runs: list[LiveRun]) -> list[LiveRun]:
        """Mark the runs that wait in a cluster's queue, and add those that have not begun.

        The queue is asked every QUEUE_SECONDS. It does not say of which data set and method a run is.
        """
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            from ssl_bench.launch.launcher import queued

            self._queue, self._asked = queued(self.root), time.monotonic()
        words = {name: f"in the queue: {word}" for name, word in self._queue.items()}
        begun = [
            replace(run, state="waiting", text=words[run.id]) if run.state == "interrupted" and run.id in words else run
            for run in runs
        ]
        if self._dataset is not None or self._method is not None:
            return begun
        others = words.keys() - {run.id for run in runs}
        return [*begun, *(LiveRun(name, self.root, "waiting", text=words[name]) for name in sorted(others))]


def _instead(name: str, folder: Path, pattern: str) -> str:
    """The names of a store, in parentheses, if a name is none of them."""
    found = sorted({path.name for path in folder.glob(pattern) if path.is_dir()})
    return "" if name in found or not found else f" (the store has {', '.join(map(plain_line, found))})"


def last_lines(path: Path, most: int = 1) -> list[str]:
    """Return the last lines of a log that are not empty, without control characters."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for part in text.split("\n") if (line := plain_line(part))][-most:]


def plain_line(text: str) -> str:
    """Return a text without colours and other control characters; of a line that was rewritten, what it ended as."""
    return " ".join(_CONTROL.sub("", text.rstrip().rpartition("\r")[2]).split())


def said(run: LiveRun) -> str:
    """What a run says last: why it failed, or its latest loss and its log's last line."""
    logged = [line for line in last_lines(RunFolder(run.path).log) if not line.startswith("$ ")]  # not the command
    parts = [run.error] if run.error else [run.text, *logged]
    return " · ".join(line for part in parts if (line := plain_line(part)))


def _subfolders(path: Path) -> Sequence[Path]:
    try:
        with os.scandir(path) as entries:
            return [path / entry.name for entry in sorted(entries, key=lambda one: one.name) if entry.is_dir()]
    except OSError:  # not a folder, or removed meanwhile
        return []


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

"""The results store: every run under one folder, who is at it, and what it holds."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from filelock import FileLock, Timeout

from ssl_bench.cards import HEADLINE, RunSpec
from ssl_bench.errors import UserError
from ssl_bench.store.pictures import Example, Moment, read_pictures
from ssl_bench.store.run_folder import RunFolder, spec_of
from ssl_bench.store.scores import read_cases

if TYPE_CHECKING:
    import pandas as pd


Status = Literal["finished", "running", "interrupted", "failed"]


@dataclass(frozen=True)
class Run:
    """A run as the store knows it: `provenance` says when, where and with what; `result` is there at the end.

    What its other files hold is read when it is first asked for.
    """

    path: Path
    spec: RunSpec
    status: Status
    iteration: int  # that it would go on from; of a running one, that it said last
    iterations: int
    error: str | None
    provenance: dict[str, Any]
    result: dict[str, Any]

    @cached_property
    def cases(self) -> pd.DataFrame:
        """A finished run's scores: network, case, class, then a column per metric (NaN: undefined).

        Raises:
            UserError: the file is not the one that the run wrote.
        """
        path = self.path / "cases.csv"
        try:
            return read_cases(path.read_bytes(), self.spec, self.result, str(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None

    def require_whole(self) -> None:
        """Read the scores of a finished run.

        Raises:
            UserError: they are not those that it wrote.
        """
        self.cases  # noqa: B018

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Training curves, a row per logged iteration."""
        return _read_table(self.path / "curves.csv")

    @cached_property
    def test_curve(self) -> pd.DataFrame | None:
        """The predictor's test scores at intervals of training: iteration, then a column per metric; None without."""
        path = self.path / "test_curve.csv"
        return _read_table(path) if path.exists() else None

    @cached_property
    def examples(self) -> list[Example]:
        """Some test cases with their pictures."""
        return read_pictures(self.path / "examples.npz", Example)

    @cached_property
    def moments(self) -> list[Moment]:
        """Uncertainty maps early and late, for a method that mixes by uncertainty."""
        paths = sorted(self.path.glob("moments-*.npz"), key=lambda path: int(path.stem.partition("-")[2]))
        return [moment for path in paths for moment in read_pictures(path, Moment)]


@dataclass(frozen=True)
class Entry:
    """A run in brief: `hash` is its name in the store, `headline` its predictor's mean HEADLINE, where measured."""

    benchmark: str
    labeled: int
    train_count: int
    protocol: str
    method: str
    seed: int
    hash: str
    status: Status
    iteration: int
    iterations: int
    error: str | None
    headline: float | None
    path: Path


Seen = TypeVar("Seen")


class Store:
    """All runs under one results root, at runs/<data set>/<method>/<hash>/."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder of a run, which may not exist yet."""
        return RunFolder(self.root / "runs" / spec.benchmark / spec.method / spec.hash)

    def find(self, spec: RunSpec) -> Run | None:
        """Return a run by its spec, None where it never began."""
        return self._load(self.folder(spec).path)

    def runs(self, unreadable: list[str] | None = None, of: Collection[tuple[str, str]] | None = None) -> list[Run]:
        """Return every run, sorted by data set, method, labelled images, seed and hash; copied folders do not count.

        Args:
            unreadable: takes the message of each run whose description cannot be read.
            of: names of data sets and methods whose runs are wanted alone; None for all.

        Raises:
            UserError: a run's description cannot be read, unless `unreadable` is there to take the message.
        """
        with _without_collection():
            runs = list(self._each(_as_run, unreadable, of))
        return sorted(runs, key=lambda r: (r.spec.benchmark, r.spec.method, r.spec.labeled, r.spec.seed, r.path.name))

    def entries(self, unreadable: list[str] | None = None) -> list[Entry]:
        """Return what `runs` does, in brief and faster, for a look at many."""
        with _without_collection():
            entries = list(self._each(_as_entry, unreadable))
        return sorted(entries, key=lambda e: (e.benchmark, e.method, e.labeled, e.seed, e.hash))

    def _each(
        self,
        made: Callable[[Path, dict[str, Any]], Seen],
        unreadable: list[str] | None,
        of: Collection[tuple[str, str]] | None = None,
    ) -> Iterator[Seen]:
        folders = ["*/*"] if of is None else [f"{data}/{method}" for data, method in sorted(of)]
        for path in chain.from_iterable(self.root.glob(f"runs/{folder}/*/run.json") for folder in folders):
            try:
                data = RunFolder(path.parent).read()
                if data is not None and data.get("hash") == path.parent.name:
                    yield made(path.parent, data)
            except UserError as error:
                if unreadable is None:
                    raise
                unreadable.append(str(error))

    @contextmanager
    def claim(self, spec: RunSpec) -> Iterator[bool]:
        """Hold the run's lock while training it; yields False at once where another process holds it.

        The operating system lets go of a dead process's lock, so nobody waits on the dead.
        """
        path = self.folder(spec).path
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise UserError(f"--results-root: {self.root} cannot be written: {error}") from None
        try:
            yield True
        finally:
            lock.release()

    def is_claimed(self, spec: RunSpec) -> bool:
        """Whether a process holds the run's lock."""
        return _is_locked(self.folder(spec).path)

    def wait(self, spec: RunSpec, stopped: Callable[[], bool]) -> None:
        """Block until nobody trains the run, or `stopped` says so."""
        while not stopped() and self.is_claimed(spec):
            time.sleep(0.5)

    def _load(self, path: Path) -> Run | None:
        data = RunFolder(path).read()
        return None if data is None else _as_run(path, data)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Leave the garbage collector out: it would walk thousands of runs again and again, and none is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _as_run(path: Path, data: dict[str, Any]) -> Run:
    spec = spec_of(path, data)
    iterations, status = int(data["iterations"]), _status(path, data["status"])
    return Run(
        path=path,
        spec=spec,
        status=status,
        iteration=iterations if status == "finished" else _reached(path, running=status == "running"),
        iterations=iterations,
        error=data.get("error"),
        provenance=data["provenance"],
        result=data.get("result", {}),
    )


def _as_entry(path: Path, data: dict[str, Any]) -> Entry:
    iterations, status = int(data["iterations"]), _status(path, data["status"])
    try:
        spec, result = data["spec"], data.get("result")
        headline = None if result is None else result["scores"][result["predictor"]].get(HEADLINE, {}).get("mean")
        return Entry(
            spec["benchmark"], spec["labeled"], spec["train_count"], spec["protocol"]["name"], spec["method"],
            spec["seed"], path.name, status,
            iterations if status == "finished" else _reached(path, running=status == "running"),
            iterations, data.get("error"), headline, path,
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / 'run.json'}: not a run of this version: {error!r}") from None


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _status(path: Path, recorded: str) -> Status:
    """A run that says it is running is so only while somebody holds its lock."""
    if recorded == "finished":
        return "finished"
    if _is_locked(path):
        return "running"
    return "failed" if recorded == "failed" else "interrupted"


def _is_locked(path: Path) -> bool:
    lock_file = path / ".lock"
    if not lock_file.exists():
        return False
    try:
        with FileLock(lock_file, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a store that can only be read: nobody trains in it
        return False


def _reached(path: Path, *, running: bool) -> int:
    progress = RunFolder(path).read_progress() if running else None
    if progress is not None and progress.task == "training":
        return progress.done
    try:
        return int(json.loads((path / "checkpoint.json").read_text(encoding="utf-8"))["iteration"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0

"""The results store: all runs below one folder, and the claims on them."""

from __future__ import annotations

import gc
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import Timeout

from ssl_bench.cards import HEADLINE, RUN_ID, RunSpec
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.locks import FileLock
from ssl_bench.store import frames
from ssl_bench.store.holders import Holders
from ssl_bench.store.run import Entry, Run, Status
from ssl_bench.store.run_folder import OldRunError, RunFolder, spec_of
from ssl_bench.store.scores import read_scores

if TYPE_CHECKING:
    import pandas as pd

    from ssl_bench.cards import Measurement


log = logging.getLogger("ssl_bench")
Made = TypeVar("Made")
_HOLDERS: ContextVar[Holders | None] = ContextVar("_HOLDERS", default=None)


@contextmanager
def reading_only() -> Iterator[None]:
    """Within `with`, this thread reads which runs are being trained from `Holders`, and touches no lock."""
    token = _HOLDERS.set(Holders())
    try:
        yield
    finally:
        _HOLDERS.reset(token)


class Store:
    """All runs under one results root, at runs/<data set>/<method>/<hash>/."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder of a run, which may not exist yet.

        A finished run with the same training is reused if its curves have every point that `spec` asks for, so that no
        run is trained again only for fewer points.

        Raises:
            UserError: the folder that bears the run's id holds another run.
        """
        own = self.own_folder(spec)
        data = own.read()
        if data is not None and data.get("hash") != own.path.name:
            raise UserError(
                f"{own.description}: expected run {own.path.name}, found {data.get('hash')}; rename or move the folder"
            )
        if data is not None and data["status"] == "finished":
            return own
        for other, data in self._trained_like(spec):
            if spec_of(other.path, data).has_curves_of(spec.protocol):
                return other
        return own

    def own_folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder that bears the run's own id."""
        return RunFolder(self.root / "runs" / spec.benchmark / spec.method / spec.run_id)

    def is_done(self, spec: RunSpec, measurement: Measurement | None) -> bool:
        """Whether a run is finished and has the requested scores."""
        folder = self.folder(spec)
        return folder.is_finished and (measurement is None or folder.is_scored(measurement))

    def lacks_curves(self, spec: RunSpec) -> bool:
        """Whether a finished run lacks only curves, which require another training."""
        return not self.folder(spec).is_finished and any(True for _ in self._trained_like(spec))

    def _trained_like(self, spec: RunSpec) -> Iterator[tuple[RunFolder, dict[str, Any]]]:
        for path in sorted((self.root / "runs" / spec.benchmark / spec.method).glob(f"{spec.hash}*/run.json")):
            folder = RunFolder(path.parent)
            data = folder.read()
            if data is not None and data["status"] == "finished" and data.get("hash") == path.parent.name:
                yield folder, data

    def find(self, spec: RunSpec) -> Run | None:
        """Return a run by its spec; None if it never began."""
        return self._load(self.folder(spec).path)

    def runs(self, unreadable: list[str] | None = None, of: Collection[tuple[str, str]] | None = None) -> list[Run]:
        """Return all runs, sorted by data set, method, labelled images, seed and id; copied folders are ignored.

        Args:
            unreadable: collects the message of each run whose description cannot be read.
            of: pairs of data set and method to restrict the runs to; None for all.

        Raises:
            UserError: a run's description cannot be read, unless `unreadable` is given.
        """
        with _without_collection():
            runs = list(self._each(_as_run, unreadable, of))
        return sorted(runs, key=lambda r: (r.spec.benchmark, r.spec.method, r.spec.labeled, r.spec.draws, r.path.name))

    def entries(self, unreadable: list[str] | None = None) -> list[Entry]:
        """Return summaries of all runs; faster than `runs`."""
        with _without_collection():
            entries = list(self._each(_as_entry, unreadable))
        return sorted(entries, key=lambda e: (e.benchmark, e.method, e.labeled, e.draws, e.hash))

    def frame(self) -> pd.DataFrame:
        """Every run that can be read, a row each; see `ssl_bench.store.frames.frame_of_runs`."""
        return frames.frame_of_runs(self.readable())

    def cases(self) -> pd.DataFrame:
        """Every case of every finished run; see `ssl_bench.store.frames.frame_of_cases`."""
        return frames.frame_of_cases(self.readable())

    def curves(self) -> pd.DataFrame:
        """Every row of every training curve; see `ssl_bench.store.frames.frame_of_curves`."""
        return frames.frame_of_curves(self.readable())

    def readable(self, of: Collection[tuple[str, str]] | None = None) -> list[Run]:
        """Return the runs whose description can be read, as `runs`; the others are logged."""
        unreadable: list[str] = []
        runs = self.runs(unreadable, of)
        log_unreadable(unreadable)
        return runs

    def _each(
        self,
        made: Callable[[Path, dict[str, Any]], Made],
        unreadable: list[str] | None,
        of: Collection[tuple[str, str]] | None = None,
    ) -> Iterator[Made]:
        folders = ["*/*"] if of is None else [f"{data}/{method}" for data, method in sorted(of)]
        old = 0
        for path in chain.from_iterable(self.root.glob(f"runs/{folder}/*/run.json") for folder in folders):
            try:
                data = RunFolder(path.parent).read()
                if data is not None and data.get("hash") == path.parent.name:
                    yield made(path.parent, data)
            except OldRunError:
                old += 1
            except UserError as error:
                if unreadable is None:
                    raise
                unreadable.append(str(error))
        if old:
            raise self._old_runs(old)

    def make_ready(self, of: Collection[tuple[str, str]]) -> None:
        """Prepare the store for training.

        Refuse to train beside runs of an earlier version, which would not be recognised. Delete the checkpoints of
        finished runs, which a process that is killed at the end of a run leaves.

        Args:
            of: names of data sets and methods.

        Raises:
            UserError: there are runs of an earlier version of these data sets and methods.
        """
        list(self._each(_as_path, [], of))
        left = {path.parent for data, method in of for path in self.root.glob(f"runs/{data}/{method}/*/checkpoint*")}
        for folder in map(RunFolder, sorted(left)):
            with suppress(UserError):  # a run that cannot be read, or that may only be read
                data = folder.read()
                if data is not None and data["status"] == "finished":
                    with self.claim(spec_of(folder.path, data), folder) as mine:
                        if mine:
                            folder.drop_checkpoints()

    def _old_runs(self, count: int) -> UserError:
        return UserError(
            f"--results-root: {self.root} holds {quantity(count, 'run')} of an earlier version; "
            f"`ssl-bench results convert --results-root {self.root}` converts them without training"
        )

    @contextmanager
    def claim(self, spec: RunSpec, folder: RunFolder | None = None) -> Iterator[bool]:
        """Hold the run's lock while training or scoring it; yields False at once where another process holds it.

        The operating system releases the lock of a dead process. `folder` None is `self.folder(spec)`.
        """
        path = (folder or self.folder(spec)).path
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
        """Block until no process trains the run, or `stopped` returns True."""
        while not stopped() and self.is_claimed(spec):
            time.sleep(0.5)

    def _load(self, path: Path) -> Run | None:
        data = RunFolder(path).read()
        return None if data is None else _as_run(path, data)


def log_unreadable(messages: Sequence[str]) -> None:
    """Log the runs that cannot be read."""
    for message in messages:
        log.warning("left out: %s", message)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Disable the garbage collector, which would scan thousands of live objects repeatedly."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _as_path(path: Path, data: dict[str, Any]) -> Path:  # noqa: ARG001
    return path


def _as_run(path: Path, data: dict[str, Any]) -> Run:
    spec = spec_of(path, data)
    iterations, status = int(data["iterations"]), _status(path, data["status"])
    return Run(
        path=path,
        spec=spec,
        status=status,
        iteration=_reached(path, status, iterations),
        iterations=iterations,
        error=data.get("error"),
        provenance=data["provenance"],
        result=data.get("result", {}),
        scores=read_scores(RunFolder(path), data.get("scores", {})),
    )


def _as_entry(path: Path, data: dict[str, Any]) -> Entry:
    iterations, status = int(data["iterations"]), _status(path, data["status"])
    try:
        spec, result = data["spec"], data.get("result")
        first = next(iter(data.get("scores", {}).values()), None)
        networks = {} if first is None or result is None else first["networks"][result["predictor"]]
        headline = networks.get(HEADLINE, {}).get("mean")
        units = spec.get("train_groups") or spec["train_count"]
        return Entry(
            spec["benchmark"], spec["labeled"], units, spec["protocol"]["name"], spec["method"],
            spec["seed"], path.name, status,
            _reached(path, status, iterations), iterations, data.get("error"), headline, path,
            spec.get("label_seed"),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / 'run.json'}: not a run of this version: {error!r}") from None


def _status(path: Path, recorded: str) -> Status:
    """A run is running only while a process holds its lock."""
    if recorded == "finished":
        return "finished"
    holders = _HOLDERS.get()
    if _is_locked(path) if holders is None else holders.trains(path, recorded):
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
    except OSError:  # a read-only store, in which no process trains
        return False


def _reached(path: Path, status: Status, iterations: int) -> int:
    if status == "finished":
        return iterations
    progress = RunFolder(path).read_progress() if status == "running" else None
    if progress is not None and progress.reached is not None:
        return progress.reached
    try:
        return int(json.loads((path / "checkpoint.json").read_text(encoding="utf-8"))["iteration"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def load_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    data = RunFolder(path).read()
    if data is None:
        raise UserError(f"{path}: expected a run's folder, found no run.json in it")
    return _as_run(path, data)


def load_entry(path: Path) -> Entry | None:
    """Return the summary of the run in a folder; None where there is no run, or a copy of another folder.

    Raises:
        UserError: its description cannot be read.
    """
    data = RunFolder(path).read()
    return _as_entry(path, data) if data is not None and data.get("hash") == path.name else None


def find_run(run: str, results_root: Path, option: str = "RUN") -> Path:
    """Return a run's folder, named by its path or by its id (or the beginning of it) in the results root.

    Raises:
        UserError: no run or several runs are meant.
    """
    if (Path(run) / "run.json").is_file():
        return Path(run)
    folders = [path.parent for path in sorted(results_root.glob("runs/*/*/*/run.json"))]
    found = [path for path in folders if re.fullmatch(RUN_ID, path.name) and path.name.startswith(run)]
    found = [path for path in found if path.name == run] or found
    if len(found) != 1:
        several = f"{len(found)} runs: {', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}"
        raise UserError(
            f"{option}: expected a run's folder, or the beginning of one run's id in {results_root}; "
            f"'{run}' names {several if found else 'none'}"
        )
    return found[0]

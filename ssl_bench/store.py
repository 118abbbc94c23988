"""The results store: one folder per run, in which nothing is half-written and `run.json` says "finished" last."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError
from pydantic_core import from_json

from ssl_bench.errors import UserError, first_line
from ssl_bench.examples import Example, Moment, read_pictures
from ssl_bench.files import write_bytes, write_json
from ssl_bench.spec import RunSpec

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["finished", "running", "interrupted", "failed"]
FORMAT = 1


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
        """Scores per network, case and class: network, case, class, then a column per metric (NaN: undefined)."""
        import pandas as pd

        return pd.read_csv(self.path / "cases.csv", dtype={"case": str}, keep_default_na=False, na_values=[""])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Training curves, a row per logged iteration."""
        import pandas as pd

        return pd.read_csv(self.path / "curves.csv")

    @cached_property
    def test_curve(self) -> pd.DataFrame | None:
        """The predictor's test scores at intervals of training: iteration, then a column per metric; None without."""
        import pandas as pd

        path = self.path / "test_curve.csv"
        return pd.read_csv(path) if path.exists() else None

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
    """A run in brief: `hash` is its name in the store, `dsc` its predictor's mean DSC where it has one.

    `settings` is a JSON object of what tells runs apart that are alike in all else; thousands of runs share a few.
    """

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
    dsc: float | None
    settings: str


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps of a task (training, scoring) of a run, and how it goes."""

    task: str
    done: int
    total: int
    text: str


class RunFolder:
    """One run's files, as its only writer sees them (hold `Store.claim` while writing).

    run.json            spec, status, provenance; written first, and last with "finished"
    splits.json         the ids of every split
    checkpoint-N.pt     the latest checkpoint; checkpoint.json names it with its SHA-256
    curves.csv          curves up to the latest checkpoint
    cases.csv           scores per network, case and class
    test_curve.csv      where the protocol says score_every: the predictor's test scores on the way
    examples.npz        pictures of some test cases: image, truth, prediction
    moments-N.npz       UMIX: uncertainty maps of two training images, early and late
    weights.safetensors every network's weights
    progress.json       how far it is, now and then, for whoever watches
    log.txt             what it printed, where another process started it
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any] | None:
        """Return run.json, or None for a run that never began."""
        path = self.path / "run.json"
        if not path.exists():
            return None
        try:
            data = from_json(path.read_bytes())  # twice as fast as json, which counts for thousands of runs
            if data["format"] != FORMAT:
                raise UserError(f"{path}: expected format {FORMAT}, found {data['format']!r}")
            data["status"], data["iterations"], data["spec"], data["provenance"]  # every run has them
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a run's description ({error!r}); move the folder out of the store") from None
        return dict(data)

    @property
    def is_finished(self) -> bool:
        """Whether the run ended; a finished run is never trained again."""
        data = self.read()
        return data is not None and data["status"] == "finished"

    def begin(self, spec: RunSpec, iterations: int, provenance: dict[str, Any], *, goes_on: bool = False) -> None:
        """Record that the run is being trained, now and (kept from an earlier start) since when.

        Where it `goes_on` from a checkpoint that was written under another provenance, that one is kept as `earlier`.
        """
        for remains in self.path.glob(".*.partial"):  # of a killed process; nobody else writes here now
            remains.unlink()
        before = dict((self.read() or {}).get("provenance", {}))
        started, earlier = before.pop("started", _now()), before.pop("earlier", [])
        origin = {"started": started, **provenance}
        if goes_on:
            earlier += [before] * (before != provenance)
            origin |= {"earlier": earlier} if earlier else {}
        data = {
            "format": FORMAT, "hash": spec.hash, "status": "running", "iterations": iterations,
            "spec": spec.model_dump(mode="json"), "provenance": origin,
        }  # fmt: skip
        write_json(self.path / "run.json", data)

    def note_progress(self, task: str, done: int, total: int, text: str) -> None:
        """Say how far the run is; nothing is decided by it, so the disk need not have it for sure."""
        beside = self.path / ".progress.partial"
        with suppress(OSError):  # a disk that is full just now must not end a run for this
            beside.write_text(json.dumps({"task": task, "done": done, "total": total, "text": text}), encoding="utf-8")
            beside.replace(self.path / "progress.json")

    def read_progress(self) -> Progress | None:
        """How far the run said it was when it last said so; None where it has not."""
        try:
            data = json.loads((self.path / "progress.json").read_text(encoding="utf-8"))
            return Progress(str(data["task"]), int(data["done"]), int(data["total"]), str(data["text"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def fail(self, error: str) -> None:
        """Record why the run could not go on; its last checkpoint stays."""
        self._update(status="failed", error=error)

    def crash(self, error: str, trace: str) -> None:
        """Record an error that nobody foresaw, with its traceback, as far as the disk lets us."""
        with suppress(OSError, UserError):
            write_bytes(self.path / "traceback.txt", trace.encode())
            self.fail(error)

    def finish(self, result: dict[str, Any]) -> None:
        """Record that everything is written, and only then drop the checkpoint, which is of no more use."""
        data = self._begun()
        provenance = {**data["provenance"], "finished": _now()}
        self._update(status="finished", result=result, provenance=provenance)
        self._drop_checkpoints()

    def adopt(self, contents: Mapping[str, bytes]) -> None:
        """Take over a finished run's files from elsewhere, run.json last, in place of an unfinished run's."""
        for name, content in contents.items():
            if name != "run.json":
                write_bytes(self.path / name, content)
        write_bytes(self.path / "run.json", contents["run.json"])
        self._drop_checkpoints()

    def add_missing(self, contents: Mapping[str, bytes]) -> None:
        """Take over from elsewhere what this finished run's folder does not have."""
        for name, content in contents.items():
            if not (self.path / name).exists():
                write_bytes(self.path / name, content)

    def write_checkpoint(self, iteration: int, content: bytes) -> None:
        """Replace the latest checkpoint; the old one goes only after the new one is in place."""
        name = f"checkpoint-{iteration}.pt"
        write_bytes(self.path / name, content)
        digest = hashlib.sha256(content).hexdigest()
        write_json(self.path / "checkpoint.json", {"iteration": iteration, "file": name, "sha256": digest})
        for other in self.path.glob("checkpoint-*.pt"):
            if other.name != name:
                other.unlink()

    def read_checkpoint(self) -> bytes | None:
        """Return the latest checkpoint, None where there is none.

        Raises:
            UserError: it is not the file that was written.
        """
        index = self.path / "checkpoint.json"
        if not index.exists():
            return None
        advice = f"delete {index} to train this run from its beginning"
        try:
            entry = json.loads(index.read_text(encoding="utf-8"))
            path, digest = self.path / str(entry["file"]), entry["sha256"]
            content = path.read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{index}: the checkpoint cannot be read ({error}); {advice}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"{path}: the checkpoint is damaged (its SHA-256 is not the recorded one); {advice}")
        return content

    def _drop_checkpoints(self) -> None:
        (self.path / "checkpoint.json").unlink(missing_ok=True)
        (self.path / "progress.json").unlink(missing_ok=True)
        for checkpoint in self.path.glob("checkpoint-*.pt"):
            checkpoint.unlink()

    def _update(self, **changes: Any) -> None:
        data = self._begun()
        data.pop("error", None)
        write_json(self.path / "run.json", {**data, **changes})

    def _begun(self) -> dict[str, Any]:
        data = self.read()
        if data is None:
            raise UserError(f"{self.path / 'run.json'}: expected the run that was begun here, found nothing")
        return data


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
    try:
        spec = RunSpec.model_validate(data["spec"])
    except (ValidationError, KeyError) as error:
        raise _unlike(path, first_line(error)) from None
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
        headline = None if result is None else result["scores"][result["predictor"]].get("dsc", {}).get("mean")
        prints = {name: spec.get(name) for name in ("data_fingerprint", "weights_fingerprint", "method_version")}
        settings = json.dumps(prints | spec["protocol"] | spec["hyperparameters"], sort_keys=True)
        return Entry(
            spec["benchmark"], spec["labeled"], spec["train_count"], spec["protocol"]["name"], spec["method"],
            spec["seed"], path.name, status,
            iterations if status == "finished" else _reached(path, running=status == "running"),
            iterations, data.get("error"), headline, sys.intern(settings),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise _unlike(path, repr(error)) from None


def _unlike(path: Path, why: str) -> UserError:
    return UserError(f"{path / 'run.json'}: not a run of this version: {why}")


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

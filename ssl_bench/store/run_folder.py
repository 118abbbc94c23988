"""One run's folder. Files are written atomically, and `run.json` says "finished" last."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from ssl_bench.atomic import write_bytes, write_json
from ssl_bench.cards import Measurement, RunSpec
from ssl_bench.errors import UserError, first_line

FORMAT = 2  # 1: one way of scoring, in run.json's result and cases.csv; `results convert` reads it


OF_A_RUN = (
    "splits.json",
    "*.csv",
    "*.npz",
    "weights.safetensors",
    "log.txt",
    "traceback.txt",
)  # patterns of training files that another training must not inherit; the checkpoint is deleted at the end


class OldRunError(UserError):
    """A run's description has the format of an earlier version."""


@dataclass(frozen=True)
class RunProgress:
    """`done` of `total` steps of a task (training, scoring) of a run, and its latest loss.

    `speed` is the task's steps per second since this process began it; None before the second step and in runs of
    earlier versions. `host` is the name of the machine; "" in these. `iteration` is how far training has come, during a
    scoring, too; None in these, and where a finished run is scored.
    """

    task: str
    done: int
    total: int
    text: str
    speed: float | None = None
    host: str = ""
    iteration: int | None = None

    @property
    def reached(self) -> int | None:
        """Iterations of training; None where they are not known."""
        return self.done if self.task == "training" else self.iteration


class RunFolder:
    """One run's files, as its only writer sees them (hold `Store.claim` while writing).

    run.json            specification, status, provenance, costs, how its curves are measured, a summary of every way of
                        scoring; "finished" is last
    splits.json         the ids of every split
    checkpoint-N-HASH.pt the latest checkpoint; checkpoint.json names it with its SHA-256
    curves.csv          curves up to the latest checkpoint
    cases-KEY.csv       scores per network, case and class; KEY names the measurement
    test_curve.csv      with score_every: the predictor's test scores during training
    validation_curve.csv with validate_every: its validation scores
    examples.npz        pictures of some test cases: image, truth, prediction
    moments-N.npz       UMIX: uncertainty maps of two training images, early and late
    weights.safetensors every network's weights
    progress.json       how far the run is, for other processes
    log.txt             output, where another process started the run
    traceback.txt       of an unexpected error
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = path / "run.json"
        self.splits = path / "splits.json"
        self.checkpoint_index = path / "checkpoint.json"
        self.curves = path / "curves.csv"
        self.test_curve = path / "test_curve.csv"
        self.validation_curve = path / "validation_curve.csv"
        self.examples = path / "examples.npz"
        self.weights = path / "weights.safetensors"
        self.progress = path / "progress.json"
        self.log = path / "log.txt"
        self.traceback = path / "traceback.txt"

    def cases(self, key: str) -> Path:
        """Scores per network, case and class of the measurement with this key."""
        return self.path / cases_name(key)

    def partial_cases(self, key: str) -> Path:
        """Scores so far of a finished run that is being scored again."""
        return self.path / f".scoring-{key}.json"

    def moments(self, iteration: int) -> Path:
        """Uncertainty maps after an iteration."""
        return self.path / f"moments-{iteration}.npz"

    def all_moments(self) -> list[Path]:
        """Uncertainty maps by iteration."""
        return sorted(self.path.glob("moments-*.npz"), key=lambda path: int(path.stem.partition("-")[2]))

    def read(self) -> dict[str, Any] | None:
        """Return run.json, or None for a run that never began."""
        path = self.description
        if not path.exists():
            return None
        try:
            data = from_json(path.read_bytes())  # twice as fast as json, which counts for thousands of runs
            if data["format"] == 1:
                raise OldRunError(f"{path}: written by an earlier version; `ssl-bench results convert` converts it")
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

    def begin(
        self, spec: RunSpec, measurement: Measurement, iterations: int, provenance: dict[str, Any],
        *, goes_on: bool = False,
    ) -> None:  # fmt: skip
        """Record that the run is being trained; the time of the first start is kept.

        If it `goes_on` from a checkpoint with another provenance, that provenance is kept as `earlier`. Curves that are
        measured in another way are deleted.
        """
        for remains in self.path.glob(".*.partial"):  # of a killed process; no other process writes here now
            remains.unlink()
        begun, measured = self.read() or {}, measurement.model_dump(mode="json", exclude_none=True)
        if begun.get("measurement") != measured:
            self.test_curve.unlink(missing_ok=True)
            self.validation_curve.unlink(missing_ok=True)
        before = dict(begun.get("provenance", {}))
        started, earlier = before.pop("started", now()), before.pop("earlier", [])
        origin = {"started": started, **provenance}
        if goes_on:
            earlier += [before] * (before != provenance)
            origin |= {"earlier": earlier} if earlier else {}
        data = {
            "format": FORMAT, "hash": spec.run_id, "status": "running", "iterations": iterations,
            "spec": spec.model_dump(mode="json"), "measurement": measured, "provenance": origin,
        }  # fmt: skip
        write_json(self.description, data)

    def read_groups(self) -> dict[str, str] | None:
        """Return the group of each case as the run recorded it; None without groups, or without the file.

        Raises:
            UserError: the file cannot be read.
        """
        if not self.splits.exists():
            return None
        try:
            groups = json.loads(self.splits.read_text(encoding="utf-8")).get("groups")
            return None if groups is None else {str(case): str(group) for case, group in groups.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{self.splits}: cannot be read: {error}") from None

    def note_progress(self, progress: RunProgress) -> None:
        """Write the progress, with this machine's name, for other processes.

        It is not flushed to disk, since nothing depends on it.
        """
        beside = self.path / ".progress.partial"
        data = replace(progress, host=socket.gethostname())
        with suppress(OSError):  # a full disk must not end a run here
            beside.write_text(json.dumps(asdict(data)), encoding="utf-8")
            beside.replace(self.progress)

    def read_progress(self) -> RunProgress | None:
        """The last reported progress; None if there is none."""
        try:
            data = json.loads(self.progress.read_text(encoding="utf-8"))
            speed, iteration = data.get("speed"), data.get("iteration")
            return RunProgress(
                str(data["task"]), int(data["done"]), int(data["total"]), str(data["text"]),
                None if speed is None else float(speed), str(data.get("host", "")),
                None if iteration is None else int(iteration),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None

    def fail(self, error: str) -> None:
        """Record why the run failed; its last checkpoint stays."""
        self._update(status="failed", error=error)

    def crash(self, error: str, trace: str) -> None:
        """Record an unexpected error with its traceback, if the disk can be written."""
        with suppress(OSError, UserError):
            write_bytes(self.traceback, trace.encode())
            self.fail(error)

    def curves_measurement(self) -> Measurement | None:
        """How the scores in the run's curves are measured; None before it begins, or if no metric is registered.

        Runs of earlier versions do not record it until they are finished.
        """
        data = self.read() or {}
        at_the_end = (entry["measurement"] for entry in data.get("scores", {}).values())
        recorded = data.get("measurement") or next(at_the_end, None)
        return None if recorded is None else Measurement.read(recorded)

    def is_scored(self, measurement: Measurement) -> bool:
        """Whether a finished run has been scored by every metric of a measurement."""
        entries = (self.read() or {}).get("scores", {})
        made = (Measurement.read(entry["measurement"]) for entry in entries.values())
        return measurement.is_covered_by(own for own in made if own is not None)

    def finish(self, result: dict[str, Any], scores: Mapping[str, Any]) -> None:
        """Record that everything is written, and only then drop the checkpoint, which has no more use.

        Args:
            result: what training cost and which network is the predictor.
            scores: the entry of each measurement, by its key; see `store.scores`.

        """
        data = self._begun()
        provenance = {**data["provenance"], "finished": now()}
        self._update(status="finished", result=result, scores=dict(scores), provenance=provenance)
        self.drop_checkpoints()

    def add_scores(self, key: str, entry: Mapping[str, Any]) -> None:
        """Record one more measurement of a finished run, whose cases file is written."""
        data = self._begun()
        self._update(scores={**data["scores"], key: dict(entry)})
        self.partial_cases(key).unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)

    def adopt(self, contents: Mapping[str, bytes]) -> None:
        """Replace an unfinished run's files by those of a finished run; run.json is written last."""
        for name in OF_A_RUN:
            for path in self.path.glob(name):
                if path.name not in contents:
                    path.unlink()
        for name, content in contents.items():
            if name != "run.json":
                write_bytes(self.path / name, content)
        write_bytes(self.description, contents["run.json"])
        self.drop_checkpoints()

    def add_missing(self, contents: Mapping[str, bytes]) -> None:
        """Write the files that this finished run's folder lacks."""
        for name, content in contents.items():
            if not (self.path / name).exists():
                write_bytes(self.path / name, content)

    def write_checkpoint(self, iteration: int, content: bytes) -> None:
        """Replace the latest checkpoint; the old one is deleted after the new one is in place.

        Its name has the beginning of its SHA-256, so that another one of the same iteration never replaces the file
        that the index names.
        """
        digest = hashlib.sha256(content).hexdigest()
        name = f"checkpoint-{iteration}-{digest[:8]}.pt"
        write_bytes(self.path / name, content)
        write_json(self.checkpoint_index, {"iteration": iteration, "file": name, "sha256": digest})
        for other in self.path.glob("checkpoint-*.pt"):
            if other.name != name:
                other.unlink()

    def read_checkpoint(self) -> bytes | None:
        """Return the latest checkpoint; None if there is no checkpoint.

        Raises:
            UserError: it is not the file that was written.
        """
        index = self.checkpoint_index
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

    def drop_checkpoints(self) -> None:
        """Delete what only an unfinished run has a use for."""
        self.checkpoint_index.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)
        for checkpoint in self.path.glob("checkpoint-*.pt"):
            checkpoint.unlink()

    def _update(self, **changes: Any) -> None:
        data = self._begun()
        data.pop("error", None)
        write_json(self.description, {**data, **changes})

    def _begun(self) -> dict[str, Any]:
        data = self.read()
        if data is None:
            raise UserError(f"{self.path / 'run.json'}: expected the run that was started here, found no file")
        return data


def spec_of(folder: Path, data: dict[str, Any]) -> RunSpec:
    """Return the specification in a run's description, as `RunFolder.read` gives it.

    Raises:
        UserError: the specification is of another version.
    """
    try:
        return RunSpec.read(data["spec"])
    except (ValidationError, KeyError) as error:
        raise UserError(f"{folder / 'run.json'}: not a run of this version: {first_line(error)}") from None


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def cases_name(key: str) -> str:
    """Name of the cases file of a measurement, by its key."""
    return f"cases-{key}.csv"

"""The contract of a tracker: a small class that sends one run to an experiment tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from ssl_bench.errors import UserError
from ssl_bench.plugins import keep_track
from ssl_bench.training.observer import Point, Stop

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class TrackedRun:
    """A run as its trackers see it.

    Attributes:
        id: the run's name in the store and the time of its first start. It stays the same when the run goes on, and
            has letters, digits and `-` alone.
        name: a short, readable name.
        group: the data set.
        path: relative path of a folder for the run's files.
        iterations: of the whole training.
        settings: every field of the specification under a key with dots, such as `protocol.lr` or `hyperparameters.k`.
        provenance: versions, device, git commit and command.

    """

    id: str
    name: str
    group: str
    path: Path
    iterations: int
    settings: Mapping[str, Setting]
    provenance: Mapping[str, str]


class Picture(NamedTuple):
    """A test case: its image, the prediction with the truth's border on it, and the truth, side by side."""

    name: str  # for a file: letters, digits and `-`
    caption: str
    png: bytes


class Tracker(ABC):
    """Sends one run to an experiment tracker.

    The methods are called one after the other in a thread of the training process that does not train. They may wait
    and may raise: the run goes on. After an error a new tracker is made and started later. It is given every point
    again, and so is the tracker of a run that goes on from a checkpoint. `start` must see to it that no step is
    there twice: it removes what an earlier start wrote, or finds out what is there so that `log` leaves it out.

    No method may draw from a global random generator (random, numpy, torch).

    Attributes:
        folder_variable: environment variable that names a folder for `folder`; `--log-dir` takes precedence.

    """

    folder_variable: str | None = None

    def __init__(self, folder: Path) -> None:
        """Keep the folder for files of this tracker. It need not exist, and all runs share it."""
        self.folder = folder

    @classmethod
    def check(cls) -> None:
        """Check that the tracker can be used, before any training.

        Raises:
            UserError: a package is not installed, or the user is not logged in.
        """
        return

    @abstractmethod
    def start(self, run: TrackedRun) -> None:
        """Open the run, or open it again, and send its settings and provenance."""

    @abstractmethod
    def log(self, points: Sequence[Point]) -> None:
        """Send points; iterations never decrease from one to the next."""

    @abstractmethod
    def finish(self, scores: Mapping[str, float], pictures: Sequence[Picture]) -> None:
        """Send final scores, costs and pictures, and close the run."""

    @abstractmethod
    def stop(self, reason: Stop) -> None:
        """Close the run of a training that ends without scores. It may go on later."""


TrackerType = TypeVar("TrackerType", bound=type[Tracker])
REGISTRY: dict[str, type[Tracker]] = {}
keep_track(lambda: REGISTRY, lambda _, tracker: tracker.__module__)


def register_tracker(name: str) -> Callable[[TrackerType], TrackerType]:
    """Register a tracker under the name that `--log` takes (class decorator).

    Raises:
        UserError: the name is taken.
    """

    def add(tracker: TrackerType) -> TrackerType:
        if name in REGISTRY:
            raise UserError(f"tracker '{name}': {tracker.__module__} and {REGISTRY[name].__module__} both define it")
        REGISTRY[name] = tracker
        return tracker

    return add


def not_installed(name: str, package: str) -> UserError:
    """The error of a tracker whose package cannot be imported."""
    return UserError(f"--log {name}: needs {package}: pip install 'ssl-bench[trackers]'")

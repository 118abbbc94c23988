"""The contract of a launcher: it trains and scores runs, in this process, in other processes or on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console
from ssl_bench.plugins import keep_track

if TYPE_CHECKING:
    import torch

    from ssl_bench.launch.task import Outcome, Task
    from ssl_bench.store import Store
    from ssl_bench.training.job import Job
    from ssl_bench.training.observer import Observe


@dataclass(frozen=True)
class LaunchOptions:
    """Options of a command that trains, as given. A launcher reads the options that it takes.

    `console` shows progress. Messages go to the logger "ssl_bench". `observe` makes the observer of a run that is
    trained in this process; a run's `task` makes its own.
    """

    device: str = "auto"
    jobs: int | None = None
    minutes: float | None = None
    slurm: str | None = None
    console: Console = field(default_factory=lambda: make_console(quiet=True))
    observe: Observe | None = None


@dataclass(frozen=True)
class PlannedRun:
    """A run in both forms: `job` trains in this process, `task` is the same run as a command for another process."""

    job: Job
    task: Task


class Launcher(ABC):
    """Trains and scores planned runs.

    Attributes:
        device: kind of device that runs are planned for, which decides their precision.
        slots: devices of this machine, one per run at a time, on which a sweep starts its trials. Empty where the
            launcher does not run on this machine; such a launcher submits the workers of a sweep.

    """

    device: torch.device
    slots: tuple[str, ...] = ()

    @abstractmethod
    def __init__(self, options: LaunchOptions) -> None:
        """Read the options.

        Raises:
            UserError: a value is wrong.
        """

    @abstractmethod
    def run(self, planned: Sequence[PlannedRun], store: Store) -> Outcome:
        """Train every run that is not finished, or submit it.

        Raises:
            InterruptedRunError: Ctrl-C or SIGTERM; every run has its checkpoint.
            UserError: the launcher cannot be used here.
        """

    @classmethod
    def queue(cls, results_root: Path) -> dict[str, str]:  # noqa: ARG003
        """Return the runs of a results root that wait or run elsewhere: their state by hash.

        Raises:
            UserError: the queue cannot be read.
        """
        return {}

    def submit_workers(self, sweep: str, folder: Path, words: Sequence[str], results_root: Path) -> None:  # noqa: ARG002
        """Submit workers of a sweep; called where `slots` is empty.

        Args:
            sweep: its name.
            folder: for the logs of the workers.
            words: arguments of `ssl-bench` that make a process work on the sweep, without `--device`.
            results_root: on a disk that the workers share.

        Raises:
            UserError: this launcher runs no sweeps.

        """
        raise UserError(f"--launcher: {type(self).__name__} cannot run sweeps; use --launcher local")


LauncherType = TypeVar("LauncherType", bound=type[Launcher])
OPTIONS = ("jobs", "minutes", "slurm")  # that a launcher may take; every launcher takes `device`


@dataclass(frozen=True)
class Entry:
    """A registered launcher, and the names of the options that it takes."""

    launcher: type[Launcher]
    takes: frozenset[str]


REGISTRY: dict[str, Entry] = {}
keep_track(lambda: REGISTRY, lambda _, entry: entry.launcher.__module__)


def register_launcher(name: str, takes: Collection[str] = ()) -> Callable[[LauncherType], LauncherType]:
    """Register a launcher under the name that `--launcher` takes (class decorator).

    Args:
        name: of the launcher.
        takes: options that it takes, of `jobs`, `minutes` and `slurm`. Giving another option is a user's error.

    Raises:
        UserError: the name is taken, or there is no such option.

    """

    def add(launcher: LauncherType) -> LauncherType:
        if name in REGISTRY:
            known = REGISTRY[name].launcher.__module__
            raise UserError(f"launcher '{name}': {launcher.__module__} and {known} both define it")
        unknown = sorted(set(takes) - set(OPTIONS))
        if unknown:
            raise UserError(f"launcher '{name}': takes: expected values from {', '.join(OPTIONS)}; found {unknown}")
        REGISTRY[name] = Entry(launcher, frozenset(takes))
        return launcher

    return add

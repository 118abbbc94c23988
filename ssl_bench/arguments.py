"""Arguments of the Python interface: reads them and records calls."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ssl_bench.command import RESULTS, call_words, called_as
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from ssl_bench.launch.contract import Launcher
    from ssl_bench.store import Run
    from ssl_bench.trackers.choose import Trackers
    from ssl_bench.training.observer import Observe

PathLike = str | Path
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def front_door(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Record a call as the command of the runs that it trains, and restore torch's settings afterwards (decorator)."""

    @functools.wraps(function)
    def restoring(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        from ssl_bench.training.device import keeping_torch_state

        with keeping_torch_state():
            return function(*args, **kwargs)

    return recorded(restoring)


def recorded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Record a call as the command of the runs that it trains (decorator)."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        given = {
            name: value
            for name, value in signature.bind(*args, **kwargs).arguments.items()
            if name != "progress" and value != signature.parameters[name].default
        }
        with called_as(call_words(function.__name__, given)):
            return function(*args, **kwargs)

    return called


def make_launcher(
    name: str,
    device: str,
    jobs: int | None,
    minutes: float | None,
    slurm: str | Mapping[str, Any] | None,
    console: Console,
    observe: Observe | None = None,
) -> Launcher:
    """Return the launcher that these arguments select; `observe` makes the observers of runs in this process.

    Raises:
        UserError: an argument is wrong, or the arguments conflict.
    """
    from ssl_bench.launch.contract import LaunchOptions
    from ssl_bench.launch.launcher import choose_launcher

    for option, value in (("jobs", jobs), ("minutes", minutes)):
        if value is not None and value <= 0:
            raise UserError(f"--{option}: expected more than 0, found {value}")
    options = ",".join(f"{key}={value}" for key, value in slurm.items()) if isinstance(slurm, Mapping) else slurm
    return choose_launcher(name, LaunchOptions(device, jobs, minutes, options, console, observe))


def chosen_trackers(names: str | Sequence[str], log_dir: PathLike | None, results_root: Path) -> Trackers | None:
    """Return the trackers that `log` names; None where it names none.

    Raises:
        UserError: as `ssl_bench.trackers.choose.choose_trackers`.
    """
    if not names and log_dir is None:
        return None
    from ssl_bench.trackers.choose import choose_trackers

    return choose_trackers(texts(names), None if log_dir is None else Path(log_dir), results_root)


def data_folder(given: PathLike | None) -> Path | None:
    """The data root: the given one, else the environment's, else None."""
    named = given if given is not None else os.environ.get("SSL_BENCH_DATA")
    return None if named is None else Path(named)


def results_folder(given: PathLike | None) -> Path:
    """The results root: the given one, else the environment's, else `results`."""
    return Path(given if given is not None else os.environ.get("SSL_BENCH_RESULTS") or RESULTS)


def run_folder(given: PathLike | Run, results_root: PathLike | None, option: str = "RUN") -> Path:
    """The folder of a run that is given as an object, by its folder, or by the beginning of its id.

    Raises:
        UserError: no run or several runs are meant.
    """
    from ssl_bench.store import Run, find_run

    return given.path if isinstance(given, Run) else find_run(str(given), results_folder(results_root), option)


def several_runs(given: PathLike | Run | Sequence[PathLike | Run]) -> list[PathLike | Run]:
    """One run or several as a list."""
    from ssl_bench.store import Run

    return [given] if isinstance(given, str | Path | Run) else list(given)


def paths(given: PathLike | Sequence[PathLike]) -> list[Path]:
    """One path or several as a list."""
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def texts(given: str | int | Sequence[str | int]) -> list[str]:
    """One text or several as a list."""
    return [str(given)] if isinstance(given, str | int) else [str(one) for one in given]


def text(given: int | PathLike | None) -> str | None:
    """A number, name or path as a text."""
    return None if given is None else str(given)


def different_seeds(given: Sequence[int], option: str = "--seeds") -> tuple[int, ...]:
    """Seeds without duplicates.

    Raises:
        UserError: there is no seed, or a seed is not a whole number of at least 0.
    """
    if isinstance(given, int) or not given or not all(isinstance(seed, int) and seed >= 0 for seed in given):
        raise UserError(f"{option}: expected a sequence of whole numbers (0 or above), found {given!r}")
    return tuple(dict.fromkeys(given))


def different_label_seeds(given: Sequence[int] | None) -> tuple[int, ...]:
    """Label seeds without duplicates; empty for None.

    Raises:
        UserError: as `different_seeds`.
    """
    return () if given is None else different_seeds(given, "--label-seeds")

"""Finds launchers, picks one by name, and trains planned runs with it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.launch.contract import OPTIONS, REGISTRY, Launcher, LaunchOptions, PlannedRun
from ssl_bench.launch.task import Outcome, run_task
from ssl_bench.plugins import import_file, load_entry_points, module_name

if TYPE_CHECKING:
    from ssl_bench.cards import Request
    from ssl_bench.store import Store
    from ssl_bench.training.job import Job

BUILT_IN = ("local", "slurm")  # files of this folder that register a launcher; light to import, for `status`
ENTRY_POINTS = "ssl_bench.launchers"
log = logging.getLogger("ssl_bench")


def choose_launcher(name: str, options: LaunchOptions) -> Launcher:
    """Return the launcher of this name, or that of a user's `.py` file.

    Raises:
        UserError: no launcher has this name, it does not take one of the options, or the options conflict.
    """
    load_launchers()
    known = _from_file(Path(name)) if name.endswith(".py") else name
    if known not in REGISTRY:
        raise UserError(f"--launcher: expected {', '.join(sorted(REGISTRY))} or a .py file; found '{name}'")
    for option in OPTIONS:
        if getattr(options, option) is not None and option not in REGISTRY[known].takes:
            others = " or ".join(sorted(other for other, entry in REGISTRY.items() if option in entry.takes))
            raise UserError(f"--{option}: needs --launcher {others}")
    return REGISTRY[known].launcher(options)


def queued(results_root: Path) -> dict[str, str]:
    """Return the runs that wait or run elsewhere under any launcher: their state by hash.

    A queue that cannot be read is logged and skipped; the store's runs are still listed.
    """
    load_launchers()
    found = dict[str, str]()
    for name in sorted(REGISTRY):
        try:
            found |= REGISTRY[name].launcher.queue(results_root)
        except UserError as error:
            log.warning("%s", error)
    return found


def train(planned: Sequence[tuple[Request, Job]], store: Store, launcher: Launcher, place: Sequence[str]) -> Outcome:
    """Train the planned runs. Tidy the finished ones and log notes first, and a stop at the time limit afterwards.

    Args:
        planned: runs, each with its request.
        store: the store that the runs are written to.
        launcher: trains the runs.
        place: path options of the commands that train them elsewhere.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; every run has its checkpoint.
    """
    from ssl_bench.training.plan import alike_decoders, parted_groups, short_ramps

    jobs = [job for _, job in planned]
    names = {(job.spec.benchmark, job.spec.method) for job in jobs}
    store.make_ready(names)
    for remark in [*short_ramps(jobs), *alike_decoders(jobs), *parted_groups(jobs), *_trained_again(jobs, store)]:
        log.info("note: %s", remark)
    outcome = launcher.run([PlannedRun(job, run_task(request, job, place, store)) for request, job in planned], store)
    if outcome.time_is_up:
        done = sum(store.folder(job.spec).is_finished for _, job in planned)
        log.info(
            "--minutes: time limit reached, %d of %d runs are finished; run the same command again to continue",
            done, len(planned),
        )  # fmt: skip
    return outcome


def _trained_again(jobs: Sequence[Job], store: Store) -> list[str]:
    """Describe the finished runs that must be trained again, since only training gives the requested curves."""
    again = sum(store.lacks_curves(job.spec) for job in jobs)
    if not again:
        return []
    runs = quantity(again, "finished run")
    return [f"{runs} without the curves of score_every or validate_every will be trained again"]


def log_failures(outcome: Outcome) -> None:
    """Log the runs that failed."""
    for failure in outcome.failures:
        log.error("failed: %s", failure)


def load_launchers() -> None:
    """Import the built-in files and the entry points of other packages, which register their launchers.

    Raises:
        UserError: an entry point cannot be imported.
    """
    for name in BUILT_IN:
        importlib.import_module(f"ssl_bench.launch.{name}")
    load_entry_points(ENTRY_POINTS)


def _from_file(path: Path) -> str:
    """Import a user's file; returns the name of its launcher."""
    place = path.resolve()
    if not place.is_file():
        raise UserError(f"--launcher: no file at {path}")
    import_file(place, module_name(place))
    own = sorted(name for name, entry in REGISTRY.items() if entry.launcher.__module__ == module_name(place))
    if len(own) != 1:
        raise UserError(f"--launcher: expected one registered launcher in {path}, found {', '.join(own) or 'none'}")
    return own[0]

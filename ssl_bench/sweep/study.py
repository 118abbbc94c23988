"""A sweep's Optuna study, whose workers take trials one at a time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from ssl_bench.errors import UserError, first_line
from ssl_bench.locks import FileLock
from ssl_bench.seeds import derive_seed
from ssl_bench.sweep.definition import Sweep
from ssl_bench.sweep.space import combinations

FOLDER, DATABASE = "sweeps", "studies.db"  # of the results root


DEFINITION = "ssl-bench"  # the study's attribute that holds its definition


RETRIES = "retries"  # a trial's attribute: the number of the failed trial that it repeats


optuna.logging.set_verbosity(optuna.logging.WARNING)


warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_storage(url: str | None, results_root: Path) -> optuna.storages.BaseStorage:
    """Open the storage of studies.

    Args:
        url: None: an SQLite file in the results root; `journal:FILE`: a journal, for a disk that machines share; else
            a URL that Optuna takes (`postgresql://...`).
        results_root: as above.

    Raises:
        UserError: the storage cannot be opened.
    """
    folder = results_root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise UserError(f"--results-root: {results_root} cannot be written: {error}") from None
    try:
        if url is not None and url.startswith("journal:"):
            path = Path(url.removeprefix("journal:"))
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
        address = url or f"sqlite:///{(folder / DATABASE).resolve()}"
        options = {"connect_args": {"timeout": 120}} if address.startswith("sqlite") else {"pool_pre_ping": True}
        return optuna.storages.RDBStorage(address, engine_kwargs=options)
    except Exception as error:  # of any driver that the URL names
        raise UserError(f"--storage: cannot be opened: {first_line(error)}") from None
    finally:
        lock.release()  # two workers that create the same tables at once can fail


class Study:
    """A sweep's trials, for one of its workers."""

    def __init__(self, sweep: Sweep, name: str, storage: optuna.storages.BaseStorage, results_root: Path) -> None:
        self.sweep, self.name, self.folder = sweep, name, results_root / FOLDER / name
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self.study = optuna.create_study(
                study_name=name, storage=storage, load_if_exists=True,
                sampler=_sampler(sweep, 0), pruner=_pruner(sweep),
                direction="maximize" if sweep.maximize else "minimize",
            )  # fmt: skip
            known = self.study.user_attrs.get(DEFINITION)
            if known is None:
                self.study.set_user_attr(DEFINITION, sweep.definition)
            elif known != sweep.definition:
                raise UserError(f"--name: sweep '{name}' exists and differs: {_difference(known, sweep.definition)}")
            self._enqueue()

    def _enqueue(self) -> None:
        """Queue the missing trials of a grid, and failed trials that were not repeated."""
        trials = self.study.get_trials(deepcopy=False)
        known = [parameters_of(trial) for trial in trials]
        for parameters in combinations(self.sweep.parameters) if self.sweep.sampler == "grid" else []:
            if parameters not in known:
                self.study.enqueue_trial(parameters)
        for trial in trials:
            if trial.state == TrialState.FAIL and not is_retried(trial, trials) and parameters_of(trial):
                self.study.enqueue_trial(parameters_of(trial), user_attrs={RETRIES: trial.number})

    def take(self, most: int | None) -> tuple[Trial, FileLock] | None:
        """Take a trial for this worker, with its lock: a trial that a dead worker left, else a new trial.

        None if every trial is finished or held by another worker.

        Args:
            most: trials that the sweep may have; None for a grid, whose number is fixed.

        """
        with self._alone():
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == TrialState.RUNNING and (lock := self._lock(frozen.number)) is not None:
                    return Trial(self.study, frozen._trial_id), lock
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and (most is None or _begun(trials) >= most):
                return None
            self.study.sampler = _sampler(self.sweep, derive_seed(self.name, len(trials)) % 2**32)
            trial = self.study.ask()
            lock = self._lock(trial.number)
            assert lock is not None  # no other worker knows this trial
            return trial, lock

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let only one worker at a time take a trial."""
        with FileLock(self.folder / ".lock"):
            yield

    def _lock(self, number: int) -> FileLock | None:
        lock = FileLock(self.folder / f".trial-{number}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return lock
        return None


def find_study(name: str | None, url: str | None, results_root: Path) -> optuna.Study:
    """Open a sweep's study for reading. Without a name, open the only study.

    Raises:
        UserError: no study has that name, or no name is given and there are several studies.
    """
    if url is None and not (results_root / FOLDER / DATABASE).exists():
        raise UserError(f"--results-root: {results_root} has no sweeps yet; --storage names another storage")
    storage = open_storage(url, results_root)
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)]
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        found = "none given" if name is None else f"found '{name}'"
        expected = f"expected one of {', '.join(sorted(names))}" if names else "the storage has no sweeps yet"
        raise UserError(f"sweep: {expected}; {found}")
    return optuna.load_study(study_name=name, storage=storage)


def load_sweep(study: optuna.Study) -> dict[str, Any]:
    """Return a study's definition.

    Raises:
        UserError: the study is not a sweep of this package.
    """
    text = study.user_attrs.get(DEFINITION)
    if text is None:
        raise UserError(f"study '{study.study_name}' was not made by `ssl-bench sweep`")
    return dict(json.loads(text))


def parameters_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's parameters. Those of a queued trial are the requested ones."""
    return dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {}))


def is_retried(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial failed and was repeated. Only the repetition then counts."""
    return any(other.user_attrs.get(RETRIES) == trial.number for other in trials)


def _begun(trials: Sequence[FrozenTrial]) -> int:
    """The number of trials that were begun. A failed trial and its repetition count once."""
    return sum(trial.state != TrialState.WAITING and RETRIES not in trial.user_attrs for trial in trials)


def _difference(known: str, asked: str) -> str:
    before, now = json.loads(known), json.loads(asked)
    key = next((key for key in now if key != "first_run" and before.get(key) != now[key]), None)
    if key is None:
        what = "data, validation images, encoder weights, precision or method version"
        return f"its {what}; leave out --name or give another one"
    return f"its {key} is {before.get(key)!r}, here {now[key]!r}; leave out --name or give another one"


def _sampler(sweep: Sweep, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler; reseeded for every trial, so that two workers never draw the same one."""
    if sweep.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's trials are all in the queue


def _pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    if sweep.pruner == "median":
        return optuna.pruners.MedianPruner()
    if sweep.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    return optuna.pruners.NopPruner()

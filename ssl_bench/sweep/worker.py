"""A worker of a sweep: takes trials, trains their runs in separate processes, and reports the results to Optuna."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from signal import SIGTERM
from typing import Any

from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ssl_bench.cards import Measurement
from ssl_bench.errors import InterruptedRunError, UserError, first_line
from ssl_bench.launch.pool import TICK, Pool, PoolConsole, explain
from ssl_bench.launch.task import Outcome, Task
from ssl_bench.locks import FileLock
from ssl_bench.store import Run, Store
from ssl_bench.sweep.study import Study
from ssl_bench.training.stop import StopSignal

Plan = Callable[[dict[str, Any]], list[Task]]  # a trial's parameters -> its runs, one per seed


@dataclass
class _Active:
    """An active trial: its runs in order. The runs before `at` are finished."""

    trial: Trial
    lock: FileLock
    tasks: list[Task] = field(default_factory=list)
    at: int = 0
    pruned: bool = False
    reported: set[int] = field(default_factory=set)

    @property
    def task(self) -> Task:
        return self.tasks[self.at]


def work(
    study: Study, most: int | None, plan: Plan, store: Store, slots: Sequence[str], console: PoolConsole
) -> Outcome:
    """Work on a study until every trial is finished or held by another worker.

    Args:
        study: the sweep's study.
        most: trials that the sweep may have; None for a grid.
        plan: gives a trial's runs.
        store: holds the runs.
        slots: devices, one per concurrent trial.
        console: shows the runs.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; every run has its checkpoint, and every trial can be taken again.
        UserError: the study's storage cannot be reached any more; checkpoints and trials as above.
    """
    worker = _Worker(study, store, Pool(slots), console, Outcome())
    with StopSignal() as stop, worker.pool:
        try:
            while True:
                if stop.signal_number is not None:
                    raise InterruptedRunError(stop.signal_number)
                worker.settle()
                worker.prune()
                while worker.pool.has_room and (taken := study.take(most)) is not None:
                    worker.begin(_Active(*taken), plan)
                if not worker.active:
                    return worker.outcome
                console.show(list(worker.pool.active), worker.ended, worker.ended + len(worker.active))
                worker.pool.wait(TICK)
        except SQLAlchemyError as error:
            raise UserError(
                f"--storage: {first_line(error)}; the same command continues once the storage is back"
            ) from None


@dataclass
class _Worker:
    study: Study
    store: Store
    pool: Pool
    console: PoolConsole
    outcome: Outcome
    active: dict[Task, _Active] = field(default_factory=dict)
    ended: int = 0

    def begin(self, active: _Active, plan: Plan) -> None:
        """Give a trial its parameters and start its first run."""
        trial = active.trial
        active.reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        parameters = {parameter.name: parameter.suggest(trial) for parameter in self.study.sweep.parameters}
        try:
            active.tasks = plan(parameters)
        except UserError as error:  # values between the ends of a range; the ends were checked before
            self.outcome.failures.append(f"trial {trial.number} ({parameters}): {error}")
            self.outcome.user_error = True
            self._fail(active, str(error))
            return
        folders = [self.store.folder(task.spec) for task in active.tasks if task.spec is not None]
        trial.set_user_attr("runs", [folder.path.name for folder in folders])
        measured = active.tasks[0].measurement
        trial.set_user_attr("measurement", None if measured is None else measured.model_dump(mode="json"))
        self.advance(active)

    def advance(self, active: _Active) -> None:
        """Start a trial's next run that is not finished, or report the result to Optuna."""
        while active.at < len(active.tasks):
            if not active.task.is_done(self.store):
                self.active[active.task] = active
                self.pool.start(active.task)
                return
            active.at += 1
        values = [objective(self.study, self._find(task), task.measurement) for task in active.tasks]
        if None in values:
            self._fail(
                active, f"{self.study.sweep.metric} is undefined for some cases (empty prediction or ground truth)"
            )
        else:
            self._tell(active, value=statistics.fmean(value for value in values if value is not None))

    def settle(self) -> None:
        """Advance the trials whose run has ended."""
        for task, code in self.pool.ended():
            active = self.active.pop(task)
            reason = explain(task, code, self.store)
            if reason is None:
                self.outcome.trained += 1
                self._say(task, "finished")
                self._report(active)
                self.advance(active)
            elif active.pruned and code in (128 + SIGTERM, -SIGTERM):
                self._say(task, "pruned")
                self._tell(active, state=TrialState.PRUNED)
            else:
                self.outcome.failures.append(f"{task.label}: {reason}")
                self.outcome.user_error |= code == 2
                self._say(task, f"failed: {reason}")
                self._fail(active, reason)

    def prune(self) -> None:
        """Report the validation curves of first runs to Optuna. Stop the runs that it prunes."""
        for active in self.active.values():
            if not active.pruned and self._report(active) and active.trial.should_prune():
                active.pruned = True
                self.pool.stop(active.task)

    def _report(self, active: _Active) -> bool:
        """Report the new points of a first run's curve to Optuna. Returns whether there are any."""
        if self.study.sweep.pruner == "none" or active.at > 0:
            return False
        new = [point for point in self._curve(active.task) if point[0] not in active.reported]
        for step, value in new:
            active.reported.add(step)
            active.trial.report(value, step)
        return bool(new)

    def _curve(self, task: Task) -> list[tuple[int, float]]:
        """Iterations and values of a run's validation curve; none where it is measured in another way than the trial.

        How it is measured is read first: a run that begins deletes the curves of another measurement before it says so.
        """
        assert task.spec is not None
        assert task.measurement is not None
        folder, metric = self.store.folder(task.spec), self.study.sweep.metric
        measured = folder.curves_measurement()
        if measured is None or not task.measurement.measures_like(measured, metric):
            return []
        try:
            with folder.validation_curve.open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError:
            return []
        return [(int(row["iteration"]), float(value)) for row in rows if (value := row.get(metric))]

    def _find(self, task: Task) -> Run | None:
        assert task.spec is not None
        return self.store.find(task.spec)

    def _say(self, task: Task, how: str) -> None:
        self.console.ended(task, how, self.ended + 1, self.ended + 1 + len(self.active))

    def _fail(self, active: _Active, reason: str) -> None:
        active.trial.set_user_attr("error", reason)
        self._tell(active, state=TrialState.FAIL)

    def _tell(self, active: _Active, *, value: float | None = None, state: TrialState | None = None) -> None:
        self.ended += 1
        self.study.study.tell(active.trial, value, state)
        active.lock.release()


def objective(study: Study, run: Run | None, measurement: Measurement | None) -> float | None:
    """Return a finished run's validation score or test score; 0 if the sweep has no objective.

    None if a case has no value: a mean without the hardest cases would favour runs that fail on them.
    """
    sweep = study.sweep
    if sweep.objective == "none":
        return 0.0
    assert run is not None
    assert measurement is not None
    scores = run.scored(measurement, sweep.metric)
    assert scores is not None, "the run's task is done"
    validation = sweep.objective == "validation"
    summary = (scores.validation or {})["scores"] if validation else scores.summary[run.result["predictor"]]
    found = summary[sweep.metric]
    return None if found["mean"] is None or found["undefined"] else float(found["mean"])

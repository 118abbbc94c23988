"""A sweep's worker: what it tells Optuna of runs that end, fail, are pruned, or cannot be planned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Call
from displays import Listener, Quick
from handwritten import write_run
from optuna.trial import TrialState
from test_sweep import sweep, worker

from ssl_bench.cards import RunSpec, recorded_measurement
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch import pool as pool_module
from ssl_bench.launch.task import Task
from ssl_bench.store import Store
from ssl_bench.sweep import worker as worker_module
from ssl_bench.sweep.study import Study
from ssl_bench.sweep.worker import work


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "started", [], raising=False)
    monkeypatch.setattr(pool_module, "TICK", 0.01)
    monkeypatch.setattr(worker_module, "TICK", 0.01)


class Laboratory:
    """A study whose runs are drawn: one has test score k / 10 + seed / 100, and is copied into place."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.root, self.store, self.drawn = root, Store(root / "results"), Store(root / "drawn")
        changes = {"objective": "test", "seeds": (1,), **changes}
        self.study: Study = worker(root, sweep(changes.pop("param", "k=1..3"), **changes))
        self.before: Callable[[int], str] = lambda k: ""

    def plan(self, parameters: dict[str, Any]) -> list[Task]:
        k = parameters["k"]
        if k == 99:
            raise UserError("k is too large")
        return [self.task(k, seed) for seed in self.study.sweep.seeds]

    def task(self, k: int, seed: int) -> Task:
        spec = self.spec(k, seed)
        source, target = self.drawn.folder(spec).path, self.store.folder(spec).path
        copy = f"shutil.copytree({str(source)!r}, {str(target)!r}, dirs_exist_ok=True)"
        program = f"import os, shutil, signal, sys, time\n{self.before(k)}\n{copy}"
        return Quick(
            f"k={k} seed {seed}", (program,), self.root / f"log-{k}", spec, recorded_measurement(spec.protocol)
        )

    def spec(self, k: int, seed: int) -> RunSpec:
        score = None if k == 77 else k / 10 + seed / 100
        if (found := [r for r in self.drawn.runs() if (r.spec.hyperparameters["k"], r.spec.seed) == (k, seed)]) != []:
            return found[0].spec
        return write_run(self.drawn, "ucmt", seed, [score], hyper={"k": k})

    def work(self, most: int | None = None) -> tuple[list[optuna.trial.FrozenTrial], Any]:
        outcome = work(self.study, most, self.plan, self.store, ["cpu", "cpu"], Listener())
        return self.study.study.get_trials(), outcome


def test_a_trial_is_worth_the_mean_over_its_seeds(tmp_path: Path) -> None:
    trials, outcome = Laboratory(tmp_path, seeds=(1, 2)).work()
    assert [trial.value for trial in trials] == pytest.approx([0.115, 0.215, 0.315])
    assert [len(trial.user_attrs["runs"]) for trial in trials] == [2, 2, 2]
    assert (outcome.trained, outcome.failures) == (6, [])


def test_what_is_in_the_store_is_not_trained_again(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path)
    laboratory.work()
    started = len(Quick.started)
    other = worker(tmp_path / "other", sweep("k=1..3", objective="test", seeds=(1,)))
    work(other, None, laboratory.plan, laboratory.store, ["cpu"], Listener())
    assert len(Quick.started) == started == 3
    assert [trial.value for trial in other.study.get_trials()] == pytest.approx([0.11, 0.21, 0.31])


def test_what_fails_costs_its_own_trial(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path, param="k=1,2,77,99")
    laboratory.before = lambda k: "sys.exit(1)" if k == 2 else ""
    trials, outcome = laboratory.work()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] + 3 * [TrialState.FAIL]
    assert [trial.user_attrs.get("error") for trial in trials] == [
        None, f"ended (exit code 1; see {tmp_path / 'log-2'})",
        "dsc is undefined for some cases (empty prediction or ground truth)", "k is too large",
    ]  # fmt: skip
    assert outcome.user_error  # of k = 99
    assert len(outcome.failures) == 2


def test_a_run_without_its_hardest_cases_is_worth_nothing(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path)
    for k, scores in ((1, [0.5, 0.7]), (2, [0.9, None])):
        write_run(laboratory.store, "ucmt", 1, scores, hyper={"k": k})
    runs = {run.spec.hyperparameters["k"]: run for run in laboratory.store.runs()}
    measured = recorded_measurement(runs[1].spec.protocol)
    assert worker_module.objective(laboratory.study, runs[1], measured) == pytest.approx(0.6)
    assert worker_module.objective(laboratory.study, runs[2], measured) is None


def test_a_search_whose_every_trial_fails_ends(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path, sampler="random")
    laboratory.before = lambda k: "sys.exit(1)"
    trials, _ = laboratory.work(4)
    assert len(trials) == 4
    again = Laboratory(tmp_path, sampler="random")
    trials, outcome = again.work(4)
    assert [trial.state.name for trial in trials] == 4 * ["FAIL"] + 4 * ["COMPLETE"]
    assert outcome.failures == []


def test_a_trial_that_the_pruner_gives_up_is_stopped_and_its_run_can_be_gone_on_with(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path, objective="validation", pruner="median", param="k=5,1")
    laboratory.study.study.pruner = optuna.pruners.ThresholdPruner(lower=0.3)

    def before(k: int) -> str:
        spec = laboratory.spec(k, 1)
        folder = laboratory.store.folder(spec)
        folder.begin(spec, recorded_measurement(spec.protocol), 20, {})
        wait = "signal.signal(signal.SIGTERM, lambda *a: sys.exit(143))\ntime.sleep(20)" if k == 1 else ""
        text = f"iteration,dsc\n10,{k / 10}\n20,{k / 10 + 0.01}\n"
        return f"open({str(folder.validation_curve)!r}, 'w').write({text!r})\n{wait}"

    laboratory.before = before
    monkey = pytest.MonkeyPatch()
    monkey.setattr(worker_module, "objective", lambda study, run, measurement: 0.5)
    try:
        trials, outcome = laboratory.work()
    finally:
        monkey.undo()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert trials[0].intermediate_values == {10: 0.5, 20: 0.51}
    assert trials[1].intermediate_values[10] == 0.1
    assert outcome.failures == []
    assert not laboratory.store.folder(laboratory.spec(1, 1)).is_finished


@pytest.mark.parametrize("is_old", [False, True])
def test_the_curve_of_another_measurement_is_not_reported_to_the_pruner(
    is_old: bool, call: Call, tmp_path: Path
) -> None:
    """The one run of the grid is finished with a curve of Jaccard: it is scored by DSC, and its curve stays."""
    settings = ["--set", "validation=labeled", "--set", "validate_every=2"]
    data = ["--dataset", "demo", "--labeled", "30", "--protocol", "tiny", "--iterations", "4"]
    code, _, err = call("run", "--methods", "mt", *data, *settings, "--set", 'metrics=["jaccard"]')
    assert code == 0, err
    (run,) = Store(tmp_path / "results").runs()
    if is_old:  # recorded no measurement beside that of its end
        record = json.loads((run.path / "run.json").read_text())
        del record["measurement"]
        (run.path / "run.json").write_text(json.dumps(record))
    curve = (run.path / "validation_curve.csv").read_text()
    words = ["--method", "mt", *data, *settings, "--param", "ema_decay=0.99", "--set", 'metrics=["dsc","jaccard"]']
    code, _, err = call("sweep", *words, "--objective", "validation", "--metric", "dsc", "--pruner", "median")
    assert code == 0, err
    (scored,) = Store(tmp_path / "results").runs()
    assert (scored.path, scored.result, len(scored.scores)) == (run.path, run.result, 2)
    url = f"sqlite:///{tmp_path / 'results' / 'sweeps' / 'studies.db'}"
    (trial,) = optuna.load_study(study_name=None, storage=url).get_trials()
    validated = list(scored.scores.values())[1].validation
    assert validated is not None
    assert trial.value == validated["scores"]["dsc"]["mean"]
    assert trial.intermediate_values == {}
    assert (run.path / "validation_curve.csv").read_text() == curve


def test_a_stopped_worker_leaves_its_trials_to_be_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laboratory = Laboratory(tmp_path)
    laboratory.before = lambda k: "time.sleep(20)"

    class Stopped(worker_module.StopSignal):
        calls = 0

        @property
        def signal_number(self) -> int | None:
            Stopped.calls += 1
            return 2 if Stopped.calls > 5 else None

        @signal_number.setter
        def signal_number(self, value: int | None) -> None: ...

    monkeypatch.setattr(worker_module, "StopSignal", Stopped)
    with pytest.raises(InterruptedRunError):
        laboratory.work()
    monkeypatch.undo()
    monkeypatch.setattr(Quick, "started", [], raising=False)
    states = [trial.state for trial in laboratory.study.study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.RUNNING, TrialState.WAITING]
    again = Laboratory(tmp_path)
    trials, _ = again.work()
    assert [trial.value for trial in trials] == pytest.approx([0.11, 0.21, 0.31])

"""Scoring the test set on the way: training never notices, the curve is right, a stop in the middle loses nothing."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Call, assert_error, write_dataset
from displays import Silent
from handwritten import contents_of, summary_of
from workplace import snapshot

from ssl_bench.cards import Request, RunSpec, load_benchmark
from ssl_bench.command import setting_words
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.method import load_methods
from ssl_bench.store import Run, RunFolder, Store
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.provenance import origin_of, provenance
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train

CPU = torch.device("cpu")
load_methods()


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", [f"c{i}" for i in range(12)])


def plan(data: Path, name: str, **settings: Any) -> Job:
    request = Request(load_benchmark("kvasir"), (name,), "3", "tiny", settings, (1,))
    return plan_runs(request, CPU, data, allow_partial=True, advance=None)[0]


def finished(job: Job, root: Path) -> Run:
    store = Store(root)
    assert not run_all([job], store, CPU, Silent()).failures
    run = store.find(job.spec)
    assert run is not None
    return run


def curve(run: Run) -> list[dict[str, str]]:
    with (run.path / "test_curve.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["mt", "ucmt"])
def test_training_and_scores_do_not_notice(name: str, discs: Path, tmp_path: Path) -> None:
    without = finished(plan(discs, name, iterations=8), tmp_path / "a")
    scored = finished(plan(discs, name, iterations=8, score_every=2), tmp_path / "b")
    files = ("weights.safetensors", "cases-*.csv", "curves.csv", "examples.npz")
    assert contents_of(without.path, *files) == contents_of(scored.path, *files)
    assert not (without.path / "test_curve.csv").exists()
    last = 4 if name == "ucmt" else 8
    assert [row["iteration"] for row in curve(scored)] == [str(n) for n in range(2, last + 1, 2)]
    for metric in ("dsc", "jaccard"):
        assert float(curve(scored)[-1][metric]) == summary_of(scored)["teacher"][metric]["mean"]


def test_each_row_is_the_score_of_a_run_that_ends_there(discs: Path, tmp_path: Path) -> None:
    # A supervised run's first iterations do not depend on how many follow.
    rows = curve(finished(plan(discs, "supervised", iterations=7, score_every=3), tmp_path))
    assert [row["iteration"] for row in rows] == ["3", "6"]
    for row in rows:
        ended = finished(plan(discs, "supervised", iterations=int(row["iteration"])), tmp_path)
        for metric in ("dsc", "jaccard"):
            assert float(row[metric]) == summary_of(ended)["network"][metric]["mean"]


@pytest.mark.slow
@pytest.mark.parametrize("at", [("scoring", 1), ("scoring", 3), ("training", 2), ("training", 4)], ids=str)
def test_a_run_stopped_in_or_before_such_a_scoring_ends_in_the_same_bytes(
    at: tuple[str, int], discs: Path, tmp_path: Path
) -> None:
    job = plan(discs, "mt", iterations=4, score_every=2)
    undisturbed = finished(job, tmp_path / "undisturbed")
    folder, stop = Store(tmp_path / "stopped").folder(job.spec), StopSignal()
    with suppress(InterruptedRunError):  # stopped at the last step of training, it scores to its end
        train(job, folder, CPU, stop, Silent(stop, at), provenance(job.method, CPU))
    assert stop.signal_number == 15
    resumed = finished(job, tmp_path / "stopped")
    files = ("weights.safetensors", "cases-*.csv", "curves.csv", "test_curve.csv", "examples.npz")
    assert contents_of(undisturbed.path, *files) == contents_of(resumed.path, *files)


def test_asking_for_it_makes_no_other_run_but_another_folder(discs: Path) -> None:
    without, asking = plan(discs, "mt").spec, plan(discs, "mt", score_every=2).spec
    assert asking.hash == without.hash == without.run_id
    assert asking.run_id == f"{without.hash}-s2"


def test_it_must_be_a_number_of_iterations(discs: Path) -> None:
    with pytest.raises(UserError, match="score_every"):
        plan(discs, "mt", score_every=0)


# --------------------------------------------------------------------------------------- one measurement for one curve

BEGUN = {"iterations": 6, "score_every": 1, "validation": "train", "validate_every": 2}
OTHERS = [
    ({"metrics": ["jaccard", "dsc"]}, ('metrics=["dsc", "jaccard"]', 'metrics=["jaccard", "dsc"]')),
    ({"metrics": ["dsc", "jaccard", "95hd"]}, ('metrics=["dsc", "jaccard"]', 'metrics=["dsc", "jaccard", "95hd"]')),
    ({"score_size": 8}, ('score_size="original"', "score_size=8")),
]


def words_of(settings: dict[str, Any], data: Path, results: Path) -> list[str | Path]:
    words: list[str | Path] = ["run", "--methods", "mt", "--dataset", "kvasir", "--labeled", "3", "--protocol", "tiny"]
    return [*words, *setting_words(settings), "--allow-partial", "--data-root", data, "--results-root", results]


def stopped(job: Job, root: Path, steps: int) -> RunFolder:
    """The folder of a run that was stopped after these steps of training."""
    folder, stop = Store(root).folder(job.spec), StopSignal()
    with pytest.raises(InterruptedRunError):
        train(job, folder, CPU, stop, Silent(stop, ("training", steps)), origin_of(job, CPU))
    return folder


def forget_measurement(folder: RunFolder) -> None:
    """Make run.json that of an earlier version, which recorded the protocol's fields alone."""
    data = json.loads(folder.description.read_text())
    del data["measurement"]
    folder.description.write_text(json.dumps(data))


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(("other", "words"), OTHERS, ids=["order", "more", "size"])
def test_a_curve_is_not_continued_in_another_measurement(
    other: dict[str, Any], words: tuple[str, str], is_old: bool, call: Call, discs: Path, tmp_path: Path
) -> None:
    folder = stopped(plan(discs, "mt", **BEGUN), tmp_path / "results", 3)
    if is_old:
        forget_measurement(folder)
    before = snapshot(tmp_path / "results")
    answer = call(*words_of({**BEGUN, **other}, discs, tmp_path / "results"))
    assert_error((answer[0], "", answer[2].replace("failed: ", "error: ", 1)), *words, str(folder.checkpoint_index))
    assert snapshot(tmp_path / "results") == before


@pytest.mark.parametrize("is_old", [False, True])
def test_a_curve_is_continued_in_its_own_measurement_to_the_same_bytes(
    is_old: bool, call: Call, discs: Path, tmp_path: Path
) -> None:
    job = plan(discs, "mt", **BEGUN)
    undisturbed, folder = finished(job, tmp_path / "undisturbed"), stopped(job, tmp_path / "results", 3)
    if is_old:
        forget_measurement(folder)
    code, _, err = call(*words_of(BEGUN, discs, tmp_path / "results"))
    assert (code, err) == (0, "")
    files = ("weights.safetensors", "cases-*.csv", "curves.csv", "test_curve.csv", "validation_curve.csv")
    assert contents_of(undisturbed.path, *files) == contents_of(folder.path, *files)


def test_without_a_point_another_measurement_begins_the_curve(discs: Path, tmp_path: Path) -> None:
    begun, other = (plan(discs, "mt", iterations=4, score_every=2, **measures) for measures in ({}, OTHERS[0][0]))
    folder = stopped(begun, tmp_path, 1)
    folder.test_curve.write_text("iteration,dsc,jaccard\n2,0.5,0.25\n")  # of a process killed after its checkpoint
    run = finished(other, tmp_path)
    assert [list(row) for row in curve(run)] == 2 * [["iteration", "jaccard", "dsc"]]
    assert folder.curves_measurement() == other.measurement


def test_no_curve_of_another_measurement_stays_beside_a_run_that_begins(discs: Path, tmp_path: Path) -> None:
    begun, other = (plan(discs, "mt", **BEGUN, **measures) for measures in ({}, OTHERS[0][0]))
    folder = stopped(begun, tmp_path, 3)
    folder.checkpoint_index.unlink()
    assert folder.test_curve.exists()
    folder.begin(other.spec, other.measurement, other.iterations, {})
    assert not folder.test_curve.exists()
    assert not folder.validation_curve.exists()


def test_how_many_windows_are_predicted_at_once_may_change(discs: Path, tmp_path: Path) -> None:
    job = plan(discs, "mt", **BEGUN)
    stopped(job, tmp_path, 3)
    finished(replace(job, measurement=job.measurement.model_copy(update={"window_batch": 7})), tmp_path)


def test_what_another_process_finishes_at_the_claim_is_not_written_to(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = plan(discs, "mt", iterations=4), plan(discs, "mt", iterations=4, score_every=2, metrics=["jaccard"])
    source, store = finished(other, tmp_path / "elsewhere").path, Store(tmp_path / "results")
    target, claim = store.own_folder(other.spec).path, store.claim

    @contextmanager
    def late(spec: RunSpec, folder: RunFolder | None = None) -> Iterator[bool]:
        with claim(spec, folder) as mine:
            shutil.copytree(source, target)
            yield mine

    monkeypatch.setattr(store, "claim", late)
    outcome = run_all([job], store, CPU, Silent())
    assert (outcome.trained, outcome.scored, outcome.failures) == (1, 0, [])
    assert store.own_folder(job.spec).is_finished
    assert (target / "run.json").read_bytes() == (source / "run.json").read_bytes()

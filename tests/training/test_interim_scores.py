"""Scoring the test set on the way: training never notices, the curve is right, a stop in the middle loses nothing."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_dataset
from displays import Silent
from handwritten import contents_of, summary_of

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.method import load_methods
from ssl_bench.store import Run, Store
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.provenance import provenance
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

"""A finished run is scored in other ways from its weights: the numbers of a training that had been scored so."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Call
from displays import Silent

import ssl_bench
from ssl_bench.cards import Measurement, load_protocol
from ssl_bench.errors import InterruptedRunError
from ssl_bench.store import Run, Store
from ssl_bench.training.stop import StopSignal

CPU = torch.device("cpu")
ASK: dict[str, Any] = {"dataset": "demo", "protocol": "tiny", "device": "cpu"}
RUN: dict[str, Any] = {"methods": ["cps"], **ASK}
DISTANCES = ["dsc", "95hd", "precision"]


def settings(**more: Any) -> dict[str, Any]:
    return {"iterations": 3, **more}


def only_run(root: str = "results") -> Run:
    (run,) = Store(Path(root)).runs()
    return run


def files(run: Run) -> dict[str, tuple[bytes, int]]:
    """Every file but the description, its index of scores."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in run.path.iterdir()
        if path.name not in ("run.json", ".lock", "progress.json", "log.txt")
    }


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A finished run of two networks, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    ssl_bench.run(**RUN, settings=settings())
    return only_run()


def test_scores_equal_those_of_a_training_that_was_scored_so(finished: Run) -> None:
    before = files(finished)
    result = ssl_bench.score(finished, metrics=DISTANCES)
    assert (result.outcome.scored, result.outcome.trained, result.outcome.failures) == (1, 0, [])
    run = only_run()
    assert [scores.measurement.metrics for scores in run.scores.values()] == [("dsc", "jaccard"), tuple(DISTANCES)]
    ssl_bench.run(**RUN, settings=settings(metrics=DISTANCES), results_root="other")
    other = only_run("other")
    (key,) = other.scores
    own, theirs = run.scores[key].path, other.scores[key].path
    assert own.read_bytes() == theirs.read_bytes()
    assert run.scores[key].summary == other.scores[key].summary
    after = files(run)
    assert {name: after[name] for name in before} == before  # nothing else was touched
    assert set(after) - set(before) == {own.name}


def test_run_scores_a_finished_run_by_itself_and_trains_nothing(finished: Run) -> None:
    before = (finished.path / "weights.safetensors").stat().st_mtime_ns
    result = ssl_bench.run(**RUN, settings=settings(metrics=DISTANCES))
    assert (result.outcome.trained, result.outcome.scored) == (0, 1)
    assert (finished.path / "weights.safetensors").stat().st_mtime_ns == before
    again = ssl_bench.run(**RUN, settings=settings(metrics=["95hd"]))  # which it has
    assert (again.outcome.trained, again.outcome.scored, again.outcome.already_finished) == (0, 0, 1)
    assert again.table is not None
    assert "95HD" in again.table.markdown()


@pytest.mark.slow
def test_several_processes_score_several_runs(finished: Run) -> None:
    ssl_bench.run(**RUN, settings=settings(), seeds=[2])
    result = ssl_bench.score([run.path for run in Store(Path("results")).runs()], metrics=["95hd"], jobs=2)
    assert (result.outcome.failures, result.outcome.trained) == ([], 2)
    assert all(len(run.scores) == 2 for run in result.runs)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 17, 25])
def test_a_stopped_scoring_goes_on_and_ends_in_the_same_bytes(at: int, finished: Run, monkeypatch: Any) -> None:
    from ssl_bench.training.rescore import rescore, scoring_jobs

    (job,) = scoring_jobs([finished], ssl_bench.method.load_methods(), {"metrics": DISTANCES}, None, None, None)
    folder, stop = Store(Path("results")).folder(job.spec), StopSignal()
    with pytest.raises(InterruptedRunError):
        rescore(job, folder, CPU, stop, Silent(stop, ("scoring", at)), {})
    saved = json.loads(folder.partial_cases(job.measurement.key).read_text())
    assert len(saved["rows"]) == at
    counted = Silent()
    rescore(job, folder, CPU, StopSignal(), counted, {})
    assert counted.steps < 2 * len(job.splits.test)
    assert not folder.partial_cases(job.measurement.key).exists()
    stopped = folder.cases(job.measurement.key).read_bytes()
    ssl_bench.run(**RUN, settings=settings(metrics=DISTANCES), results_root="other")
    assert only_run("other").headline.path.read_bytes() == stopped


def test_a_damaged_file_of_a_stopped_scoring_costs_time_alone(finished: Run) -> None:
    measurement = Measurement(metrics=("95hd",), score_size="original")
    (finished.path / f".scoring-{measurement.key}.json").write_text('{"rows": [')
    assert ssl_bench.score(finished, metrics="95hd").outcome.scored == 1


def test_a_stopped_scoring_by_other_names_of_classes_costs_time_alone(finished: Run) -> None:
    measurement = Measurement(metrics=("95hd",), score_size="original")
    rows = [["student1", str(case), "another name", 1.0] for case in range(50)]
    (finished.path / f".scoring-{measurement.key}.json").write_text(json.dumps({"seconds": 1.0, "rows": rows}))
    assert ssl_bench.score(finished, metrics="95hd").outcome.scored == 1
    assert set(only_run().scores[measurement.key].cases["class"]) == set(finished.spec.classes[1:])


@pytest.mark.slow
def test_volumes_are_scored_with_other_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ask: dict[str, Any] = {"methods": "mt", "dataset": "demo3d", "protocol": "tiny", "device": "cpu"}
    ssl_bench.run(**ask, settings=settings())
    stride = [side // 2 for side in load_protocol("tiny", dimensions=3).patch_size]
    result = ssl_bench.run(**ask, settings=settings(stride=stride, largest_component=False, metrics=["dsc"]))
    assert (result.outcome.trained, result.outcome.scored) == (0, 1)
    ssl_bench.run(
        **ask, settings=settings(stride=stride, largest_component=False, metrics=["dsc"]), results_root="other"
    )
    other = only_run("other")
    run = only_run()
    (key,) = other.scores
    assert run.scores[key].path.read_bytes() == other.headline.path.read_bytes()
    assert run.headline.path.read_bytes() != other.headline.path.read_bytes()


def test_points_of_a_curve_need_the_training_and_it_is_said(finished: Run, caplog: pytest.LogCaptureFixture) -> None:
    before = files(finished)
    with caplog.at_level("INFO", logger="ssl_bench"):
        result = ssl_bench.run(**RUN, settings=settings(score_every=1))
    assert result.outcome.trained == 1
    assert "1 finished run without the curves of score_every or validate_every" in caplog.text
    own, watched = Store(Path("results")).runs()
    assert (own.path.name, watched.path.name) == (own.spec.hash, f"{own.spec.hash}-s1")
    assert files(own) == before
    assert own.headline.path.read_bytes() == watched.headline.path.read_bytes()
    again = ssl_bench.run(**RUN, settings=settings(score_every=2))  # every second point is there
    assert (again.outcome.trained, again.outcome.already_finished) == (0, 1)


def test_a_watched_run_is_enough_for_a_run_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ssl_bench.run(**RUN, settings=settings(score_every=1))
    result = ssl_bench.run(**RUN, settings=settings(log_every=1))
    assert (result.outcome.trained, result.outcome.already_finished) == (0, 1)
    assert [run.path.name for run in result.runs] == [only_run().path.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--set", "lambda_max=1"],
            "error: --set lambda_max: expected one of metrics, score_size; lambda_max affects the",
        ),
        (
            ["--set", "score_every=5"],
            "error: --set score_every: expected one of metrics, score_size; score_every needs",
        ),
        (["--metrics", "hd"], "error: --set: metrics.0: expected one of dsc, jaccard,"),
        (
            ["--metrics", "nsd"],
            "error: --set metrics: nsd needs nsd_tolerance (in px) on the card of demo, which has none",
        ),
        (["--dataset", "isic"], "error: --dataset: expected the card of 'demo', found that of 'isic'"),
        (
            ["--results-root", "nowhere"],
            "error: RUN: expected a run's folder, or the beginning of one run's id in nowhere",
        ),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    arguments: list[str], message: str, finished: Run, call: Call
) -> None:
    before = (finished.path / "run.json").read_bytes()
    code, _, err = call("score", finished.path.name[:6], *arguments)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert line.startswith(message)
    assert (finished.path / "run.json").read_bytes() == before


def test_a_run_without_its_weights_is_not_scored_and_stays(finished: Run) -> None:
    (finished.path / "weights.safetensors").unlink()
    result = ssl_bench.score(finished, metrics="95hd")
    assert result.outcome.user_error
    assert "weights.safetensors: no such file" in result.outcome.failures[0]
    assert only_run().status == "finished"


def test_memory_that_runs_out_while_scoring_leaves_the_run_finished(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_bench.training import measure

    def refuse(*args: Any) -> None:
        raise MemoryError("Unable to allocate 9.00 GiB for an array")

    monkeypatch.setattr(measure.Scorer, "rows", refuse)
    result = ssl_bench.score(finished, metrics="95hd")
    assert "out of memory while scoring" in result.outcome.failures[0]
    assert only_run().status == "finished"


def test_a_new_metric_on_the_card_is_scored_by_reproduce_and_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The issue's case: NSD on a data set's card, and a table's finished runs."""
    from ssl_bench import BENCHMARKS_DIR

    monkeypatch.chdir(tmp_path)
    card = (BENCHMARKS_DIR / "datasets" / "demo.toml").read_text()
    Path("mine.toml").write_text(card)
    grid = 'kind = "table"\ntitle = "Mine"\nmetrics = ["dsc", "nsd"]\nprotocol = "tiny"\n'
    grid += '[[columns]]\ndataset = "mine.toml"\nlabeled = "10%"\n'
    grid += "".join(f'[[rows]]\ntitle = "{name}"\nmethod = "{name}"\n' for name in ("supervised", "mt"))
    Path("table.toml").write_text(grid)
    ask: dict[str, Any] = {"table": "table.toml", "settings": {"iterations": 2}, "seeds": [1], "device": "cpu"}
    first = ssl_bench.reproduce(**ask)
    assert first.outcome is not None
    assert first.outcome.trained == 2
    Path("mine.toml").write_text(card.replace('"jaccard"]', '"jaccard", "nsd"]\nnsd_tolerance = 2.0'))
    shown = ssl_bench.report(table="table.toml", settings={"iterations": 2}).tables[0].markdown()
    assert "not scored" in shown
    second = ssl_bench.reproduce(**ask)
    assert second.outcome is not None
    assert (second.outcome.trained, second.outcome.scored, second.outcome.failures) == (0, 2, [])
    assert "2 of them are already trained and only need scoring" in " ".join(second.missing.notes)
    shown = ssl_bench.report(table="table.toml", settings={"iterations": 2}).tables[0].markdown()
    assert "NSD [%]" in shown
    assert "not scored" not in shown
    assert ssl_bench.reproduce(**ask).outcome is None


def test_two_ways_of_scoring_are_never_confused(finished: Run) -> None:
    ssl_bench.score(finished, settings={"score_size": 32})
    run = only_run()
    original, small = run.scores.values()
    assert (original.measurement.score_size, small.measurement.score_size) == ("original", 32)
    wanted = Measurement(metrics=("dsc",), score_size=32)
    assert run.scored(wanted, "dsc") is small
    assert run.scored(Measurement(metrics=("dsc",), score_size=64), "dsc") is None
    frame = Store(Path("results")).cases()
    assert frame.groupby("measurement").size().tolist() == [len(original.cases)] * 2

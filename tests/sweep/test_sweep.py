"""Sweeps: what they search, who takes which trial, what is remembered of a worker that died, and the command."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Call
from handwritten import write_old_run
from optuna.trial import TrialState

from ssl_bench.cards import load_benchmark
from ssl_bench.errors import UserError
from ssl_bench.store import Store
from ssl_bench.store.run_folder import RunFolder
from ssl_bench.sweep.definition import Sweep
from ssl_bench.sweep.show import plot, sweep_table
from ssl_bench.sweep.space import Choices, Integers, Reals, combinations, extremes, parse_parameters
from ssl_bench.sweep.study import Study, find_study, open_storage

# ----------------------------------------------------------------------------------------------------------- the space


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k=1..5", Integers("k", 1, 5, False)),
        ("k = 1 .. 5:log", Integers("k", 1, 5, True)),
        ("r=4,8,16", Choices("r", (4, 8, 16))),
        ("k=3", Choices("k", (3,))),
        ("student_init=same,different", Choices("student_init", ("same", "different"))),
        ("compile=true,false", Choices("compile", (True, False))),
        ("lambda_max=0.01..1:log", Reals("lambda_max", 0.01, 1.0, True)),
        ("lambda_max=0..0.5", Reals("lambda_max", 0.0, 0.5, False)),
        ("learning_rate=1e-5..1e-2:log", Reals("learning_rate", 1e-5, 1e-2, True)),
        ("augmentation.jitter=0.1,0.2", Choices("augmentation.jitter", (0.1, 0.2))),
    ],
)
def test_what_a_parameter_says_is_read_and_written_alike(text: str, expected: Any) -> None:
    (parameter,) = parse_parameters([text])
    assert parameter == expected
    assert parse_parameters([parameter.text]) == (expected,)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], "at least one NAME=VALUES"),
        (["k"], "expected NAME=VALUES, found 'k'"),
        (["k="], "expected NAME=VALUES"),
        (["k=5..1"], "with LOW below HIGH, found 'k=5..1'"),
        (["k=0..5:log"], "must be above 0"),
        (["k=a..b"], "expected numbers on both sides"),
        (["k=1,1"], "different values, separated by commas"),
        (["k=1,,2"], "different values, separated by commas"),
        (["k=1..5", "k=2"], "'k' is given twice"),
    ],
)
def test_what_cannot_be_meant_is_said(texts: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        parse_parameters(texts)


def test_a_grid_is_every_combination_and_the_ends_show_every_value() -> None:
    parameters = parse_parameters(["k=1..3", "r=4,8"])
    assert combinations(parameters) == [{"k": k, "r": r} for k in (1, 2, 3) for r in (4, 8)]
    assert extremes(parse_parameters(["x=0.5..2", "r=4,8,16"])) == [
        {"x": 0.5, "r": 4}, {"x": 2.0, "r": 8}, {"x": 2.0, "r": 16},
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"^--param: expected a grid of at most 10000 trials, found 10001$"):
        combinations(parse_parameters(["k=0..10000"]))
    assert len(combinations(parse_parameters(["k=1..100", "r=1..100"]))) == 10_000
    with pytest.raises(UserError, match=r"a grid needs separate values, such as x=0\.5,2"):
        combinations(parse_parameters(["x=0.5..2"]))


# ----------------------------------------------------------------------------------------------------------- the study


def sweep(*texts: str, **changes: Any) -> Sweep:
    fields: dict[str, Any] = {
        "method": "ucmt", "dataset": "demo", "labeled": "5%", "protocol": "tiny", "settings": {"iterations": 6},
        "seeds": (1, 2), "parameters": parse_parameters(texts or ["k=1..3", "r=4,8"]), "sampler": "grid",
        "objective": "validation", "metric": "dsc", "maximize": True, "pruner": "none",
        "first_run": "0" * 16,
    }  # fmt: skip
    return Sweep(**{**fields, **changes})


def worker(root: Path, defined: Sweep, url: str | None = None) -> Study:
    return Study(defined, "name", open_storage(url, root), root)


def everything(study: Study, most: int | None = None) -> list[dict[str, Any]]:
    """Take trials until there is none, and tell each the sum of its numbers."""
    seen = []
    while (taken := study.take(most)) is not None:
        trial, lock = taken
        seen.append({parameter.name: parameter.suggest(trial) for parameter in study.sweep.parameters})
        study.study.tell(trial, float(sum(v for v in seen[-1].values() if isinstance(v, int | float))))
        lock.release()
    return seen


@pytest.mark.parametrize("url", [None, "journal:{}/journal.log"])
def test_a_grid_is_taken_once_whoever_takes_it(tmp_path: Path, url: str | None) -> None:
    url = None if url is None else url.format(tmp_path)
    first, second = worker(tmp_path, sweep(), url), worker(tmp_path, sweep(), url)
    taken = [one.take(None) for one in (first, second, first, second, first, second)]
    chosen = [{p.name: p.suggest(trial) for p in first.sweep.parameters} for trial, _ in filter(None, taken)]
    assert sorted(map(str, chosen)) == sorted(map(str, combinations(sweep().parameters)))
    assert first.take(None) is None
    assert second.take(None) is None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_has_as_many_trials_as_it_may_and_no_two_alike(tmp_path: Path, sampler: Any) -> None:
    defined = sweep("x=0.0..1.0", sampler=sampler)
    first, second = worker(tmp_path, defined), worker(tmp_path, defined)
    (a, lock_a), (b, lock_b) = first.take(5) or ("", ""), second.take(5) or ("", "")  # at the same time
    values = [first.sweep.parameters[0].suggest(a), second.sweep.parameters[0].suggest(b)]  # type: ignore[arg-type]
    assert values[0] != values[1]
    lock_a.release()  # type: ignore[union-attr]
    lock_b.release()  # type: ignore[union-attr]
    everything(first, 5)
    trials = first.study.get_trials()
    assert len(trials) == 5
    assert len({trial.params["x"] for trial in trials}) == 5
    assert second.take(5) is None


def die_with_a_trial(root: Path) -> None:
    study = worker(root, sweep("k=1..2"))
    trial, lock = study.take(None) or (None, None)
    assert trial is not None
    assert lock is not None
    study.sweep.parameters[0].suggest(trial)
    (root / "taken").write_text(str(trial.number))
    time.sleep(60)


def test_a_dead_workers_trial_is_taken_up_again_and_a_living_ones_is_not(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_with_a_trial, args=(tmp_path,))
    process.start()
    while not (tmp_path / "taken").exists():
        time.sleep(0.05)
    study = worker(tmp_path, sweep("k=1..2"))
    other, mine = study.take(None) or (None, None)
    assert other is not None
    assert other.number == 1
    assert mine is not None
    assert study.take(None) is None  # the first is at work
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    again, my_second = study.take(None) or (None, None)
    assert again is not None
    assert again.number == 0
    assert my_second is not None
    assert study.sweep.parameters[0].suggest(again) == 1  # as it was
    assert study.take(None) is None


def test_what_failed_is_tried_again_by_the_next_command_and_counts_once(tmp_path: Path) -> None:
    study = worker(tmp_path, sweep("k=1..2"))
    trial, lock = study.take(None) or (None, None)
    assert trial is not None
    assert lock is not None
    study.sweep.parameters[0].suggest(trial)
    study.study.tell(trial, state=TrialState.FAIL)
    lock.release()
    assert everything(study) == [{"k": 2}]
    assert everything(worker(tmp_path, sweep("k=1..2"))) == [{"k": 1}]
    assert everything(worker(tmp_path, sweep("k=1..2"))) == []


def test_another_sweep_of_the_same_name_is_refused(tmp_path: Path) -> None:
    worker(tmp_path, sweep())
    with pytest.raises(UserError, match=r"sweep 'name' exists and differs: its seeds is \[1, 2\], here \[3\]"):
        worker(tmp_path, sweep(seeds=(3,), first_run="1"))
    with pytest.raises(UserError, match="exists and differs: its data, validation images, encoder weights"):
        worker(tmp_path, sweep(first_run="1"))
    assert sweep().default_name != sweep(seeds=(3,)).default_name
    assert sweep().default_name.startswith("ucmt-demo-")


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/no/such.db", "postgresql://nobody@localhost:1/none"])
def test_a_storage_that_cannot_be_had_is_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="--storage: ") as error:
        open_storage(url, tmp_path)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------------ shown


def filled(root: Path, **changes: Any) -> optuna.Study:
    study = worker(root, sweep("k=1..3", "r=4,8", **changes))
    everything(study)
    return study.study


def test_the_best_trial_stands_first_and_the_test_set_is_not_shown(tmp_path: Path) -> None:
    table = sweep_table(filled(tmp_path), {})
    assert table.header == ["Trial", "k", "r", "State", "DSC [%], validation images", "Runs"]
    assert [row[:5] for row in table.rows][:2] == [
        ["5", "3", "8", "finished", "1100.00"], ["3", "2", "8", "finished", "1000.00"],
    ]  # fmt: skip
    text = " ".join(table.notes)
    assert "Best: trial 5, --set k=3 --set r=8." in text
    assert "Importance (fANOVA): r 0." in text
    assert "ORACLE" not in text


def test_a_sweep_that_looks_at_the_test_set_says_so_wherever_it_is_shown(tmp_path: Path) -> None:
    study = filled(tmp_path, objective="test")
    table = sweep_table(study, {})
    assert "DSC [%], ORACLE: test set" in table.header
    assert any(note.startswith("ORACLE") for note in table.notes)
    svg = next(path for path in plot(study, tmp_path / "plots") if path.name == "history.svg")
    assert svg.stat().st_size > 1000


def test_a_grid_without_objective_names_no_best(tmp_path: Path) -> None:
    study = filled(tmp_path, objective="none")
    assert not any("Best" in note or "Importance" in note for note in sweep_table(study, {}).notes)
    with pytest.raises(UserError, match="plots need an objective"):
        plot(study, tmp_path / "plots")


@pytest.mark.slow
def test_plots_are_the_same_bytes_twice(tmp_path: Path) -> None:
    study = filled(tmp_path)
    once, twice = plot(study, tmp_path / "a"), plot(study, tmp_path / "b")
    assert {path.name for path in once} == {
        f"{name}.{suffix}" for name in ("history", "slice", "parallel", "contour", "importance")
        for suffix in ("png", "svg")
    }  # fmt: skip
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_plots_that_cannot_be_written_are_an_error_of_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^--output: .*file cannot be written: File exists$"):
        plot(filled(tmp_path), tmp_path / "file")


def test_a_sweep_is_found_by_name_or_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no sweeps yet"):
        find_study(None, None, tmp_path)
    filled(tmp_path)
    assert find_study(None, None, tmp_path).study_name == "name"
    with pytest.raises(UserError, match="expected one of name; found 'other'"):
        find_study("other", None, tmp_path)


# ---------------------------------------------------------------------------------------------------------- the command

DEMO = ["sweep", "--dataset", "demo", "--protocol", "tiny", "--iterations", "4"]


def test_a_grid_from_the_command_to_the_papers_table(call: Call, tmp_path: Path) -> None:
    words = ["--method", "ucmt", "--param", "k=1", "--param", "r=4,8"]
    code, out, err = call(*DEMO, *words, "--jobs", "2")
    assert code == 0, err
    entries = Store(tmp_path / "results").entries()
    assert [entry.status for entry in entries] == ["finished"] * 2
    assert "The sweep has no objective" in out
    _, table, _ = call("report", "--table", "5", "--dataset", "demo", "--protocol", "tiny", "--iterations", "4",
                       "--format", "csv")  # fmt: skip
    cells = [row[1:6] for row in csv.reader(table.splitlines()) if row[0].startswith("UCMT")]
    assert [[cell != "no run" for cell in row] for row in cells] == [
        [False] * 5, [True, *[False] * 4], [True, *[False] * 4],
    ]  # fmt: skip
    folder = Store(tmp_path / "results").runs()[0].path
    damaged = tmp_path / "results/runs/demo/mt/0123456789abcdef/run.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    RunFolder(folder).write_checkpoint(4, b"of a process that was killed at the run's end")
    code, out, err = call(*DEMO, *words)
    assert code == 0
    assert not list(folder.glob("checkpoint*"))
    assert f"{damaged.relative_to(tmp_path)}: not a run's description" in err
    assert "finished (" not in out  # nothing is trained twice
    assert len(Store(tmp_path / "results").entries([])) == 2


def test_no_sweep_trains_beside_runs_of_an_earlier_version(call: Call, tmp_path: Path) -> None:
    write_old_run(Store(tmp_path / "results"), benchmark=load_benchmark("demo"))
    code, _, err = call(*DEMO, "--method", "mt", "--param", "lambda_max=0.1,1")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: --results-root: results holds 1 run of an earlier version")


@pytest.mark.slow
def test_a_search_sets_images_apart_and_prunes(call: Call, tmp_path: Path) -> None:
    words = ["--method", "mt", "--labeled", "30", "--param", "lambda_max=0.01..1:log", "--sampler", "tpe", "--trials",
             "2", "--pruner", "median"]  # fmt: skip
    code, _, err = call(*DEMO, *words)
    assert code == 0, err
    assert "held out for validation" in err
    runs = Store(tmp_path / "results").runs()
    assert len(runs) == 2
    for run in runs:
        assert run.spec.protocol.validation == "labeled"
        assert run.spec.protocol.validate_every == 1
        assert len(json.loads((run.path / "splits.json").read_text())["validation"]) == 6
    code, out, _ = call("sweep", "show")
    assert code == 0
    assert "Compared on 6 validation cases." in out


UCMT = ["--method", "ucmt", "--dataset", "demo", "--param", "k=1..2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "expected --method and --dataset"),
        (UCMT[:4], "at least one NAME=VALUES"),
        (["--method", "nope", "--dataset", "demo", "--param", "k=1..2"], "found 'nope'"),
        ([*UCMT[:4], "--param", "nope=1..2"], "--param nope: expected a protocol field"),
        ([*UCMT[:4], "--param", "k=0..2"], "--param: with k=0"),
        ([*UCMT, "--set", "k=1"], "also given by --set"),
        ([*UCMT, "--trials", "3"], "not allowed with --sampler grid"),
        (
            [*UCMT, "--sampler", "tpe"],
            "expected a number with --sampler tpe",
        ),
        (
            [*UCMT, "--sampler", "x", "--trials", "2"],
            "found 'x'",
        ),
        (
            [*UCMT, "--metric", "asd"],
            "--metric: expected one of",
        ),
        ([*UCMT, "--pruner", "median"], "needs --objective"),
        (
            [
                *UCMT,
                "--pruner",
                "median",
                "--objective",
                "validation",
                "--set",
                'metrics=["dsc","asd"]',
                "--metric",
                "asd",
            ],
            "--pruner: expected a --metric that is always defined (dsc or jaccard or nsd or precision or recall)",
        ),
        ([*UCMT, "--slurm", "gpus=1"], "needs --launcher slurm"),
        ([*UCMT, "--launcher", "x"], "found 'x'"),
        ([*UCMT, "--name", "../x"], "--name: expected letters"),
        (["show"], "has no sweeps yet"),
        (["plot", "--output", "x"], "has no sweeps yet"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(words: list[str], expected: str, call: Call, tmp_path: Path) -> None:
    code, _, err = call("sweep", *words)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert expected in err
    assert not (tmp_path / "results").exists()

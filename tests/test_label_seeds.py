"""Label seeds from the command to the table, on a built-in data set."""

import json
from pathlib import Path

import pytest
from conftest import Call

import ssl_bench
from ssl_bench.store import Store

ON_DEMO = ["--dataset", "demo", "--labeled", "5%", "--protocol", "tiny", "--iterations", "4"]
LABELS = ["--label-seeds", "1,7"]
RUN = ["run", "--methods", "supervised", *ON_DEMO, "--device", "cpu", "--seeds", "1,2", *LABELS]


def test_label_seeds_from_the_command_to_the_table(call: Call) -> None:
    code, out, err = call(*RUN)
    assert code == 0, err
    assert "over trainings (seeds 1, 2; label seeds 1, 7)" in " ".join(out.split())
    runs = Store("results").runs()
    assert [(run.spec.seed, run.spec.label_seed) for run in runs] == [(1, None), (1, 7), (2, 1), (2, 7)]
    labeled = [json.loads((run.path / "splits.json").read_text())["labeled"] for run in runs]
    assert labeled[0] == labeled[2] != labeled[1] == labeled[3]
    weights = [(run.path / "weights.safetensors").read_bytes() for run in runs]
    assert len(set(weights)) == 4
    before = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*.*")}
    assert call(*RUN)[0] == 0
    assert {
        path: path.stat().st_mtime_ns for path in Path("results").rglob("*.*")
    } == before  # nothing is trained again

    seeds = [line.split("│")[5].strip() for line in call("status")[1].splitlines() if "finished" in line]
    assert seeds == ["1", "1, labels 7", "2, labels 1", "2, labels 7"]

    table = ["report", "--table", "4", *ON_DEMO]
    plain = call(*table, "--statistics")[1]
    assert "sources of the spread" not in plain
    assert "Not shown: 3 finished runs of supervised on demo with label seeds (1, 7)" in plain
    crossed = call(*table, *LABELS, "--statistics", "--format", "csv")[1]
    assert "2 label draws x 2 seeds" in crossed
    missing = call("reproduce", "--table", "4", *ON_DEMO, "--seeds", "1,2", *LABELS, "--dry-run")[1]
    assert "24 of 28 runs are missing; 4 exist." in missing

    frame = ssl_bench.load_store("results").frame()
    assert frame[["seed", "label_seed"]].to_numpy().tolist() == [[1, 1], [1, 7], [2, 1], [2, 7]]
    cases = ssl_bench.load_store("results").cases()
    assert cases.groupby(["seed", "label_seed"]).size().to_dict() == dict.fromkeys(
        [(1, 1), (1, 7), (2, 1), (2, 7)], 100
    )

    assert call("results", "export", "a.zip")[0] == 0
    assert call("results", "import", "a.zip", "--results-root", "there")[0] == 0
    assert [run.spec for run in Store("there").runs()] == [run.spec for run in runs]
    assert (
        call(*table, *LABELS, "--results-root", "there", "--format", "csv")[1]
        == call(*table, *LABELS, "--format", "csv")[1]
    )


def test_python_takes_label_seeds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"iterations": 4}
    ran = ssl_bench.run(
        "supervised",
        "demo",
        labeled="5%",
        protocol="tiny",
        seeds=[1],
        label_seeds=[1, 7],
        settings=settings,
        device="cpu",
    )
    assert [run.spec.draws for run in ran.runs] == [(1, 1), (1, 7)]
    asked = {"table": 4, "dataset": "demo", "labeled": "5%", "protocol": "tiny", "settings": settings}
    lacking = ssl_bench.reproduce(**asked, seeds=[1], label_seeds=[1, 7], dry_run=True).lacks
    assert {(lack.seed, lack.label_seed) for lack in lacking} == {(1, 1), (1, 7)}
    assert "supervised" not in {lack.place.method for lack in lacking}
    assert len(ssl_bench.report(**asked, label_seeds=[1, 7]).exhibits[0].runs) == 2
    with pytest.raises(ssl_bench.UserError, match=r"^--label-seeds: expected a sequence of whole numbers"):
        ssl_bench.report(**asked, label_seeds=[])

"""Stores of earlier versions are converted: nothing is lost, nothing is trained, and a kill costs nothing."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Call
from handwritten import write_old_run, write_run

from ssl_bench.cards import RunSpec
from ssl_bench.errors import UserError
from ssl_bench.store import Store, convert_store, import_runs
from ssl_bench.store import convert as module


def test_an_old_run_becomes_a_run_of_this_version_with_every_number(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = write_old_run(store)
    rows = list(csv.DictReader((old / "cases.csv").open()))
    found = convert_store(tmp_path)
    assert (found.converted, found.current, found.left) == (1, 0, [])
    (run,) = store.runs()
    assert run.path.name == run.spec.run_id == run.spec.hash
    assert run.spec.harness == 1  # what the old run did not name
    assert (run.headline.seconds, run.headline.validation) == (7.5, None)
    frame = run.headline.cases
    assert frame["dsc"].tolist() == [float(row["dsc"]) for row in rows]
    assert run.headline.summary["teacher"]["dsc"]["mean"] == 0.375
    assert (run.path / "weights.safetensors").read_bytes() == b"weights"
    assert not old.exists()
    assert not (run.path / "cases.csv").exists()
    assert convert_store(tmp_path).current == 1  # and once is enough


@pytest.mark.parametrize("killed_before", ["rename", "run.json", "unlink"])
def test_a_killed_conversion_goes_on(killed_before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    write_old_run(store)

    def die(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    original = module.write_bytes
    with monkeypatch.context() as patch:
        if killed_before == "rename":
            patch.setattr(Path, "rename", die)
        elif killed_before == "unlink":
            patch.setattr(Path, "unlink", die)
        else:
            patch.setattr(
                module, "write_bytes", lambda path, data: die() if path.name == "run.json" else original(path, data)
            )
        with pytest.raises(KeyboardInterrupt):
            convert_store(tmp_path)
    assert not convert_store(tmp_path).left
    (run,) = store.runs()
    assert run.headline.cases["dsc"].tolist() == [0.125, 0.125, 0.5, 0.25]


def test_an_unfinished_old_run_keeps_its_checkpoint(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = write_old_run(store)
    record = json.loads((old / "run.json").read_text())
    del record["result"]
    (old / "run.json").write_text(json.dumps(record | {"status": "running"}))
    (old / "cases.csv").unlink()
    (old / "checkpoint.json").write_text('{"iteration": 5}')
    assert convert_store(tmp_path).converted == 1
    (run,) = store.runs()
    assert (run.status, run.iteration, run.scores) == ("interrupted", 5, {})


def damaged(old: Path) -> str:
    text = (old / "cases.csv").read_text()
    (old / "cases.csv").write_text(text.replace("0.25", "0.26"))
    return "the mean dsc of teacher is 0.38, where run.json says 0.375"


def without_cases(old: Path) -> str:
    (old / "cases.csv").unlink()
    return "finished, but without cases.csv"


def of_another_kind(old: Path) -> str:
    (old / "run.json").write_text('{"format": 1, "status": "finished", "spec": {}}')
    return "not a run of an earlier version"


@pytest.mark.parametrize("spoil", [damaged, without_cases, of_another_kind])
def test_what_cannot_be_converted_is_left_as_it_was_and_named(spoil: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = write_old_run(store)
    write_old_run(store, seed=2)
    reason = spoil(old)
    before = {path.name: path.read_bytes() for path in old.iterdir() if path.name != ".lock"}
    found = convert_store(tmp_path)
    assert found.converted == 1
    (left,) = found.left
    assert str(old) in left
    assert reason in left
    assert {path.name: path.read_bytes() for path in old.iterdir() if path.name != ".lock"} == before


def test_of_two_trainings_that_are_now_one_run_the_second_is_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = write_old_run(store)
    second = first.with_name("0" * 16)
    shutil.copytree(first, second)
    found = convert_store(tmp_path)
    assert found.converted == 1
    assert "holds a run of the same training" in found.left[0]
    assert first.exists() != second.exists()


def test_commands_on_an_old_store_say_in_one_line_how_to_convert_it(tmp_path: Path, call: Call) -> None:
    store = Store(tmp_path / "results")
    for seed in (1, 2):
        write_old_run(store, seed=seed)
    line = (
        "error: --results-root: results holds 2 runs of an earlier version; "
        "`ssl-bench results convert --results-root results` converts them without training\n"
    )
    for command in ("status", "report --table 4 --protocol mini", "results export x.zip"):
        code, _, err = call(*command.split(), "--results-root", "results")
        assert (code, err) == (2, line)
    code, out, err = call("results", "convert", "--results-root", "results")
    assert (code, out, err) == (0, "2 runs converted, 0 already in the current format\n", "")
    assert call("status")[0] == 0


def test_nothing_is_trained_beside_runs_of_an_earlier_version(tmp_path: Path, call: Call) -> None:
    write_old_run(Store(tmp_path / "results"))
    spec = write_run(Store(tmp_path / "other"), "mt", 1, [0.5, 0.25])
    with pytest.raises(UserError, match="results convert"):
        Store(tmp_path / "results").make_ready({(spec.benchmark, "mt")})
    Store(tmp_path / "results").make_ready({(spec.benchmark, "cps")})


def test_an_old_export_is_imported(tmp_path: Path) -> None:
    # The file of an earlier version: its manifest has format 1, and its run the old name.
    import zipfile

    old = write_old_run(Store(tmp_path / "old"))
    name = f"runs/isic/mt/{old.name}"
    files = {f"{name}/{path.name}": path.read_bytes() for path in old.iterdir() if path.name != ".lock"}
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr("manifest.json", json.dumps({"format": 1, "files": digests}))
    store = Store(tmp_path / "new")
    imported = import_runs(tmp_path / "old.zip", store)
    assert (imported.added, imported.conflicts) == (1, [])
    (run,) = store.runs()
    assert run.headline.cases["dsc"].tolist() == [0.125, 0.125, 0.5, 0.25]
    assert RunSpec.model_validate(run.spec.model_dump()).run_id == run.path.name
    assert import_runs(tmp_path / "old.zip", store).already == 1

"""tools/campaign.py: what fits the minutes, in order, ending in an export that another store takes."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, write_dataset
from handwritten import KVASIR, cases_file, write_run

from ssl_bench.store import Store, import_runs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("cvc", "kvasir"):
        write_dataset(tmp_path / "data" / name, name, [str(number) for number in range(1, 25)])
    return tmp_path / "data"


def campaign(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "tools" / "campaign.py"), "--export", "campaign.zip", *words]
    return subprocess.run(
        [*command, "--allow-partial", "--device", "cpu", "--protocol", "tiny"], cwd=folder, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def test_first_seeds_come_first_and_a_missing_data_set_is_left_out(data: Path, tmp_path: Path) -> None:
    done = campaign(tmp_path, "--minutes", "1", "--dry-run", "--methods", "mt,cct", "--seeds", "1,2")
    assert done.returncode == 0
    said, *commands = done.stdout.splitlines()
    assert said == "isic: not below data, left out"
    order = []
    for command in commands:
        words = command.split()
        order.append(tuple(words[words.index(option) + 1] for option in ("--dataset", "--methods", "--seeds")))
    assert order == [
        ("cvc", "mt", "1"), ("kvasir", "mt", "1"), ("cvc", "cct", "1"), ("kvasir", "cct", "1"),
        ("cvc", "mt,cct", "2"), ("kvasir", "mt,cct", "2"),
    ]  # fmt: skip


@pytest.mark.slow
def test_it_stops_in_time_goes_on_and_exports_what_is_finished(data: Path, tmp_path: Path) -> None:
    words = ["--methods", "supervised,mt", "--seeds", "1", "--datasets", "cvc"]
    done = campaign(tmp_path, "--minutes", "0.4", *words, "--iterations", "100000")
    assert done.returncode == 1
    assert "--minutes: time limit reached, 0 of 2 runs are finished" in done.stdout
    assert "nothing to export; run the same command again to continue" in done.stdout
    done = campaign(tmp_path, "--minutes", "3", *words, "--iterations", "2")
    assert done.returncode == 0, done.stdout
    imported = import_runs(tmp_path / "campaign.zip", Store(tmp_path / "home"))
    assert (imported.added, imported.conflicts) == (2, [])
    assert {run.spec.method for run in Store(tmp_path / "home").runs([])} == {"supervised", "mt"}


def test_a_run_that_cannot_go_on_is_no_refusal_of_its_data_set(tmp_path: Path) -> None:
    is_refused, store = runpy.run_path(str(REPOSITORY / "tools" / "campaign.py"))["is_refused"], Store(tmp_path)
    write_run(store, "mt", 1, [0.5], benchmark=KVASIR, status="failed")
    assert is_refused("isic", 2, store)
    assert not is_refused("kvasir", 2, store)
    assert not is_refused("isic", 1, store)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--minutes", "0.1"), "--minutes: expected more than"),
        (("--minutes", "5", "--datasets", "la"), "--datasets: expected one or more of cvc, kvasir, isic; found la"),
        (("--minutes", "5", "--methods", "mt,nope"), "; found nope"),
        (("--minutes", "5", "--encoder-weights", "r50.pth"), "expected `imagenet` or a file, found r50.pth"),
        (("--minutes", "5", "--export", "x.tar"), "--export: expected a .zip file, found x.tar"),
        (("--minutes", "5", "--export", "/dev/null/x.zip"), "--export: /dev/null cannot be written: "),
    ],
)
def test_bad_options_are_named(
    words: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = runpy.run_path(str(REPOSITORY / "tools" / "campaign.py"))["parsed"]
    monkeypatch.setattr(sys, "argv", ["campaign.py", "--export", "campaign.zip", *words])
    with pytest.raises(SystemExit) as ended:
        parsed()
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_that_could_not_be_replaced_ends_it_before_it_begins(data: Path, tmp_path: Path) -> None:
    (tmp_path / "campaign.zip").write_bytes(b"the only copy of something")
    write_run(Store(tmp_path / "results"), "mt", 1, [0.5], benchmark=KVASIR)
    done = campaign(tmp_path, "--minutes", "3", "--methods", "supervised", "--seeds", "1", "--iterations", "2")
    assert done.returncode == 2
    assert "campaign.zip could not be written at the end: nothing begins" in done.stdout
    assert (tmp_path / "campaign.zip").read_bytes() == b"the only copy of something"
    assert len(Store(tmp_path / "results").runs([])) == 1
    done = campaign(tmp_path, "--minutes", "3", "--methods", "supervised", "--results-root", "other")
    assert done.returncode == 2
    assert "campaign.zip exists, and no run of this store is finished" in done.stdout


def test_damaged_scores_that_no_export_takes_end_it_before_it_begins(data: Path, tmp_path: Path) -> None:
    spec = write_run(Store(tmp_path / "results"), "mt", 1, [0.5], benchmark=KVASIR)
    scores = cases_file(tmp_path / "results" / "runs" / "kvasir" / "mt" / spec.run_id)
    scores.write_text(scores.read_text().replace("0.5", "0.75"))
    done = campaign(tmp_path, "--minutes", "3", "--methods", "supervised", "--seeds", "1", "--iterations", "2")
    assert done.returncode == 2
    assert "nothing begins" in done.stdout
    assert f"results/runs/kvasir/mt/{spec.run_id}/{scores.name}" in done.stdout
    assert len(Store(tmp_path / "results").runs([])) == 1


def test_a_dry_run_makes_no_folder(data: Path, tmp_path: Path) -> None:
    assert campaign(tmp_path, "--minutes", "1", "--dry-run", "--export", "new/campaign.zip").returncode == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_data_set_that_is_refused_is_left_out_and_the_others_go_on(data: Path, tmp_path: Path) -> None:
    next((data / "cvc").rglob("Original/*")).write_bytes(b"no image")
    done = campaign(tmp_path, "--minutes", "3", "--methods", "supervised", "--seeds", "1,2", "--iterations", "2")
    assert done.returncode == 1
    assert done.stdout.count("cvc, seed") == 1
    assert "cvc: refused, left out from here" in done.stdout
    assert {run.spec.benchmark for run in Store(tmp_path / "results").runs([])} == {"kvasir"}

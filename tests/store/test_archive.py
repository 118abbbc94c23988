"""Results travel: out of one store, into another, whole and without loss."""

import errno
import hashlib
import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from handwritten import KVASIR, cases_file, write_run

from ssl_bench.cards import Measurement
from ssl_bench.cards.split import Split
from ssl_bench.errors import UserError
from ssl_bench.store import Run, Store, export_runs, import_runs, scores_entry
from ssl_bench.store import run_folder as folder_module


def finished(store: Store) -> Run:
    """A finished run with weights and pictures of its own."""
    spec = write_run(store, "mt", 1, [0.5, None, 0.75])
    folder = store.folder(spec).path
    for name in ("splits.json", "curves.csv", "weights.safetensors", "examples.npz", "moments-3.npz"):
        (folder / name).write_bytes(name.encode())
    run = store.find(spec)
    assert run is not None
    return run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return Store(tmp_path / "there")


def rewrite(file: Path, **changes: bytes | None) -> Path:
    """A copy of an export in which members of these last names have other bytes (None: are not there)."""
    copy = file.with_name("changed.zip")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            last = name.rpartition("/")[2]
            key = "cases" if last.startswith("cases-") else last.replace(".", "_")
            content = changes.get(key, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return copy


@pytest.mark.parametrize(("weights", "pictures"), [(False, False), (True, False), (False, True)])
def test_a_run_arrives_as_it_left(here: Store, there: Store, tmp_path: Path, weights: bool, pictures: bool) -> None:
    run = finished(here)
    assert export_runs([run], tmp_path / "a.zip", weights=weights, pictures=pictures) == 1
    outcome = import_runs(tmp_path / "a.zip", there)
    assert (outcome.added, outcome.already, outcome.conflicts) == (1, 0, [])
    arrived = there.find(run.spec)
    assert arrived is not None
    assert arrived.result == run.result
    expected = {"run.json", "splits.json", cases_file(run.path).name, "curves.csv"}
    expected |= {"weights.safetensors"} if weights else set()
    expected |= {"examples.npz", "moments-3.npz"} if pictures else set()
    assert names(arrived.path) - {".lock"} == expected
    for name in expected:
        assert (arrived.path / name).read_bytes() == (run.path / name).read_bytes()


def test_a_split_file_leaves_without_its_folder(here: Store, there: Store, tmp_path: Path) -> None:
    rule = Split(file=str(tmp_path / "mine.csv"), fingerprint="0" * 16)
    spec = write_run(here, "mt", 1, [0.5, 0.25], rule=rule)
    export_runs(here.runs(), tmp_path / "a.zip")
    assert import_runs(tmp_path / "a.zip", there).added == 1
    (arrived,) = there.runs()
    assert arrived.spec.split == rule.model_copy(update={"file": "mine.csv"})
    assert str(tmp_path) not in (arrived.path / "run.json").read_text()
    assert there.find(spec) is not None  # its content counts, not where it lies
    assert import_runs(tmp_path / "a.zip", here).already == 1


def test_a_method_can_have_a_plus_in_its_name(here: Store, there: Store, tmp_path: Path) -> None:
    write_run(here, "mcnet+", 1, [0.5, 0.25])
    assert export_runs(here.runs(), tmp_path / "a.zip") == 1
    assert import_runs(tmp_path / "a.zip", there).added == 1


def test_the_same_runs_give_the_same_bytes_whenever_and_wherever(here: Store, there: Store, tmp_path: Path) -> None:
    write_run(here, "cps", 2, [0.5, 0.25])
    finished(here)
    export_runs(here.runs(), tmp_path / "a.zip")
    import_runs(tmp_path / "a.zip", there)
    os.utime(there.runs()[0].path / "run.json", (1e9, 1e9))
    export_runs(there.runs(), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_only_finished_runs_leave(here: Store, tmp_path: Path) -> None:
    write_run(here, "mt", 1, [0.5], status="failed")
    with pytest.raises(UserError, match="expected finished runs to export, found none among 1"):
        export_runs(here.runs(), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    finished(here)
    assert export_runs(here.runs(), tmp_path / "a.zip") == 1


def test_an_export_replaces_a_smaller_one_alone(here: Store, there: Store, tmp_path: Path) -> None:
    file, run = tmp_path / "a.zip", finished(here)
    file.write_text("a table of mine")
    with pytest.raises(UserError, match=r"a\.zip: cannot be read as an export.*give another name"):
        export_runs([run], file)
    assert file.read_text() == "a table of mine"
    file.unlink()
    export_runs([run], file)
    write_run(here, "cps", 2, [0.5, 0.25])
    assert export_runs(here.runs(), file, weights=True) == 2
    before = file.read_bytes()
    assert export_runs(here.runs(), file, weights=True) == 2
    with pytest.raises(
        UserError, match=r"that this export lacks or changes, such as .*weights\.safetensors; give another name"
    ):
        export_runs(here.runs(), file)
    with pytest.raises(UserError, match=r"that this export lacks or changes, such as .*runs/isic/cps/"):
        export_runs([run], file, weights=True)
    again = write_run(there, "cps", 2, [0.75, 0.25])  # the same run, trained with other scores
    assert again.hash in {run.spec.hash for run in here.runs()}
    with pytest.raises(UserError, match=r"that this export lacks or changes, such as .*runs/isic/cps/"):
        export_runs([*there.runs(), run], file, weights=True)
    assert file.read_bytes() == before


def test_what_is_there_is_not_touched_and_missing_files_are_added(here: Store, there: Store, tmp_path: Path) -> None:
    run = finished(here)
    export_runs([run], tmp_path / "a.zip", weights=True)
    write_run(there, "mt", 1, [0.5, None, 0.75])
    before = (there.folder(run.spec).path / "run.json").stat().st_mtime_ns
    outcome = import_runs(tmp_path / "a.zip", there)
    assert (outcome.added, outcome.already, outcome.conflicts) == (0, 1, [])
    folder = there.folder(run.spec).path
    assert (folder / "run.json").stat().st_mtime_ns == before
    assert (folder / "weights.safetensors").read_bytes() == b"weights.safetensors"


def test_other_scores_of_the_same_run_are_a_conflict(here: Store, there: Store, tmp_path: Path) -> None:
    export_runs([finished(here)], tmp_path / "a.zip", weights=True)
    spec = write_run(there, "mt", 1, [0.5, 0.25, 0.75])
    cases = cases_file(there.folder(spec).path).read_bytes()
    write_run(here, "cps", 1, [0.5])
    export_runs(here.runs(), tmp_path / "a.zip", weights=True)
    outcome = import_runs(tmp_path / "a.zip", there)
    assert (outcome.added, outcome.already) == (1, 0)  # the other run came in all the same
    (conflict,) = outcome.conflicts
    assert "has other scores here (dsc 0.5) than in the file (dsc 0.625); not imported" in conflict
    assert cases_file(there.folder(spec).path).read_bytes() == cases
    assert not (there.folder(spec).path / "weights.safetensors").exists()


def test_a_finished_run_takes_the_place_of_an_unfinished_one(here: Store, there: Store, tmp_path: Path) -> None:
    run = finished(here)
    export_runs([run], tmp_path / "a.zip")
    write_run(there, "mt", 1, [0.5, None, 0.75], status="failed")
    folder = there.folder(run.spec)
    folder.write_checkpoint(7, b"weights")
    assert import_runs(tmp_path / "a.zip", there).added == 1
    assert folder.is_finished
    assert not [name for name in names(folder.path) if "checkpoint" in name]


def test_nothing_of_an_unfinished_run_stays_beside_the_one_that_takes_its_place(
    here: Store, there: Store, tmp_path: Path
) -> None:
    run = finished(here)
    export_runs([run], tmp_path / "a.zip")
    write_run(there, "mt", 1, [0.5, None, 0.75], status="failed")
    folder = there.folder(run.spec).path
    for name in ("curves.csv", "validation_curve.csv", "weights.safetensors", "moments-9.npz", "traceback.txt"):
        (folder / name).write_bytes(b"of another training")
    import_runs(tmp_path / "a.zip", there)
    assert names(folder) - {".lock"} == {"run.json", "splits.json", cases_file(folder).name, "curves.csv"}
    assert (folder / "curves.csv").read_bytes() == b"curves.csv"


def test_damaged_scores_do_not_travel(here: Store, there: Store, tmp_path: Path) -> None:
    run = finished(here)
    export_runs([run], tmp_path / "a.zip")
    cases = cases_file(run.path)
    cases.write_text(cases.read_text().replace("0.75", "0.25"))
    with pytest.raises(
        UserError,
        match=r"cases-[0-9a-f]{8}\.csv: altered since it was written: its SHA-256 is not the one in run\.json",
    ):
        export_runs(here.runs(), tmp_path / "b.zip")
    content = cases.read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    (name,) = [name for name in manifest["files"] if cases.name in name]
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    changed = rewrite(tmp_path / "a.zip", cases=content, manifest_json=json.dumps(manifest).encode())
    with pytest.raises(UserError, match=r"changed\.zip: runs/isic/mt/.*/cases-.*\.csv: altered since it was written"):
        import_runs(changed, there)
    assert not there.root.exists()


@pytest.mark.parametrize(("name", "content"), [("run.json", "{"), ("cases", "network,case,class,dsc\n")])
def test_a_run_that_is_damaged_here_is_a_conflict(
    here: Store, there: Store, tmp_path: Path, name: str, content: str
) -> None:
    run = finished(here)
    write_run(here, "cps", 2, [0.5, 0.25])
    export_runs(here.runs(), tmp_path / "a.zip")
    folder = there.folder(write_run(there, "mt", 1, [0.5, None, 0.75])).path
    damaged = cases_file(folder) if name == "cases" else folder / name
    damaged.write_text(content)
    outcome = import_runs(tmp_path / "a.zip", there)
    assert (outcome.added, outcome.already) == (1, 0)  # the other run came in all the same
    (conflict,) = outcome.conflicts
    assert f"runs/isic/mt/{run.spec.hash}" in conflict
    assert f"is damaged here ({damaged}: " in conflict
    assert damaged.read_text() == content


def test_memory_holds_one_run_at_a_time(here: Store, there: Store, tmp_path: Path) -> None:
    size, runs = 8 * 2**20, list[Run]()
    for seed in range(1, 6):
        spec = write_run(here, "mt", seed, [0.5])
        (here.folder(spec).path / "weights.safetensors").write_bytes(os.urandom(size))
        run = here.find(spec)
        assert run is not None
        runs.append(run)
    peaks = []
    for act in (
        lambda: export_runs(runs, tmp_path / "a.zip", weights=True),
        lambda: import_runs(tmp_path / "a.zip", there),
    ):
        tracemalloc.start()
        act()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 3 * size
    assert len(there.runs()) == 5


def test_scores_replace_the_file_of_a_scoring_that_was_killed(here: Store, there: Store, tmp_path: Path) -> None:
    """A process that is killed between the cases file and run.json leaves a file that run.json does not name."""
    run, own = finished(here), there.folder(write_run(there, "mt", 1, [0.5, None, 0.75]))
    record = json.loads((run.path / "run.json").read_text())
    cases = b"network,case,class,jaccard\nteacher,0,lesion,0.25\n"
    measurement = Measurement(metrics=("jaccard",), score_size="original")
    means = {"teacher": {"jaccard": {"mean": 0.25, "undefined": 0}}}
    record["scores"][measurement.key] = scores_entry(measurement, means, cases, 1.0)
    (run.path / "run.json").write_text(json.dumps(record))
    (run.path / f"cases-{measurement.key}.csv").write_bytes(cases)
    export_runs(here.runs(), tmp_path / "a.zip")
    own.cases(measurement.key).write_bytes(cases.replace(b"0.25", b"0.2500001"))
    outcome = import_runs(tmp_path / "a.zip", there)
    assert (outcome.added, outcome.already, outcome.conflicts) == (0, 1, [])
    (merged,) = there.runs()
    merged.require_whole()
    assert merged.scores[measurement.key].cases["jaccard"].tolist() == [0.25]


def test_a_disk_that_is_full_is_named_and_not_the_file(
    here: Store, there: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_runs([finished(here)], tmp_path / "a.zip")

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "write_bytes", full)
    with pytest.raises(UserError) as refused:
        import_runs(tmp_path / "a.zip", there)
    assert str(refused.value) == f"{there.root}: cannot be written: No space left on device (0 of 1 run added)"


def test_a_run_that_is_being_trained_is_left_alone(here: Store, there: Store, tmp_path: Path) -> None:
    run = finished(here)
    export_runs([run], tmp_path / "a.zip")
    with there.claim(run.spec):
        outcome = import_runs(tmp_path / "a.zip", there)
    assert outcome.added == 0
    assert outcome.conflicts[0].endswith("is being trained here; not imported")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cases": b"network,case,class,dsc\n"}, r"cases-\w+\.csv is damaged"),
        ({"cases": None}, "its manifest and its contents differ"),
        ({"manifest_json": None}, "found no manifest.json"),
        ({"manifest_json": b"{"}, "cannot be read as an export"),
        ({"manifest_json": b'{"format": 99, "files": {}}'}, "expected format 2, found 99"),
        ({"manifest_json": b"[]"}, "cannot be read as an export"),
    ],
)
def test_a_damaged_file_changes_nothing(
    here: Store, there: Store, tmp_path: Path, changes: dict[str, bytes | None], expected: str
) -> None:
    export_runs([finished(here)], tmp_path / "a.zip")
    with pytest.raises(UserError, match=expected):
        import_runs(rewrite(tmp_path / "a.zip", **changes), there)
    assert not there.root.exists()


@pytest.mark.parametrize(
    "name", ["../outside.json", "runs/isic/mt/0123456789abcdef/../../x.json", "/etc/x", "runs/isic/mt/short/run.json"]
)
def test_nothing_leaves_the_stores_folder(there: Store, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"{}")
        files = {name: hashlib.sha256(b"{}").hexdigest()}
        archive.writestr("manifest.json", json.dumps({"format": 1, "files": files}))
    with pytest.raises(UserError, match="expected files of runs, found"):
        import_runs(tmp_path / "a.zip", there)
    assert not there.root.exists()


def test_a_run_under_another_name_is_refused(here: Store, there: Store, tmp_path: Path) -> None:
    run = finished(here)
    record = json.loads((run.path / "run.json").read_text())
    record["spec"]["seed"] = 5
    (run.path / "run.json").write_text(json.dumps(record))
    export_runs([run], tmp_path / "a.zip")
    with pytest.raises(UserError, match="its specification is that of isic/mt/"):
        import_runs(tmp_path / "a.zip", there)


def test_the_commands(here: Store, there: Store, call: Call, tmp_path: Path) -> None:
    finished(here)
    write_run(here, "cps", 1, [0.5], benchmark=KVASIR, labeled=120, train=800)
    write_run(here, "cps", 2, [0.5], benchmark=KVASIR, labeled=120, train=800, status="interrupted")
    code, out, err = call("results", "export", "all.zip", "--results-root", here.root)
    assert (code, err) == (0, "not exported: 1 unfinished run\n")
    assert out.startswith("2 runs written to all.zip")
    code, out, _ = call("results", "import", "all.zip", "--results-root", there.root)
    assert (code, out) == (0, "2 runs added, 0 already present, 0 conflicts\n")
    code, out, _ = call("results", "import", "all.zip", "--results-root", there.root)
    assert (code, out) == (0, "0 runs added, 2 already present, 0 conflicts\n")
    code, out, _ = call("results", "export", "some.zip", "--dataset", "kvasir", "--results-root", there.root)
    assert (code, out.startswith("1 run written")) == (0, True)
    code, _, err = call("results", "export", "no.zip", "--methods", "mt,nope", "--results-root", there.root)
    assert (code, err) == (2, "error: --methods: expected one of cps, mt; found 'nope'\n")
    code, _, err = call("results", "import", "nowhere.zip", "--results-root", there.root)
    assert code == 2
    assert err.startswith("error: nowhere.zip: cannot be read as an export")


def test_a_damaged_export_is_one_error_and_imports_nothing(here: Store, there: Store, tmp_path: Path) -> None:
    run = finished(here)
    (run.path / "weights.safetensors").write_bytes(os.urandom(20) * 500)
    export_runs([run], tmp_path / "a.zip", weights=True)
    content = (tmp_path / "a.zip").read_bytes()
    rng = np.random.default_rng(0)
    messages = list[str]()
    for _ in range(300):
        damaged, at = bytearray(content), int(rng.integers(len(content) - 8))
        damaged[at : at + 8] = rng.bytes(8)
        (tmp_path / "b.zip").write_bytes(damaged)
        try:
            import_runs(tmp_path / "b.zip", there)
        except UserError as error:
            messages.append(str(error))
            with pytest.raises(UserError, match=r"give another name|expected an export"):
                export_runs([run], tmp_path / "b.zip", weights=True)
    assert len(messages) > 200
    assert all(message.startswith(f"{tmp_path / 'b.zip'}: ") for message in messages)


def test_a_file_above_the_limit_of_plain_archives_is_exported(
    here: Store, there: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(here)
    (run.path / "weights.safetensors").write_bytes(os.urandom(9000))
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 4000)  # in place of 2 GiB
    export_runs([run], tmp_path / "a.zip", weights=True)
    assert import_runs(tmp_path / "a.zip", there).added == 1
    arrived = there.find(run.spec)
    assert arrived is not None
    assert (arrived.path / "weights.safetensors").read_bytes() == (run.path / "weights.safetensors").read_bytes()

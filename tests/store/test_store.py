"""The results store: statuses, claims between processes, checkpoints, and files that are never half-written."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from handwritten import cases_file, cases_of

from ssl_bench.atomic import write_bytes, write_csv, write_json
from ssl_bench.cards import Measurement, RunSpec, load_benchmark, load_protocol
from ssl_bench.data.split import Splits
from ssl_bench.errors import RunFailedError, UserError
from ssl_bench.method import Hyperparameters, SSLMethod
from ssl_bench.store import Run, RunFolder, Store, scores_entry
from ssl_bench.store import run_folder as folder_module
from ssl_bench.training import trainer as train_module
from ssl_bench.training.job import Job
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train


def spec_of(seed: int = 1, **changes: Any) -> RunSpec:
    benchmark = load_benchmark("kvasir")
    fields = {
        "benchmark": "kvasir", "classes": benchmark.classes, "label_values": (0, 255), "intensity": "rgb",
        "split": benchmark.splits["random"], "data_fingerprint": "00ff", "train_count": 800,
        "test_count": 200, "labeled": 120, "protocol": load_protocol("tiny").resolved(benchmark, 800, "cpu"),
        "method": "mt", "method_version": 1, "hyperparameters": {}, "seed": seed,
    }  # fmt: skip
    return RunSpec(**(fields | changes))


SPEC = spec_of()
MEASURED = Measurement(metrics=("dsc",), score_size="original")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def folder(store: Store) -> RunFolder:
    """The folder of a run that has begun."""
    folder = store.folder(SPEC)
    folder.begin(SPEC, MEASURED, 100, {"device": "CPU"})
    return folder


def status(store: Store, spec: RunSpec = SPEC) -> str:
    run = store.find(spec)
    assert run is not None
    return run.status


def files(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()} - {".lock"}


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Within, no file may grow beyond `size` bytes (Python ignores the signal and raises OSError)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a process that runs `code`; it ends when its standard input is closed, if it reads it."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


CLAIM = """
import sys
from pathlib import Path
from ssl_bench.cards import RunSpec
from ssl_bench.store import Store

with Store(Path(sys.argv[1])).claim(RunSpec.model_validate_json(sys.argv[2])) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_process_claims(store: Store, spec: RunSpec = SPEC) -> Iterator[subprocess.Popen[str]]:
    process = python(CLAIM, store.root, spec.model_dump_json())
    try:
        assert line(process) == "True"
        yield process
    finally:
        process.kill()
        process.wait(30)


# ------------------------------------------------------------------------------------------------------------ status


def test_a_run_lies_in_the_folder_of_its_hash(store: Store) -> None:
    assert store.folder(SPEC).path == store.root / "runs" / "kvasir" / "mt" / SPEC.hash
    assert store.folder(spec_of(seed=2)).path != store.folder(SPEC).path


def test_a_run_that_never_began_is_not_there(store: Store) -> None:
    assert store.find(SPEC) is None
    assert store.runs() == []
    assert store.folder(SPEC).read() is None
    assert not store.folder(SPEC).is_finished
    assert not store.root.exists()  # looking creates nothing


def test_a_begun_run_that_nobody_holds_is_interrupted(store: Store, folder: RunFolder) -> None:
    assert status(store) == "interrupted"
    with store.claim(SPEC):
        pass
    assert status(store) == "interrupted"


def test_a_held_run_is_running(store: Store, folder: RunFolder) -> None:
    with store.claim(SPEC) as mine:
        assert mine
        assert status(store) == "running"  # also as its own process sees it
    with another_process_claims(store):
        assert status(store) == "running"
    assert status(store) == "interrupted"


def test_a_failed_run_says_why_until_it_is_begun_again(store: Store, folder: RunFolder) -> None:
    folder.fail("the loss is not finite")
    run = store.find(SPEC)
    assert run is not None
    assert (run.status, run.error) == ("failed", "the loss is not finite")
    with store.claim(SPEC):
        folder.begin(SPEC, MEASURED, 100, {"device": "CPU"})
        run = store.find(SPEC)
        assert run is not None
        assert (run.status, run.error) == ("running", None)


ENTRY = {
    "00000000": {
        "measurement": {"metrics": ["dsc"], "score_size": "original"},
        "networks": {"teacher": {"dsc": {"mean": 0.5, "undefined": 0}}},
        "cases_sha256": "",
        "seconds": 1.0,
    }
}


def test_a_finished_run_has_its_result_and_is_finished_even_while_held(store: Store, folder: RunFolder) -> None:
    assert not folder.is_finished
    folder.finish({"predictor": "teacher"}, ENTRY)
    assert folder.is_finished
    run = store.find(SPEC)
    assert run is not None
    assert (run.status, run.iteration, run.iterations, run.error) == ("finished", 100, 100, None)
    assert run.headline.summary["teacher"]["dsc"]["mean"] == 0.5
    assert {"started", "finished", "device"} <= set(run.provenance)
    with store.claim(SPEC):
        assert status(store) == "finished"


def test_the_iteration_is_the_latest_checkpoints(store: Store, folder: RunFolder) -> None:
    found = []
    for iteration in (0, 7, 30):
        if iteration:
            folder.write_checkpoint(iteration, b"state")
        run = store.find(SPEC)
        assert run is not None
        found.append((run.iteration, run.iterations))
    assert found == [(0, 100), (7, 100), (30, 100)]


def test_beginning_again_keeps_when_the_run_was_started(
    store: Store, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.find(SPEC)
    assert run is not None
    monkeypatch.setattr(folder_module, "now", lambda: "2099-01-01T00:00:00+00:00")
    folder.begin(SPEC, MEASURED, 100, {"device": "another"})
    again = store.find(SPEC)
    assert again is not None
    assert again.provenance == {"started": run.provenance["started"], "device": "another"}


def test_going_on_keeps_each_earlier_provenance_and_beginning_anew_none(store: Store, folder: RunFolder) -> None:
    def earlier() -> list[dict[str, str]] | None:
        run = store.find(SPEC)
        assert run is not None
        return run.provenance.get("earlier")

    folder.begin(SPEC, MEASURED, 100, {"device": "CPU"}, goes_on=True)
    assert earlier() is None
    for device in ("GPU", "GPU", "CPU"):
        folder.begin(SPEC, MEASURED, 100, {"device": device}, goes_on=True)
    assert earlier() == [{"device": "CPU"}, {"device": "GPU"}]
    folder.begin(SPEC, MEASURED, 100, {"device": "CPU"})
    assert earlier() is None


def test_the_stored_spec_is_the_run(store: Store, folder: RunFolder) -> None:
    run = store.find(SPEC)
    assert run is not None
    assert run.spec == SPEC
    assert run.spec.hash == SPEC.hash == json.loads((folder.path / "run.json").read_text())["hash"]


def test_runs_are_all_runs_in_order(store: Store) -> None:
    specs = [
        spec_of(seed, benchmark=name, method=method, labeled=labeled)
        for name in ("cvc", "isic") for method in ("cps", "mt") for labeled in (9, 120) for seed in (2, 10)
    ]  # fmt: skip
    for spec in specs[::-1]:
        store.folder(spec).begin(spec, MEASURED, 5, {})
    with store.claim(spec_of(seed=77)):  # claimed and not yet begun
        assert [run.spec for run in store.runs()] == specs


def test_a_copy_of_a_runs_folder_is_not_counted_as_another_run(store: Store, folder: RunFolder) -> None:
    folder.finish({}, {})
    shutil.copytree(folder.path, folder.path.with_name(f"{folder.path.name}.bak"))
    try:
        runs = store.runs()
    except UserError as error:
        assert ".bak" in str(error)  # noqa: PT017
    else:
        assert [run.path for run in runs] == [folder.path]


def test_a_run_whose_folder_is_renamed_is_not_there(store: Store, folder: RunFolder) -> None:
    folder.finish({}, {})
    assert store.folder(SPEC).is_finished
    folder.path.rename(folder.path.with_name(f"{folder.path.name}.old"))
    assert store.runs() == []
    assert store.folder(SPEC).path == folder.path
    assert not store.is_done(SPEC, None)
    assert not store.lacks_curves(SPEC)


def test_a_folder_with_the_name_of_another_run_is_an_error(store: Store, folder: RunFolder) -> None:
    folder.finish({}, {})
    other = spec_of(seed=2)
    folder.path.rename(store.own_folder(other).path)
    with pytest.raises(UserError, match=rf"run\.json: expected run {other.run_id}, found {SPEC.run_id}"):
        store.folder(other)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b'"format"', b"{}", b'{"format": 3}', b'{"format": "1"}']
)
def test_a_foreign_run_description_is_named(store: Store, folder: RunFolder, content: bytes) -> None:
    path = folder.path / "run.json"
    path.write_bytes(content)
    for read in (folder.read, lambda: folder.is_finished, store.runs, lambda: store.find(SPEC)):
        with pytest.raises(UserError) as caught:
            read()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("key", ["status", "iterations", "spec", "provenance"])
def test_a_run_description_that_lacks_a_part_is_named(store: Store, folder: RunFolder, key: str) -> None:
    path = folder.path / "run.json"
    data = json.loads(path.read_text())
    del data[key]
    write_json(path, data)
    with pytest.raises(UserError) as caught:
        store.runs()
    assert str(path) in str(caught.value)


def test_a_run_of_another_versions_spec_is_named(store: Store, folder: RunFolder) -> None:
    path = folder.path / "run.json"
    data = json.loads(path.read_text())
    data["spec"]["a_field_of_tomorrow"] = 1
    write_json(path, data)
    with pytest.raises(UserError, match="not a run of this version") as caught:
        store.runs()
    assert str(path) in str(caught.value)


# ------------------------------------------------------------------------------------------------------------- claims


def test_a_claim_is_one_holders_at_a_time(store: Store) -> None:
    with store.claim(SPEC) as first:
        assert first
        with store.claim(SPEC) as second:
            assert not second
        with store.claim(spec_of(seed=2)) as other_run:
            assert other_run
        with store.claim(SPEC) as still:
            assert not still
    with store.claim(SPEC) as afterwards:
        assert afterwards


def test_another_process_is_told_at_once_that_the_run_is_taken(store: Store) -> None:
    with another_process_claims(store):
        started = time.monotonic()
        with store.claim(SPEC) as mine:
            assert not mine
        assert time.monotonic() - started < 1
    with store.claim(SPEC):
        process = python(CLAIM, store.root, SPEC.model_dump_json())
        assert line(process) == "False"
        process.communicate("\n", timeout=30)


def test_a_killed_holder_holds_nothing(store: Store, folder: RunFolder) -> None:
    with another_process_claims(store) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        assert status(store) == "interrupted"
        with store.claim(SPEC) as mine:
            assert mine


def test_a_claim_ends_with_an_exception(store: Store) -> None:
    with pytest.raises(RuntimeError, match="in training"), store.claim(SPEC):
        raise RuntimeError("in training")
    with store.claim(SPEC) as mine:
        assert mine


@pytest.mark.parametrize("error", [OSError("disk"), TimeoutError("slow"), KeyboardInterrupt()])
def test_an_exception_in_training_comes_out_as_it_is(store: Store, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, store.claim(SPEC):
        raise error
    assert caught.value is error


def test_waiting_ends_when_the_holder_dies(store: Store) -> None:
    store.wait(SPEC, lambda: False)  # nobody ever held it
    with another_process_claims(store) as process:
        threading.Timer(0.7, process.kill).start()
        started = time.monotonic()
        store.wait(SPEC, lambda: False)
        waited = time.monotonic() - started
    assert 0.5 < waited < 10


def test_of_many_threads_at_once_exactly_one_gets_the_run(store: Store) -> None:
    count, got = 16, []
    start, tried = threading.Barrier(count), threading.Barrier(count)

    def contend() -> None:
        start.wait(30)
        with store.claim(SPEC) as mine:
            tried.wait(30)  # the winner holds it until everybody has tried
            got.append(mine)

    threads = [threading.Thread(target=contend) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [False] * (count - 1) + [True]


CONTEND = """
import os, sys, time
from pathlib import Path
from ssl_bench.cards import RunSpec
from ssl_bench.store import Store

store, spec, inside = Store(Path(sys.argv[1])), RunSpec.model_validate_json(sys.argv[2]), sys.argv[3]
children = []
for number in range(int(sys.argv[4])):
    child = os.fork()
    if child == 0:
        wins, code, deadline = 0, 1, time.monotonic() + 60
        try:
            while wins < 3 and time.monotonic() < deadline:
                with store.claim(spec) as mine:
                    if mine:
                        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another process is inside
                        time.sleep(0.001)
                        os.unlink(inside)
                        wins += 1
                time.sleep(0.002)
            code = 0 if wins == 3 else 2
        finally:
            os._exit(code)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_of_many_processes_one_at_a_time_is_inside_and_each_gets_its_turn(store: Store, tmp_path: Path) -> None:
    process = python(CONTEND, store.root, SPEC.model_dump_json(), tmp_path / "inside", "30")
    assert line(process) == str([0] * 30)
    process.communicate(timeout=30)


def test_a_results_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file")
    with pytest.raises(UserError, match="--results-root") as caught, store.claim(SPEC):
        pytest.fail("claimed in a file")
    assert str(tmp_path / "file") in str(caught.value)


# -------------------------------------------------------------------------------------------------------- checkpoints


def named(iteration: int, content: bytes) -> str:
    return f"checkpoint-{iteration}-{hashlib.sha256(content).hexdigest()[:8]}.pt"


def test_a_checkpoint_comes_back(folder: RunFolder) -> None:
    assert folder.read_checkpoint() is None
    content = np.random.default_rng(0).bytes(100_000)
    folder.write_checkpoint(40, content)
    assert folder.read_checkpoint() == content
    assert RunFolder(folder.path).read_checkpoint() == content


def test_only_the_latest_checkpoint_stays(folder: RunFolder) -> None:
    for iteration in (10, 20, 9):
        folder.write_checkpoint(iteration, str(iteration).encode())
        assert folder.read_checkpoint() == str(iteration).encode()
        assert files(folder) == {"run.json", "checkpoint.json", named(iteration, str(iteration).encode())}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "no index", "another index"])
def test_a_damaged_checkpoint_is_named_and_left_as_it_is(folder: RunFolder, damage: str) -> None:
    folder.write_checkpoint(40, b"state " * 1000)
    path, index = folder.path / named(40, b"state " * 1000), folder.path / "checkpoint.json"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "no index":
        index.write_text("{")
    elif damage == "another index":
        index.write_text('{"iteration": 40}')
    else:
        flipped = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes({"flipped": flipped, "truncated": content[:-1], "empty": b""}[damage])
    before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    with pytest.raises(UserError, match="delete") as caught:
        folder.read_checkpoint()
    assert str(index if "index" in damage else path) in str(caught.value)
    assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == before


def test_the_advice_on_a_damaged_checkpoint_works(folder: RunFolder) -> None:
    folder.write_checkpoint(40, b"state")
    (folder.path / named(40, b"state")).write_bytes(b"damaged")
    (folder.path / "checkpoint.json").unlink()
    assert folder.read_checkpoint() is None
    folder.write_checkpoint(3, b"anew")
    assert folder.read_checkpoint() == b"anew"
    assert files(folder) == {"run.json", "checkpoint.json", named(3, b"anew")}


def test_a_disk_that_is_full_keeps_the_old_checkpoint(folder: RunFolder) -> None:
    folder.write_checkpoint(40, b"old")
    before = files(folder)
    with disk_full_after(5000), pytest.raises(OSError, match="large"):
        folder.write_checkpoint(80, bytes(10_000))
    assert folder.read_checkpoint() == b"old"
    assert files(folder) == before


@pytest.mark.parametrize("iteration", [80, 40])
def test_a_checkpoint_counts_only_once_its_index_names_it(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, iteration: int
) -> None:
    """So, too, where it is of the same iteration, as of a run that is stopped twice before its first step."""
    folder.write_checkpoint(40, b"old")

    def die(path: Path, data: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            folder.write_checkpoint(iteration, b"new")
    assert folder.read_checkpoint() == b"old"
    folder.write_checkpoint(90, b"newer")
    assert files(folder) == {"run.json", "checkpoint.json", named(90, b"newer")}


KILLED_IN_WRITING = """
import os, signal, sys
from pathlib import Path
from ssl_bench.store import RunFolder

os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
RunFolder(Path(sys.argv[1])).write_checkpoint(80, bytes(100_000))
"""


def test_a_process_killed_while_writing_costs_only_the_new_checkpoint(store: Store, folder: RunFolder) -> None:
    folder.write_checkpoint(40, b"old")
    assert python(KILLED_IN_WRITING, folder.path).wait(30) == -signal.SIGKILL
    assert folder.read_checkpoint() == b"old"
    assert status(store) == "interrupted"


def test_what_a_killed_process_left_half_written_is_gone_when_the_run_is_finished(folder: RunFolder) -> None:
    """A checkpoint can be a gigabyte, and a preempted machine kills often."""
    folder.write_checkpoint(40, b"old")
    assert python(KILLED_IN_WRITING, folder.path).wait(30) == -signal.SIGKILL
    folder.begin(SPEC, MEASURED, 100, {})
    folder.write_checkpoint(100, b"last")
    folder.finish({}, {})
    assert files(folder) == {"run.json"}


def test_finishing_drops_the_checkpoint_and_nothing_else(folder: RunFolder) -> None:
    folder.write_checkpoint(100, b"last")
    for name in ("cases-00000000.csv", "curves.csv", "splits.json", "weights.safetensors"):
        write_bytes(folder.path / name, b"kept")
    folder.finish({"predictor": "teacher"}, {})
    assert files(folder) == {"run.json", "cases-00000000.csv", "curves.csv", "splits.json", "weights.safetensors"}
    assert folder.read_checkpoint() is None


def test_the_checkpoint_goes_only_after_finished_is_written(folder: RunFolder) -> None:
    folder.write_checkpoint(100, b"last")
    with disk_full_after(100), pytest.raises(OSError, match="large"):
        folder.finish({"predictor": "teacher"}, {})
    assert not folder.is_finished
    assert folder.read_checkpoint() == b"last"


def test_memory_that_runs_out_before_the_first_iteration_is_a_failure_of_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building the networks on a GPU can do that; the other runs of the request must go on."""

    def build(*arguments: object, **_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(train_module, "build_method", build)
    dataset: Any = SimpleNamespace(ignores=False)
    job = Job(SPEC, SSLMethod, Hyperparameters(), dataset, Splits((), (), ()), Measurement(metrics=("dsc",)))
    with pytest.raises(RunFailedError, match="out of memory"):
        train(job, store.folder(SPEC), torch.device("cpu"), StopSignal(), None, {})  # type: ignore[arg-type]
    run = store.find(SPEC)
    assert run is not None
    assert run.status == "failed"
    assert "out of memory" in str(run.error)


# ------------------------------------------------------------------------------------------------------ writing files


@pytest.mark.parametrize("content", [b"", b"text\n", bytes(range(256)) * 1000])
def test_bytes_are_written_as_they_are_also_over_others(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, content)
    assert path.read_bytes() == content
    write_bytes(path, b"shorter")
    assert path.read_bytes() == b"shorter"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("old", [b"the old content", None])
def test_an_error_in_mid_write_keeps_the_old_content_and_leaves_nothing(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    with disk_full_after(1000), pytest.raises(OSError, match="large"):
        write_bytes(path, bytes(5000))
    assert (path.read_bytes() if path.exists() else None) == old
    assert [p.name for p in tmp_path.iterdir()] == ([] if old is None else ["file.bin"])


def test_what_cannot_be_serialised_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


OVERWRITE = """
import itertools, sys
from pathlib import Path
from ssl_bench.atomic import write_bytes

path = Path(sys.argv[1])
print("ready", flush=True)
for letter in itertools.cycle(b"abc"):
    write_bytes(path, bytes([letter]) * 300_000)
"""


def test_a_reader_beside_a_writer_and_after_its_sudden_death_sees_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"a" * 300_000)
    letters: set[int] = set()
    for kill_after in (0.05, 0.11, 0.17):
        process = python(OVERWRITE, path)
        assert line(process) == "ready"
        deadline = time.monotonic() + kill_after
        contents = []
        while time.monotonic() < deadline:
            contents.append(path.read_bytes())
        process.kill()
        process.wait(30)
        for content in (*contents, path.read_bytes()):
            assert content == content[:1] * 300_000
            letters.add(content[0])
    assert len(letters) > 1  # the writer did write


@pytest.mark.parametrize("data", [{"a": [1, 2.5, None, True], "é": "ü\n"}, [], "text", 0.1])
def test_json_reads_back_and_ends_in_a_newline(tmp_path: Path, data: Any) -> None:
    write_json(tmp_path / "x.json", data)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == data
    assert text.endswith("\n")


def write_cases(store: Store, rows: list[tuple[str, float, float | None]]) -> Run:
    """Finish a run with these scores: case, DSC and 95HD of the teacher."""
    spec = spec_of(test_count=len(rows))
    folder = store.folder(spec)
    folder.begin(spec, MEASURED, 100, {})
    cases = [("teacher", case, "polyp", dsc, distance) for case, dsc, distance in rows]
    measurement = Measurement(metrics=("dsc", "95hd"), score_size="original")
    path = folder.cases(measurement.key)
    write_csv(path, ("network", "case", "class", "dsc", "95hd"), cases)
    folder.finish({"predictor": "teacher"}, {measurement.key: scores_entry(measurement, {}, path.read_bytes(), 1.0)})
    run = store.find(spec)
    assert run is not None
    return run


def test_scores_read_back_to_the_very_same_numbers(store: Store) -> None:
    rng = np.random.default_rng(0)
    values = [*rng.random(3000), *rng.random(1000) * 1e-9, *rng.random(1000) * 1e9, 0.0, 1.0, 1 / 3, 5e-324, 1e300]
    run = write_cases(store, [(f"c{i}", float(value), None) for i, value in enumerate(values)])
    assert cases_of(run)["dsc"].tolist() == values
    with cases_file(run.path).open() as file:
        assert [float(row["dsc"]) for row in csv.DictReader(file)] == values


def test_undefined_scores_are_empty_cells_and_read_back_as_nan(store: Store) -> None:
    run = write_cases(store, [("1", 0.0, None), ("2", 1.0, 3.5)])
    assert cases_file(run.path).read_text().splitlines()[1] == "teacher,1,polyp,0.0,"
    assert np.isnan(cases_of(run)["95hd"][0])
    assert cases_of(run)["95hd"][1] == 3.5


@pytest.mark.parametrize("name", ["007", "1", "1e5", "a,b", 'a"b', "é", "NA", "nan", "null", "None"])
def test_case_ids_read_back_as_they_were(store: Store, name: str) -> None:
    assert cases_of(write_cases(store, [(name, 0.5, None)]))["case"].tolist() == [name]


def test_curves_read_back(store: Store, folder: RunFolder) -> None:
    write_csv(folder.path / "curves.csv", ("iteration", "loss"), [(10, 0.1), (20, 1 / 3)])
    run = store.find(SPEC)
    assert run is not None
    assert run.curves["iteration"].tolist() == [10, 20]
    assert run.curves["loss"].tolist() == [0.1, 1 / 3]


def test_the_store_does_without_torch() -> None:
    code = "import sys, ssl_bench.store; print('torch' in sys.modules)"
    process = python(code)
    assert line(process) == "False"
    process.wait(30)


def test_one_unreadable_run_does_not_hide_the_others(store: Store, folder: RunFolder) -> None:
    folder.begin(SPEC, MEASURED, 100, {})
    other = folder.path.parent / "0000000000000000"
    other.mkdir()
    (other / "run.json").write_text("{}")
    unreadable: list[str] = []
    assert [run.path for run in store.runs(unreadable)] == [folder.path]
    assert str(other / "run.json") in unreadable[0]

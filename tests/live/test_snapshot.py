"""What is said of each run of a store: its state, progress and curve, and that nothing is touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from handwritten import write_run
from served import CURVES, VALIDATION, change, write_full_run

from ssl_bench.live.curve_files import brief_curve, read_curves, shortened
from ssl_bench.live.pages import Pages
from ssl_bench.live.snapshot import Snapshot, StoreReader, last_lines, plain_line, said
from ssl_bench.store import RunFolder, Store

HOLDING = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
BEGINNING = b'{"format": 2, "hash": "0123456789abcdef", "status": '


def states(store: Store) -> dict[str, str]:
    return {run.id: run.state for run in StoreReader(store.root).snapshot().runs}


def begun(store: Store, seed: int, **progress: object) -> RunFolder:
    folder = RunFolder(store.folder(write_run(store, "mt", seed, [0.5], status="running")).path)
    (folder.path / ".lock").touch()
    if progress:
        folder.progress.write_text(json.dumps(progress))
    return folder


def test_a_run_is_running_while_a_process_holds_its_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = begun(store, 1)
    assert states(store) == {folder.path.name: "interrupted"}
    lock = folder.path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDING, lock], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        assert states(store) == {folder.path.name: "running"}
        before = lock.stat()
        assert states(store) == {folder.path.name: "running"}
        after = lock.stat()
        assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    finally:
        holder.kill()
        holder.wait()
    assert states(store) == {folder.path.name: "interrupted"}


def test_looking_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    begun(store, 1)
    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: pytest.fail("a lock was taken"))
    assert list(states(store).values()) == ["interrupted"]


@pytest.mark.parametrize(
    ("host", "age", "status", "expected"),
    [
        ("elsewhere", 5, "running", "running"),
        ("elsewhere", 500, "running", "interrupted"),
        ("elsewhere", 5, "failed", "failed"),
        (socket.gethostname(), 5, "running", "interrupted"),  # its lock would be seen
    ],
)
def test_of_a_run_on_another_machine_its_last_progress_tells(
    tmp_path: Path, host: str, age: float, status: str, expected: str
) -> None:
    store = Store(tmp_path)
    folder = begun(store, 1, task="training", done=10, total=300, text="loss 0.5", speed=2.0, host=host)
    change(folder, status=status)
    os.utime(folder.progress, (time.time() - age,) * 2)
    assert states(store) == {folder.path.name: expected}


def test_running_ones_come_first_with_speed_and_time_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_run(store, "ucmt", 1, [0.5, 0.7])
    change(RunFolder(store.folder(write_run(store, "cps", 1, [0.5], status="failed")).path), error="no memory")
    begun(store, 1)
    folder = begun(store, 2, task="training", done=100, total=300, text="loss 0.25", speed=4.0, host="elsewhere")
    folder.log.write_text("$ ssl-bench run\n\x1b[31mnote:\x1b[0m a\rlast line\n\n")
    runs = StoreReader(store.root).snapshot().runs
    assert [run.state for run in runs] == ["running", "interrupted", "failed", "finished"]
    first = runs[0]
    assert (first.method, first.seed, first.labeled, first.done, first.total) == ("mt", "2", "90/1815", 100, 300)
    assert first.seconds_left == 50.0
    assert said(first) == "loss 0.25 · last line"
    assert said(runs[2]) == "no memory"
    assert runs[3].headline == pytest.approx(0.6)


def test_a_scoring_in_training_is_as_far_as_the_training(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = begun(store, 1, task="scoring", done=65, total=100, text="", speed=50.0, host="elsewhere", iteration=120)
    os.utime(folder.progress)
    (run,) = StoreReader(store.root).snapshot().runs
    assert (run.task, run.done, run.total, run.seconds_left) == ("training, scoring", 120, 300, None)
    with FileLock(folder.path / ".lock"):
        (entry,) = store.entries()
    assert entry.iteration == 120


def test_requests_that_come_together_share_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(Store(tmp_path), "mt", 1, [0.5])
    reader = StoreReader(tmp_path)
    read, readings = reader.snapshot, list[None]()

    def slowly() -> Snapshot:
        readings.append(None)
        time.sleep(0.2)
        return read()

    monkeypatch.setattr(reader, "snapshot", slowly)
    pages = Pages(reader, 60.0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: pages.snapshot(), range(4)))
    assert len(readings) == 1
    assert all(len(one.runs) == 1 for one in found)


def test_filters(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for method in ("mt", "cps"):
        write_run(store, method, 1, [0.5])
    assert [run.method for run in StoreReader(tmp_path, method="mt").snapshot().runs] == ["mt"]
    assert len(StoreReader(tmp_path, dataset="isic").snapshot().runs) == 2
    assert StoreReader(tmp_path, dataset="kvasir").snapshot().runs == ()
    assert StoreReader(tmp_path / "nowhere").snapshot().runs == ()


def test_a_finished_run_is_read_once_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_full_run(Store(tmp_path), "mt", 1, [0.5])
    reader, read, times = StoreReader(tmp_path), RunFolder.read, [0]

    def counted(self: RunFolder) -> object:
        times[0] += 1
        return read(self)

    monkeypatch.setattr(RunFolder, "read", counted)
    assert [reader.snapshot().counts for _ in range(3)] == [{"finished": 1}] * 3
    assert times[0] == 1
    change(folder, status="failed", error="changed")
    assert reader.snapshot().counts == {"failed": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"format": 2', b"\xff\xfe", b'{"format": 1, "status": "finished"}', b"null",
        BEGINNING + b'"finished", "iterations": "x", "spec": {}, "provenance": 1}',
        BEGINNING + b'[], "iterations": 3, "spec": [], "provenance": {}}',
    ],
)  # fmt: skip
def test_a_damaged_run_is_shown_as_one(tmp_path: Path, content: bytes) -> None:
    write_run(Store(tmp_path), "mt", 1, [0.5])
    folder = tmp_path / "runs" / "isic" / "mt" / "0123456789abcdef"
    folder.mkdir()
    (folder / "run.json").write_bytes(content)
    snapshot = StoreReader(tmp_path).snapshot()
    assert snapshot.counts == {"damaged": 1, "finished": 1}
    assert (snapshot.runs[0].method, bool(snapshot.runs[0].error)) == ("mt", True)


def test_curves_are_read_without_gaps(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("iteration,loss1,other\n10,0.5,\n20,nan,1\n30,0.25,inf\n")
    assert read_curves(path) == {"loss1": [(10.0, 0.5), (30.0, 0.25)], "other": [(20.0, 1.0)]}
    assert read_curves(path, "other") == {"other": [(20.0, 1.0)]}
    assert read_curves(tmp_path / "none.csv") == {}


def test_a_brief_curve_is_the_validation_score_or_else_the_loss(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert brief_curve(folder, 8) == ("", [])
    folder.curves.write_text(CURVES)
    halves = [sum(2 / i for i in half) / 15 for half in (range(1, 16), range(16, 31))]
    assert brief_curve(folder, 2) == ("loss", pytest.approx(halves))
    folder.validation_curve.write_text(VALIDATION)
    assert brief_curve(folder, 8) == ("validation dsc", [0.25, 0.5, 0.75])
    folder.validation_curve.write_bytes(b"\xff")
    assert brief_curve(folder, 8)[0] == "loss"


def test_shortened_values_are_means_of_neighbours() -> None:
    assert shortened([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]
    assert shortened([1.0, 2.0], 5) == [1.0, 2.0]
    assert shortened([], 5) == []


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("x" * 100_000 + "\nfirst\n\nlast \n")
    assert last_lines(log, 2) == ["first", "last"]
    assert last_lines(tmp_path / "none") == []
    assert plain_line("\x1b[1;31mred\x1b[0m\x07 10%\r 20%\x9b") == "20%"

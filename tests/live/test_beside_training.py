"""A run that is watched and served while it trains: it is shown, and it ends in the same bits as one that is not."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from rich.console import Console
from served import get
from workplace import Workplace, contents, wait_for

from ssl_bench.live.snapshot import StoreReader
from ssl_bench.live.watch import Screen

SETTINGS = ("iterations=16",)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


def starts(results: Path) -> tuple[subprocess.Popen[str], str]:
    """Start `ssl-bench serve` on a free port; returns the process and its address."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    words = [
        sys.executable,
        "-m",
        "ssl_bench",
        "serve",
        "--port",
        "0",
        "--every",
        "0.1",
        "--results-root",
        str(results),
    ]
    temporary = results.parent / "tmp"
    temporary.mkdir()
    own = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    environment = {**os.environ, **own}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, cwd=results)
    assert process.stderr is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
    assert found is not None
    return process, found[0]


def bits(place: Workplace) -> list[list[bytes]]:
    return [contents(run.path) for run in place.runs("mt", settings=SETTINGS)]


@pytest.mark.slow
def test_a_run_that_is_watched_closely_ends_in_the_same_bits(place: Workplace) -> None:
    reader, seen, most = StoreReader(place.results), set[str](), 0
    process = place.start("mt", seconds=0.0, settings=SETTINGS)
    while process.exitcode is None:
        snapshot = reader.snapshot()
        Console(file=io.StringIO(), width=100).print(Screen(reader, snapshot, 20))
        for run in snapshot.runs:
            seen.add(run.state)
            most = max(most, run.done)
        time.sleep(0.02)
    assert place.finish(process)[0] == 0
    assert "running" in seen
    assert seen <= {"running", "interrupted", "finished"}  # interrupted: between its lock's file and its lock
    assert [run.state for run in reader.snapshot().runs] == ["finished"]
    assert most > 1
    assert bits(place) == place.undisturbed("mt", settings=SETTINGS)


@pytest.mark.slow
def test_a_killed_server_harms_no_run(place: Workplace) -> None:
    place.results.mkdir()
    server, address = starts(place.results)
    process = place.start("mt", seconds=0.0, settings=SETTINGS)
    wait_for(lambda: "running" in get(f"{address}/")[1], process)
    name = re.search(r"/runs/([0-9a-f]{16})\.html", get(f"{address}/")[1])
    assert name is not None
    assert get(f"{address}/runs/{name[1]}.html")[0] == 200
    assert process.exitcode is None  # it is still training
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert place.finish(process)[0] == 0
    assert bits(place) == place.undisturbed("mt", settings=SETTINGS)


@pytest.mark.slow
def test_a_run_that_is_killed_is_shown_as_interrupted(place: Workplace) -> None:
    reader = StoreReader(place.results)
    process = place.start("mt", held="training", settings=SETTINGS)
    place.wait_held(process)
    assert [(run.state, run.total) for run in reader.snapshot().runs] == [("running", 16)]
    process.kill()
    process.join()
    assert [run.state for run in reader.snapshot().runs] == ["interrupted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_quietly_and_leaves_the_store_as_it_was(place: Workplace, tmp_path: Path, number: int) -> None:
    place.results.mkdir()
    server, address = starts(place.results)
    temporary = tmp_path / "tmp"
    assert get(f"{address}/")[0] == 200
    assert "being made" in get(f"{address}/report/paper/index.html")[1]
    assert len(list(temporary.glob("ssl-bench-report-*"))) == 1
    server.send_signal(number)
    assert server.wait(30) == 0
    assert server.stderr is not None
    assert server.stderr.read() == ""
    assert list(temporary.glob("ssl-bench-report-*")) == []
    assert list(place.results.rglob("*")) == []


def test_progress_names_the_speed_and_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from displays import Silent

    from ssl_bench.launch import inprocess
    from ssl_bench.store import RunFolder

    clock = [100.0]
    monkeypatch.setattr(inprocess.time, "monotonic", lambda: clock[0])
    folder = RunFolder(tmp_path)
    noting: Any = inprocess._Noting(Silent(), folder)
    noting.start("training", 50, 100)
    told = []
    for seconds in (30.0, 2.0, 2.0):  # the first step is slow, as it is where a GPU warms up
        clock[0] += seconds
        noting.step("loss 1")
        progress = folder.read_progress()
        assert progress is not None
        told.append((progress.done, progress.speed, progress.host))
    host = socket.gethostname()
    assert told == [(51, None, host), (52, 0.5, host), (53, 0.5, host)]


def test_progress_of_a_scoring_has_the_iteration_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from displays import Silent

    from ssl_bench.launch import inprocess
    from ssl_bench.store import RunFolder

    monkeypatch.setattr(inprocess, "PROGRESS_SECONDS", -1.0)
    folder, found = RunFolder(tmp_path), []
    noting: Any = inprocess._Noting(Silent(), folder)
    for task, done, total in (("training", 7, 20), ("scoring", 0, 5), ("training", 8, 20), ("scoring", 4, 5)):
        noting.start(task, done, total)
        noting.step()
        progress = folder.read_progress()
        assert progress is not None
        found.append((progress.task, progress.done, progress.reached))
    assert found == [("training", 8, 8), ("scoring", 1, 8), ("training", 9, 9), ("scoring", 5, 9)]


def test_progress_of_earlier_versions_is_read(tmp_path: Path) -> None:
    from ssl_bench.store import RunFolder, RunProgress

    folder = RunFolder(tmp_path)
    folder.progress.write_text('{"task": "training", "done": 3, "total": 9, "text": ""}')
    assert folder.read_progress() == RunProgress("training", 3, 9, "")
    for text in ("[]", "3", '{"task": "a", "done": 1e999, "total": 9, "text": ""}', '{"task": "a"}'):
        folder.progress.write_text(text)
        assert folder.read_progress() is None

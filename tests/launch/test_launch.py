"""Runs in other processes: how devices are dealt out, what becomes of a run whose process dies, and the command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Call
from displays import Listener, Quick
from handwritten import write_run

from ssl_bench.cards import RunSpec
from ssl_bench.command import typed_command
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch import pool as pool_module
from ssl_bench.launch import slurm
from ssl_bench.launch.contract import LaunchOptions
from ssl_bench.launch.launcher import choose_launcher
from ssl_bench.launch.pool import Pool, deal, explain, run_pool
from ssl_bench.launch.task import Task
from ssl_bench.store import Store
from ssl_bench.training.stop import StopSignal

DEMO = ["run", "--dataset", "demo", "--protocol", "tiny"]


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    found: list[tuple[str, int | None]] = []
    monkeypatch.setattr(Quick, "started", found, raising=False)
    monkeypatch.setattr(pool_module, "TICK", 0.01)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def specs(tmp_path: Path, count: int) -> list[RunSpec]:
    elsewhere = Store(tmp_path / "elsewhere")
    return [write_run(elsewhere, "mt", seed, [0.5]) for seed in range(1, count + 1)]


def trains(store: Store, tmp_path: Path, spec: RunSpec, before: str = "") -> Quick:
    """A task that finishes a run by copying it from elsewhere, after some lines of its own."""
    source = Store(tmp_path / "elsewhere").folder(spec).path
    copy = f"shutil.copytree({str(source)!r}, {str(store.folder(spec).path)!r})"
    lines = f"import os, shutil, signal, sys, time\n{before}\n{copy}"
    return Quick(f"seed {spec.seed}", (lines,), tmp_path / f"log-{spec.seed}", spec)


def test_slots_are_dealt_out_in_turn() -> None:
    assert deal(["cuda:0", "cuda:1"], 5) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]


def test_every_run_is_trained_and_no_more_at_a_time_than_there_are_slots(
    store: Store, tmp_path: Path, started: list[tuple[str, int | None]]
) -> None:
    tasks = [trains(store, tmp_path, spec, "time.sleep(0.2)") for spec in specs(tmp_path, 5)]
    listener = Listener()
    outcome = run_pool(tasks, store, ["cuda:0", "cuda:1"], listener)
    assert (outcome.trained, outcome.already_finished, outcome.failures) == (5, 0, [])
    assert listener.most == 2
    assert {device for device, _ in started} == {"cuda:0", "cuda:1"}
    assert all(threads is None for _, threads in started)
    outcome = run_pool(tasks, store, ["cuda:0"], listener)
    assert (outcome.trained, outcome.already_finished) == (0, 5)
    assert len(started) == 5


def test_a_freed_slot_is_the_one_that_is_used(started: list[tuple[str, int | None]], tmp_path: Path) -> None:
    def task(seconds: float) -> Quick:
        return Quick("", (f"import time; time.sleep({seconds})",), tmp_path / "log")

    with Pool(["a", "b", "a"]) as pool:
        for seconds in (5.0, 0.0, 5.0):
            pool.start(task(seconds))
        assert not pool.has_room
        while not pool.ended():
            time.sleep(0.01)
        pool.start(task(5.0))
    assert [device for device, _ in started] == ["a", "b", "a", "b"]
    assert all(process.returncode == -signal.SIGTERM for _, process in pool.active.values())


def test_processes_share_the_cores(started: list[tuple[str, int | None]], tmp_path: Path) -> None:
    with Pool(["cpu", "cpu"]) as pool:
        pool.start(Quick("", ("",), tmp_path / "log"))
    assert started == [("cpu", max(1, len(os.sched_getaffinity(0)) // 2))]


def test_a_process_that_dies_costs_its_own_run_alone(store: Store, tmp_path: Path) -> None:
    own = specs(tmp_path, 3)
    (tmp_path / "log-2").write_text("much\nerror: --data-root: no folder\n")
    tasks = [
        trains(store, tmp_path, own[0], "os.kill(os.getpid(), signal.SIGKILL)"),
        trains(store, tmp_path, own[1], "sys.exit(2)"),
        trains(store, tmp_path, own[2]),
    ]
    outcome = run_pool(tasks, store, ["cpu"], Listener())
    assert outcome.trained == 1
    assert outcome.failures == [
        "seed 1: killed by SIGKILL; the same command continues from its last checkpoint",
        f"seed 2: error: --data-root: no folder (exit code 2; see {tmp_path / 'log-2'})",
    ]
    assert outcome.user_error


def test_why_a_run_failed_is_what_it_recorded(store: Store, tmp_path: Path) -> None:
    spec = write_run(store, "mt", 1, [0.5], status="failed")
    task = Quick("", ("",), tmp_path / "log", spec)
    assert explain(task, 1, store) == "not finite at iteration 3: [loss1] = nan"
    empty = Store(tmp_path / "empty")
    assert explain(task, 1, empty) == f"ended (exit code 1; see {tmp_path / 'log'})"
    assert explain(task, 0, empty) == f"ended (exit code 0; see {tmp_path / 'log'})"


def test_what_another_process_trains_is_left_to_it_and_waited_for(store: Store, tmp_path: Path) -> None:
    own = specs(tmp_path, 2)
    folder, ready = store.folder(own[0]).path, tmp_path / "ready"
    trained = store.folder(own[1]).path / "run.json"
    source = Store(tmp_path / "elsewhere").folder(own[0]).path
    program = f"""
import time, shutil
from pathlib import Path
from filelock import FileLock
folder = Path({str(folder)!r})
folder.mkdir(parents=True)
with FileLock(folder / ".lock"):
    Path({str(ready)!r}).touch()
    while not Path({str(trained)!r}).exists():
        time.sleep(0.01)
    shutil.copytree({str(source)!r}, folder, dirs_exist_ok=True)
"""
    other = subprocess.Popen([sys.executable, "-c", program])
    while not ready.exists():
        time.sleep(0.01)
    listener = Listener()
    outcome = run_pool([trains(store, tmp_path, spec) for spec in own], store, ["cpu"], listener)
    other.wait()
    assert (outcome.trained, outcome.already_finished, outcome.failures) == (1, 1, [])
    assert listener.ends == [("seed 2", "finished"), ("seed 1", "finished earlier")]


@pytest.fixture
def finished_at_the_look(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """A run that another process finishes and releases at the moment at which somebody asks for its lock."""
    (spec,) = specs(tmp_path, 1)

    def finish_and_release(spec: RunSpec) -> bool:
        shutil.copytree(Store(tmp_path / "elsewhere").folder(spec).path, store.folder(spec).path)
        return False

    monkeypatch.setattr(store, "is_claimed", finish_and_release)
    return spec


def test_what_another_process_finishes_between_two_looks_is_not_started(
    store: Store, tmp_path: Path, started: list[tuple[str, int | None]], finished_at_the_look: RunSpec
) -> None:
    listener = Listener()
    outcome = run_pool([trains(store, tmp_path, finished_at_the_look)], store, ["cpu"], listener)
    assert (outcome.trained, outcome.already_finished, started) == (0, 1, [])
    assert listener.ends == [("seed 1", "finished earlier")]


def test_a_signal_reaches_every_process_and_all_are_waited_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = (
        "signal.signal(signal.SIGTERM, lambda *a: (open({0!r} + 'stopped', 'w').close(), sys.exit(143)))\n"
        "open({0!r} + 'ready', 'w').close()\n"
        "time.sleep(30)"
    )
    tasks = [trains(store, tmp_path, spec, notes.format(f"{tmp_path}/{spec.seed}-")) for spec in specs(tmp_path, 3)]

    def both_run() -> bool:
        return len(list(tmp_path.glob("*-ready"))) == 2

    class Stopped(StopSignal):
        signal_number = property(lambda self: 2 if both_run() else None, lambda self, value: None)

    monkeypatch.setattr(pool_module, "StopSignal", Stopped)
    with pytest.raises(InterruptedRunError):
        run_pool(tasks, store, ["cpu", "cpu"], Listener())
    assert sorted(path.name for path in tmp_path.glob("*-stopped")) == ["1-stopped", "2-stopped"]


# ------------------------------------------------------------------------------------------------------------ options


def test_one_run_at_a_time_is_this_process_and_several_are_a_pool() -> None:
    assert choose_launcher("local", LaunchOptions("cpu")).slots == ("cpu",)
    assert choose_launcher("local", LaunchOptions("cpu", 3)).slots == ("cpu", "cpu", "cpu")


def test_every_gpu_is_used_where_several_runs_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("ssl_bench.training.device.choose_device", torch.device)
    assert choose_launcher("local", LaunchOptions("auto", 3)).slots == ("cuda:0", "cuda:1", "cuda:0")
    assert choose_launcher("local", LaunchOptions("cuda:1,cuda:0")).slots == ("cuda:1", "cuda:0")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("cloud", LaunchOptions(), "--launcher: expected local, slurm or a .py file; found 'cloud'"),
        ("cloud.py", LaunchOptions(), "--launcher: no file at "),
        ("local", LaunchOptions("cpu,cpu"), "expected different devices, separated by commas; found 'cpu,cpu'"),
        ("local", LaunchOptions(","), "expected different devices, separated by commas"),
        ("local", LaunchOptions("tpu"), "--device: expected auto, cpu or cuda, found 'tpu'"),
        ("local", LaunchOptions("cpu", slurm="gpus=1"), "--slurm: needs --launcher slurm"),
        ("slurm", LaunchOptions(minutes=5.0), "--minutes: needs --launcher local"),
        ("slurm", LaunchOptions("cuda:1"), "expected auto, cpu or cuda with --launcher slurm"),
        ("slurm", LaunchOptions(slurm="gpu"), "--slurm: expected KEY=VALUE pairs, separated by commas; found 'gpu'"),
        ("slurm", LaunchOptions(slurm="speed=9"), "--slurm: expected one of time, gpus, cpus"),
        ("slurm", LaunchOptions(slurm="time=4"), "--slurm: time: expected a time such as 90m, 4h or 2d, found '4'"),
        ("slurm", LaunchOptions(slurm="gpus=one"), "--slurm: gpus: expected a whole number, found 'one'"),
    ],
)
def test_options_that_do_not_go_together(name: str, options: LaunchOptions, expected: str) -> None:
    with pytest.raises(UserError) as error:
        choose_launcher(name, options)
    assert expected in str(error.value)


def test_what_slurm_is_asked_for() -> None:
    text = "partition=gpu, gpus=1, cpus=4, time=4h, mem=16G, account=lab"
    launcher = choose_launcher("slurm", LaunchOptions(jobs=8, slurm=text))
    assert isinstance(launcher, slurm.Slurm)
    assert launcher.options == {
        "slurm_partition": "gpu", "slurm_gpus_per_node": 1, "slurm_cpus_per_task": 4, "timeout_min": 240,
        "slurm_mem": "16G", "slurm_account": "lab",
    }  # fmt: skip
    assert (launcher.device.type, launcher.at_once) == ("cuda", 8)  # planned for the node's device, not this one's
    assert launcher.slots == ()
    assert choose_launcher("slurm", LaunchOptions()).device.type == "cpu"
    assert choose_launcher("slurm", LaunchOptions(slurm="gres=gpu:2")).device.type == "cuda"


def test_a_job_that_is_preempted_lets_its_process_end_and_asks_for_the_queue_again(tmp_path: Path) -> None:
    program = f"""
import signal, sys, time
def end(number, frame):
    time.sleep(0.2)
    open({str(tmp_path / "ended")!r}, "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
open({str(tmp_path / "ready")!r}, "w").close()
time.sleep(30)
"""
    command = slurm.Command(Quick("", (program,), tmp_path / "log"), "cpu")
    again: list[Any] = []

    def preempted(number: int, frame: Any) -> None:
        if not (tmp_path / "ready").exists():
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        again.append(command.checkpoint())
        assert (tmp_path / "ended").exists()
        raise SystemExit

    before = signal.signal(signal.SIGALRM, preempted), signal.getsignal(signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)  # comes while the job waits for its process
    try:
        with pytest.raises(SystemExit):
            command()
    finally:
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert isinstance(again[0].function, slurm.Command)
    assert again[0].function.task is command.task


def test_a_job_whose_process_fails_fails(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("error: no such thing\n")
    command = slurm.Command(Quick("", ("import sys; sys.exit(2)",), tmp_path / "log"), "cpu")
    with pytest.raises(RuntimeError, match="exit code 2: error: no such thing"):
        command()


def test_a_queue_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "results" / slurm.FOLDER
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{}")
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\nexec sleep 60\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"squeue: no answer within 0\.2 seconds"):
        slurm.queue(tmp_path / "results")


def test_what_is_finished_between_two_looks_is_not_submitted(
    store: Store, tmp_path: Path, finished_at_the_look: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[list[Task]] = []
    monkeypatch.setattr(slurm, "submit", lambda tasks, *_: submitted.append(tasks))
    planned = SimpleNamespace(task=trains(store, tmp_path, finished_at_the_look))
    choose_launcher("slurm", LaunchOptions()).run([planned], store)  # type: ignore[list-item]
    assert (store.find(finished_at_the_look) is not None, submitted) == (True, [])


def test_without_slurm_the_launcher_says_so(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, _, err = call(*DEMO, "--methods", "mt", "--launcher", "slurm")
    assert (code, err) == (2, "error: --launcher slurm: expected the command sbatch on this machine, found none\n")
    assert slurm.queue(tmp_path) == []


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.mark.slow
def test_two_at_a_time_stopped_and_gone_on_with_are_the_bits_of_one_at_a_time(call: Call, tmp_path: Path) -> None:
    words = [*DEMO, "--methods", "supervised,mt", "--iterations", "16"]
    assert call(*words, "--results-root", "alone")[0] == 0
    command = [sys.executable, "-m", "ssl_bench", *words, "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    while not list(tmp_path.glob("results/runs/demo/mt/*/progress.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (143, "interrupted: nothing is lost; run the same command again to continue\n")
    states = {entry.method: entry.status for entry in Store(tmp_path / "results").entries()}
    assert states["mt"] == "interrupted"
    code, out, err = call(*words, "--jobs", "2")
    assert code == 0, err
    assert "Supervised" in out
    for path in (tmp_path / "alone").rglob("weights.safetensors"):
        there = tmp_path / "results" / path.relative_to(tmp_path / "alone")
        assert there.read_bytes() == path.read_bytes()
        run = Store(tmp_path / "results").runs(of={("demo", path.parents[1].name)})[0]
        assert run.provenance["command"].endswith("--methods supervised,mt --iterations 16 --jobs 2")  # as it was typed
        assert (there.parent / "log.txt").read_text().startswith("$ ssl-bench run --methods ")


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"log\.txt: cannot be written: "):
        Task("", ("--help",), tmp_path / "file" / "log.txt").start("cpu")


def test_a_process_of_its_own_is_told_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "run", "--dataset", "a b"])
    assert typed_command() == "ssl-bench run --dataset 'a b'"
    monkeypatch.setenv("SSL_BENCH_COMMAND", "ssl-bench sweep")
    assert typed_command() == "ssl-bench sweep"

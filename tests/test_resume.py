"""Real processes that are killed, stopped, run side by side, and started again: nothing is lost, the bits stay."""

import hashlib
import json
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_dataset

from ssl_bench import cli
from ssl_bench import scorer as scorer_module
from ssl_bench import train as train_module
from ssl_bench.errors import InterruptedRunError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.method import load_methods
from ssl_bench.plan import Request, plan_runs
from ssl_bench.provenance import provenance
from ssl_bench.signals import StopSignal
from ssl_bench.spec import load_benchmark, parse_setting
from ssl_bench.store import Run, RunFolder, Store
from ssl_bench.train import Job, train

ARTEFACTS = ("cases.csv", "curves.csv", "examples.npz", "weights.safetensors")
FILES = {"run.json", "splits.json", *ARTEFACTS, ".lock"}
CPU = torch.device("cpu")
SLOW = 120.0  # seconds for which a process is held at a point, longer than any test waits

# Processes of the command line are forked from a server that has imported torch: a tenth of a second each, not seven.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["ssl_bench.launch.inprocess", "ssl_bench.plan", "ssl_bench.cli", "medpy.metric.binary"]
)


def hold(owner: Any, name: str, marker: Path, when: Callable[..., bool] = lambda *arguments: True) -> None:
    """Make a function write a marker file and sleep before it does its work."""
    original = getattr(owner, name)

    def slow(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            marker.touch()
            time.sleep(SLOW)
        return original(*arguments, **named)

    setattr(owner, name, slow)


def command(arguments: list[str], folder: str, number: int, checkpoint_seconds: float, held: str) -> None:
    """Run the command line in a process of its own; what it prints goes to out-NUMBER and err-NUMBER in `folder`."""
    where = Path(folder)
    os.chdir(where)
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(where / f"{name}-{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    os.environ["SSL_BENCH_CACHE"] = str(where / "cache")
    train_module.CHECKPOINT_SECONDS = checkpoint_seconds
    marker = where / f"held-{number}"
    if held == "scoring":
        hold(scorer_module, "score_networks", marker)
    elif held == "the end":
        hold(RunFolder, "finish", marker)
    elif held == "training":
        hold(train_module._Trainer, "_close_epoch", marker, lambda trainer, loss: trainer.iteration == 2)
    elif held == "a checkpoint's content":  # written beside, not yet renamed
        hold(Path, "replace", marker, lambda path, target: target.name == "checkpoint-4.pt")
    elif held == "a checkpoint's name":  # renamed, not yet the one that counts
        hold(Path, "replace", marker, lambda path, target: is_name_of(path, target, 4))
    sys.argv = ["ssl-bench", *arguments]
    cli.main()


def is_name_of(beside: Path, target: Path, iteration: int) -> bool:
    return target.name == "checkpoint.json" and json.loads(beside.read_text())["iteration"] == iteration


class Workplace:
    """A folder with a data set, a results store, and the processes started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_dataset(folder / "data", "kvasir", [str(number) for number in range(12)])
        self.results = folder / "results"
        self.processes: list[Any] = []

    def start(self, *methods: str, seconds: float = 60.0, held: str = "", settings: tuple[str, ...] = ()) -> Any:
        arguments = [
            "run",
            "--methods",
            ",".join(methods),
            "--dataset",
            "kvasir",
            "--labeled",
            "2",
            "--protocol",
            "tiny",
        ]
        arguments += ["--data-root", str(self.data), "--results-root", str(self.results), "--allow-partial"]
        arguments += [word for setting in settings for word in ("--set", setting)] + ["--device", "cpu"]
        number = len(self.processes)
        process = FORKSERVER.Process(target=command, args=(arguments, str(self.folder), number, seconds, held))
        process.start()
        self.processes.append(process)
        return process

    def finish(self, process: Any, timeout: float = 120.0) -> tuple[int, str, str]:
        """Wait for a process; returns exit code, stdout and stderr."""
        process.join(timeout)
        assert process.exitcode is not None, "the process does not end"
        number = self.processes.index(process)
        out, err = ((self.folder / f"{name}-{number}").read_text() for name in ("out", "err"))
        assert "Traceback" not in err
        return process.exitcode, out, err

    def wait_held(self, process: Any) -> None:
        """Wait until a process is at the point where it is held."""
        marker = self.folder / f"held-{self.processes.index(process)}"
        wait_for(marker.exists, process)

    def jobs(self, *methods: str, settings: tuple[str, ...] = ()) -> list[Job]:
        load_methods()
        chosen = dict(parse_setting(setting) for setting in settings)
        request = Request(load_benchmark("kvasir"), methods, "2", "tiny", chosen, (1,))
        return plan_runs(request, CPU, self.data, allow_partial=True, advance=None)

    def undisturbed(self, *methods: str, settings: tuple[str, ...] = ()) -> list[list[bytes]]:
        """The bytes of the same runs, trained in this process without a stop."""
        jobs, store = self.jobs(*methods, settings=settings), Store(self.folder / "undisturbed")
        assert run_all(jobs, store, CPU, Silent()).trained == len(jobs)
        return [contents(store.folder(job.spec).path) for job in jobs]

    def runs(self, *methods: str, settings: tuple[str, ...] = ()) -> list[Run]:
        found = [Store(self.results).find(job.spec) for job in self.jobs(*methods, settings=settings)]
        assert None not in found
        return [run for run in found if run is not None]


class Silent:
    """A display that says nothing."""

    def begin_run(self, number: int, total: int, job: Job) -> None: ...
    def end_run(self, outcome: str) -> None: ...
    def start(self, task: str, done: int, total: int) -> None: ...
    def step(self, text: str = "") -> None: ...


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    for process in place.processes:
        process.kill()
        process.join()


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ARTEFACTS]


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file below a folder, but for the locks."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    }  # fmt: skip


def wait_for(condition: Callable[[], bool], process: Any, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.exitcode is None, f"the process ended with {process.exitcode}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def checkpointed(results: Path, method: str) -> int:
    """The iteration of a method's latest checkpoint."""
    for path in results.glob(f"runs/kvasir/{method}/*/checkpoint.json"):
        try:
            return int(json.loads(path.read_text())["iteration"])
        except FileNotFoundError:
            break
    return 0


# -------------------------------------------------------------------------------------------------------------- kill


@pytest.mark.parametrize(
    ("method", "settings"),
    [("mt", ("iterations=18",)), ("ucmt", ("iterations=36", "select=train-loss", "log_every=7"))],
    ids=["mt", "ucmt"],
)
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(
    method: str, settings: tuple[str, ...], workplace: Workplace
) -> None:
    moments, reached = random.Random(method), 0

    def passed(iteration: int) -> Callable[[], bool]:
        return lambda: checkpointed(workplace.results, method) >= iteration

    for _ in range(3):
        process = workplace.start(method, seconds=-1.0, settings=settings)  # a checkpoint at every iteration
        goal = reached + moments.randint(2, 4)
        wait_for(passed(goal - 1), process)
        before = time.monotonic()
        wait_for(passed(goal), process)
        time.sleep(moments.random() * (time.monotonic() - before))  # somewhere in the next iteration or its checkpoint
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        (run,) = workplace.runs(method, settings=settings)
        assert run.status == "interrupted"
        reached = run.iteration
        assert reached >= goal
    code, out, _ = workplace.finish(workplace.start(method, settings=settings))
    (run,) = workplace.runs(method, settings=settings)
    assert code == 0
    assert "finished (" in out
    assert reached < run.iterations
    assert [contents(run.path)] == workplace.undisturbed(method, settings=settings)


def test_a_run_killed_before_its_first_checkpoint_begins_again(workplace: Workplace) -> None:
    process = workplace.start("mt", held="training")
    workplace.wait_held(process)
    process.kill()
    process.join()
    (run,) = workplace.runs("mt")
    assert (run.status, run.iteration) == ("interrupted", 0)
    assert workplace.finish(workplace.start("mt"))[0] == 0
    assert [contents(run.path)] == workplace.undisturbed("mt")


@pytest.mark.parametrize("held", ["a checkpoint's content", "a checkpoint's name"])
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(held: str, workplace: Workplace) -> None:
    process = workplace.start("mt", seconds=-1.0, held=held)
    workplace.wait_held(process)
    process.kill()
    process.join()
    (run,) = workplace.runs("mt")
    assert (run.status, run.iteration) == ("interrupted", 3)
    assert workplace.finish(workplace.start("mt"))[0] == 0
    assert [contents(run.path)] == workplace.undisturbed("mt")
    # A checkpoint of the paper's network takes a gigabyte: a half-written one must not stay for ever.
    assert {path.name for path in run.path.iterdir()} == FILES


@pytest.mark.parametrize("held", ["scoring", "the end"])
def test_a_run_killed_while_it_is_scored_is_scored_again_and_not_trained_again(held: str, workplace: Workplace) -> None:
    process = workplace.start("ucmt", held=held)
    workplace.wait_held(process)
    process.kill()
    process.join()
    (run,) = workplace.runs("ucmt")
    assert (run.status, run.iteration) == ("interrupted", 3)
    assert checkpointed(workplace.results, "ucmt") == 3
    # Held at training's second iteration, the next process would never end: it must not train.
    assert workplace.finish(workplace.start("ucmt", held="training"))[0] == 0
    (run,) = workplace.runs("ucmt")
    assert run.status == "finished"
    assert run.result["train_seconds"] > 0
    assert [contents(run.path)] == workplace.undisturbed("ucmt")
    assert {path.name for path in run.path.iterdir()} == FILES | {"moments-1.npz", "moments-3.npz"}


# ----------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_the_checkpoint_and_the_same_command_goes_on(number: int, workplace: Workplace) -> None:
    settings = ("iterations=30",)
    process = workplace.start("supervised", "mt", settings=settings)
    wait_for(lambda: bool(list(workplace.results.glob("runs/kvasir/supervised/*/splits.json"))), process)
    os.kill(process.pid, number)
    code, out, err = workplace.finish(process)
    assert code == 128 + number
    assert len(err.splitlines()) == 1
    assert err.startswith("interrupted: ")
    assert "the same command goes on" in err
    assert "┃" not in out  # no table of runs that are not there
    (run,) = workplace.runs("supervised", settings=settings)
    assert run.status == "interrupted"
    assert 0 < run.iteration < 30
    assert not (workplace.results / "runs/kvasir/mt").exists()

    code, out, _ = workplace.finish(workplace.start("supervised", settings=settings))
    assert code == 0
    assert [contents(run.path)] == workplace.undisturbed("supervised", settings=settings)


def test_a_process_that_waits_for_another_can_be_stopped(workplace: Workplace) -> None:
    busy = workplace.start("mt", held="training")
    workplace.wait_held(busy)
    waiting = workplace.start("mt", "supervised")
    wait_for(lambda: bool(list(workplace.results.glob("runs/kvasir/supervised/*/weights.safetensors"))), waiting)
    time.sleep(1.0)
    os.kill(waiting.pid, signal.SIGTERM)
    code, _, _ = workplace.finish(waiting, timeout=10)
    assert code == 128 + signal.SIGTERM


def test_a_signal_while_a_run_is_scored_stops_it_and_it_is_scored_again_and_not_trained_again(
    workplace: Workplace,
) -> None:
    (job,) = workplace.jobs("supervised")
    stop, steps = StopSignal(), []

    class Late(Silent):
        def start(self, task: str, done: int, total: int) -> None:
            steps.append((task, done, total))
            if task == "scoring":
                stop.signal_number = signal.SIGTERM

    folder = Store(workplace.results).folder(job.spec)
    with pytest.raises(InterruptedRunError):
        train(job, folder, CPU, stop, Late(), provenance(job.method, CPU))
    assert not folder.is_finished
    train(job, folder, CPU, StopSignal(), Late(), provenance(job.method, CPU))
    assert [(task, done == total) for task, done, total in steps] == [
        ("training", False), ("scoring", False), ("training", True), ("scoring", False),
    ]  # fmt: skip
    assert [contents(folder.path)] == workplace.undisturbed("supervised")


def test_a_signal_at_the_last_case_lets_the_run_finish(workplace: Workplace) -> None:
    (job,) = workplace.jobs("supervised")
    stop = StopSignal()

    class Late(Silent):
        left = -1

        def start(self, task: str, done: int, total: int) -> None:
            self.left = total if task == "scoring" else -1

        def step(self, text: str = "") -> None:
            self.left -= 1
            if self.left == 0:
                stop.signal_number = signal.SIGTERM

    folder = Store(workplace.results).folder(job.spec)
    train(job, folder, CPU, stop, Late(), provenance(job.method, CPU))
    assert folder.is_finished


def test_signal_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# ------------------------------------------------------------------------------------------------------- side by side


def test_a_finished_run_is_not_trained_again(workplace: Workplace) -> None:
    assert workplace.finish(workplace.start("mt"))[0] == 0
    before = snapshot(workplace.results)
    code, out, _ = workplace.finish(workplace.start("mt", held="training"))
    assert code == 0
    assert "finished before" in out
    assert "finished (" not in out
    assert "Table" not in out
    assert "│ MT " in out
    assert snapshot(workplace.results) == before


def test_two_commands_at_once_train_each_run_once(workplace: Workplace) -> None:
    methods = ("mt", "ucmt", "supervised")
    processes = [workplace.start(*methods) for _ in range(2)]
    ended = [workplace.finish(process) for process in processes]
    assert [code for code, _, _ in ended] == [0, 0]
    for method in methods:
        lines = [line for _, out, _ in ended for line in out.splitlines() if f"] {method} ·" in line]
        assert sum("finished (" in line for line in lines) == 1, lines
        assert sum("finished before" in line for line in lines) == 1, lines
    for _, out, _ in ended:
        assert all(f"│ {title} " in out for title in ("MT", "UCMT", "Supervised"))
    runs = workplace.runs(*methods)
    assert [contents(run.path) for run in runs] == workplace.undisturbed(*methods)


def test_a_run_that_another_process_trains_is_left_to_it_and_said_to_be_running(workplace: Workplace) -> None:
    busy = workplace.start("mt", held="training")
    workplace.wait_held(busy)
    (run,) = workplace.runs("mt")
    assert run.status == "running"
    other = workplace.start("mt")
    time.sleep(1.0)
    assert other.exitcode is None  # it waits
    busy.kill()
    busy.join()
    code, out, _ = workplace.finish(other)  # nobody waits on the dead
    assert code == 0
    assert "finished (" in out
    assert [contents(run.path)] == workplace.undisturbed("mt")


# -------------------------------------------------------------------------------------------------------- damaged files


def spoil_byte(folder: Path) -> Path:
    (path,) = folder.glob("checkpoint-*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def cut(folder: Path) -> Path:
    (path,) = folder.glob("checkpoint-*.pt")
    path.write_bytes(path.read_bytes()[:1000])
    return path


def remove(folder: Path) -> Path:
    (path,) = folder.glob("checkpoint-*.pt")
    path.unlink()
    return path


def spoil_index(folder: Path) -> Path:
    path = folder / "checkpoint.json"
    path.write_text("{")
    return path


def spoil_record(folder: Path) -> Path:
    path = folder / "run.json"
    path.write_text('{"format": 1')
    return path


@pytest.mark.parametrize("spoil", [spoil_byte, cut, remove, spoil_index, spoil_record])
def test_a_damaged_file_is_named_and_everything_left_as_it_was(
    spoil: Callable[[Path], Path], workplace: Workplace, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (job,) = workplace.jobs("mt")
    folder, stop = Store(workplace.results).folder(job.spec), StopSignal()
    stop.signal_number = signal.SIGTERM
    with pytest.raises(InterruptedRunError):
        train(job, folder, CPU, stop, Silent(), provenance(job.method, CPU))
    path = spoil(folder.path)
    before = snapshot(workplace.results)

    arguments = ["run", "--methods", "mt", "--dataset", "kvasir", "--labeled", "2", "--protocol", "tiny"]
    arguments += ["--data-root", str(workplace.data), "--results-root", str(workplace.results), "--allow-partial"]
    monkeypatch.setattr(sys, "argv", ["ssl-bench", *arguments])
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(err.splitlines()) == 1
    assert str(path) in err
    assert snapshot(workplace.results) == before


def test_a_damaged_run_does_not_stop_the_others(workplace: Workplace) -> None:
    jobs, store = workplace.jobs("mt", "supervised"), Store(workplace.results)
    stop = StopSignal()
    stop.signal_number = signal.SIGTERM
    with pytest.raises(InterruptedRunError):
        train(jobs[0], store.folder(jobs[0].spec), CPU, stop, Silent(), provenance(jobs[0].method, CPU))
    path = spoil_byte(store.folder(jobs[0].spec).path)
    outcome = run_all(jobs, store, CPU, Silent())
    assert (outcome.trained, outcome.user_error) == (1, True)
    assert str(path) in outcome.failures[0]
    advice = store.folder(jobs[0].spec).path / "checkpoint.json"
    assert f"delete {advice}" in outcome.failures[0]
    advice.unlink()  # the advice works
    assert run_all(jobs, store, CPU, Silent()).trained == 1
    assert {file.name for file in advice.parent.iterdir()} == FILES


def test_a_checkpoint_cannot_run_code(workplace: Workplace) -> None:
    (job,) = workplace.jobs("mt")
    folder, witness = Store(workplace.results).folder(job.spec), workplace.folder / "witness"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(witness),)

    torch.save({"iteration": Payload()}, workplace.folder / "evil.pt")
    folder.write_checkpoint(3, (workplace.folder / "evil.pt").read_bytes())
    with pytest.raises(pickle.UnpicklingError):
        train(job, folder, CPU, StopSignal(), Silent(), provenance(job.method, CPU))
    assert not witness.exists()

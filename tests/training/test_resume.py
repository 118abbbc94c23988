"""Real processes that are killed, stopped, run side by side, and started again: nothing is lost, the bits stay."""

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
from workplace import CPU, FILES, Silent, Workplace, checkpointed, contents, snapshot, wait_for

from ssl_bench import cli
from ssl_bench.errors import InterruptedRunError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.store import Store
from ssl_bench.training.provenance import provenance
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


# -------------------------------------------------------------------------------------------------------------- kill


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(workplace: Workplace) -> None:
    method, settings = "ucmt", ("iterations=36", "select=train-loss", "log_every=7")
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


@pytest.mark.slow
def test_a_run_killed_before_and_after_a_methods_phases_change_ends_in_the_same_bytes(workplace: Workplace) -> None:
    """BCP: the teacher takes over the student's weights in iteration 6; one process is killed before it, one after."""
    method, settings = "bcp", ("iterations=12", "pretrain_share=0.5")
    reached = []
    for goal in (3, 8):
        process = workplace.start(method, seconds=-1.0, settings=settings)  # a checkpoint at every iteration
        wait_for(lambda goal=goal: checkpointed(workplace.results, method) >= goal, process)
        process.kill()
        process.join()
        (run,) = workplace.runs(method, settings=settings)
        assert run.status == "interrupted"
        reached.append(run.iteration)
    assert reached[0] < 6 < reached[1] < 12
    assert workplace.finish(workplace.start(method, settings=settings))[0] == 0
    (run,) = workplace.runs(method, settings=settings)
    assert [contents(run.path)] == workplace.undisturbed(method, settings=settings)


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_begins_again(workplace: Workplace) -> None:
    process = workplace.start("mt", held="training")
    workplace.wait_held(process)
    process.kill()
    process.join()
    (run,) = workplace.runs("mt")
    assert (run.status, run.iteration) == ("interrupted", 0)
    assert workplace.finish(workplace.start("mt"))[0] == 0
    assert [contents(run.path)] == workplace.undisturbed("mt")


@pytest.mark.parametrize(
    "held", [pytest.param("a checkpoint's content", marks=pytest.mark.slow), "a checkpoint's name"]
)
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


@pytest.mark.parametrize("words", [(), ("--jobs", "2")], ids=["one at a time", "two at a time"])
def test_the_checkpoint_of_a_run_killed_as_it_is_finished_goes_with_the_next_command(
    words: tuple[str, ...], workplace: Workplace
) -> None:
    process = workplace.start("mt", held="after the end")
    workplace.wait_held(process)
    process.kill()
    process.join()
    (run,) = workplace.runs("mt")
    assert run.status == "finished"
    assert checkpointed(workplace.results, "mt") == run.iterations
    code, out, _ = workplace.finish(workplace.start("mt", words=words))
    assert (code, "finished earlier" in out) == (0, True)
    assert {path.name for path in run.path.iterdir()} == FILES


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
    assert "run the same command again" in err
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
    assert "finished earlier" in out
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
        assert sum("finished earlier" in line for line in lines) == 1, lines
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
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
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

"""--minutes: runs stop in time with a checkpoint, and the same command ends in the bits of undisturbed runs."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Call
from workplace import CPU, Silent, Workplace, contents

from ssl_bench.errors import InterruptedRunError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.store import Store
from ssl_bench.training.stop import TIME_IS_UP, StopSignal

LONG = ("iterations=40",)


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


def test_a_deadline_reads_like_a_signal_and_a_signal_goes_before_it() -> None:
    assert StopSignal().signal_number is None
    assert StopSignal(time.monotonic() + 60).signal_number is None
    stop = StopSignal(time.monotonic())
    assert stop.signal_number == TIME_IS_UP
    stop = StopSignal(time.monotonic() + 60)
    stop.signal_number = signal.SIGTERM
    assert stop.signal_number == signal.SIGTERM


@pytest.mark.slow
def test_runs_stop_at_the_deadline_and_go_on_in_the_same_bits(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = workplace.undisturbed("mt", "supervised", settings=LONG)
    jobs, store = workplace.jobs("mt", "supervised", settings=LONG), Store(workplace.results)

    class Late(Silent):
        """A display that sees the deadline pass at the fifth iteration."""

        steps = 0

        def step(self, text: str = "") -> None:
            self.steps += 1
            if self.steps == 5:
                patch.setattr(time, "monotonic", lambda: deadline)

    deadline = time.monotonic() + 600
    with monkeypatch.context() as patch:
        outcome = run_all(jobs, store, CPU, Late(), deadline)
    assert (outcome.time_is_up, outcome.trained, outcome.failures) == (True, 0, [])
    run = store.find(jobs[0].spec)
    assert run is not None
    assert (run.status, run.iteration) == ("interrupted", 5)
    assert store.find(jobs[1].spec) is None, "nothing begins after the deadline"
    assert run_all(jobs, store, CPU, Silent()).trained == 2
    assert [contents(store.folder(job.spec).path) for job in jobs] == expected


def test_a_signal_before_the_deadline_is_an_interruption(workplace: Workplace) -> None:
    class Impatient(Silent):
        def step(self, text: str = "") -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(InterruptedRunError) as raised:
        run_all(workplace.jobs("mt"), Store(workplace.results), CPU, Impatient(), time.monotonic() + 600)
    assert raised.value.signal_number == signal.SIGTERM


def arguments(workplace: Workplace, *more: str) -> list[str]:
    words = ["run", "--methods", "mt,supervised", "--dataset", "kvasir", "--labeled", "2", "--protocol", "tiny"]
    words += ["--data-root", str(workplace.data), "--results-root", str(workplace.results), "--allow-partial"]
    return [*words, "--set", "iterations=100000", "--device", "cpu", *more]


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(("0.05",), id="one process"),
        pytest.param(("0.15", "--jobs", "2"), id="a pool", marks=pytest.mark.slow),
    ],
)
def test_the_command_says_that_the_time_is_up_and_ends_well(
    limit: tuple[str, ...], workplace: Workplace, call: Call
) -> None:
    begun = time.monotonic()
    code, _, err = call(*arguments(workplace, "--minutes", *limit))
    assert code == 0
    assert "--minutes: time limit reached, 0 of 2 runs are finished; run the same command again to continue" in err
    assert time.monotonic() - begun < 60
    code, out, _ = call("status", "--results-root", workplace.results, "--every")
    assert code == 0
    assert "running" not in out


@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_a_limit_that_is_none_is_refused(value: str, workplace: Workplace, call: Call) -> None:
    code, _, err = call(*arguments(workplace, "--minutes", value))
    assert code == 2
    assert "--minutes" in err

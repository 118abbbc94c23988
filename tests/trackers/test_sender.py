"""A tracker that fails, hangs or comes back costs a run one warning and no bit; what it missed is sent again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from followed import EACH, curves_of, folder_below, follow
from workplace import CPU, Silent, Workplace, contents

from ssl_bench.errors import InterruptedRunError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.store import Store
from ssl_bench.trackers import Picture, Point, TrackedRun, Tracker, contract, register_tracker, sender
from ssl_bench.trackers.choose import choose_trackers


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


class Recorder(Tracker):
    """Remembers its calls for all runs; fails or hangs in the calls that are named."""

    calls: list[str]
    points: list[list[int]]  # iterations, a list per start
    fails: Mapping[str, int]  # by call: how often it fails
    hangs = ""

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.hangs == call:
            time.sleep(60)
        if self.calls.count(call) <= self.fails.get(call, 0):
            raise ConnectionError(f"{call} is away\nand more")

    def start(self, run: TrackedRun) -> None:
        self._note("start")
        self.points.append([])

    def log(self, points: Sequence[Point]) -> None:
        self._note("log")
        self.points[-1] += [point.iteration for point in points]

    def finish(self, scores: Mapping[str, float], pictures: Sequence[Picture]) -> None:
        self._note("finish")

    def stop(self, reason: str) -> None:
        self._note(f"stop: {reason}")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(contract, "REGISTRY", contract.REGISTRY)
    own = type("Own", (Recorder,), {"calls": [], "points": [], "fails": {}})
    monkeypatch.setitem(contract.REGISTRY, "recorder", own)
    monkeypatch.setattr(sender, "RETRY_SECONDS", 0.0)
    return own


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("call", ["start", "log", "finish"])
def test_a_tracker_that_always_fails_costs_one_warning(
    call: str, workplace: Workplace, recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    recorder.fails = {call: 1000}
    run = follow(workplace, "recorder", "csv", settings=EACH)
    (warning,) = warnings_in(caplog)
    reason = f"ConnectionError: {call} is away"
    assert warning == f"--log recorder: {run.spec.label}: {reason}; the run goes on, and {run.path} has all of it"
    assert [contents(run.path)] == workplace.undisturbed("mt", settings=EACH)
    assert (folder_below(workplace.folder / "logs" / "csv") / "scores.csv").exists(), "the other tracker has everything"


@pytest.mark.parametrize("call", ["start", "log"])
def test_a_tracker_that_comes_back_gets_everything(
    call: str, workplace: Workplace, recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    recorder.fails = {call: 2}
    run = follow(workplace, "recorder", settings=EACH)
    assert len(warnings_in(caplog)) == 1
    assert recorder.points[-1] == sorted(curves_of(run)["train/loss1"]) == list(range(1, 9))
    assert recorder.calls[-1] == "finish"


def test_a_tracker_that_hangs_is_not_waited_for(
    workplace: Workplace, recorder: type[Recorder], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.hangs = "log"
    monkeypatch.setattr(sender, "FINISH_SECONDS", 0.5)
    run = follow(workplace, "recorder", settings=EACH)
    (warning,) = warnings_in(caplog)
    assert "no answer in time; the run goes on" in warning
    assert [contents(run.path)] == workplace.undisturbed("mt", settings=EACH)


def test_no_generator_moves_and_nothing_is_trained_or_sent_twice(
    workplace: Workplace, recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    follow(workplace, "csv", settings=EACH)  # what is imported late may draw
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    names = [name for name in ("csv", "tensorboard") if name == "csv" or has_tensorboard()]
    follow(workplace, "recorder", *names, settings=("iterations=4", "log_every=1"))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]
    calls = list(recorder.calls)
    follow(workplace, "recorder", settings=("iterations=4", "log_every=1"))
    assert recorder.calls == calls, "a finished run is not sent again"
    assert warnings_in(caplog) == []


def has_tensorboard() -> bool:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def test_a_run_that_is_interrupted_or_fails_says_so(
    workplace: Workplace, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    trackers = choose_trackers(["recorder"], None, workplace.results)
    assert trackers is not None
    jobs, store = workplace.jobs("mt", settings=EACH), Store(workplace.results)

    class Interrupting(Silent):
        def step(self, text: str = "") -> None:
            raise InterruptedRunError(2)

    with pytest.raises(InterruptedRunError):
        run_all(jobs, store, CPU, Interrupting(), observe=trackers.observe)
    assert recorder.calls[-1] == "stop: interrupted"

    class Failing(Silent):
        def step(self, text: str = "") -> None:
            raise RuntimeError("broken")

    assert run_all(jobs, store, CPU, Failing(), observe=trackers.observe).failures
    assert recorder.calls[-1] == "stop: failed"


def test_a_name_is_registered_once(recorder: type[Recorder]) -> None:
    with pytest.raises(ValueError, match=r"tracker 'recorder': .* both define it"):
        register_tracker("recorder")(Recorder)

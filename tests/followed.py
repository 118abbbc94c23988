"""Runs that trackers follow, and what the trackers must have been given: what the run's own files say."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

from workplace import CPU, Silent, Workplace, contents

from ssl_bench.launch.inprocess import run_all
from ssl_bench.store import Run, Store
from ssl_bench.trackers.choose import choose_trackers

SETTINGS = ("iterations=6", "log_every=2", "score_every=3", "validation=train", "validate_every=2")
EACH = ("iterations=8", "log_every=1")  # a row at every iteration


def follow(
    workplace: Workplace, *names: str, settings: tuple[str, ...] = SETTINGS, display: Silent | None = None
) -> Run:
    """Train a run with trackers in this process, its logs in the folder `logs`."""
    jobs = workplace.jobs("mt", settings=settings)
    trackers = choose_trackers(names, workplace.folder / "logs", workplace.results)
    assert trackers is not None
    outcome = run_all(jobs, Store(workplace.results), CPU, display or Silent(), observe=trackers.observe)
    assert not outcome.failures
    (run,) = workplace.runs("mt", settings=settings)
    return run


def kill_and_continue(
    workplace: Workplace, name: str, has_step: Callable[[int], bool], environment: dict[str, str] | None = None
) -> Run:
    """Kill a run with a tracker at iteration 4, whose checkpoint is that of iteration 3, and let it go on to the end.

    Args:
        workplace: where.
        name: of the tracker.
        has_step: whether the tracker has an iteration's values, so that the kill comes after them.
        environment: variables of the processes.

    """
    words = ("--log", name, "--log-dir", str(workplace.folder / "logs"))
    process = workplace.start(
        "mt", seconds=-1.0, settings=EACH, held="a checkpoint's name", words=words, environment=environment
    )
    workplace.wait_held(process)
    until(lambda: has_step(4))
    process.kill()
    process.join()
    code, _, err = workplace.finish(workplace.start("mt", settings=EACH, words=words, environment=environment))
    assert (code, err) == (0, ""), err
    (run,) = workplace.runs("mt", settings=EACH)
    assert [contents(run.path)] == workplace.undisturbed("mt", settings=EACH), "a tracker changes no bit"
    return run


def until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def curves_of(run: Run) -> dict[str, dict[int, float]]:
    """The values of a run's curve files."""
    found: dict[str, dict[int, float]] = {}
    for file, prefix in (("curves", "train"), ("validation_curve", "validation"), ("test_curve", "test")):
        path = run.path / f"{file}.csv"
        for row in csv.DictReader(path.read_text().splitlines()) if path.exists() else ():
            for name, value in row.items():
                if name != "iteration" and value:
                    found.setdefault(f"{prefix}/{name}", {})[int(row["iteration"])] = float(value)
    return found


def scores_of(run: Run) -> dict[str, float]:
    """The means and costs in a run's description, by the names that trackers show."""
    summary, predictor = run.headline.summary, run.result["predictor"]
    found = {
        f"networks/{network}/{metric}": one["mean"] for network in summary for metric, one in summary[network].items()
    }
    found |= {f"final/{metric}": one["mean"] for metric, one in summary[predictor].items()}
    validated = (run.headline.validation or {"scores": {}})["scores"]
    found |= {f"final_validation/{metric}": one["mean"] for metric, one in validated.items()}
    found |= {f"cost/{name}": run.result[name] for name in ("train_seconds", "updates")}
    return {name: value for name, value in found.items() if value is not None}


def folder_below(folder: Path) -> Path:
    """The one run's folder of a tracker with files per run."""
    (found,) = folder.glob("kvasir/mt/*")
    return found

"""(g) Many short runs: a whole command beside the training alone, and a run beside its training."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from timing import Ratio, Settings, of_times

from ssl_bench.store import Store

RUNS, IN_NEW_PROCESSES, ITERATIONS, JOBS = 100, 10, 20, 2
FORKED = "from ssl_bench.cli import main; main()"
NEW = "import ssl_bench.launch.pool as pool; pool.can_fork = lambda: False; " + FORKED


def ratios(settings: Settings) -> Iterator[Ratio]:
    """Measured once: each command trains many runs."""
    _train(FORKED, 1)  # the data is in the cache from here on
    many = _train(FORKED, RUNS)
    what = f"{RUNS} runs of {ITERATIONS} iterations of mt on demo, {JOBS} at a time"
    pairs = [(many[0], many[1] / JOBS)]
    yield of_times("runs", what, "the whole command", f"training, by {JOBS}", pairs, settings, "<= 1.5")
    forked = _own(many, RUNS, _train(FORKED, JOBS))
    new = _own(_train(NEW, IN_NEW_PROCESSES), IN_NEW_PROCESSES, _train(NEW, JOBS))
    yield of_times("runs", "a run without its training", "forked", "in a new process", [(forked, new)], settings, "")


def _own(many: tuple[float, float], count: int, few: tuple[float, float]) -> float:
    """Seconds of a run without its training: what more runs take, so that the command's own start does not count."""
    wall, trained = (a - b for a, b in zip(many, few, strict=True))
    return (JOBS * wall - trained) / (count - JOBS)


def _train(program: str, count: int) -> tuple[float, float]:
    """Train some runs on one thread each; returns the seconds of the command and the sum of its runs' training."""
    with tempfile.TemporaryDirectory() as results:
        words = ["run", "--methods", "mt", "--dataset", "demo", "--protocol", "demo", "--iterations", str(ITERATIONS)]
        words += ["--seeds", ",".join(map(str, range(1, count + 1))), "--jobs", str(JOBS), "--device", "cpu"]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", program, *words, "--results-root", results], check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        wall = time.perf_counter() - started
        runs = Store(Path(results)).runs()
        assert len(runs) == count
        return wall, sum(float(run.result["train_seconds"]) for run in runs)

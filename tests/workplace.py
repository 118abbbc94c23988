"""A folder with a data set, a results store and processes that are killed, stopped, held, or run side by side."""

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from conftest import write_dataset

from ssl_bench import cli
from ssl_bench.cards import Request, load_benchmark, parse_setting
from ssl_bench.launch.inprocess import run_all
from ssl_bench.method import load_methods
from ssl_bench.scoring import scorer as scorer_module
from ssl_bench.store import Run, RunFolder, RunProgress, Store
from ssl_bench.store import run_folder as folder_module
from ssl_bench.training import selection as selection_module
from ssl_bench.training import trainer as train_module
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs

ARTEFACTS = ("cases-*.csv", "curves.csv", "examples.npz", "weights.safetensors")
FILES = {"run.json", "splits.json", "cases-61f57244.csv", *ARTEFACTS[1:], ".lock"}
CPU = torch.device("cpu")
UNDISTURBED: dict[tuple[tuple[str, ...], tuple[str, ...]], list[list[bytes]]] = {}  # by methods and settings
SLOW = 120.0  # seconds for which a process is held at a point, longer than any test waits

# Processes of the command line are forked from a server that has imported torch: a tenth of a second each, not seven.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    [
        "ssl_bench.launch.inprocess",
        "ssl_bench.training.plan",
        "ssl_bench.cli",
        "medpy.metric.binary",
        "segmentation_models_pytorch",
    ]
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


def command(
    arguments: list[str],
    folder: str,
    number: int,
    checkpoint_seconds: float,
    held: str,
    clock: float,
    environment: dict[str, str],
) -> None:
    """Run the command line in a process of its own; what it prints goes to out-NUMBER and err-NUMBER in `folder`.

    Args:
        arguments: after `ssl-bench`.
        folder: where it runs.
        number: of the process.
        checkpoint_seconds: between two checkpoints.
        held: a point at which it writes the marker held-NUMBER and sleeps.
        clock: seconds by which its clock is wrong.
        environment: variables of this process.

    """
    where = Path(folder)
    os.chdir(where)
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(where / f"{name}-{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    os.environ.update({"SSL_BENCH_CACHE": str(where / "cache"), **environment})
    train_module.CHECKPOINT_SECONDS = checkpoint_seconds
    if clock:
        right = time.time
        time.time = lambda: right() + clock
        folder_module.now = lambda: datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
    marker = where / f"held-{number}"
    if held == "scoring":
        hold(scorer_module, "score_case", marker)
    elif held == "the end":
        hold(RunFolder, "finish", marker)
    elif held == "after the end":
        hold(RunFolder, "drop_checkpoints", marker)
    elif held == "training":
        hold(selection_module.Selection, "close_step", marker, lambda own, loss, iteration, method: iteration == 2)
    elif held == "a checkpoint's content":  # written beside, not yet renamed
        hold(Path, "replace", marker, lambda path, target: target.name.startswith("checkpoint-4-"))
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

    def start(
        self,
        *methods: str,
        seconds: float = 60.0,
        held: str = "",
        settings: tuple[str, ...] = (),
        clock: float = 0.0,
        words: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> Any:
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
        arguments += words
        number = len(self.processes)
        process = FORKSERVER.Process(
            target=command, args=(arguments, str(self.folder), number, seconds, held, clock, environment or {})
        )
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

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in self.processes:
            process.kill()
            process.join()

    def undisturbed(self, *methods: str, settings: tuple[str, ...] = ()) -> list[list[bytes]]:
        """The bytes of the same runs, trained in this process without a stop; once for all places."""
        if (methods, settings) not in UNDISTURBED:
            jobs, store = self.jobs(*methods, settings=settings), Store(self.folder / "undisturbed")
            assert not run_all(jobs, store, CPU, Silent()).failures
            UNDISTURBED[methods, settings] = [contents(store.folder(job.spec).path) for job in jobs]
        return UNDISTURBED[methods, settings]

    def runs(self, *methods: str, settings: tuple[str, ...] = ()) -> list[Run]:
        found = [Store(self.results).find(job.spec) for job in self.jobs(*methods, settings=settings)]
        assert None not in found
        return [run for run in found if run is not None]


class Silent:
    """A display that says nothing."""

    def begin_run(self, number: int, total: int, job: Job) -> None: ...
    def end_run(self, outcome: str) -> None: ...
    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None: ...
    def start(self, task: str, done: int, total: int) -> None: ...
    def step(self, text: str = "") -> None: ...


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for name in ARTEFACTS for path in sorted(folder.glob(name))]


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

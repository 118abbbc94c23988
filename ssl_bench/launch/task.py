"""A task for a separate process, and the outcome of a command's runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.cards import Measurement, RunSpec, protocol_keys
from ssl_bench.command import COMMAND, run_words, setting_words, typed_command
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    from ssl_bench.cards import Request
    from ssl_bench.launch.forks import ForkServer, Process
    from ssl_bench.store import Store
    from ssl_bench.training.job import Job


@dataclass
class Outcome:
    """Counts of a command's runs by outcome; `user_error` marks a failure that the user can fix (exit code 2).

    `time_is_up` marks a stop at the time limit; unfinished runs have their checkpoints.
    """

    trained: int = 0
    scored: int = 0
    already_finished: int = 0
    failures: list[str] = field(default_factory=list)
    user_error: bool = False
    time_is_up: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """`words` are the arguments of `ssl-bench` without `--device`; output is appended to the file `log`.

    `spec` and `measurement` are set if the task is one run.
    """

    label: str
    words: tuple[str, ...]
    log: Path
    spec: RunSpec | None = None
    measurement: Measurement | None = None
    command: str = field(default_factory=typed_command)

    def program(self, device: str) -> list[str]:
        """Arguments of the process that does the work on a device."""
        # -P: import this package, not one in the working directory
        return [sys.executable, "-P", "-m", "ssl_bench", *self._words_on(device)]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of that process: this process's environment, and the command for the provenance."""
        return {**os.environ, COMMAND: self.command}

    def start(self, device: str, threads: int | None = None, server: ForkServer | None = None) -> Process:
        """Start the process on a device, in its own session: the caller forwards Ctrl-C.

        Args:
            device: for `--device`.
            threads: CPU threads, see `sharing`.
            server: forks the process. It runs with the same number of threads. None: a new process.

        Raises:
            UserError: the log cannot be written.

        """
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                log.write(f"$ {shlex.join(['ssl-bench', *self._words_on(device)])}\n".encode())
                log.flush()
                if server is not None:
                    forked = server.fork(self._words_on(device), {COMMAND: self.command}, log.fileno())
                    if forked is not None:
                        return forked
                return subprocess.Popen(  # noqa: S603
                    self.program(device), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=sharing(self.environment, threads), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise UserError(f"{self.log}: cannot be written: {error.strerror}") from None

    def _words_on(self, device: str) -> list[str]:
        return [*self.words, "--device", device]

    def is_done(self, store: Store) -> bool:
        """Whether the run is finished and has the requested scores."""
        assert self.spec is not None
        return store.is_done(self.spec, self.measurement)

    def is_open(self, store: Store) -> bool:
        """Whether the run is neither held by a process nor done.

        The lock is read first: a process finishes its run before it releases it.
        """
        assert self.spec is not None
        return not store.is_claimed(self.spec) and not self.is_done(store)

    def last_words(self) -> str:
        """The last line of the log; empty if there is none."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def sharing(environment: Mapping[str, str], threads: int | None) -> dict[str, str]:
    """Return the environment of a process that shares the CPU, and so has this number of threads.

    None leaves the number to torch. A number in the environment takes precedence.
    """
    return dict(environment) if threads is None else {"OMP_NUM_THREADS": str(threads), **environment}


def score_task(job: Job, settings: Mapping[str, Any], dataset: str | None, place: Sequence[str], store: Store) -> Task:
    """The scoring of one finished run as a process of its own; arguments as in `api.score` and `run_task`."""
    folder = store.folder(job.spec)
    words = ["score", str(folder.path), *setting_words(settings)]
    words += [] if dataset is None else ["--dataset", dataset]
    return Task(job.spec.label, (*words, *place), folder.log, job.spec, job.measurement)


def run_task(request: Request, job: Job, place: Sequence[str], store: Store) -> Task:
    """Return the task of one run of a request.

    Args:
        request: as it was planned.
        job: one of its runs.
        place: path options for the child process.
        store: holds the run's folder, where the log is written.

    """
    known = (
        protocol_keys() | job.method.hyperparameters.model_fields.keys()
    )  # other settings belong to the request's other methods
    words = run_words(
        (job.spec.method,), request.benchmark.option, request.labeled, request.protocol, (job.spec.seed,),
        {key: value for key, value in request.settings.items() if key in known},
        () if job.spec.label_seed is None else (job.spec.label_seed,),
    )  # fmt: skip
    return Task(job.spec.label, (*words, *place), store.folder(job.spec).log, job.spec, job.measurement)

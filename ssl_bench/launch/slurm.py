"""Work as an array job of a Slurm cluster, through submitit."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ssl_bench.atomic import write_json
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.launch.contract import Launcher, LaunchOptions, PlannedRun, register_launcher
from ssl_bench.launch.forks import Process
from ssl_bench.launch.task import Outcome, Task
from ssl_bench.store import Store

log = logging.getLogger("ssl_bench")

FOLDER = "slurm"  # in the results root: records of submitted jobs, and submitit's files
QUEUE_SECONDS = 20  # to wait for squeue
DAY = 24 * 60  # minutes that a job gets unless --slurm time=... says otherwise
ENDLESS = 100_000  # times that a job may reach its time limit and be queued again
_UNITS = {"m": 1, "h": 60, "d": 24 * 60}
# Short names of options, and submitit's names.
_NAMES = {"gpus": "slurm_gpus_per_node", "cpus": "slurm_cpus_per_task", "mem": "slurm_mem"}
_KNOWN = (
    "partition",
    "account",
    "qos",
    "constraint",
    "gres",
    "nodelist",
    "exclude",
    "comment",
    "mail_user",
    "mail_type",
)


@dataclass(frozen=True)
class Submission:
    """A job in the queue for one run; `state` is Slurm's (PENDING, RUNNING, ...)."""

    job: str
    name: str
    label: str
    state: str


@register_launcher("slurm", takes=("jobs", "slurm"))
class Slurm(Launcher):
    """Submits array jobs; `jobs` bounds how many of one run at a time, and is the number of workers of a sweep.

    Raises:
        UserError: an option of `--slurm` is not known, or the device name is not valid on a node.
    """

    def __init__(self, options: LaunchOptions) -> None:
        import torch  # here, since the process that starts a task on a node does not need torch

        self.options, self.at_once = parse_options(options.slurm or ""), options.jobs
        name = options.device if options.device != "auto" else ("cuda" if wants_gpu(self.options) else "cpu")
        if name not in ("cpu", "cuda"):
            raise UserError(f"--device: expected auto, cpu or cuda with --launcher slurm, found '{options.device}'")
        self.device = torch.device(name)

    def run(self, planned: Sequence[PlannedRun], store: Store) -> Outcome:
        """Submit the runs that are neither finished, nor being trained, nor in the queue already."""
        queued, tasks = self.queue(store.root), [one.task for one in planned]
        finished = {task for task in tasks if task.is_done(store)}
        missing = [task for task in tasks if task not in finished and _name(task) not in queued and task.is_open(store)]
        waiting = len(tasks) - len(finished) - len(missing)
        if missing:
            array = submit(missing, self.device.type, self.options, self.at_once, store.root)
            log.info(
                "submitted %s as job %s; `ssl-bench status` shows the progress", quantity(len(missing), "run"), array
            )
        log.info("already finished: %d; already queued or in training: %d", len(finished), waiting)
        return Outcome(already_finished=len(finished))

    @classmethod
    def queue(cls, results_root: Path) -> dict[str, str]:
        """Return Slurm's state of every pending or running run, by hash."""
        return {submission.name: submission.state.lower() for submission in queue(results_root)}

    def submit_workers(self, sweep: str, folder: Path, words: Sequence[str], results_root: Path) -> None:
        """Submit `jobs` workers, less those that are in the queue already."""
        tasks = [
            Task(f"{sweep}, worker {number}", tuple(words), folder / f"worker-{number}.log")
            for number in range(self.at_once or 1)
        ]
        queued = {submission.label for submission in queue(results_root)}
        missing = [task for task in tasks if task.label not in queued]
        if missing:
            array = submit(missing, self.device.type, self.options, None, results_root)
            shows = f"`ssl-bench sweep show {sweep}` shows the progress"
            log.info("submitted %s as job %s; %s", quantity(len(missing), "worker"), array, shows)
        log.info("workers already in the queue: %d", len(tasks) - len(missing))


def parse_options(text: str) -> dict[str, Any]:
    """Read `partition=gpu,gpus=1,time=4h` as submitit's parameters.

    Raises:
        UserError: a word is not KEY=VALUE, or its key or value is not valid.
    """
    options: dict[str, Any] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not (equals and value):
            raise UserError(f"--slurm: expected KEY=VALUE pairs, separated by commas; found '{word}'")
        if key == "time":
            options["timeout_min"] = _minutes(value)
        elif key in ("gpus", "cpus"):
            if not (value.isascii() and value.isdigit()):
                raise UserError(f"--slurm: {key}: expected a whole number, found '{value}'")
            options[_NAMES[key]] = int(value)
        elif key == "mem":
            options[_NAMES[key]] = value
        elif key in _KNOWN:
            options[f"slurm_{key}"] = value
        else:
            known = ", ".join(["time", *_NAMES, *_KNOWN])
            raise UserError(f"--slurm: expected one of {known}; found '{key}'")
    return options


def wants_gpu(options: dict[str, Any]) -> bool:
    """Whether the jobs get a GPU."""
    return bool(options.get("slurm_gpus_per_node")) or "gpu" in str(options.get("slurm_gres", ""))


class Command:
    """A task as submitit pickles it; it is checkpointed, requeued and restarted until it is done."""

    def __init__(self, task: Task, device: str) -> None:
        self.task, self.device = task, device
        self._process: Process | None = None

    def __call__(self) -> int:
        """Run the task to its end; returns its exit code, and raises RuntimeError if that is not 0."""
        process = self._process = self.task.start(self.device)
        before = signal.signal(signal.SIGTERM, self._stop)  # scancel: write a checkpoint, then exit
        code = process.wait()
        signal.signal(signal.SIGTERM, before)
        if code:
            raise RuntimeError(f"exit code {code}: {self.task.last_words()} (see {self.task.log})")
        return code

    def checkpoint(self) -> Any:
        """On preemption or timeout: let the run write its checkpoint, and requeue it.

        This runs in a signal's handler, while `__call__` waits for the process and holds the lock of `Popen.wait`.
        """
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(ChildProcessError):  # the process has ended, and `__call__` has seen that
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Command(self.task, self.device))

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def __getstate__(self) -> dict[str, Any]:
        return {"task": self.task, "device": self.device, "_process": None}


def submit(tasks: Sequence[Task], device: str, options: dict[str, Any], at_once: int | None, results_root: Path) -> str:
    """Submit tasks as one array job; returns its id.

    Args:
        tasks: one per job of the array.
        device: for `--device` on the nodes.
        options: the result of `parse_options`.
        at_once: how many may run at a time; None leaves that to the cluster.
        results_root: on a disk that the nodes share.

    Raises:
        UserError: there is no Slurm here, or it refuses the job.
    """
    if shutil.which("sbatch") is None:
        raise UserError("--launcher slurm: expected the command sbatch on this machine, found none")
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher slurm: needs submitit: pip install 'ssl-bench[slurm]'") from None
    folder = results_root.resolve() / FOLDER
    executor = submitit.AutoExecutor(folder=folder / "%j", cluster="slurm", slurm_max_num_timeout=ENDLESS)
    asked = {"timeout_min": DAY, **options} | ({} if at_once is None else {"slurm_array_parallelism": at_once})
    executor.update_parameters(name="ssl-bench", slurm_additional_parameters={"requeue": True}, **asked)
    try:
        with executor.batch():
            jobs = [executor.submit(Command(task, device)) for task in tasks]
    except submitit.core.utils.FailedJobError as error:
        _tidy(folder)
        raise UserError(f"--slurm: sbatch rejected the job: {' '.join(str(error).split())}") from None
    array = jobs[0].job_id.partition("_")[0]
    entries = {job.job_id: {"name": _name(task), "label": task.label} for job, task in zip(jobs, tasks, strict=True)}
    write_json(folder / f"{array}.json", entries)
    return array


def _tidy(folder: Path) -> None:
    """Remove the files that submitit leaves after a refused job."""
    for pattern in ("*.pkl", ".submission_file_*.sh"):
        for remains in folder.glob(pattern):
            remains.unlink()
    with suppress(OSError):  # not empty: it has files of earlier jobs
        folder.rmdir()
        folder.parent.rmdir()


def queue(results_root: Path) -> list[Submission]:
    """Return the jobs of this results root that are in Slurm's queue, pending or running.

    Empty if this machine has no Slurm.
    """
    records, squeue = sorted((results_root / FOLDER).glob("*.json")), shutil.which("squeue")
    if not records or squeue is None:
        return []
    try:
        listed = subprocess.run(  # noqa: S603
            [squeue, "--me", "--noheader", "--array", "--format=%i %T"],
            capture_output=True, text=True, check=False, timeout=QUEUE_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"squeue: no answer within {QUEUE_SECONDS} seconds") from None
    if listed.returncode:
        raise UserError(f"squeue: {listed.stderr.strip() or f'exit code {listed.returncode}'}")
    states = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines() if " " in line)
    found = []
    for record in records:
        try:
            entries = json.loads(record.read_text(encoding="utf-8"))
            found += [
                Submission(job, entry["name"], entry["label"], states[job])
                for job, entry in entries.items()
                if job in states
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{record}: not a record of submitted jobs: {error!r}") from None
    return found


def _name(task: Task) -> str:
    """Return the identifier of a task: its run's id, or the name of its log."""
    return task.log.name if task.spec is None else task.spec.run_id


def _minutes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None or int(match[1]) == 0:
        raise UserError(f"--slurm: time: expected a time such as 90m, 4h or 2d, found '{text}'")
    return int(match[1]) * _UNITS[match[2]]

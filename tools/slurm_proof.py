"""Proof of the Slurm launcher on a Slurm of one node that this sets up: `python tools/slurm_proof.py` as root.

Needs Debian's slurm-wlm and munge. A grid is submitted as an array. In its middle one job is cancelled, one requeued,
and one gets the signal that Slurm sends before preemption and time limit; every run ends in an undisturbed one's bits.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_bench.store import Entry, Store

ARTEFACTS = ("cases-*.csv", "curves.csv", "weights.safetensors")
GRID = ["--methods", "supervised,mt,cps", "--dataset", "demo", "--protocol", "tiny", "--iterations", "500"]
SWEEP = ["sweep", "--method", "ucmt", "--dataset", "demo", "--protocol", "tiny", "--iterations", "40",
         "--param", "k=1..2", "--param", "r=4,8"]  # fmt: skip
CONFIGURATION = """
ClusterName=proof
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
KillWait=20
OverTimeLimit=1
MailProg=/bin/true
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """A Slurm of this machine alone, started and stopped."""
    if os.geteuid() != 0:
        sys.exit("setting up Slurm needs root")
    for program in ("slurmctld", "slurmd", "munged", "sbatch"):
        if shutil.which(program) is None:
            sys.exit(f"expected the program {program} (Debian: apt-get install slurm-wlm munge), found none")
    for place in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        Path(place).mkdir(parents=True, exist_ok=True)
        shutil.chown(place, "munge", "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=False, capture_output=True)  # may run already
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    text = CONFIGURATION.format(host=socket.gethostname().partition(".")[0], folder=folder, cores=os.cpu_count())
    configuration.write_text(text)
    os.environ["SLURM_CONF"] = str(configuration)
    for daemon in ("slurmctld", "slurmd"):
        subprocess.run([daemon], check=True)
    try:
        wait(lambda: " idle " in output("sinfo", "--noheader"), "the node to be idle", 60)
        yield
    finally:
        for daemon in ("slurmd", "slurmctld"):
            subprocess.run(["pkill", "-F", str(folder / f"{daemon}.pid")], check=False)


def output(*words: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def bench(*words: str) -> str:
    """Run `ssl-bench` and show what it says."""
    text = output(sys.executable, "-m", "ssl_bench", *words)
    print(f"$ ssl-bench {' '.join(words)}\n{text}", flush=True)
    return text


def wait(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain for {what}\n{output('squeue', '--array')}")
        time.sleep(0.3)


def entry(method: str) -> Entry | None:
    """How far a method's run is."""
    return next((one for one in Store(Path("results")).entries() if one.method == method), None)


def is_half_way(method: str) -> bool:
    """Whether a run is somewhere in the middle."""
    one = entry(method)
    return one is not None and one.status == "running" and 50 <= one.iteration < one.iterations - 100


def main() -> None:
    """Set Slurm up, disturb a grid, and compare."""
    with tempfile.TemporaryDirectory() as name, slurm(Path(name)):
        os.chdir(name)
        os.environ["OMP_NUM_THREADS"] = "1"
        bench("run", *GRID, "--results-root", "undisturbed")
        submit = ("run", *GRID, "--launcher", "slurm", "--slurm", "partition=work,cpus=1,time=10m")
        bench(*submit)
        jobs = queued()
        print(f"jobs: {jobs}", flush=True)

        wait(lambda: is_half_way("supervised"), "the first run to be half-way")
        print(f"scancel {jobs['supervised']}", flush=True)
        output("scancel", jobs["supervised"])
        wait(lambda: entry("supervised").status != "running", "the cancelled run to stop")  # type: ignore[union-attr]
        print(f"cancelled at iteration {entry('supervised').iteration}", flush=True)  # type: ignore[union-attr]
        bench("status")

        wait(lambda: is_half_way("mt"), "the second run to be half-way")
        print(f"scontrol requeue {jobs['mt']}", flush=True)
        output("scontrol", "requeue", jobs["mt"])
        bench(*submit)  # the cancelled one again; those in the queue are left there

        wait(lambda: is_half_way("cps"), "the third run to be half-way")
        print(f"scancel --signal=USR2 {jobs['cps']}: as before preemption or at the time limit", flush=True)
        output("scancel", "--signal=USR2", jobs["cps"])
        wait(lambda: not output("squeue", "--noheader").strip(), "the queue to be empty", 600)
        bench("status")
        compare()

        bench(*SWEEP, "--launcher", "slurm", "--jobs", "2", "--slurm", "partition=work,cpus=1,time=10m")
        wait(lambda: not output("squeue", "--noheader").strip(), "the sweep's workers to end", 600)
        bench("sweep", "show")
        if [one.status for one in Store(Path("results")).entries() if one.method == "ucmt"] != ["finished"] * 4:
            sys.exit("expected four trials and four runs")


def queued() -> dict[str, str]:
    """Each method's job in the queue."""
    from ssl_bench.launch.slurm import queue

    return {submission.label.partition(" ")[0]: submission.job for submission in queue(Path("results"))}


def compare() -> None:
    """Every run has the bits of the undisturbed one."""
    for path in sorted(Path("undisturbed").rglob("run.json")):
        there = Path("results") / path.relative_to("undisturbed").parent
        for own in (found for pattern in ARTEFACTS for found in path.parent.glob(pattern)):
            if (there / own.name).read_bytes() != own.read_bytes():
                sys.exit(f"{there / own.name}: other bytes than undisturbed")
        starts = (there / "log.txt").read_text().count("$ ssl-bench")
        print(f"{there.parent.name}: started {starts} times, the bits of the undisturbed run")


if __name__ == "__main__":
    main()

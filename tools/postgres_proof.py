"""Proof of sweeps over PostgreSQL on a server that this sets up: `python tools/postgres_proof.py`, as root.

Needs Debian's postgresql and this package's extra `postgres`. Two workers share a grid of six trials; one is killed in
its middle; the other, and the same command once more, bring it to its end: six trials, six runs, none of them twice.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna

from ssl_bench.store import Store

SWEEP = ["sweep", "--method", "ucmt", "--dataset", "demo", "--param", "k=1..3", "--param", "r=4,8", "--name", "proof"]


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of its own, started and stopped; gives its URL."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if os.geteuid() != 0 or not programs:
        sys.exit("expected root and PostgreSQL (Debian: apt-get install postgresql), found not both")
    data, binary = folder / "data", programs[-1].parent
    data.mkdir()
    shutil.chown(data, "postgres")
    folder.chmod(0o755)
    as_user = ["runuser", "-u", "postgres", "--"]
    subprocess.run([*as_user, binary / "initdb", "-D", data, "-A", "trust"], check=True, stdout=subprocess.DEVNULL)
    options = f"-c listen_addresses='' -c unix_socket_directories={data}"
    control = [*as_user, binary / "pg_ctl", "-D", data, "-w", "-s", "-l", data / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True)
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={data}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True)


def main(protocol: list[str]) -> None:
    """Set PostgreSQL up, kill a worker of a sweep, and count."""
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as url:
        os.chdir(name)
        os.environ["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, "-m", "ssl_bench", *SWEEP, *protocol, "--storage", url]
        print(f"$ ssl-bench {' '.join(command[3:])}    (two workers)", flush=True)
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
        while len(Store(Path("results")).entries()) < 2:
            for worker in workers:
                if worker.poll() is not None:
                    sys.exit(f"a worker ended: {worker.communicate()[0].decode()}")
            time.sleep(0.2)
        workers[0].send_signal(signal.SIGKILL)
        print("killed one of them with SIGKILL", flush=True)
        print(workers[1].communicate()[0].decode(), flush=True)
        print("the same command again:", flush=True)
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode(), flush=True)
        study = optuna.load_study(study_name="proof", storage=url)
        trials, entries = study.get_trials(), Store(Path("results")).entries()
        states = Counter(trial.state.name for trial in trials)
        print(f"trials: {dict(states)}; different: {len({str(trial.params) for trial in trials})}")
        print(f"runs: {dict(Counter(entry.status for entry in entries))}")
        if states != {"COMPLETE": 6} or [entry.status for entry in entries] != ["finished"] * 6:
            sys.exit("expected six trials and six runs")


if __name__ == "__main__":
    main(sys.argv[1:])

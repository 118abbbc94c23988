"""Processes forked from a server: they are as new ones, a kill costs one alone, none outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from displays import Listener
from handwritten import write_run

from ssl_bench.launch import forks
from ssl_bench.launch import pool as pool_module
from ssl_bench.launch.forks import UNKNOWN, Forked, ForkServer
from ssl_bench.launch.pool import Pool, explain, run_pool
from ssl_bench.launch.task import Task, sharing
from ssl_bench.store import Store

if not forks.can_fork():
    pytest.skip("no fork server on this system", allow_module_level=True)

# Modules that a run may import itself: its own, and those of pyarrow, which pandas uses where it is installed.
OTHERS = ("ssl_bench", "_cython", "pyarrow")

# A server without torch, whose processes run the first of their words as a program.
STAND_IN = "import sys, ssl_bench.cli\nssl_bench.cli.main = lambda: exec(sys.argv[1])"
READY = "open({ready!r}, 'w').close()\n"
SLEEPER = "import signal, sys, time\n" + READY + "time.sleep(60)"
TRAINER = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *a: (open({ready!r} + '-stopped', 'w').close(), sys.exit(143)))\n"
    + READY
    + "time.sleep(60)"
)
PARENT = """
import os, sys, time
from ssl_bench.launch.forks import ForkServer
server = ForkServer(dict(os.environ), "stand_in")
process = server.fork(sys.argv[1:], {}, os.open("log", os.O_WRONLY | os.O_CREAT))
print(process.pid, flush=True)
time.sleep(60)
"""
# What a process finds: a method's file, imported by the command itself.
FACTS = """
import atexit, json, os, signal, sys
import h5py, torch
UNLIKE = ("_", "TORCHINDUCTOR_CACHE_DIR")  # torch sets it when a run is trained, and in the server
facts = {
    "words": sys.argv[1:],
    "folder": os.getcwd(),
    "environment": {key: value for key, value in os.environ.items() if key not in UNLIKE},
    "path": sys.path,
    "flags": str(sys.flags),
    "own session": os.getsid(0) == os.getpid() == os.getpgid(0),
    "files": [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)],
    "buffering": [sys.stdout.line_buffering, sys.stderr.line_buffering, sys.stdout.encoding, sys.stdout.errors],
    "handlers": [str(signal.getsignal(number)).partition(" at ")[0] for number in (1, 2, 13, 15, 17)],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "threads": torch.get_num_threads(),
    "CUDA": torch.cuda.is_initialized(),
    "HDF5 files": h5py.h5f.get_obj_count(),
    "deterministic": torch.are_deterministic_algorithms_enabled(),
}
parent, known = os.getppid(), set(sys.modules)
def note():
    late = sorted(set(sys.modules) - known)
    with open("facts.json", "w") as file:
        json.dump([facts, parent, late], file)
atexit.register(note)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    folder = tmp_path_factory.mktemp("stand_in")
    (folder / "stand_in.py").write_text(STAND_IN)
    server = ForkServer({**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}, "stand_in")
    yield server
    server.close()


@pytest.fixture
def fork(server: ForkServer, tmp_path: Path) -> Callable[..., Forked]:
    def start(program: str, **environment: str) -> Forked:
        with (tmp_path / "log").open("ab") as log:
            process = server.fork([program], environment, log.fileno())
        assert process is not None
        return process

    return start


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -------------------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(2)", 2),
        ("raise SystemExit('wrong')", 1),
        ("1 / 0", 1),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_the_exit_code_is_that_of_a_new_process(program: str, code: int, fork: Callable[..., Forked]) -> None:
    process = fork(program)
    assert process.wait() == code
    assert process.poll() == code
    assert subprocess.run([sys.executable, "-S", "-c", program], check=False, capture_output=True).returncode == code


def test_what_it_prints_is_appended_to_its_log(fork: Callable[..., Forked], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    program = (
        "import os, sys; print(os.environ['MINE']); print('loud', file=sys.stderr, flush=True); os.system('echo hi')"
    )
    assert fork(program, MINE="own").wait() == 0
    assert fork("import os; print(os.environ.get('MINE')); 1 / 0").wait() == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "before"
    assert sorted(lines[1:4]) == ["hi", "loud", "own"]
    assert "None" in lines[4:], "a process has its own variables, not those of an earlier one"
    assert {"Traceback (most recent call last):", "ZeroDivisionError: division by zero"} < set(lines[4:])


def test_signals_reach_it_and_none_is_sent_after_its_end(fork: Callable[..., Forked], tmp_path: Path) -> None:
    trains, sleeps = tmp_path / "trains", tmp_path / "sleeps"
    first, second = fork(TRAINER.format(ready=str(trains))), fork(SLEEPER.format(ready=str(sleeps)))
    wait_until(lambda: trains.exists() and sleeps.exists())
    assert (first.poll(), second.poll()) == (None, None)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 143
    assert second.poll() is None
    second.kill()
    assert second.wait() == -signal.SIGKILL
    second.kill()  # nothing to signal, as with Popen


def test_a_process_has_no_descriptor_of_another(fork: Callable[..., Forked], tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    first = fork(SLEEPER.format(ready=str(ready)))
    wait_until(ready.exists)
    listing = f"import os; open({str(tmp_path / 'open')!r}, 'w').write(' '.join(os.listdir('/proc/self/fd')))"
    assert fork(listing).wait() == 0
    # its input and outputs, the pipe for its exit code, the file and the listing of the folder
    assert len((tmp_path / "open").read_text().split()) == 6
    first.kill()
    first.wait()


# --------------------------------------------------------------------------------------------------------------- kills


def test_a_server_that_is_killed_leaves_its_processes_and_another_follows(
    server: ForkServer, fork: Callable[..., Forked], tmp_path: Path
) -> None:
    goes_on = "import time\n" + READY + "time.sleep(0.2); raise SystemExit(2)"
    names = [tmp_path / name for name in "abc"]
    ends = fork(goes_on.format(ready=str(names[0])))
    stops = fork(TRAINER.format(ready=str(names[1])))
    dies = fork(SLEEPER.format(ready=str(names[2])))
    wait_until(lambda: all(name.exists() for name in names))
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert (stops.poll(), dies.poll()) == (None, None)
    assert ends.wait() == 2
    stops.send_signal(signal.SIGTERM)
    assert stops.wait() == 143
    dies.kill()
    assert dies.wait() == UNKNOWN
    assert fork("raise SystemExit(5)").wait() == 5
    assert server.pid not in (None, first)


def test_how_a_run_ended_that_was_killed_after_its_server(tmp_path: Path) -> None:
    spec = write_run(Store(tmp_path / "elsewhere"), "mt", 1, [0.5])
    task = Task("seed 1", (), tmp_path / "log", spec)
    assert explain(task, UNKNOWN, Store(tmp_path / "results")) == (
        "killed, as was the server that started it; the same command continues from its last checkpoint"
    )


@pytest.mark.parametrize("program", [TRAINER, SLEEPER])
def test_no_process_outlives_a_parent_that_is_killed(program: str, server: ForkServer, tmp_path: Path) -> None:
    ready, variables = tmp_path / "ready", server._environment
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, program.format(ready=str(ready))], cwd=tmp_path, env=variables,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until(ready.exists)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not runs(pid))
    assert Path(f"{ready}-stopped").exists() == (program == TRAINER), "it wrote its checkpoint"


def test_where_there_is_no_server_a_run_starts_in_a_new_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    broken = ForkServer(dict(os.environ), "no_such_module")
    real = subprocess.Popen

    def popen(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(words)
        is_server = "ssl_bench.launch.forkserver" in words
        return real(words if is_server else [sys.executable, "-S", "-c", "raise SystemExit(3)"], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with caplog.at_level("WARNING", logger="ssl_bench"):
        for _ in range(2):
            assert Task("", ("--version",), tmp_path / "log").start("cpu", None, broken).wait() == 3
        assert broken.fork(["x" * 70_000], {}, 1) is None
    assert [words[3] for words in started] == ["ssl_bench.launch.forkserver", "ssl_bench", "ssl_bench"]
    assert caplog.text.count("runs start in new processes") == 1


def test_each_process_draws_random_numbers_of_its_own(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "drawing.py").write_text("import numpy, torch, stand_in")
    path = f"{tmp_path}:{server._environment['PYTHONPATH']}"
    program = "import numpy, torch; print(numpy.random.rand(), torch.initial_seed())"
    drawing = ForkServer({**server._environment, "PYTHONPATH": path}, "drawing")
    try:
        with (tmp_path / "log").open("ab") as log:
            for _ in range(2):
                process = drawing.fork([program], {}, log.fileno())
                assert process is not None
                assert process.wait() == 0
    finally:
        drawing.close()
    first, second = ((tmp_path / "log").read_text().split()[place::2] for place in (0, 1))
    assert len(set(first)) == len(set(second)) == 2


# ---------------------------------------------------------------------------------------------------------------- pool


@pytest.fixture
def pools(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> list[ForkServer]:
    """The servers of the pools that a test makes; their processes run programs."""
    made: list[ForkServer] = []

    def make(_: dict[str, str]) -> ForkServer:
        made.append(ForkServer(server._environment, "stand_in"))
        return made[-1]

    monkeypatch.setattr(pool_module, "ForkServer", make)
    return made


def test_a_process_or_server_that_is_killed_costs_one_run_at_most(pools: list[ForkServer], tmp_path: Path) -> None:
    store, elsewhere = Store(tmp_path / "results"), Store(tmp_path / "elsewhere")
    tasks = []
    for seed, before in enumerate(("os.kill(os.getpid(), 9)", "os.kill(os.getppid(), 9)", "", ""), start=1):
        spec = write_run(elsewhere, "mt", seed, [0.5])
        copy = f"shutil.copytree({str(elsewhere.folder(spec).path)!r}, {str(store.folder(spec).path)!r})"
        program = f"import os, shutil; {before}; {copy}" if before else f"import shutil; {copy}"
        tasks.append(Task(f"seed {seed}", (program,), tmp_path / f"log-{seed}", spec))
    outcome = run_pool(tasks, store, ["cpu", "cpu"], Listener())
    assert outcome.trained == 3
    (failure,) = outcome.failures
    assert failure in {  # whether or not the server lived long enough to say by which signal
        f"seed 1: killed{how}; the same command continues from its last checkpoint"
        for how in (" by SIGKILL", ", as was the server that started it")
    }
    assert [server.pid for server in pools] == [None], "one server, which ends with the pool"


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, -signal.SIGKILL), (RuntimeError, 143)], ids=["Ctrl-C twice", "otherwise"]
)
def test_leaving_a_pool_ends_its_processes_and_its_server(
    error: type[BaseException], code: int, pools: list[ForkServer], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    pool = Pool(["cpu"])
    pool.start(Task("", (TRAINER.format(ready=str(ready)),), tmp_path / "log"))
    wait_until(ready.exists)
    assert pools[0].pid is not None
    with pytest.raises(error), pool:
        raise error
    ((_, process),) = pool.active.values()
    assert process.wait() == code
    assert pools[0].pid is None


# ------------------------------------------------------------------------------------------- as a process of its own


@pytest.mark.slow
def test_a_forked_process_is_as_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # numpy's library starts its threads at once, and survives a fork
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "facts.py").write_text(FACTS)
    demo = ("--dataset", "demo", "--protocol", "tiny", "--iterations", "1", "--methods-dir", "mine")
    server = ForkServer(sharing(os.environ, 2))

    def find(method: str, chosen: ForkServer | None) -> Any:
        task = Task(method, ("run", "--methods", method, *demo), tmp_path / "log", command="ssl-bench as typed")
        assert task.start("cpu", 2, chosen).wait() == (2 if method == "none" else 0), (tmp_path / "log").read_text()
        return json.loads((tmp_path / "facts.json").read_text())

    try:
        new, parent, *_ = find("none", None)  # no method of this name: the command ends when it has imported the files
        assert parent == os.getpid()
        forked, parent, *_ = find("none", server)
        assert parent == server.pid
        threads = [(one / "comm").read_text().strip() for one in Path(f"/proc/{parent}/task").iterdir()]
        own = [one for one in threads if one != "jemalloc_bg_thd"]  # pyarrow's, which survives forks
        assert len(own) == 1, "torch has computed nothing in the server"
        assert forked == new
        _, _, late = find("supervised", server)
    finally:
        server.close()
    assert not [name for name in late if not name.startswith(OTHERS)], "the server imported it before"

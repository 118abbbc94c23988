"""Faults on purpose: what is done to a run, and whether the same command then ends in the bits of an undisturbed one.

`python tests/faults.py [ROUNDS]` tries each of them and prints a table; `test_faults.py` is the short form.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from workplace import Workplace, checkpointed, contents, wait_for

from ssl_bench.method import load_methods
from ssl_bench.store import Store

METHOD, SETTINGS = "ucmt", ("iterations=24", "log_every=7", "score_every=6")
Fault = Callable[[Workplace, int], int]  # a fresh place and how often; returns how many were survived


class NotPossibleError(Exception):
    """This machine does not allow the fault; the message says why."""


def _start(place: Workplace, *, held: str = "", every: float = -1.0, clock: float = 0.0) -> Any:
    """The command that all faults are done to; by default it writes a checkpoint at every iteration."""
    return place.start(METHOD, seconds=every, held=held, settings=SETTINGS, clock=clock)


def _survived(place: Workplace) -> int:
    """Run the command again: it must end well, in the bits of an undisturbed run, and leave nothing half-written."""
    code, _, err = place.finish(_start(place))
    assert code == 0, err
    (run,) = place.runs(METHOD, settings=SETTINGS)
    assert run.status == "finished"
    assert [contents(run.path)] == place.undisturbed(METHOD, settings=SETTINGS)
    assert not list(place.results.rglob("*.partial")), "something is half-written"
    assert not list(run.path.glob("checkpoint*"))
    return 1


def _forget(place: Workplace) -> None:
    """As if nothing had ever run here; the undisturbed run stays."""
    for folder in (place.results, place.folder / "cache"):
        shutil.rmtree(folder, ignore_errors=True)


def killed(place: Workplace, rounds: int) -> int:
    """SIGKILL at random moments of preparing, training, scoring and writing."""
    rng, survived = random.Random(rounds), 0
    begun = time.monotonic()
    assert place.finish(_start(place))[0] == 0
    whole = time.monotonic() - begun
    for _ in range(rounds):
        _forget(place)
        for _ in range(rng.randint(1, 3)):
            process = _start(place)
            time.sleep(rng.random() * whole)
            process.kill()
            process.join()
            Store(place.results).entries()  # whatever is there can be read
        survived += _survived(place)
    return survived


def each_method_killed(place: Workplace, rounds: int) -> int:
    """SIGKILL once in the training of each of as many methods, after a checkpoint of its own."""
    survived = 0
    for name in sorted(load_methods())[:rounds]:
        settings = ("iterations=16", "log_every=7")
        process = place.start(name, seconds=-1.0, settings=settings)
        goal = 1 + random.Random(name).randrange(3, 6)
        wait_for(lambda name=name, goal=goal: checkpointed(place.results, name) >= goal, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"{name} ended before it was killed"
        code, _, err = place.finish(place.start(name, settings=settings), timeout=300.0)
        assert code == 0, err
        (run,) = place.runs(name, settings=settings)
        assert [contents(run.path)] == place.undisturbed(name, settings=settings), name
        survived += 1
    return survived


def held_and_killed(place: Workplace, rounds: int) -> int:
    """SIGKILL at the worst moments: in the middle of a checkpoint, between its parts, while scoring, before the end."""
    moments = ["a checkpoint's content", "a checkpoint's name", "scoring", "the end"]
    for moment in moments[:rounds]:
        _forget(place)
        process = _start(place, held=moment)
        place.wait_held(process)
        process.kill()
        process.join()
        _survived(place)
    return min(rounds, len(moments))


def disk_full(place: Workplace, rounds: int) -> int:
    """The disk of the results is full: one line, no traceback, and the run goes on once there is room."""
    for size in random.Random(0).sample(range(40, 4000, 40), rounds):  # KiB: from the first file to the last
        with _mounted(place.results, f"size={size}k"):
            code, _, err = place.finish(_start(place))
            assert code in (1, 2) or size > 2000, f"{size} KiB: {code} {err}"
            Store(place.results).entries()
            _mount(place.results, "remount,size=64m")
            _survived(place)
    return rounds


def read_only(place: Workplace, rounds: int) -> int:
    """The results folder cannot be written: exit code 2, and everything stays as it was."""
    for _ in range(rounds):
        with _mounted(place.results, "size=64m"):
            process = _start(place, held="training")
            place.wait_held(process)
            process.kill()
            process.join()
            before = _listing(place.results)
            _mount(place.results, "remount,ro")
            code, _, err = place.finish(_start(place))
            assert code == 2, err
            assert "cannot be written" in err
            assert _listing(place.results) == before
            _mount(place.results, "remount,rw")
            _survived(place)
    return rounds


def cut_checkpoint(place: Workplace, rounds: int) -> int:
    """A checkpoint cut short: it is not trained on from; after the advised deletion the run begins again."""
    for number in range(rounds):
        _forget(place)
        process = _start(place, held="scoring")
        place.wait_held(process)
        process.kill()
        process.join()
        (checkpoint,) = place.results.rglob("checkpoint-*.pt")
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[: len(content) * number // rounds])
        code, _, err = place.finish(_start(place))
        assert code == 2
        assert "damaged" in err
        (checkpoint.parent / "checkpoint.json").unlink()
        _survived(place)
    return rounds


def spoilt_cache(place: Workplace, rounds: int) -> int:
    """A cache file cut short, or with other bytes in it: it is built anew."""
    rng = random.Random(rounds)
    for number in range(rounds):
        assert place.finish(_start(place))[0] == 0
        shutil.rmtree(place.results)
        (cache,) = (place.folder / "cache").rglob("*.h5")
        content = bytearray(cache.read_bytes())
        if number % 2:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 0xFF
        cache.write_bytes(content)
        _survived(place)
    return rounds


def many_claims(place: Workplace, rounds: int) -> int:
    """Hundreds of processes claim the same run at once: never two hold it, and the dead keep nobody waiting."""
    (job,) = place.jobs(METHOD, settings=SETTINGS)
    context, log = multiprocessing.get_context("fork"), place.folder / "claims"
    log.touch()
    processes = [
        context.Process(target=_claim, args=(place.results, job.spec, log, number)) for number in range(rounds)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    inside = 0
    words = log.read_text().split()
    for word in words:
        inside += 1 if word == "in" else -1
        assert inside in (0, 1), "two processes held one run"
    assert words.count("in") >= 1
    shutil.rmtree(place.results)
    return rounds


def _claim(results: Path, spec: Any, log: Path, number: int) -> None:
    """Claim, hold for a moment, and (every tenth) die with the claim."""
    with Store(results).claim(spec) as mine:
        if not mine:
            return
        with log.open("a") as file:
            file.write("in\n")
        time.sleep(0.01)
        with log.open("a") as file:
            file.write("out\n")
        if number % 10 == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def same_command_at_once(place: Workplace, rounds: int) -> int:
    """The same command several times at once: one trains, the others wait and find it finished."""
    for _ in range(rounds):
        _forget(place)
        processes = [_start(place) for _ in range(3)]
        outcomes = [place.finish(process)[:2] for process in processes]
        assert [code for code, _ in outcomes] == [0, 0, 0]
        assert sum(": finished (" in out for _, out in outcomes) == 1, "trained more than once"
        _survived(place)
    return rounds


def clock_set_back(place: Workplace, rounds: int) -> int:
    """Killed, and gone on with on a day before it began."""
    for number in range(rounds):
        _forget(place)
        process = _start(place, held="training")
        place.wait_held(process)
        process.kill()
        process.join()
        code, _, err = place.finish(_start(place, clock=-3e7 * (number + 1)))
        assert code == 0, err
        _survived(place)
    return rounds


def stale_claims(place: Workplace, rounds: int) -> int:
    """Lock files of a dead process here, and of one on another host (a file that nobody holds)."""
    for number in range(rounds):
        _forget(place)
        process = _start(place)
        wait_for(lambda: any(place.results.rglob("checkpoint.json")), process)
        process.kill()
        process.join()
        (lock,) = place.results.rglob(".lock")
        if number % 2:
            lock.write_text("4711@another-host\n")
            os.utime(lock, (2e9, 2e9))
        _survived(place)
    return rounds


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own in place of a folder."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise NotPossibleError("mounting a small file system needs root")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        raise NotPossibleError(f"mount: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", options, folder], check=True)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# Each with how often the test suite tries it, and `nox -s faults` for each of its rounds.
FAULTS: dict[str, tuple[Fault, int, float]] = {
    "SIGKILL at random moments": (killed, 0, 1.0),  # tests/training/test_resume.py has a short form
    "SIGKILL in each method": (each_method_killed, 0, 2.0),
    "SIGKILL at the worst moments": (held_and_killed, 1, 0.134),
    "disk full": (disk_full, 1, 0.5),
    "results folder read-only": (read_only, 1, 0.1),
    "checkpoint cut short": (cut_checkpoint, 1, 0.2),
    "cache damaged": (spoilt_cache, 2, 0.2),
    "claims at once": (many_claims, 40, 6.67),
    "same command three times at once": (same_command_at_once, 1, 0.1),
    "clock set back": (clock_set_back, 1, 0.1),
    "claim of a dead process, here and elsewhere": (stale_claims, 2, 0.2),
}


def main(rounds: int) -> int:
    """Try every fault and print what became of it; returns the number of faults not survived."""
    table, lost = Table("Fault", "Tried", "Survived", "Seconds", title="Faults"), 0
    for name, (fault, _, share) in FAULTS.items():
        count, begun = max(1, round(rounds * share)), time.monotonic()
        if fault is each_method_killed:
            count = min(count, len(load_methods()))
        with tempfile.TemporaryDirectory() as folder:
            place = Workplace(Path(folder))
            try:
                survived = str(fault(place, count))
            except NotPossibleError as error:
                survived, count = f"not tried: {error}", 0
            except AssertionError as error:
                survived, lost = f"LOST: {error}", lost + 1
            finally:
                place.end()
        table.add_row(name, str(count), survived, f"{time.monotonic() - begun:.0f}")
        print(f"{name}: {survived} of {count}", flush=True)
    Console(width=120).print(table)
    return lost


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 30) else 0)

"""The static site of a store's report, made in a temporary folder when it is asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ssl_bench.live.snapshot import Snapshot

PAUSE = 60.0  # seconds between two makings, however often runs finish


@dataclass(frozen=True)
class Made:
    """A site that was made: its files by their addresses, and the finished runs that it was made from."""

    files: dict[str, Path]
    of: frozenset[tuple[str, float]]


class ReportSite:
    """Makes the site in a process of its own, and again after runs have finished. Within `with`; then it is deleted.

    Args:
        root: the results root.
        methods_dirs: folders with the user's own methods.
    """

    def __init__(self, root: Path, methods_dirs: Sequence[Path] = ()) -> None:
        self._root, self._methods_dirs = root, methods_dirs
        self._folder = tempfile.TemporaryDirectory(prefix="ssl-bench-report-")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ended = float("-inf")
        self._count = 0
        self.made: Made | None = None
        self.error = ""

    def ask(self, snapshot: Snapshot) -> Made | None:
        """Return the latest site, None where there is none yet; begin to make it if the store has changed."""
        finished = frozenset((run.id, run.changed) for run in snapshot.runs if run.state == "finished")
        with self._lock:
            is_current = self.made is not None and self.made.of == finished
            if self._process is None and not is_current and time.monotonic() - self._ended > PAUSE:
                self._begin(finished)
            return self.made

    @property
    def is_at_work(self) -> bool:
        """Whether the site is being made."""
        return self._process is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            process, self._ended = self._process, float("inf")
        if process is not None:
            process.kill()
            process.wait()
        self._folder.cleanup()

    def _begin(self, finished: frozenset[tuple[str, float]]) -> None:
        self._count += 1
        folder = Path(self._folder.name) / str(self._count)
        words = [str(self._root.resolve()), str(folder), *(str(one.resolve()) for one in self._methods_dirs)]
        program = [sys.executable, "-P", "-m", "ssl_bench.live.build_report", *words]
        self._process = subprocess.Popen(  # noqa: S603
            program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._wait, args=(self._process, folder, finished), daemon=True).start()

    def _wait(self, process: subprocess.Popen[str], folder: Path, finished: frozenset[tuple[str, float]]) -> None:
        _, errors = process.communicate()
        with self._lock:
            self._process, self._ended = None, max(self._ended, time.monotonic())
            self.error = ""
            if process.returncode == 0:
                files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
                self.made = Made(files, finished)
            else:
                lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
                self.error = lines[-1]

"""Whether a process trains a run, read without touching the run's lock: for views, which must not disturb a run."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from ssl_bench.store.run_folder import RunFolder

LOCKS = Path("/proc/locks")  # the kernel's table of this machine's file locks, on Linux
FRESH_SECONDS = 60.0  # after its last progress, a run on another machine counts as stopped

_HELD = re.compile(r"^\d+: (?:FLOCK|POSIX|OFDLCK) .* ([0-9a-f]+):([0-9a-f]+):(\d+) \d+ \w+$")  # not those that wait


class Holders:
    """The file locks of this machine at one moment; of runs on other machines, the progress that they reported."""

    def __init__(self, table: Path = LOCKS) -> None:
        self._host, self._held = socket.gethostname(), set[tuple[int, int, int]]()
        self._has_table = False
        with suppress(OSError):  # not Linux: progress alone tells
            lines = table.read_text(encoding="ascii", errors="replace").splitlines()
            self._has_table = True
            matches = filter(None, map(_HELD.match, lines))
            self._held = {(int(one[1], 16), int(one[2], 16), int(one[3])) for one in matches}

    def trains(self, folder: Path, recorded: str) -> bool:
        """Whether a process trains the run in a folder, whose run.json has the status `recorded`."""
        try:
            found = (folder / ".lock").stat()
        except OSError:
            return False
        is_held = self._is_held(found.st_dev, found.st_ino)
        return is_held or (recorded == "running" and self._is_fresh(RunFolder(folder)))

    def _is_held(self, device: int, inode: int) -> bool:
        major, minor = os.major(device), os.minor(device)
        if (major, minor, inode) in self._held:
            return True
        # btrfs and overlay file systems give files other numbers than the table does, with the major 0
        return major == 0 and any(one == inode and other == 0 for other, _, one in self._held)

    def _is_fresh(self, folder: RunFolder) -> bool:
        """Whether a run has just reported progress from where this table does not reach."""
        progress = folder.read_progress()
        if progress is None or (self._has_table and progress.host == self._host):
            return False
        with suppress(OSError):
            return time.time() - folder.progress.stat().st_mtime < FRESH_SECONDS
        return False

"""The static sites of a store's reports, made in a temporary folder when they are asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ssl_bench.cards import card_kinds, load_benchmark, load_protocol, require_known_keys
from ssl_bench.command import quantity, same_place, setting_words
from ssl_bench.declarations import declared_methods
from ssl_bench.errors import UserError
from ssl_bench.live.snapshot import LiveRun, Snapshot

PAUSE = 60.0  # seconds between two makings of a site, however often runs finish
NICENESS = 10  # of the process that makes one: trainings on the same machine come first
PAPER = "paper"  # the report of the paper's own data sets and protocols
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Choice:
    """A report that can be made: of the paper, or of a data set under a protocol. `key` is its part of addresses."""

    key: str
    title: str
    dataset: str | None = None
    protocol: str | None = None

    def includes(self, run: LiveRun) -> bool:
        """Whether the report shows a run, or may do so."""
        return run.state == "finished" and (
            self.dataset is None or (run.benchmark, run.protocol) == (self.dataset, self.protocol)
        )


@dataclass
class Site:
    """A site that was made: its files by their addresses, and the runs that it was made from; or why it failed."""

    files: dict[str, Path] | None = None
    of: frozenset[tuple[str, float]] = frozenset()
    error: str = ""
    ended: float = float("-inf")
    folders: list[Path] = field(default_factory=list)  # of it and of the one before, whose files may be being sent


class ReportSites:
    """Makes sites, one at a time, and again after runs have finished. Within `with`; then they are deleted.

    Args:
        root: the results root.
        cards: files of the user's own data sets and protocols.
        settings: that override protocol and method fields.
        methods_dirs: folders with the user's own methods.

    Raises:
        UserError: a card is wrong, or a setting is neither a protocol field nor a hyperparameter of a method.

    """

    def __init__(
        self,
        root: Path,
        cards: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        methods_dirs: Sequence[Path] = (),
    ) -> None:
        if settings:
            with declared_methods(*methods_dirs) as methods:
                fields = set().union(*(method.fields for method in methods.values()))
            require_known_keys(settings, fields, "a method")
        self._words = [
            *setting_words(settings or {}),
            *same_place(root.resolve(), [one.resolve() for one in methods_dirs]),
        ]
        self._cards = {"datasets": dict[str, str](), "protocols": dict[str, str]()}
        for card in cards:
            if not card.endswith(".toml"):
                raise UserError(f"--card: expected a .toml file, found '{card}'; built-in cards need no --card")
            (kind,) = card_kinds(card)
            name = (load_benchmark(card) if kind == "datasets" else load_protocol(card)).name
            self._cards[kind][name] = str(Path(card).resolve())
        self._folder = tempfile.TemporaryDirectory(prefix="ssl-bench-report-")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False
        self._sites: dict[str, Site] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._is_closed = True
            process = self._process
        if process is not None:
            process.kill()
            process.wait()
        self._folder.cleanup()

    def choices(self, snapshot: Snapshot) -> list[Choice]:
        """Return the reports of a store: that of the paper, and one per data set and protocol with finished runs."""
        counts = Counter((run.benchmark, run.protocol) for run in snapshot.runs if run.state == "finished")
        found = [Choice(PAPER, "The paper's data sets and protocols")]
        for (dataset, protocol), count in sorted(counts.items()):
            if _NAME.fullmatch(dataset) and _NAME.fullmatch(protocol):
                title = f"{dataset}, protocol {protocol}: {quantity(count, 'finished run')}"
                found.append(Choice(f"{dataset}@{protocol}", title, dataset, protocol))
        return found

    def ask(self, choice: Choice, snapshot: Snapshot) -> Site:
        """Return the latest site of a choice; begin to make it if the store has changed and none is being made."""
        runs = frozenset((run.id, run.changed) for run in snapshot.runs if choice.includes(run))
        with self._lock:
            site = self._sites.setdefault(choice.key, Site())
            is_due = time.monotonic() - site.ended > PAUSE and (site.files is None or site.of != runs)
            if self._process is None and is_due and not self._is_closed:
                self._begin(choice, runs, site)
            return site

    def _begin(self, choice: Choice, runs: frozenset[tuple[str, float]], site: Site) -> None:
        self._count += 1
        folder = Path(self._folder.name) / str(self._count)
        words = ["report", "--all", "--html", str(folder), *self._words]
        if choice.dataset is not None and choice.protocol is not None:
            words += ["--dataset", self._cards["datasets"].get(choice.dataset, choice.dataset)]
            words += ["--protocol", self._cards["protocols"].get(choice.protocol, choice.protocol)]
        site.error = ""
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "ssl_bench", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        threading.Thread(target=self._wait, args=(self._process, folder, runs, site), daemon=True).start()

    def _wait(
        self, process: subprocess.Popen[str], folder: Path, runs: frozenset[tuple[str, float]], site: Site
    ) -> None:
        _, errors = process.communicate()
        with self._lock:
            self._process, site.ended = None, time.monotonic()
            if process.returncode == 0:
                site.files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
                site.of = runs
                site.folders.append(folder)
                while len(site.folders) > 2:
                    shutil.rmtree(site.folders.pop(0), ignore_errors=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
                site.error = lines[-1].removeprefix("error: ")
                if site.error.startswith(("--dataset: expected", "--protocol: expected")):
                    site.error += "; --card FILE of `ssl-bench serve` names the card of your own data set or protocol"

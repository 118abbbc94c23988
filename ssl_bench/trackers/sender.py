"""Sends one run to one tracker from a thread of its own, so that training waits for no server and no disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ssl_bench.errors import first_line
from ssl_bench.trackers.contract import Picture, TrackedRun, Tracker
from ssl_bench.training.observer import Point, Stop

FINISH_SECONDS = 120.0  # that a finished run waits for its tracker at most
STOP_SECONDS = 10.0  # that an interrupted or failed one waits, and one whose tracker has failed before
RETRY_SECONDS = 60.0  # between an error and the next attempt
NOISY = ("urllib3.connectionpool", "mlflow", "mlflow.store.db.utils", "alembic.runtime.migration", "wandb")
log = logging.getLogger("ssl_bench")


@dataclass(frozen=True)
class End:
    """How a run ends: finished with scores and pictures, or stopped."""

    scores: Mapping[str, float]
    pictures: Sequence[Picture]
    stop: Stop | None = None


class Sender:
    """Keeps all points of a run, and sends them to its tracker.

    An error is logged as a warning, once. After an error, a new tracker is started at most every RETRY_SECONDS, and a
    last time at the end; it is given all points.

    Args:
        name: of the tracker.
        make: makes the tracker.
        run: the run.
        advice: end of the warning.

    """

    def __init__(self, name: str, make: Callable[[], Tracker], run: TrackedRun, advice: str) -> None:
        self.name, self._make, self._run, self._advice = name, make, run, advice
        self._points: list[Point] = []
        self._end: End | None = None
        self._patience = FINISH_SECONDS
        self._changed = threading.Condition()
        self._has_warned, self._is_done = False, False
        self._thread = threading.Thread(target=self._work, name=f"ssl-bench --log {name}", daemon=True)
        self._thread.start()

    def add(self, point: Point) -> None:
        """Take a point; returns at once."""
        with self._changed:
            self._points.append(point)
            self._changed.notify()

    def end(self, end: End) -> None:
        """Take the end of the run."""
        self._patience = STOP_SECONDS if end.stop is not None or self._has_warned else FINISH_SECONDS
        with self._changed:
            self._end = end
            self._changed.notify()

    def wait(self, begun: float) -> None:
        """Wait until everything is sent or has failed, but not for ever: from `begun` (monotonic clock) on."""
        self._thread.join(max(0.0, begun + self._patience - time.monotonic()))
        if not self._is_done:
            self._warn("no answer in time")

    def _work(self) -> None:
        with _quiet_libraries():
            tracker: Tracker | None = None
            sent, retry = 0, 0.0
            while True:
                end = self._wait(sent if tracker is not None else -1, retry)
                try:
                    if tracker is None:
                        sent, tracker = 0, self._make()
                        tracker.start(self._run)
                    points = self._points[sent:]
                    if points:
                        tracker.log(points)
                        sent += len(points)
                    if end is not None:
                        self._close(tracker, end)
                        self._is_done = True
                        return
                except Exception as error:  # whatever a tracker's package raises: the run goes on
                    self._warn(f"{type(error).__name__}: {first_line(error)}")
                    tracker, retry = None, time.monotonic() + RETRY_SECONDS
                    if end is not None:
                        return

    def _wait(self, sent: int, retry: float) -> End | None:
        """Wait until there are more points than `sent`, but not before `retry`; or until the end, which is returned."""
        with self._changed:
            while self._end is None:
                left = retry - time.monotonic()
                if left <= 0 and len(self._points) > sent:
                    break
                self._changed.wait(left if left > 0 else None)
            return self._end

    @staticmethod
    def _close(tracker: Tracker, end: End) -> None:
        if end.stop is None:
            tracker.finish(end.scores, end.pictures)
        else:
            tracker.stop(end.stop)

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("--log %s: %s: %s; %s", self.name, self._run.name, reason, self._advice)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Drop what libraries log in this thread: the one warning of `Sender` says it."""
    here = threading.get_ident()

    def is_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    loggers = [logging.getLogger(name) for name in NOISY]
    for logger in loggers:
        logger.addFilter(is_elsewhere)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_elsewhere)

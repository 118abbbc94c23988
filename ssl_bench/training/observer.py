"""The interface through which a training shows its curves and scores to an observer, such as a tracker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from ssl_bench.errors import InterruptedRunError
from ssl_bench.store import Example, RunFolder
from ssl_bench.training.job import Job

Stop = Literal["interrupted", "failed"]
Rows = Sequence[Mapping[str, float | None]]  # of a curve; each has an `iteration`


class Point(NamedTuple):
    """Values after an iteration, by name: `train/loss1`, `validation/dsc`, `test/dsc`."""

    iteration: int
    values: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """What a run ends with.

    Attributes:
        result: costs, as in `run.json`.
        scores: an entry of the scores there.
        examples: pictures of test cases.
        ranking: each test case's score by the first metric, signed so that larger is better; None where undefined.

    """

    result: Mapping[str, Any]
    scores: Mapping[str, Any]
    examples: Sequence[Example]
    ranking: Mapping[str, float | None]


class Observer(Protocol):
    """Follows one run. Training does not depend on it: no method raises, and `show` returns at once.

    A run that goes on from a checkpoint shows its points from the first one again.
    """

    def show(self, point: Point) -> None:
        """Take a point; iterations never decrease."""

    def finish(self, finished: Finished) -> None:
        """Take what the run ends with."""

    def stop(self, reason: Stop) -> None:
        """Take note that this process trains the run no further. Nothing happens after `finish`."""


Observe = Callable[[Job, RunFolder], Observer]  # makes the observer of a run whose `run.json` is written


class Unobserved:
    """The observer of a run that nobody follows."""

    def show(self, point: Point) -> None:
        """Ignore a point."""

    def finish(self, finished: Finished) -> None:
        """Ignore the end."""

    def stop(self, reason: Stop) -> None:
        """Ignore a stop."""


class Feed:
    """Shows each row of a run's curves to its observer, once and in the order of iterations."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._shown: dict[str, int] = {}  # rows by curve

    def show(self, curves: Mapping[str, Rows]) -> None:
        """Show the rows that are new since the last call; names of values begin with the curve's name."""
        points = []
        for name, rows in curves.items():
            for row in rows[self._shown.get(name, 0) :]:
                known = ((key, value) for key, value in row.items() if key != "iteration" and value is not None)
                points.append(Point(int(row["iteration"] or 0), {f"{name}/{key}": value for key, value in known}))
            self._shown[name] = len(rows)
        for point in sorted(points, key=lambda point: point.iteration):
            self.observer.show(point)


@contextmanager
def observed(observe: Observe | None, job: Job, folder: RunFolder) -> Iterator[Observer]:
    """Within `with`, a run has its observer, which is told of an interruption or a failure."""
    observer: Observer = Unobserved() if observe is None else observe(job, folder)
    try:
        yield observer
    except InterruptedRunError:
        observer.stop("interrupted")
        raise
    except Exception:
        observer.stop("failed")
        raise

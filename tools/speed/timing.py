"""Two pieces of work timed in turn in one process, so that a machine that drifts or is shared does not decide."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """What the benchmark was asked for."""

    device: torch.device
    repeats: int
    methods: tuple[str, ...]
    protocol: str
    precisions: tuple[str, ...]
    dimensions: tuple[int, ...] = (2, 3)
    overrides: dict[str, Any] = field(default_factory=dict)  # of the protocol's fields, by `--set`


@dataclass(frozen=True)
class Ratio:
    """One line of the result: the median of `repeats` ratios, with their quartiles; times are medians too.

    `ratio` is ours / other where `target` is an upper limit ("<= 1.1"), else other / ours ("times as fast").
    """

    section: str
    what: str
    ours: str
    other: str
    device: str
    threads: int
    ours_ms: float
    other_ms: float
    ratio: float
    low: float
    high: float
    target: str

    @property
    def met(self) -> bool | None:
        """Whether the ratio keeps its target; None where it has none."""
        if not self.target:
            return None
        sign, limit = self.target.split()
        return self.ratio <= float(limit) if sign == "<=" else self.ratio >= float(limit)

    @classmethod
    def header(cls) -> list[str]:
        """Columns of the CSV."""
        return [field.name for field in fields(cls)] + ["met"]

    def cells(self) -> list[str]:
        """One row of the CSV."""
        values = [getattr(self, field.name) for field in fields(self)]
        met = {None: "", True: "yes", False: "no"}[self.met]
        return [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values] + [met]


def compare(
    section: str, what: str, ours: tuple[str, Work], other: tuple[str, Work], settings: Settings, target: str = ""
) -> Ratio:
    """Time both in turn, `repeats` times after one round to warm up; which of them goes first changes each time.

    Args:
        section: which part of the benchmark it belongs to.
        what: what is done.
        ours: a name, and the work.
        other: what it is compared with.
        settings: device and repeats.
        target: "<= X" for ours / other, ">= X" for other / ours; without one the ratio is other / ours.

    """
    pairs = []
    for number in range(settings.repeats + 1):
        if number % 2:
            first = seconds(ours[1], settings.device)
            pairs.append((first, seconds(other[1], settings.device)))
        else:
            first = seconds(other[1], settings.device)
            pairs.append((seconds(ours[1], settings.device), first))
    return of_times(section, what, ours[0], other[0], pairs[1:], settings, target)


def of_times(
    section: str, what: str, ours: str, other: str, pairs: list[tuple[float, float]], settings: Settings, target: str
) -> Ratio:
    """A line from pairs of values, ours first; what is measured in seconds is noted in milliseconds."""
    ratios = [a / b if target.startswith("<=") else b / a for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    first, second = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
    threads = torch.get_num_threads()
    return Ratio(section, what, ours, other, settings.device.type, threads, first, second, middle, low, high, target)


def seconds(work: Work, device: torch.device) -> float:
    """How long some work takes until the device has done it."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""A user's request: methods, a data set, a protocol and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssl_bench.cards.benchmark import Benchmark


@dataclass(frozen=True)
class Request:
    """A user's request, as given on the command line."""

    benchmark: Benchmark
    methods: tuple[str, ...]
    labeled: str
    protocol: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    label_seeds: tuple[int, ...] = ()  # each is crossed with every seed; none: the seed draws the labelled cases

    @property
    def draws(self) -> list[tuple[int, int]]:
        """Seed and label draw of each run of a method, ordered by seed."""
        return [(seed, label) for seed in self.seeds for label in self.label_seeds or (seed,)]

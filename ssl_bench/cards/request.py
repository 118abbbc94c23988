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

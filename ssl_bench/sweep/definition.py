"""Sweep: the definition of a search."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ssl_bench.cards import MetricName
from ssl_bench.sweep.space import Parameter

Sampler = Literal["grid", "tpe", "random"]


Objective = Literal["validation", "test", "none"]


Pruner = Literal["none", "median", "halving"]


ORACLE = "ORACLE: this sweep selects on the test set; its best score says nothing about other data"


@dataclass(frozen=True)
class Sweep:
    """The definition of a sweep. Two commands with equal definitions work on the same study.

    `objective` is the score that trials are compared by: the validation images', the test set's, or none if a grid
    only trains the runs of a table. `first_run` is the hash of the first run that was planned: other data, weights,
    precision or version of the method make another sweep.
    """

    method: str
    dataset: str
    labeled: str
    protocol: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    sampler: Sampler
    objective: Objective
    metric: MetricName
    maximize: bool
    pruner: Pruner
    first_run: str

    @property
    def definition(self) -> str:
        """All fields as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def default_name(self) -> str:
        """A readable name that is different for each definition."""
        return f"{self.method}-{Path(self.dataset).stem}-{hashlib.sha256(self.definition.encode()).hexdigest()[:8]}"

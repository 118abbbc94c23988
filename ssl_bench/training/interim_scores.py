"""Score the predictor every N iterations. Training does not depend on the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_bench.atomic import write_csv
from ssl_bench.scoring.scorer import Scorer, ScoreRow, summary


class Watch:
    """The predictor's mean scores on some cases every so many iterations; `rows` hold an iteration and a mean each.

    The file has every row as soon as there is one, so that whoever waits for the run can follow it.
    """

    def __init__(self, path: Path, scorer: Scorer, every: int | None) -> None:
        self.path, self.scorer, self.every = path, scorer, every
        self.metrics = scorer.measurement.metrics
        self.rows: list[list[Any]] = []

    def is_due(self, iteration: int) -> bool:
        """Whether this iteration is to be scored and has not been."""
        scored = self.rows[-1][0] if self.rows else 0
        return self.every is not None and iteration > scored and iteration % self.every == 0

    def note(self, iteration: int, rows: list[ScoreRow]) -> None:
        """Add the scores of one network at this iteration."""
        (means,) = summary(rows, self.metrics).values()
        self.rows.append([iteration, *(means[metric]["mean"] for metric in self.metrics)])
        self.write()

    def write(self) -> None:
        """Write the file, where there is anything to write."""
        if self.rows:
            write_csv(self.path, ("iteration", *self.metrics), self.rows)

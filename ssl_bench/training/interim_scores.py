"""Score the predictor every N iterations. Training does not depend on the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_bench.atomic import write_csv
from ssl_bench.scoring.scorer import Scorer, ScoreRow, summary


class Watch:
    """Mean scores of the predictor on some cases, every `every` iterations; a row is an iteration and its means.

    The file is updated after every row, so that other processes can follow the run.
    """

    def __init__(self, path: Path, scorer: Scorer, every: int | None) -> None:
        self.path, self.scorer, self.every = path, scorer, every
        self.metrics = scorer.measurement.metrics
        self.rows: list[list[Any]] = []

    @property
    def name(self) -> str:
        """The curve's name: validation or test."""
        return self.path.stem.removesuffix("_curve")

    @property
    def points(self) -> list[dict[str, float | None]]:
        """The rows with the names of their values."""
        return [dict(zip(("iteration", *self.metrics), row, strict=True)) for row in self.rows]

    def is_due(self, iteration: int) -> bool:
        """Whether this iteration must be scored and has not been."""
        scored = self.rows[-1][0] if self.rows else 0
        return self.every is not None and iteration > scored and iteration % self.every == 0

    def note(self, iteration: int, rows: list[ScoreRow]) -> None:
        """Add the scores of one network at this iteration."""
        (means,) = summary(rows, self.metrics).values()
        self.rows.append([iteration, *(means[metric]["mean"] for metric in self.metrics)])
        self.write()

    def write(self) -> None:
        """Write the file if there are rows."""
        if self.rows:
            write_csv(self.path, ("iteration", *self.metrics), self.rows)

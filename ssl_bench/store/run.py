"""Run and Entry: a run of the store with all its files, and its summary line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssl_bench.cards import Measurement, MetricName, RunSpec
from ssl_bench.errors import UserError
from ssl_bench.store.pictures import Example, Moment, read_pictures
from ssl_bench.store.run_folder import RunFolder
from ssl_bench.store.scores import Scores

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["finished", "running", "interrupted", "failed"]


@dataclass(frozen=True)
class Run:
    """A run in the store. `result` is empty until the run is finished.

    The other files are read on first access.
    """

    path: Path
    spec: RunSpec
    status: Status
    iteration: int  # of its checkpoint, or last reported by a running run
    iterations: int
    error: str | None
    provenance: dict[str, Any]
    result: dict[str, Any]
    scores: dict[str, Scores]  # by the key of their measurement, in the order in which they were made

    @property
    def headline(self) -> Scores:
        """The scores that a finished run was first given, at the end of its training."""
        return next(iter(self.scores.values()))

    def scored(self, measurement: Measurement, metric: MetricName) -> Scores | None:
        """Return scores by a metric, measured in this way; None where the run has none."""
        exact = self.scores.get(measurement.key)
        candidates = [*([] if exact is None else [exact]), *self.scores.values()]
        return next((own for own in candidates if measurement.measures_like(own.measurement, metric)), None)

    def is_scored(self, measurement: Measurement) -> bool:
        """Whether the run has scores by every metric of a measurement."""
        return measurement.is_covered_by(own.measurement for own in self.scores.values())

    def require_whole(self) -> None:
        """Read all scores of a finished run.

        Raises:
            UserError: some scores are not those that were written.
        """
        for scores in self.scores.values():
            scores.cases  # noqa: B018

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Training curves, a row per logged iteration."""
        return _read_table(RunFolder(self.path).curves)

    @cached_property
    def test_curve(self) -> pd.DataFrame | None:
        """The predictor's test scores at intervals of training: iteration, then a column per metric; None without."""
        path = RunFolder(self.path).test_curve
        return _read_table(path) if path.exists() else None

    @cached_property
    def examples(self) -> list[Example]:
        """Some test cases with their pictures."""
        return read_pictures(RunFolder(self.path).examples, Example)

    @cached_property
    def moments(self) -> list[Moment]:
        """Uncertainty maps early and late, for a method that mixes by uncertainty."""
        paths = RunFolder(self.path).all_moments()
        return [moment for path in paths for moment in read_pictures(path, Moment)]


@dataclass(frozen=True)
class Entry:
    """A run in brief: `hash` is its name in the store, `headline` its predictor's mean HEADLINE, where measured.

    `labeled` and `train_count` are numbers of groups where the card has groups.
    """

    benchmark: str
    labeled: int
    train_count: int
    protocol: str
    method: str
    seed: int
    hash: str
    status: Status
    iteration: int
    iterations: int
    error: str | None
    headline: float | None
    path: Path
    label_seed: int | None = None

    @property
    def draws(self) -> tuple[int, int]:
        """Seed and label draw, as of `RunSpec`."""
        return self.seed, self.seed if self.label_seed is None else self.label_seed


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None

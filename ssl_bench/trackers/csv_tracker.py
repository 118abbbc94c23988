"""`--log csv`: a folder per run with its steps, scores and settings as CSV files, and its pictures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_bench.atomic import csv_text, write_bytes, write_csv
from ssl_bench.trackers.contract import Picture, TrackedRun, Tracker, register_tracker
from ssl_bench.training.observer import Point, Stop

STEPS = ("iteration", "name", "value")


@register_tracker("csv")
class Csv(Tracker):
    """Writes steps.csv (iteration, name, value), scores.csv, settings.csv, and pictures as PNG.

    A start writes all of steps.csv again.
    """

    def start(self, run: TrackedRun) -> None:
        """Make the folder; earlier steps, scores and pictures are removed."""
        self._run = self.folder / run.path
        (self._run / "scores.csv").unlink(missing_ok=True)
        shutil.rmtree(self._run / "pictures", ignore_errors=True)
        write_csv(self._steps, STEPS, ())
        provenance = {f"provenance.{key}": value for key, value in run.provenance.items()}
        _write(self._run / "settings.csv", {**run.settings, **provenance})

    def log(self, points: Sequence[Point]) -> None:
        """Append a line per value."""
        lines = [[point.iteration, name, value] for point in points for name, value in point.values.items()]
        with self._steps.open("a", encoding="utf-8") as file:
            file.write(csv_text(STEPS, lines).partition("\n")[2])

    def finish(self, scores: Mapping[str, float], pictures: Sequence[Picture]) -> None:
        """Write the other files."""
        for picture in pictures:
            write_bytes(self._run / "pictures" / f"{picture.name}.png", picture.png)
        _write(self._run / "scores.csv", scores)

    def stop(self, reason: Stop) -> None:
        """Leave the files as they are."""

    @property
    def _steps(self) -> Path:
        return self._run / "steps.csv"


def _write(path: Path, values: Mapping[str, Any]) -> None:
    write_csv(path, ("name", "value"), values.items())

"""Reads curves of runs that may be in training, quickly and without pandas."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path

from ssl_bench.errors import UserError
from ssl_bench.store import RunFolder

Points = list[tuple[float, float]]  # iteration and value, in the order of the file

LOSS = "loss1"


def read_curves(path: Path, only: str | None = None) -> dict[str, Points]:
    """Return the points of each column of a curves file, without empty cells and values that are not finite.

    Args:
        path: a file with a column `iteration`. A missing file has no curves.
        only: the one column to return; "" for the first beside `iteration`.

    Raises:
        UserError: the file is not a table of numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            place = header.index("iteration")
            columns = [(number, name) for number, name in enumerate(header) if number != place]
            if only is not None:
                columns = [one for one in columns if one[1] == only] if only else columns[:1]
            found: dict[str, Points] = {name: [] for _, name in columns}
            for row in rows:
                iteration = float(row[place])
                for number, name in columns:
                    if row[number] and math.isfinite(value := float(row[number])) and math.isfinite(iteration):
                        found[name].append((iteration, value))
            return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def brief_curve(folder: RunFolder, most: int) -> tuple[str, list[float]]:
    """Return the name and at most `most` values of a run's validation score, or of its loss; nothing without a curve.

    Several points that share a place are averaged. A file that cannot be read has no curve.
    """
    for path, column in ((folder.validation_curve, ""), (folder.curves, LOSS)):
        try:
            curves = read_curves(path, column)
        except UserError:
            continue
        for name, points in curves.items():
            if points:
                return f"validation {name}" if column == "" else "loss", shortened([value for _, value in points], most)
    return "", []


def shortened(values: list[float], most: int) -> list[float]:
    """Average neighbours so that at most `most` values remain."""
    count = min(len(values), most)
    ends = [len(values) * place // count for place in range(count + 1)] if count else []
    parts = [values[first:last] for first, last in pairwise(ends)]
    return [math.fsum(part) / len(part) for part in parts]

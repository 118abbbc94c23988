"""Scores: a run's networks measured in one way, with the score of every test case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ssl_bench.cards import Measurement
from ssl_bench.errors import UserError, first_line
from ssl_bench.store.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scores:
    """A run's networks measured in one way.

    `summary` holds network -> metric -> mean, number of undefined values and, of several foreground classes, the same
    for each class: for a quick look. Tables take everything from `cases`. `validation` holds the predictor's summary on
    the images set apart, where there are any, and their number. `provenance` is that of the scoring, None where it is
    the run's own.
    """

    path: Path
    measurement: Measurement
    summary: Mapping[str, Mapping[str, Mapping[str, Any]]]
    sha256: str
    seconds: float
    validation: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None

    @cached_property
    def cases(self) -> pd.DataFrame:
        """Return network, case, class, then a column per metric (NaN: undefined).

        Raises:
            UserError: the file is not the one that was written.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        return read_cases(content, self.sha256, str(self.path))


def read_scores(folder: RunFolder, entries: Mapping[str, Any]) -> dict[str, Scores]:
    """Return a run's scores by the key of their measurement, as `RunFolder.finish` and `add_scores` record them.

    Raises:
        UserError: an entry is not one of this version.
    """
    try:
        return {
            key: Scores(
                folder.cases(key), measurement, entry["networks"], entry["cases_sha256"], entry["seconds"],
                entry.get("validation"), entry.get("provenance"),
            )
            for key, entry in entries.items()
            if (measurement := Measurement.read(entry["measurement"])) is not None
        }  # fmt: skip
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder.description}: scores: not those of a run of this version: {first_line(error)}"
        ) from None


def scores_entry(
    measurement: Measurement,
    summary: Mapping[str, Any],
    cases: bytes,
    seconds: float,
    validation: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entry of run.json for one measurement; `cases` is the content of its cases file."""
    return {
        "measurement": measurement.model_dump(mode="json", exclude_none=True),
        "networks": summary,
        "validation": validation,
        "cases_sha256": hashlib.sha256(cases).hexdigest(),
        "seconds": round(seconds, 2),
        "provenance": provenance,
    }


def read_cases(content: bytes, sha256: str, where: str) -> pd.DataFrame:
    """Return the table in a cases file: network, case, class, then a column per metric (NaN: undefined).

    Args:
        content: of the file.
        sha256: of the content that was written.
        where: the file, for the message.

    Raises:
        UserError: the content is different.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{where}: altered since it was written: its SHA-256 is not the one in run.json")
    return parse_cases(content)


def parse_cases(content: bytes) -> pd.DataFrame:
    """Return the table in a cases file without checking that the file is the one that was written."""
    import pandas as pd

    return pd.read_csv(BytesIO(content), dtype={"case": str}, keep_default_na=False, na_values=[""])

"""Converts runs of earlier versions. Nothing is trained or scored again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from pydantic import ValidationError

from ssl_bench.atomic import json_bytes, write_bytes
from ssl_bench.cards import RunSpec, recorded_measurement
from ssl_bench.command import quantity
from ssl_bench.errors import UserError, first_line
from ssl_bench.locks import FileLock
from ssl_bench.store.run_folder import FORMAT, RunFolder, cases_name
from ssl_bench.store.scores import parse_cases, scores_entry

if TYPE_CHECKING:
    import pandas as pd

OLD_CASES = "cases.csv"


@dataclass
class Converted:
    """How many runs were converted or had the current format, and why the others were left as they were."""

    converted: int = 0
    current: int = 0
    left: list[str] = field(default_factory=list)


def convert_store(root: Path) -> Converted:
    """Bring every run below a results root to the current format. If it is killed, the next call continues."""
    found = Converted()
    for description in sorted(root.glob("runs/*/*/*/run.json")):
        folder = description.parent
        try:
            record = json.loads(description.read_text(encoding="utf-8"))
            if record["format"] == FORMAT:
                found.current += 1
                continue
            with FileLock(folder / ".lock", timeout=0):
                _convert(folder, record)
            found.converted += 1
        except UserError as error:
            found.left.append(str(error))
        except Timeout:
            found.left.append(f"{folder}: is being trained")
        except (OSError, ValueError, KeyError, TypeError) as error:
            found.left.append(f"{folder}: cannot be converted: {error!r}")
    return found


def upgraded(record: Mapping[str, Any], cases: bytes | None, where: str) -> tuple[RunSpec, dict[str, bytes]]:
    """Return a format 1 run's specification, and the files that its description and cases become in this format.

    A field that the run does not name has the value that it had then: the default where the field is declared.

    Args:
        record: run.json.
        cases: content of cases.csv; None for an unfinished run.
        where: the run, for messages.

    Raises:
        UserError: the run is not of format 1, or its means do not follow from its cases.
    """
    try:
        if record["format"] != 1:
            raise UserError(f"{where}: expected format 1 or {FORMAT}, found {record['format']!r}")
        spec = RunSpec.read(record["spec"])
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{where}: not a run of an earlier version: {first_line(error)}") from None
    new = {**record, "format": FORMAT, "hash": spec.run_id, "spec": spec.model_dump(mode="json")}
    contents = {}
    if record["status"] == "finished":
        if cases is None:
            raise UserError(f"{where}: finished, but without {OLD_CASES}")
        result = dict(record["result"])
        scores = result.pop("scores")
        reason = _damage(cases, spec, scores)
        if reason:
            raise UserError(f"{where}: {OLD_CASES}: {reason}")
        measurement = recorded_measurement(spec.protocol)
        seconds, validation = result.pop("score_seconds", 0.0), result.pop("validation", None)
        new["result"] = result
        new["scores"] = {measurement.key: scores_entry(measurement, scores, cases, seconds, validation)}
        contents[cases_name(measurement.key)] = cases
    contents["run.json"] = json_bytes(new)
    return spec, contents


def _convert(folder: Path, record: Mapping[str, Any]) -> None:
    """Convert one run in place; its folder gets the name of its new identity, and run.json comes last."""
    old_cases = folder / OLD_CASES
    cases = old_cases.read_bytes() if old_cases.exists() else None
    spec, contents = upgraded(record, cases, str(folder))
    target = folder.with_name(spec.run_id)
    if target != folder:
        if (target / "run.json").exists():
            raise UserError(f"{folder}: {target} holds a run of the same training; left as it is")
        if target.exists():  # only a lock, of a run that never began
            shutil.rmtree(target)
    for name, content in contents.items():
        if name != "run.json":
            write_bytes(folder / name, content)
    if target != folder:
        folder.rename(target)
    write_bytes(RunFolder(target).description, contents["run.json"])
    (target / OLD_CASES).unlink(missing_ok=True)


def _damage(content: bytes, spec: RunSpec, scores: Mapping[str, Any]) -> str:
    """Why the summary does not follow from these cases; empty if it does."""
    try:
        return _difference(parse_cases(content), spec, scores)
    except (ValueError, KeyError, TypeError) as error:  # which pandas' errors of parsing are, too
        return f"cannot be read ({error})"


def _difference(cases: pd.DataFrame, spec: RunSpec, scores: Mapping[str, Any]) -> str:
    classes = len(spec.classes) - 1
    for network, metrics in scores.items():
        own = cases[cases["network"] == network]
        found = own["case"].nunique()
        if found != spec.test_count or len(own) != found * classes:
            return (
                f"expected the scores of {network} on {quantity(spec.test_count, 'case')}, {classes} per case; "
                f"found {len(own)} on {found}"
            )
        for metric, recorded in metrics.items():
            defined = own[metric].dropna()
            mean, expected = float(defined.mean()) if len(defined) else None, recorded["mean"]
            if mean is None or expected is None:
                is_same = mean is expected
            else:
                is_same = math.isclose(mean, expected, rel_tol=1e-9)
            if not is_same:
                return f"the mean {metric} of {network} is {mean}, where run.json says {expected}"
    return ""

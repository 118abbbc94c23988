"""Describes a run to its trackers: identity, settings, provenance, scores and pictures."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ssl_bench.cards import dotted
from ssl_bench.plugins import source_file
from ssl_bench.reporting.canvas import render
from ssl_bench.reporting.draw import PicturedCase, example_figure
from ssl_bench.store import Example, RunFolder
from ssl_bench.trackers.contract import Picture, Setting, TrackedRun
from ssl_bench.training.job import Job

DRAWN = 4  # pictures of cases that are drawn by their ids
COSTS = ("train_seconds", "peak_memory_mib", "updates")
GIT_SECONDS = 5


def describe(job: Job, folder: RunFolder) -> TrackedRun:
    """Describe a run whose `run.json` is written.

    The time of its first start is part of the id: a run that was deleted and trained again is another one.
    """
    spec = job.spec
    provenance = dict((folder.read() or {})["provenance"])
    provenance.pop("earlier", None)
    begun = datetime.fromisoformat(provenance["started"]).strftime("%Y%m%dT%H%M%S")
    identifier = f"{spec.run_id}-{begun}"
    commit = git_commit(source_file(job.method.__module__).parent)
    said = {**provenance, "store": str(folder.path.resolve()), **({} if commit is None else {"git_commit": commit})}
    return TrackedRun(
        id=identifier,
        name=spec.label,
        group=spec.benchmark,
        path=Path(spec.benchmark, spec.method, f"labeled-{spec.labeled}-seed-{spec.seed}-{identifier}"),
        iterations=job.iterations,
        settings={key: _plain(value) for key, value in dotted(spec.model_dump(mode="json")).items()},
        provenance={key: str(_plain(value)) for key, value in dotted(said).items() if value is not None},
    )


def git_commit(folder: Path) -> str | None:
    """Return the commit of the git repository that holds a folder, with `-dirty` for edited files; None without one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def final_scores(result: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, float]:
    """Return a run's means and costs by name, from its `result` and a scores entry of run.json.

    `final/METRIC` is the predictor's mean on the test cases, `networks/NETWORK/METRIC` that of each network,
    `final_validation/METRIC` the predictor's on the validation cases. Undefined means are left out.
    """
    named = {f"cost/{name}": result[name] for name in COSTS}
    for network, means in scores["networks"].items():
        for metric, found in means.items():
            named[f"networks/{network}/{metric}"] = found["mean"]
            if network == result["predictor"]:
                named[f"final/{metric}"] = found["mean"]
    for metric, found in (scores["validation"] or {"scores": {}})["scores"].items():
        named[f"final_validation/{metric}"] = found["mean"]
    return {name: float(value) for name, value in named.items() if value is not None}


def draw_cases(examples: Sequence[Example], ranking: Mapping[str, float | None], predictor: str) -> list[Picture]:
    """Draw some of the test cases that a run keeps: the best and the worst, and some that are drawn by their ids.

    Args:
        examples: the cases that the run keeps.
        ranking: each test case's score; larger is better; None where undefined.
        predictor: the network's name.

    """
    scores = {one.case: score for one in examples if (score := ranking[one.case]) is not None}
    chosen: dict[str, list[str]] = {}
    if scores:
        chosen.setdefault(max(scores, key=lambda case: (scores[case], case)), []).append("best")
        chosen.setdefault(min(scores, key=lambda case: (scores[case], case)), []).append("worst")
    for case in [one.case for one in examples if "drawn" in one.why.split(",")][:DRAWN]:
        chosen.setdefault(case, []).append("drawn")
    found = {one.case: one for one in examples}
    return [
        Picture(f"{number}-{'-'.join(whys)}", f"{case} ({', '.join(whys)})", _drawn(found[case], predictor))
        for number, (case, whys) in enumerate(chosen.items(), start=1)
    ]


def _drawn(one: Example, predictor: str) -> bytes:
    case = PicturedCase(one.case, one.image, one.truth, (one.prediction,), ("",))
    return render(example_figure([predictor], [case]), "png")


def _plain(value: Any) -> Setting:
    """A value of a card as a tracker takes it: lists as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value

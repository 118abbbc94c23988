"""Runs written by hand, as the store describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssl_bench.cards import Benchmark, MetricName, RunSpec, Split, load_benchmark, load_protocol, recorded_measurement
from ssl_bench.declarations import declare
from ssl_bench.method import load_methods
from ssl_bench.store import Run, Store

METHODS = {name: declare(method) for name, method in load_methods().items()}
KVASIR = load_benchmark("kvasir")
ISIC = load_benchmark("isic")
ISIC = ISIC.model_copy(update={"splits": {**ISIC.splits, "other": ISIC.splits["random"]}})  # two ways to split
PREDICTOR = {"supervised": "network", "cps": "student1"}
PROVENANCE = {
    "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-03T03:04:05+00:00", "ssl_bench": "0.1.0",
    "device": "a device", "packages": {"torch": "2.11"},
}  # fmt: skip


def write_run(
    store: Store, method: str, seed: int, scores: Sequence[float | None], *, benchmark: Benchmark = ISIC,
    labeled: int = 90, train: int = 1815, protocol: str = "mini", settings: dict[str, Any] | None = None,
    device: str = "cpu", fingerprint: str = "f" * 16, status: str = "finished", version: int | None = None,
    hyper: dict[str, Any] | None = None, weights: str | None = "0123456789abcdef", rule: Split | None = None,
    metric: MetricName = "dsc", other: float = 0.125, curve: Sequence[float | None] | None = None,
    sides: tuple[list[int], list[int]] = ([100, 120], [300, 400]), seconds: float = 90.0, label_seed: int | None = None,
) -> RunSpec:  # fmt: skip
    """Write run.json and the cases file as the store describes them; `scores` of one metric, per case of the predictor.

    `curve` are test scores at iterations 10, 20, ..., as of a run with score_every.
    """
    settings = (settings or {}) | ({} if curve is None else {"score_every": 10})
    card = load_protocol(protocol, {"metrics": [metric], **settings}, dimensions=benchmark.dimensions)
    resolved = card.resolved(benchmark, train, device)
    fields = METHODS[method].resolve({}, benchmark.dimensions)
    spec = RunSpec(
        benchmark=benchmark.name,
        classes=benchmark.classes,
        label_values=(0, 255),
        intensity="rgb",
        split=rule or benchmark.splits[resolved.split],
        data_fingerprint=fingerprint,
        train_count=train,
        test_count=len(scores),
        labeled=labeled,
        protocol=resolved,
        weights_fingerprint=weights,
        method=method,
        method_version=METHODS[method].version if version is None else version,
        hyperparameters={**fields, **(hyper or {})},
        seed=seed,
        label_seed=label_seed,
    )
    predictor = PREDICTOR.get(method, "teacher")
    defined = [score for score in scores if score is not None]
    own = {"mean": sum(defined) / len(defined) if defined else None, "undefined": len(scores) - len(defined)}
    result = {
        "predictor": predictor,
        "train_seconds": seconds,
        "parameters": {"student2": 1_500_000, predictor: 1_500_000},
        "updates": 300,
        "peak_memory_mib": None,
        "test_sides": {"smallest": sides[0], "largest": sides[1]},
    }
    record = {
        "format": 2, "hash": spec.run_id, "status": status, "iterations": 300, "spec": spec.model_dump(mode="json"),
        "provenance": PROVENANCE,
    }  # fmt: skip
    rows = [f"student2,{case},lesion,{other}" for case in range(len(scores))]
    rows += [f"{predictor},{case},lesion,{'' if score is None else score}" for case, score in enumerate(scores)]
    cases = "\n".join([f"network,case,class,{metric}", *rows]) + "\n"
    measurement = recorded_measurement(resolved)
    if status == "finished":
        record["result"] = result
        record["scores"] = {
            measurement.key: {
                "measurement": measurement.model_dump(mode="json", exclude_none=True),
                "networks": {"student2": {metric: {"mean": other, "undefined": 0}}, predictor: {metric: own}},
                "validation": None,
                "cases_sha256": hashlib.sha256(cases.encode()).hexdigest(),
                "seconds": 0.0,
                "provenance": None,
            }
        }
    if status == "failed":
        record["error"] = "not finite at iteration 3: [loss1] = nan"
    folder = store.root / "runs" / spec.benchmark / spec.method / spec.run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / f"cases-{measurement.key}.csv").write_text(cases)
    if curve is not None:
        rows = [f"{10 * i},{'' if value is None else value}" for i, value in enumerate(curve, start=1)]
        (folder / "test_curve.csv").write_text("\n".join([f"iteration,{metric}", *rows]) + "\n")
    return spec


def cases_file(folder: Path) -> Path:
    """The cases file of a run that was scored in one way."""
    (path,) = folder.glob("cases-*.csv")
    return path


def cases_of(run: Run) -> pd.DataFrame:
    """The scores of a run that was scored in one way."""
    (scores,) = run.scores.values()
    return scores.cases


def summary_of(run: Run) -> dict[str, Any]:
    """The means of a run that was scored in one way, by network and metric."""
    (scores,) = run.scores.values()
    return dict(scores.summary)


def contents_of(folder: Path, *patterns: str) -> list[bytes]:
    """The bytes of a folder's files, in the order of the patterns; each has one file or more."""
    found = [(pattern, sorted(folder.glob(pattern))) for pattern in patterns]
    assert all(paths for _, paths in found), found
    return [path.read_bytes() for _, paths in found for path in paths]


# Fields that runs of the first version had in their specification; what came later is not among them.
LATER = ("harness",)


def write_old_run(store: Store, seed: int = 1, scores: tuple[float, ...] = (0.5, 0.25), **more: Any) -> Path:
    """Write a run as version 0.1.0 did: format 1, scores in `result`, cases.csv, a hash over all fields."""
    spec = write_run(store, "mt", seed, list(scores), **more)
    folder = store.own_folder(spec)
    record = json.loads(folder.description.read_text())
    ((key, entry),) = record.pop("scores").items()
    for name in LATER:
        del record["spec"][name]
    old = hashlib.sha256(json.dumps(record["spec"]).encode()).hexdigest()[:16]
    record |= {"format": 1, "hash": old}
    record["result"] |= {"scores": entry["networks"], "score_seconds": 7.5, "validation": None}
    folder.description.write_text(json.dumps(record))
    folder.cases(key).rename(folder.path / "cases.csv")
    (folder.path / "weights.safetensors").write_bytes(b"weights")
    target = folder.path.with_name(old)
    folder.path.rename(target)
    return target

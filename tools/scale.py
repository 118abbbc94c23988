"""How long `status`, `report` and a trial of a sweep take with many runs: `python tools/scale.py [RUNS]`.

The store is drawn: every method on ISIC at four labelled shares, 5 seeds, and as many settings as make up the number.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ssl_bench.cards import RunSpec, load_benchmark, load_protocol, measurement_of
from ssl_bench.method import load_methods
from ssl_bench.store import FORMAT, scores_entry
from ssl_bench.sweep.definition import Sweep
from ssl_bench.sweep.space import parse_parameters
from ssl_bench.sweep.study import Study, open_storage

SHARES, SEEDS, TRAIN, TEST = (90, 181, 363, 1815), 5, 1815, 779
PROVENANCE = {
    "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-03T03:04:05+00:00", "ssl_bench": "0.1.0",
    "device": "CPU, 1 thread", "packages": {"torch": "2.11"}, "method_source_sha256": "0", "command": "drawn",
}  # fmt: skip


def draw_store(root: Path, count: int) -> int:
    """Write `count` finished runs as the store describes them; returns the number of bytes."""
    benchmark, rng, written, size = load_benchmark("isic"), np.random.default_rng(0), 0, 0
    methods = load_methods()
    variants = -(-count // (len(methods) * len(SHARES) * SEEDS))
    for variant in range(variants):
        card = load_protocol("mini", {"lambda_max": 0.1 + variant}, dimensions=2)
        protocol = card.resolved(benchmark, TRAIN, "cpu")
        for method in methods.values():
            for labeled in SHARES:
                for seed in range(1, SEEDS + 1):
                    if written == count:
                        return size
                    spec = RunSpec(
                        benchmark="isic", classes=benchmark.classes, label_values=(0, 255), intensity="rgb",
                        split=benchmark.splits["random"], data_fingerprint="f" * 16, train_count=TRAIN, test_count=TEST,
                        labeled=labeled, protocol=protocol, weights_fingerprint="0" * 16, method=method.name,
                        method_version=method.version, seed=seed,
                        hyperparameters=method.hyperparameters().resolved(2).model_dump(),
                    )  # fmt: skip
                    size += _write(root, spec, rng.random((TEST, 2)).round(6))
                    written += 1
    return size


def _write(root: Path, spec: RunSpec, scores: np.ndarray) -> int:
    means = dict(zip(("dsc", "jaccard"), scores.mean(axis=0).tolist(), strict=True))
    result = {
        "predictor": "teacher", "parameters": {"teacher": 1}, "updates": 300, "train_seconds": 300.0,
        "peak_memory_mib": None, "test_sides": {"smallest": [100, 120], "largest": [300, 400]},
    }  # fmt: skip
    rows = "".join(f"teacher,{case},lesion,{dsc},{jaccard}\n" for case, (dsc, jaccard) in enumerate(scores.tolist()))
    cases = "network,case,class,dsc,jaccard\n" + rows
    summary = {"teacher": {k: {"mean": v, "undefined": 0} for k, v in means.items()}}
    measurement = measurement_of(spec.protocol, load_benchmark(spec.benchmark))
    entry = scores_entry(measurement, summary, cases.encode(), 9.0)
    record = {
        "format": FORMAT, "hash": spec.run_id, "status": "finished", "iterations": 300,
        "spec": spec.model_dump(mode="json"), "provenance": PROVENANCE, "result": result,
        "scores": {measurement.key: entry},
    }  # fmt: skip
    folder = root / "runs" / spec.benchmark / spec.method / spec.run_id
    folder.mkdir(parents=True)
    texts = {"run.json": json.dumps(record, indent=2), f"cases-{measurement.key}.csv": cases}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return sum(map(len, texts.values()))


def time_trials(root: Path, count: int) -> None:
    """Time how long a worker takes for a trial's book-keeping, by the number of trials before it."""
    sweep = Sweep(
        "ucmt", "demo", "5%", "demo", {}, (1,), parse_parameters(["lambda_max=0.01..1:log", "k=1..5"]), "random",
        "validation", "dsc", True, "none", "drawn",
    )  # fmt: skip
    for name, url in (("SQLite", None), ("journal", f"journal:{root / 'journal.log'}")):
        study, begun = Study(sweep, name, open_storage(url, root), root), time.monotonic()
        for number in range(count):
            taken = study.take(count)
            assert taken is not None
            trial, lock = taken
            value = sum(float(parameter.suggest(trial)) for parameter in sweep.parameters)
            study.study.tell(trial, value)
            lock.release()
            if number + 1 in (count // 4, count):
                print(f"{name}: {1000 * (time.monotonic() - begun) / (number + 1):.0f} ms a trial up to {number + 1}")


def main(count: int) -> None:
    """Draw a store and time the commands, each in a process of its own, the best of three; then a sweep's trials."""
    with tempfile.TemporaryDirectory() as folder:
        size = draw_store(Path(folder), count)
        print(f"{count} runs, {size / 1e6:.0f} MB")
        for words in (["--help"], ["status"], ["report", "--table", "1", "--protocol", "mini"],
                      ["report", "--table", "4", "--protocol", "mini"]):  # fmt: skip
            place = [] if words == ["--help"] else ["--results-root", folder]
            times = []
            for _ in range(3):
                begun = time.monotonic()
                subprocess.run(
                    [sys.executable, "-m", "ssl_bench", *words, *place], check=True, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
                times.append(time.monotonic() - begun)
            print(f"ssl-bench {' '.join(words)}: {min(times):.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        time_trials(Path(folder), max(count // 10, 4))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

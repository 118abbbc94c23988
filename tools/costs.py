"""Predicted against measured memory of an iteration: the CPU allocator's own peak, as torch's profiler records it.

`nox -s costs` prints both for every method, protocol and kind of data, and ends with code 1 where they differ by more
than 10 %.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.data.stream import open_stream
from ssl_bench.method import load_methods
from ssl_bench.store import Store
from ssl_bench.training.costs import job_cost
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.trainer import Trainer

CPU = torch.device("cpu")
MOST = 0.1  # of the measured peak
MARK = "measured iteration"
DATASETS = {2: "demo", 3: "demo3d"}
METHODS = ("supervised", "mt", "cps", "ucmt", "cct", "uamt", "mt-cutmix", "cmtv3")


def planned(name: str, dimensions: int, protocol: str, **settings: Any) -> Job:
    """A run of a method on drawn images, from random weights, without log lines in its first iterations."""
    wanted = {"log_every": 1000, **({"encoder_weights": "none"} if dimensions == 2 else {}), **settings}
    load_methods()
    request = Request(load_benchmark(DATASETS[dimensions]), (name,), "10%", protocol, wanted, (1,))
    (job,) = plan_runs(request, CPU, None, allow_partial=False, advance=None)
    return job


def measured_memory(job: Job, folder: Path) -> int:
    """Peak of the bytes that the allocator has given in the second iteration; images of the data set do not count."""
    run = Store(folder).folder(job.spec)
    run.path.mkdir(parents=True)
    stream = open_stream(
        job.dataset, job.splits, job.spec.protocol, job.spec.seed, CPU, unlabeled=job.method.uses_unlabeled
    )
    gc.collect()  # what an earlier measurement left would otherwise count as freed in this one
    # from before the networks are built, since the profiler does not see the end of what it has not seen begin
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        trainer = Trainer(job, run, CPU)
        trainer.method.train()
        trainer.iteration = 1  # no checks of the first iteration
        trainer.iterate(stream)
        with record_function(MARK):
            trainer.iterate(stream)
    assert recorded.profiler is not None
    events = recorded.profiler.kineto_results.events()
    (begin,) = (event.start_ns() for event in events if event.name() == MARK)
    live = peak = 0
    for event in sorted((one for one in events if one.name() == "[memory]"), key=lambda one: one.start_ns()):
        live += event.nbytes()
        if event.start_ns() >= begin:
            peak = max(peak, live)
    return peak


def main() -> int:
    """Compare all cases; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--protocols", default="tiny,mini")
    parser.add_argument("--dimensions", default="2,3")
    chosen = parser.parse_args()
    off = 0
    print(f"{'case':24}{'predicted':>12}{'measured':>12}  MiB")
    for protocol in chosen.protocols.split(","):
        for dimensions in map(int, chosen.dimensions.split(",")):
            for name in chosen.methods.split(","):
                job = planned(name, dimensions, protocol)
                with tempfile.TemporaryDirectory() as folder:
                    measured = measured_memory(job, Path(folder))
                predicted = job_cost(job).memory
                difference = predicted / measured - 1
                off += abs(difference) > MOST
                case = f"{name} {dimensions}D {protocol}"
                print(f"{case:24}{predicted / 2**20:12.1f}{measured / 2**20:12.1f} {difference:+7.1%}", flush=True)
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())

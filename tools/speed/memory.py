"""(g) Memory: what a run holds beside its images."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from timing import Ratio, Settings, of_times

SIDE = 512
PROGRAM = """
    import os, resource, sys
    import torch
    sys.path.insert(0, sys.argv[1])
    os.environ["SSL_BENCH_MEMORY"] = "all"
    from iteration import plan
    from timing import Settings
    from ssl_bench.data.stream import open_stream

    def now():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    device = torch.device(sys.argv[2])
    settings = Settings(device, 1, (), "mini", ())
    plan("mt", 2, settings)
    torch.zeros(1, device=device)
    before = now()
    job = plan("mt", 2, settings, image_size={side}, augment_size={side})
    protocol, splits = job.spec.protocol, job.splits
    stream = open_stream(job.dataset, splits, protocol, 1, device, unlabeled=True)
    held = stream.images.nbytes + stream.masks.nbytes
    taken = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak() - before
    print(taken, held)
"""


def ratios(settings: Settings) -> Iterator[Ratio]:
    """How far memory grows while a run is planned and its images are brought to the device, over their own size.

    On Linux, where a process can read what it holds.
    """
    folder = str(Path(__file__).parent)
    program = textwrap.dedent(PROGRAM).format(side=SIDE)
    pairs = []
    for _ in range(3):
        words = [sys.executable, "-c", program, folder, str(settings.device)]
        out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        taken, held = map(int, out.split())
        pairs.append((taken / 2**20 / 1000, held / 2**20 / 1000))  # MiB where the other sections have milliseconds
    where = "device" if settings.device.type == "cuda" else "process"
    yield of_times(
        "memory", f"training images of demo at {SIDE} x {SIDE}, in MiB", f"peak of the {where}", "images and masks",
        pairs, settings, "<= 1.25",
    )  # fmt: skip

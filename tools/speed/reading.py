"""(h) Images read from the cache while a run trains, against images held in memory: one iteration each."""

from __future__ import annotations

import os
from collections.abc import Iterator

from iteration import harness
from timing import Ratio, Settings, Work, compare

from ssl_bench.data.reader import VARIABLE
from ssl_bench.training.trainer import Trainer

SIDE = 512


def ratios(settings: Settings) -> Iterator[Ratio]:
    """In 2D with views drawn at 512; in 3D on small volumes."""
    for dimensions in (2, 3):
        sides = {"augment_size": SIDE} if dimensions == 2 else {}
        for name in settings.methods:
            with harness(name, dimensions, "fp32", settings, **sides) as trainer:
                read, held = (opened(trainer, settings, mode) for mode in ("stream", "all"))
                what = f"{name} {dimensions}D {settings.protocol}, images from the cache"
                yield compare("reading", what, ("read", read), ("held", held), settings, "<= 1.05")


def opened(trainer: Trainer, settings: Settings, mode: str) -> Work:
    """An iteration whose images are read, or held in memory."""
    own = Trainer(trainer.job, trainer.folder, settings.device)
    own.method.train()
    os.environ[VARIABLE] = mode
    stream = own.open_stream()
    del os.environ[VARIABLE]
    return lambda: own.iterate(stream)

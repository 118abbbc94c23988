"""Small runs that are ready to train, on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from conftest import write_dataset
from laboratory import TinyNetwork

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.data.dataset import Dataset
from ssl_bench.method import load_methods
from ssl_bench.store import Store
from ssl_bench.training import job as job_module
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.trainer import Trainer

METHODS = sorted(load_methods().items())
#: Each method once, in 2D or 3D by turns.
ONE_FORM_EACH = [
    (name, method.dimensions[number % len(method.dimensions)]) for number, (name, method) in enumerate(METHODS)
]
FORMS = [(name, dimensions) for name, method in METHODS for dimensions in method.dimensions]
CHEAP = {"adversary_filters": 4, "pretrain_share": 0.0, "longest_period": 1} | dict.fromkeys(
    ("vat", "spatial_dropout", "cutout", "context_masking", "object_masking", "feature_dropout", "feature_noise"), 1
)
PREPARED: dict[tuple[str, int | None], Dataset] = {}  # data sets that were read


def discs(folder: Path) -> Path:
    """A data root with twelve images."""
    return write_dataset(folder / "discs", "kvasir", [f"case{number}" for number in range(12)])


def open_run(
    folder: Path, name: str, dimensions: int, device: torch.device, *, built: bool = False, **settings: Any
) -> Trainer:
    """A new run of protocol `tiny` on a tiny network, or on the one that the protocol builds."""
    benchmark = load_benchmark({2: "kvasir", 3: "demo3d"}[dimensions])
    fields = load_methods()[name].hyperparameters.model_fields
    settings = {"log_every": 3, **settings} | {key: value for key, value in CHEAP.items() if key in fields}
    request = Request(benchmark, (name,), "2", "tiny", settings, (1,))
    (job,) = plan_runs(request, device, discs(folder), allow_partial=True, advance=None, prepared=PREPARED)
    run = Store(folder / "runs").folder(job.spec)
    run.path.mkdir(parents=True, exist_ok=True)
    with tiny_networks(dimensions, built):
        trainer = Trainer(job, run, device)
    trainer.method.train()
    return trainer


@contextmanager
def tiny_networks(dimensions: int, built: bool = False) -> Iterator[None]:
    """Within `with`, runs have tiny networks, unless `built`."""
    build = job_module.build_network if built else lambda _, classes, **more: TinyNetwork(dimensions, classes)
    with patch.object(job_module, "build_network", build):
        yield

"""(a) A training iteration through the harness against the bare networks: forward, backward, optimiser step."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import Ratio, Settings, Work, compare
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.method import Update, load_methods
from ssl_bench.store import Store
from ssl_bench.training.device import set_determinism
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.trainer import Trainer

DATASETS = {2: "demo", 3: "demo3d"}
BLOCK = {"cpu": 1, "cuda": 20}  # iterations between two looks at the clock; a GPU's cover their log lines


def ratios(settings: Settings) -> Iterator[Ratio]:
    """One line per method, in 2D and 3D, and per precision."""
    set_determinism()
    for dimensions in settings.dimensions:
        for precision in settings.precisions:
            for name in settings.methods:
                with harness(name, dimensions, precision, settings) as trainer:
                    block, stream = BLOCK[settings.device.type], trainer.open_stream()
                    bare = bare_iteration(Trainer(trainer.job, trainer.folder, settings.device))

                    def through(trainer: Trainer = trainer, stream: Any = stream, block: int = block) -> None:
                        for _ in range(block):
                            trainer.iterate(stream)

                    def alone(bare: Work = bare, block: int = block) -> None:
                        for _ in range(block):
                            bare()

                    what = f"{name} {dimensions}D {settings.protocol} {precision}"
                    yield compare(
                        "iteration", what, ("harness", through), ("bare networks", alone), settings, "<= 1.10"
                    )


@contextmanager
def harness(name: str, dimensions: int, precision: str, settings: Settings, **more: Any) -> Iterator[Trainer]:
    """A run of a method on synthetic data, about to begin, with a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        job = plan(name, dimensions, settings, precision=precision, **more)
        place = Store(Path(folder)).folder(job.spec)
        place.path.mkdir(parents=True)
        trainer = Trainer(job, place, settings.device)
        trainer.method.train()
        yield trainer


def plan(name: str, dimensions: int, settings: Settings, **more: Any) -> Job:
    """Plan one run on synthetic data, at the sides of the benchmark's protocol."""
    load_methods()
    chosen = {"iterations": 10**6, **settings.overrides, **more}
    request = Request(load_benchmark(DATASETS[dimensions]), (name,), "10%", settings.protocol, chosen, (1,))
    (job,) = plan_runs(request, settings.device, None, allow_partial=False, advance=None)
    return job


@dataclass
class Call:
    """A network, or a part of one, that a method called, and what it gave it."""

    module: nn.Module
    arguments: Any
    trains: bool
    gradients: list[Tensor]


def bare_iteration(trainer: Trainer) -> Work:
    """Replay the calls to networks that one iteration of the trainer's method makes, on ready inputs.

    Each is run forward, those with gradients backward from ready ones, and the optimiser steps where the method's
    updates end. Views, losses, pseudo labels, mixing, the teacher's average, curves: everything else is left out.
    """
    updates = record(trainer)
    optimizers, precision = trainer.optimizers, trainer.protocol.precision

    def iterate() -> None:
        for calls, optimizer in updates:
            outputs: list[Tensor] = []
            gradients: list[Tensor] = []
            with torch.autocast(trainer.device.type, torch.bfloat16, enabled=precision == "bf16"):
                for call in calls:
                    with torch.set_grad_enabled(call.trains):
                        out = flat(call.module(*call.arguments))
                    if call.trains:
                        outputs += [tensor for tensor in out if tensor.requires_grad]
                        gradients += call.gradients
            for one in optimizers.all:
                one.zero_grad(set_to_none=True)
            torch.autograd.backward(outputs, gradients)
            optimizer.step()

    return iterate


def record(trainer: Trainer) -> list[tuple[list[Call], torch.optim.Optimizer]]:
    """Run one iteration and note, per update, the outermost calls to modules and the optimiser that is stepped."""
    updates: list[tuple[list[Call], torch.optim.Optimizer]] = []
    calls: list[Call] = []
    depth = 0

    def before(module: nn.Module, arguments: Any) -> None:  # noqa: ARG001
        nonlocal depth
        depth += 1

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            gradients = [torch.full_like(out, 1e-4) for out in flat(output) if out.requires_grad]
            calls.append(Call(module, ready(arguments), bool(gradients), gradients))

    def end_update(update: Update, total: Tensor) -> None:
        nonlocal calls
        step(update, total)
        updates.append((calls, trainer.optimizers.trained_by(update)))
        calls = []

    step = trainer.optimizers.step
    trainer.optimizers.step = end_update  # type: ignore[method-assign]
    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    try:
        trainer.iterate(trainer.open_stream())
    finally:
        for hook in hooks:
            hook.remove()
        trainer.optimizers.step = step  # type: ignore[method-assign]
    assert not calls, "a method called a network after its last update"
    return updates


def flat(output: Any) -> list[Tensor]:
    """Tensors of a module's output."""
    return [output] if isinstance(output, Tensor) else [tensor for part in output for tensor in flat(part)]


def ready(argument: Any) -> Any:
    """A copy of a module's arguments that is no part of any graph; what had a gradient asks for one."""
    if isinstance(argument, Tensor):
        return argument.detach().clone().requires_grad_(argument.requires_grad)
    return type(argument)(ready(part) for part in argument)

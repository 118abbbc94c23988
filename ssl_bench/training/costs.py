"""Predicts what an iteration of a method needs: memory, floating-point operations and parameters. Nothing is computed.

The iteration runs on fake tensors, which have sizes but no values (FakeTensorMode of torch), through the same networks,
losses, backward pass and optimiser as in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ssl_bench.cards import Benchmark, VolumeProtocol, training_fields
from ssl_bench.cards.protocol import ResolvedProtocol
from ssl_bench.data.batches import BatchStream
from ssl_bench.errors import UserError, first_line
from ssl_bench.method import Hyperparameters, Progress, SSLMethod, find_method, parse_hyperparameters
from ssl_bench.training.counting import Counter
from ssl_bench.training.iteration import Optimizers, stepped_updates
from ssl_bench.training.job import Job
from ssl_bench.training.simulated import simulated_method, simulated_stream


@dataclass(frozen=True)
class Cost:
    """What an iteration needs.

    Attributes:
        parameters: of all networks, teachers and auxiliary decoders too.
        flops: multiplications and additions of convolutions and matrix products, forward and backward.
        memory: peak of the bytes that tensors hold at once: weights, gradients, optimiser, batch and activations.
        updates: optimiser steps.

    """

    parameters: int
    flops: int
    memory: int
    updates: int


class UnknownCostError(UserError):
    """The costs of a method cannot be predicted."""


def iteration_cost(
    method_class: type[SSLMethod],
    hyper: Hyperparameters,
    protocol: ResolvedProtocol,
    *,
    channels: int,
    classes: int,
    ignores: bool = False,
) -> Cost:
    """Predict the costs of an iteration after the first, which also creates the optimiser's state.

    Args:
        method_class: the method.
        hyper: its hyperparameters, with every `auto` resolved.
        protocol: the resolved protocol.
        channels: of an image.
        classes: of a mask.
        ignores: whether pixels of masks can be IGNORED.

    Raises:
        UserError: the network cannot be built, or the method breaks its contract.
        UnknownCostError: the method asks for a value, or does what torch cannot do without values.

    """
    mode, counter = FakeTensorMode(allow_non_fake_inputs=True), Counter()
    try:
        method = simulated_method(
            method_class, hyper, protocol, mode, channels=channels, classes=classes, ignores=ignores
        )
        with mode, counter:
            counter.hold([*method.parameters(), *method.buffers()])
            stream = simulated_stream(protocol, channels=channels, unlabeled=method.uses_unlabeled)
            flops, memory = _measure(method, protocol, stream, counter)
    except UserError:
        raise
    except Exception as error:  # a user's method or network can raise anything
        raise UnknownCostError(
            f"{method_class.name}: the costs of an iteration cannot be predicted; without values it ends with "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    parameters = sum(parameter.numel() for parameter in method.parameters())
    return Cost(parameters, flops, memory, method.updates_per_iteration)


def _measure(method: SSLMethod, protocol: ResolvedProtocol, stream: BatchStream, counter: Counter) -> tuple[int, int]:
    """Operations and memory of an iteration that begins with the gradients and states that the one before it left.

    Both are those of the dearer one of an iteration of the beginning and one of the end, as a method may have phases.
    """
    optimizers = Optimizers(method, protocol)
    trained = {parameter for parameter in method.parameters() if parameter.requires_grad}
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    for optimizer in optimizers.all:
        optimizer.step()
    found: list[tuple[int, int]] = []
    last = max(3, protocol.iterations)
    for iteration in (last, 2):  # a check in iteration 1 reads values
        counter.restart()
        unused = trained - _iterate(method, optimizers, stream, iteration, protocol)
        if unused and not found:  # without a gradient there is no state; once more without it
            for parameter in unused:
                for optimizer in optimizers.all:
                    optimizer.state.pop(parameter, None)
            counter.restart()
            _iterate(method, optimizers, stream, iteration, protocol)
        found.append((counter.flops, counter.peak))
    return max(flops for flops, _ in found), max(peak for _, peak in found)


def _iterate(
    method: SSLMethod,
    optimizers: Optimizers,
    stream: BatchStream,
    iteration: int,
    protocol: ResolvedProtocol,
) -> set[nn.Parameter]:
    """Run an iteration; returns the parameters that a gradient reaches."""
    progress = Progress(iteration, protocol.iterations, protocol.lambda_max)
    reached = set[nn.Parameter]()
    for _ in stepped_updates(method, optimizers, stream.batch(iteration), progress, "cpu"):
        reached.update(parameter for parameter in method.parameters() if parameter.grad is not None)
    return reached


def job_cost(job: Job) -> Cost:
    """Predict the costs of an iteration of a run.

    Raises:
        UserError, UnknownCostError: as `iteration_cost`.
    """
    spec = job.spec
    return iteration_cost(
        job.method, job.hyper, spec.protocol,
        channels=spec.channel_count, classes=len(spec.classes), ignores=job.dataset.ignores,
    )  # fmt: skip


class RunOperations:
    """Predicts the operations of whole runs, each kind of run once."""

    def __init__(self) -> None:
        self._known: dict[str, float | None] = {}

    def __call__(
        self, benchmark: Benchmark, method: str, hyper: Mapping[str, Any], protocol: ResolvedProtocol
    ) -> float | None:
        """Return the operations of all iterations of a run, of a method given by its name.

        None if they cannot be predicted: the method is not loaded, refuses the protocol or needs values.
        """
        channels, classes = benchmark.channel_count, len(benchmark.classes)
        key = repr((channels, classes, benchmark.ignores, method, sorted(hyper.items()), training_fields(protocol)))
        if key not in self._known:
            try:
                found = find_method(method)
                own = parse_hyperparameters(found, dict(hyper))
                cost = iteration_cost(
                    found, own, protocol, channels=channels, classes=classes, ignores=benchmark.ignores
                )
                self._known[key] = cost.flops * protocol.iterations / cost.updates
            except UserError:
                self._known[key] = None
        return self._known[key]


def image_bytes(job: Job) -> int:
    """Bytes of a run's training images (float32 in 3D, else uint8) and masks (uint8), where its device holds them."""
    dataset, spec = job.dataset, job.spec
    ids = job.splits.labeled + (job.splits.unlabeled if job.method.uses_unlabeled else ())
    if isinstance(spec.protocol, VolumeProtocol):
        return dataset.count_voxels(ids) * (4 * spec.channel_count + 1)
    return dataset.count_images(ids) * (spec.channel_count + 1) * spec.protocol.augment_size**2

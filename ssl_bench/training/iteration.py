"""The optimiser and the updates of one iteration, for training and for the prediction of its costs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssl_bench.cards import Protocol
from ssl_bench.method import Batch, Progress, SSLMethod, Update
from ssl_bench.training.method_check import UpdateCheck


def make_optimizer(method: SSLMethod, protocol: Protocol) -> torch.optim.Optimizer:
    """Return the optimiser of every parameter that requires a gradient."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        parameters, lr=protocol.learning_rate, betas=protocol.betas, weight_decay=protocol.weight_decay, fused=True
    )


def stepped_updates(
    method: SSLMethod,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
    device_type: str,
) -> Iterator[tuple[Update, Tensor]]:
    """Step the optimiser for each of the method's updates; yield each update and its total after the step.

    Args:
        method: in training mode.
        optimizer: of its parameters.
        batch: the iteration's images.
        progress: the iteration.
        device_type: where the tensors are, "cpu" or "cuda".

    Raises:
        MethodError: the method breaks its contract.

    """
    updates, half = UpdateCheck(method, batch, progress), method.protocol.precision == "bf16"
    while True:
        # no cache: a weight first cast under no_grad, as for UCMT's uncertainty, may stay without its gradient
        with torch.autocast(device_type, torch.bfloat16, enabled=half, cache_enabled=False):
            following = updates.following()
        if following is None:
            return
        update, total = following
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        updates.close(progress)
        yield update, total

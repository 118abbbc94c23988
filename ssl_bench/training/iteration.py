"""The optimisers and the updates of one iteration, for training and for the prediction of its costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_bench.cards import Protocol
from ssl_bench.method import AdversaryHyperparameters, Batch, Progress, SSLMethod, Update
from ssl_bench.training.method_check import UpdateCheck


class Optimizers:
    """AdamW of the networks, and Adam of the adversaries if the method has any.

    Args:
        method: whose parameters that require a gradient they move.
        protocol: AdamW's settings; Adam's are the method's own hyperparameters.

    """

    def __init__(self, method: SSLMethod, protocol: Protocol) -> None:
        adversaries = [p for one in method.adversaries.values() for p in one.parameters() if p.requires_grad]
        apart = {id(p) for p in adversaries}
        networks = [p for p in method.parameters() if p.requires_grad and id(p) not in apart]
        self.networks: torch.optim.Optimizer = torch.optim.AdamW(
            networks, lr=protocol.learning_rate, betas=protocol.betas, weight_decay=protocol.weight_decay, fused=True
        )
        self.adversaries: torch.optim.Optimizer | None = None
        if adversaries:
            hyper = method.hyper
            assert isinstance(hyper, AdversaryHyperparameters)  # held by check_networks
            betas = hyper.adversary_beta1, hyper.adversary_beta2
            self.adversaries = torch.optim.Adam(adversaries, lr=hyper.adversary_learning_rate, betas=betas, fused=True)

    def step(self, update: Update, total: Tensor) -> None:
        """Differentiate an update's total and step the optimiser that it trains. All other gradients are cleared."""
        for one in self.all:
            one.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.trained_by(update).step()

    def trained_by(self, update: Update) -> torch.optim.Optimizer:
        """The optimiser that an update names."""
        if update.trains == "networks":
            return self.networks
        assert self.adversaries is not None  # held by UpdateCheck
        return self.adversaries

    @property
    def all(self) -> list[torch.optim.Optimizer]:
        """The one or two optimisers."""
        return [self.networks] if self.adversaries is None else [self.networks, self.adversaries]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = {"optimizer": self.networks.state_dict()}
        return kept if self.adversaries is None else {**kept, "adversaries": self.adversaries.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state in a checkpoint."""
        self.networks.load_state_dict(state["optimizer"])
        if self.adversaries is not None:
            self.adversaries.load_state_dict(state["adversaries"])


def stepped_updates(
    method: SSLMethod,
    optimizers: Optimizers,
    batch: Batch,
    progress: Progress,
    device_type: str,
) -> Iterator[tuple[Update, Tensor]]:
    """Step an optimiser for each of the method's updates; yield each update and its total after the step.

    Args:
        method: in training mode.
        optimizers: of its parameters.
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
        optimizers.step(update, total)
        updates.close(update, progress)
        yield update, total

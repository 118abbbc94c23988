"""Selects the weights to score: the last, or those after the epoch with the lowest training loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.training.job import Job


class Selection:
    """The protocol's `select`; the test set plays no part in it.

    With `train-loss` the weights after the whole epoch with the lowest mean loss are kept. A last epoch that is cut
    short does not count, since the mean over a few batches may be low by chance, unless there is no other. Nor does an
    epoch with updates that are not selectable: the loss of a first phase, which lacks a term, is lower than any later.
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        protocol = job.spec.protocol
        self.by_loss = protocol.select == "train-loss"
        self.epoch, self.iterations = protocol.iterations_per_epoch(job.spec.train_images), job.iterations
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=device)
        self.best_loss = math.inf
        self.is_selectable = True  # whether every update of the epoch is
        self.best: dict[str, Tensor] = {}

    def close_step(self, loss: Tensor, iteration: int, method: nn.Module, *, is_selectable: bool = True) -> None:
        """Add the loss of an iteration's last update; at the end of the best epoch, keep the weights."""
        if not self.by_loss:
            return
        self.epoch_loss += loss
        self.is_selectable = self.is_selectable and is_selectable
        steps = iteration % self.epoch or self.epoch
        is_only_choice = iteration == self.iterations and not self.best
        if steps == self.epoch or is_only_choice:
            mean = float(self.epoch_loss) / steps
            if is_only_choice or (self.is_selectable and mean <= self.best_loss):
                self.best_loss = mean
                self.best = {key: value.detach().to("cpu", copy=True) for key, value in method.state_dict().items()}
            self.epoch_loss.zero_()
            self.is_selectable = True

    def apply(self, method: nn.Module) -> None:
        """Give the method the selected weights."""
        if self.best:
            method.load_state_dict(self.best)

    @property
    def loss(self) -> float | None:
        """The mean loss of the selected epoch; None where the last weights are scored."""
        return self.best_loss if self.best else None

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "epoch_loss": self.epoch_loss, "best_loss": self.best_loss, "best": self.best,
            "is_selectable": self.is_selectable,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state in a checkpoint."""
        self.best_loss = state["best_loss"]
        self.is_selectable = state.get("is_selectable", True)  # not in checkpoints of earlier versions
        self.epoch_loss.copy_(state["epoch_loss"])
        self.best = {key: value.cpu() for key, value in state["best"].items()}

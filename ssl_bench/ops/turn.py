"""Random turns of a batch by multiples of 90 degrees in a plane."""

from __future__ import annotations

import torch
from torch import Tensor


class Turn:
    """A turn of a whole batch in the plane of its first two spatial axes.

    Args:
        choice: (1,) int64 on the batch's device, a place in `quarters`.
        quarters: the possible turns, each a number of quarter turns from the first axis towards the second.

    """

    def __init__(self, choice: Tensor, quarters: tuple[int, ...]) -> None:
        self.choice, self.quarters = choice, quarters

    def __call__(self, tensor: Tensor) -> Tensor:
        """Turn (B, C, *spatial); its shape stays the same."""
        turned = torch.stack([torch.rot90(tensor, quarters, (2, 3)) for quarters in self.quarters])
        return turned.index_select(0, self.choice).squeeze(0)


def random_turn(like: Tensor) -> Turn:
    """Draw one of the four turns for a batch (B, C, *spatial), or of two half turns where the plane's sides differ.

    The choice is drawn on the CPU from torch's global generator; nothing waits for the device.
    """
    quarters = (0, 1, 2, 3) if like.shape[2] == like.shape[3] else (0, 2)
    return Turn(torch.randint(len(quarters), (1,)).to(like.device, non_blocking=True), quarters)

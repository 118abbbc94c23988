"""Random turns of images by multiples of 90 degrees in a plane."""

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


class ImageTurns:
    """A turn of each image of a batch, in the plane of the first two spatial axes.

    Args:
        choice: (B,) int64 on the batch's device, places in `quarters`.
        quarters: as in `Turn`.

    """

    def __init__(self, choice: Tensor, quarters: tuple[int, ...]) -> None:
        self.choice, self.quarters = choice, quarters

    def __call__(self, tensor: Tensor) -> Tensor:
        """Turn (B, C, *spatial); its shape stays the same."""
        turned = torch.cat([torch.rot90(tensor, quarters, (2, 3)) for quarters in self.quarters])
        batch = len(self.choice)
        return turned.index_select(0, self.choice * batch + torch.arange(batch, device=self.choice.device))


def quarter_turns(sides: tuple[int, ...]) -> tuple[int, ...]:
    """Return the turns that keep an image's shape: four, or two half turns where the plane's sides differ."""
    return (0, 1, 2, 3) if sides[0] == sides[1] else (0, 2)


def random_turn(like: Tensor) -> Turn:
    """Draw one of the turns that keep the shape for a whole batch (B, C, *spatial).

    The choice is drawn on the CPU from torch's global generator; nothing waits for the device.
    """
    quarters = quarter_turns(tuple(like.shape[2:]))
    return Turn(torch.randint(len(quarters), (1,)).to(like.device, non_blocking=True), quarters)


def random_turns(like: Tensor) -> ImageTurns:
    """Draw a turn for each image of a batch (B, C, *spatial), as `random_turn` does."""
    quarters = quarter_turns(tuple(like.shape[2:]))
    return ImageTurns(torch.randint(len(quarters), (len(like),)).to(like.device, non_blocking=True), quarters)

"""User-defined augmentations, applied to the strong views after the built-in ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_bench.cards import Card, ImageProtocol, VolumeProtocol, parse_card
from ssl_bench.errors import UserError
from ssl_bench.plugins import function_hash, keep_track

Apply = Callable[[Tensor, Any, torch.Generator], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation.

    `apply(images, settings, generator)` returns images of the same shape and type: (B, C, S, S) uint8 in 2D, (B, C, X,
    Y, Z) float32 in 3D. It may change intensities alone, since masks do not follow. It draws its random numbers from
    the generator, which is on the CPU.
    """

    name: str
    apply: Apply
    settings: type[Card]
    dimensions: tuple[int, ...]

    @property
    def source(self) -> str:
        """SHA-256 of the file that registered it."""
        return function_hash(self.apply)


AUGMENTATIONS: dict[str, Augmentation] = {}
keep_track(lambda: AUGMENTATIONS, lambda _, augmentation: augmentation.apply.__module__)


def register_augmentation(
    name: str, *, settings: type[Card], dimensions: tuple[int, ...] = (2, 3)
) -> Callable[[Apply], Apply]:
    """Add an augmentation under its name (function decorator).

    Args:
        name: as the protocol's `augmentation.extra` names it.
        settings: its typed settings, with defaults.
        dimensions: of the images it is for.

    Raises:
        UserError: there is an augmentation of this name.
    """

    def register(apply: Apply) -> Apply:
        if name in AUGMENTATIONS:
            raise UserError(f"{apply.__code__.co_filename}: augmentation '{name}' is already defined")
        AUGMENTATIONS[name] = Augmentation(name, apply, settings, dimensions)
        return apply

    return register


def chosen_extras(protocol: ImageProtocol | VolumeProtocol) -> list[tuple[Augmentation, Card]]:
    """Return the protocol's extra augmentations with their settings, in its order.

    Raises:
        UserError: one is not registered for the protocol's data, or a setting is wrong.
    """
    found = []
    for name, given in protocol.augmentation.extra.items():
        entry = AUGMENTATIONS.get(name)
        if entry is None or protocol.dimensions not in entry.dimensions:
            known = [one.name for one in AUGMENTATIONS.values() if protocol.dimensions in one.dimensions]
            expected = f"expected one of {', '.join(known)}" if known else "no augmentation is registered"
            raise UserError(f"augmentation.extra: {expected} for {protocol.dimensions}D data; found '{name}'")
        found.append((entry, parse_card(entry.settings, given, f"augmentation.extra.{name}")))
    return found

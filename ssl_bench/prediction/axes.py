"""How a new volume is turned to the axes of the volumes that a network was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_bench.cards import HDF5, ImageAxes
from ssl_bench.data.geometry import along
from ssl_bench.errors import UserError

AS_STORED = "as-stored"
PAIRS = ("LR", "PA", "IS")


@dataclass(frozen=True)
class Turn:
    """From the axes on which a file is read to those that the network sees, such as from RAS to LPS."""

    read: str = "RAS"
    seen: str = "RAS"

    def onto(self, image: np.ndarray) -> np.ndarray:
        """Turn an image (C, X, Y, Z)."""
        turned = along(np.moveaxis(image, 0, -1), self.read, self.seen)
        return np.ascontiguousarray(np.moveaxis(turned, -1, 0))

    def back(self, voxels: np.ndarray) -> np.ndarray:
        """Turn a mask or map (X, Y, Z) back to the axes on which the file was read."""
        return along(voxels, self.seen, self.read)

    def sides(self, spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """Return the distances between voxels along the axes that the network sees; None: not known."""
        if spacing is None:
            return None
        place = {_pair(letter): side for letter, side in zip(self.read, spacing, strict=True)}
        return tuple(place[_pair(letter)] for letter in self.seen)


def names_axes(path: Path) -> bool:
    """Whether a volume's file is in a format that says along which axes its voxels lie."""
    return not path.name.lower().endswith(HDF5)


def require_array_axes(option: str | None, axes: ImageAxes, dimensions: int, paths: Iterable[Path]) -> None:
    """Check that `--array-axes` says what is not known, and nothing else.

    Args:
        option: its value: as-stored, or axes such as LPS.
        axes: of the run's training volumes.
        dimensions: of the run's data.
        paths: the new volumes.

    Raises:
        UserError: the option is missing, has no effect, or is neither as-stored nor three axes.
    """
    paths = [path for path in paths if names_axes(path) != (axes == "RAS")] if dimensions == 3 else []
    if option is None:
        for path in paths:
            if names_axes(path):
                raise UserError(
                    f"{path}: nothing says on which axes the run's training arrays lie, so this file could be seen "
                    "mirrored; --array-axes says it: as-stored (as the voxels of this file) or axes such as LPS or RAS"
                )
            raise UserError(
                f"{path}: the run was trained on axes RAS and this file names none, so it could be seen mirrored; "
                "--array-axes says how its array lies: as-stored (as in training) or axes such as LPS"
            )
        return
    if option != AS_STORED and sorted(_pair(letter) for letter in option.upper()) != sorted(PAIRS):
        raise UserError(
            f"--array-axes: expected {AS_STORED} or the directions of three axes, such as LPS; found '{option}'"
        )
    if not paths:
        raise UserError(
            "--array-axes: expected a file with axes and training arrays without, or the reverse; here nothing is "
            "turned, so leave the option out"
        )


def turn_of(path: Path, stored: str, axes: ImageAxes, option: str | None) -> Turn:
    """Return how a volume is turned before the network sees it.

    Args:
        path: of the volume.
        stored: the axes of the voxels in the file, if it names them.
        axes: of the run's training volumes.
        option: as `require_array_axes` has checked it.
    """
    if names_axes(path) == (axes == "RAS") or option is None:
        return Turn()
    if names_axes(path):
        return Turn(seen=stored if option == AS_STORED else option.upper())
    return Turn(read="RAS" if option == AS_STORED else option.upper())


def _pair(letter: str) -> str:
    return next((pair for pair in PAIRS if letter in pair), letter)

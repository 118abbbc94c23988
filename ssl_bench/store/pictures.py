"""A run's pictures as compressed files: test cases and uncertainty maps."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ssl_bench.atomic import write_bytes
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Example:
    """A test case as its run's predictor saw it, at most SIDE pixels a side; of a volume, one axial slice."""

    case: str
    why: str  # of Why, several joined by commas
    place: int  # the slice's z in a volume, 0 in 2D
    image: np.ndarray  # (h, w, 3) or (h, w) uint8
    truth: np.ndarray  # (h, w) uint8 class numbers; 255 where the class is not known
    prediction: np.ndarray  # (h, w) uint8 class numbers


@dataclass(frozen=True)
class Moment:
    """A training image at one moment of training, as the method's mix saw it; of a patch, its middle axial slice."""

    case: str
    iteration: int
    image: np.ndarray  # (h, w, 3) or (h, w) uint8
    uncertainty: np.ndarray  # (h, w) float16, entropy / ln K
    mixed: np.ndarray  # as image
    uncertainty_mixed: np.ndarray  # as uncertainty, of the mixed image


Kept = TypeVar("Kept", Example, Moment)


def write_pictures(path: Path, pictures: Sequence[Example] | Sequence[Moment]) -> None:
    """Write examples or moments as one compressed npz file; the same pictures give the same bytes."""
    import numpy as np  # here, since `status` does not need it

    arrays: dict[str, Any] = {
        f"{i}.{name}": value for i, one in enumerate(pictures) for name, value in vars(one).items()
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def read_pictures(path: Path, kind: type[Kept]) -> list[Kept]:
    """Read the pictures; empty if the file is missing (a run of an earlier version, or a method without a mix).

    Raises:
        UserError: the file is not the one that was written.
    """
    if not path.exists():
        return []
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            count = len({name.partition(".")[0] for name in arrays})
            return [kind(**{f.name: _plain(arrays[f"{i}.{f.name}"]) for f in fields(kind)}) for i in range(count)]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _plain(array: np.ndarray) -> Any:
    return array.item() if array.ndim == 0 else array

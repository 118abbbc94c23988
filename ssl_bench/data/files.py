"""Reading a 2D data set in its published layout: which files there are, and one case's pixels."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_bench.errors import UserError
from ssl_bench.spec import Benchmark, Files


@dataclass(frozen=True)
class CaseFiles:
    """One case's files; `mask` is None where it is missing."""

    id: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class Case:
    """One case's pixels: image (H, W, 3) uint8, mask (H, W) bool."""

    id: str
    image: np.ndarray
    mask: np.ndarray


def list_cases(benchmark: Benchmark, data_root: Path | None) -> list[CaseFiles]:
    """Find a data set's images and masks, ordered by id (numbers in ids as numbers).

    Raises:
        UserError: no folder is named or has the card's layout, or two images or masks with one id.
    """
    files = benchmark.files
    assert files is not None, "a drawn data set has no files"
    if data_root is None:
        raise UserError(f"--data-root: {benchmark.title} is read from files; name the folder, or set SSL_BENCH_DATA")
    root = _locate(files, benchmark, data_root)
    images = _by_stem(_images(root, files), "images")
    mask_folder = root / Path(files.masks).parent
    masks = _by_stem(_with_suffix(mask_folder.glob("*"), files), "masks") if mask_folder.is_dir() else {}
    mask_stem = Path(files.masks).name
    return [CaseFiles(name, images[name], masks.get(mask_stem.format(id=name))) for name in sorted(images, key=natural)]


def read_image(path: Path, content: bytes) -> np.ndarray:
    """Decode an image to (H, W, 3) uint8 RGB.

    Raises:
        UserError: not an image, truncated, or with more than 8 bits a channel.
    """
    with _open(path, content) as image:
        return np.asarray(image.convert("RGB"))


def read_mask(path: Path, content: bytes, threshold: int) -> np.ndarray:
    """Decode a mask to (H, W) bool: grey levels above `threshold`.

    Raises:
        UserError: as `read_image`; or no pixel above 1 but some above 0 (a 0/1 mask under a 0..255 threshold).
    """
    with _open(path, content) as image:
        grey = np.asarray(image.convert("L"))
    if threshold > 0 and grey.max(initial=0) == 1:
        raise UserError(f"{path}: expected mask values up to 255 (threshold {threshold}), found 0 and 1")
    return grey > threshold


def pair(case: CaseFiles, image_bytes: bytes, mask_bytes: bytes, files: Files) -> Case:
    """Decode a case and hold that image and mask have one size."""
    assert case.mask is not None
    image = read_image(case.image, image_bytes)
    mask = read_mask(case.mask, mask_bytes, files.mask_threshold)
    if image.shape[:2] != mask.shape:
        expected, found = _size(image), _size(mask)
        raise UserError(f"{case.mask}: expected the size of its image, {expected} pixels, found {found}")
    return Case(case.id, image, mask)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that orders 2 before 10."""
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _open(path: Path, content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        coded = str(getattr(image, "tile", ""))  # how the file codes its pixels; loading forgets it
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image: {error}") from None
    if image.mode.startswith(("I", "F")) or ";16" in coded:
        raise UserError(f"{path}: expected 8 bits a channel, found more")
    return image


def _locate(files: Files, benchmark: Benchmark, data_root: Path) -> Path:
    if not data_root.is_dir():
        raise UserError(f"--data-root: no folder at {data_root}")
    candidates = [data_root / root for root in files.roots]
    for candidate in candidates:
        if any(_images(candidate, files)):
            return candidate
    tried = ", ".join(str(candidate / files.images) for candidate in candidates)
    raise UserError(f"--data-root: no images of {benchmark.title} found; looked for {tried}")


def _images(root: Path, files: Files) -> Iterable[Path]:
    return _with_suffix(root.glob(files.images), files)


def _with_suffix(paths: Iterable[Path], files: Files) -> Iterable[Path]:
    return (path for path in paths if path.suffix.lower() in files.image_suffixes and not path.name.startswith("."))


def _by_stem(paths: Iterable[Path], kind: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if path.stem in found:
            raise UserError(f"{path}: two {kind} have the id '{path.stem}', the other is {found[path.stem]}")
        found[path.stem] = path
    return found

"""The files of a new data set, and their kind."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from ssl_bench.cards import HDF5, Files
from ssl_bench.data.volume_files import ITK, NIFTI
from ssl_bench.errors import UserError

PICTURES: tuple[str, ...] = Files.model_fields["image_suffixes"].default


KINDS = {"2D images": PICTURES, "HDF5 volumes": HDF5, "NPZ arrays": (".npz",), "volumes": (*NIFTI, *ITK)}


# formats of images and volumes that are not read
UNREAD = (
    ".webp", ".heic", ".avif", ".jp2", ".ppm", ".pgm", ".svs", ".dcm", ".ima", ".mhd", ".hdr", ".img", ".npy", ".mat",
)  # fmt: skip


def data_files(folder: Path) -> tuple[list[Path], str, dict[str, int]]:
    """Find the files of a data set, in order, and their kind, one of KINDS.

    The third value counts files by suffix whose formats of images or volumes are not read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found, seen, unread = [], {folder}, Counter[str]()
    for parent, folders, names in os.walk(folder, followlinks=True):
        for child in list(folders):
            real = (Path(parent) / child).resolve()
            if child.startswith(".") or child == "__MACOSX" or real in seen:  # seen: a link to a parent loops
                folders.remove(child)
            seen.add(real)
        shown = [name for name in names if not name.startswith(".")]
        found += [Path(parent) / name for name in shown if suffix_of(name)]
        unread.update(Path(name).suffix.lower() for name in shown if not suffix_of(name))
    suffixes = Counter(suffix_of(path.name) for path in found)
    kinds = [kind for kind, known in KINDS.items() if any(suffix in suffixes for suffix in known)]
    if not kinds:
        looked_for = ", ".join(suffix for known in KINDS.values() for suffix in known)
        others = ", ".join(f"{count} {suffix}" for suffix, count in unread.most_common(5) if suffix)
        raise UserError(
            f"{folder}: no images or volumes found; looked for {looked_for}" + (f"; found {others}" if others else "")
        )
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common())
        raise UserError(f"{folder}: expected files of one kind, found {' and '.join(kinds)} ({counts})")
    return sorted(found), kinds[0], {suffix: count for suffix, count in sorted(unread.items()) if suffix in UNREAD}


def suffix_of(name: str) -> str:
    """The suffix of a file that is read, in small letters; empty for another file."""
    known = (suffix for suffixes in KINDS.values() for suffix in suffixes)
    return next((suffix for suffix in known if name.lower().endswith(suffix)), "")

"""`data init`: write a data set's card by looking at its folder."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_bench.cards import CHANNELS, HDF5, METRICS, Files, Volumes
from ssl_bench.command import quoted, written
from ssl_bench.data.describe.arrays import array_values
from ssl_bench.data.describe.dataset_json import FILE, IGNORE
from ssl_bench.data.describe.layout import Found, find_layout
from ssl_bench.data.describe.masks import (
    Advance,
    Values,
    is_flat,
    is_flat_volume,
    picture_values,
    voxel_values,
)
from ssl_bench.data.describe.naming import data_files, sample_of
from ssl_bench.data.describe.splits import find_splits
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.volume_files import read_array
from ssl_bench.errors import UserError


def describe(folder: Path, name: str | None = None, advance: Callable[[int, int], None] | None = None) -> str:
    """Write the card (TOML) of the data set in `folder`; its first comment says what was found.

    Every mask is read, for the values that it holds; `advance` is called with (done, total).

    Args:
        folder: the data root of the card, which is written for use with `--data-root FOLDER`.
        name: the card's name; by default the folder's name.
        advance: called after each mask.

    Raises:
        UserError: there are no images or volumes, images and masks cannot be told apart, no card can describe how they
            lie, or a file is unreadable.
    """
    folder = folder.resolve()
    paths, kind, unread = data_files(folder)
    found = find_layout(folder, paths, kind, functools.cache(is_flat if kind == "2D images" else is_flat_volume))
    masks = [path for case in found.cases for path in case.masks]
    values, fields, said = _values(found.layout, kind)(masks, advance)
    if found.labels is not None:
        seen = [*values, *([fields["ignore"]] if "ignore" in fields else [])]
        fields, said = _described(found.labels, seen, folder, kind == "2D images"), ()
    elif len(values) < 2:
        raise UserError(f"{folder}: expected masks with two or more values, found {values[0]} only")
    fields["masks_optional"] = any(case.mask is None for case in found.cases)
    used = {path for case in found.cases for path in (*case.images, *case.masks)}
    rest = [path for path in paths if path not in used]
    listed = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
    said += (f"# Not read, in formats that are not supported: {listed}.",) if unread else ()
    found = replace(found, layout=found.layout.model_copy(update=fields), said=(*found.said, *said))
    return _card(folder, name or folder.name, found, values, rest)


def _values(layout: Files | Volumes, kind: str) -> Callable[[Sequence[Path], Advance], Values]:
    """The reader of the values of all masks."""
    if kind == "2D images":
        return picture_values
    return functools.partial(array_values, layout=layout) if isinstance(layout, Files) else voxel_values


def card_name(text: str) -> str:
    """Convert a name to a valid card name: lower case letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or "dataset"


def _channels(cases: Sequence[CaseFiles], pictures: bool) -> int:
    """Number of channels of a sample of images: 1 or 3 for pictures, the length of the fourth axis for volumes.

    Raises:
        UserError: volumes have different numbers.
    """
    sample = [case.image for case in sample_of(cases)]
    if pictures:
        return 1 if all(_is_grey(path) for path in sample) else CHANNELS[2]
    found = {path: read_array(path, "image", channels=None).array.shape[:-3] for path in sample}
    first = found[sample[0]]
    for path, channels in found.items():
        if channels != first:
            raise UserError(
                f"{path}: expected {math.prod(first)} channels as in {sample[0]}, found {math.prod(channels)}"
            )
    return math.prod(first)


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in ("1", "L", "LA")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image: {error}") from None


def _card(folder: Path, name: str, found: Found, values: list[int] | list[str], rest: list[Path]) -> str:
    """Write the card: what was found as its first comment, then the fields in the order of the package's own cards."""
    layout, cases = found.layout, found.cases
    two = isinstance(layout, Files)
    channels = found.fields.get("channels") or _channels(cases, two)
    unmasked = sum(case.mask is None for case in cases)
    what = "2D images" if two else "3D volumes"
    at = " in the same files" if layout.masks is None else f" as {quoted(layout.masks)}"
    lines = [f"# Found {len(cases)} {what} as {quoted(layout.images)} and {len(cases) - unmasked} masks{at}."]
    lines.append(f"# Mask values: {', '.join(map(str, values[:30]))}{', ...' if len(values) > 30 else ''}.")
    lines += found.said
    if rest:
        lines.append(f"# Not used: {len(rest)} other files, such as {quoted(rest[0].relative_to(folder).as_posix())}.")
    names = ["foreground"] if len(values) == 2 else [f"class{number}" for number in range(1, len(values))]
    splits = find_splits(folder, cases)
    lines += splits.comment
    group = splits.grouping.group
    fields: dict[str, Any] = {
        "name": card_name(name),
        "title": found.fields.get("title", folder.name),
        "dimensions": 2 if two else 3,
        **({} if channels == CHANNELS[2 if two else 3] else {"channels": channels}),
        "classes": [name for name in found.labels if name != IGNORE] if found.labels else ["background", *names],
        "cases": len(cases),
        "labeled": splits.labeled,
        **({} if group is None else {"group": group}),
        "metrics": [name for name, metric in METRICS.items() if (2 if two else 3) in metric.suggested_for],
        **({"distance_unit": "mm"} if not two and not layout.images.lower().endswith(HDF5) else {}),
        "protocol": "paper",
        **{key: found.fields.get(key, "unknown") for key in ("source", "license", "citation")},
    }
    comments = {
        "channels": "a file each"
        if isinstance(channels, list)
        else ("grey images stay grey" if two else "of each image's fourth axis"),
        "classes": "one name for each mask value, in their order; edit them as you like",
        "group": "one patient, video or lesion each",
        "source": "fill in these three: where the data set is from, what it may be used for, what to cite",
        "masks_optional": f"{unmasked} of {len(cases)} have no mask: they are unlabelled",
    }
    place = layout.model_dump(exclude_defaults=True)
    if isinstance(layout, Volumes):
        place["intensity"] = layout.intensity
    tables = {"": fields, "[files]" if two else "[[volumes]]": place, **splits.tables}
    for heading, table in tables.items():
        lines += ["", heading] if heading else [""]
        for key, value in table.items():
            lines.append(f"{key} = {written(value)}" + (f"  # {comments[key]}" if key in comments else ""))
    return "\n".join(lines) + "\n"


def _described(labels: dict[str, int], values: Sequence[object], folder: Path, pictures: bool) -> dict[str, Any]:
    """The card's fields for classes that dataset.json names, with nnU-Net's label `ignore`.

    Raises:
        UserError: a mask has a value that is none of them.
    """
    wanted = tuple(value for name, value in labels.items() if name != IGNORE)
    unknown = [value for value in values if value not in labels.values()]
    if unknown:
        expected = ", ".join(map(str, labels.values()))
        raise UserError(f"{folder / FILE}: labels: names the values {expected}; the masks have {unknown[0]}, too")
    fields: dict[str, Any] = {"ignore": labels[IGNORE]} if IGNORE in labels else {}
    return fields | ({"mask_values": wanted} if pictures or wanted != tuple(range(len(wanted))) else {})

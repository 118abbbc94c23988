"""`data init`: write a data set's card by looking at its folder."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_bench.cards import CHANNELS, HDF5, METRICS, Files, Volumes, card_names
from ssl_bench.command import quantity, quoted, written
from ssl_bench.data.describe.arrays import array_values
from ssl_bench.data.describe.choice import MASK_WORDS, SECOND
from ssl_bench.data.describe.dataset_json import FILE, IGNORE
from ssl_bench.data.describe.deep import deep_range
from ssl_bench.data.describe.files import data_files
from ssl_bench.data.describe.found import Found, cases_of
from ssl_bench.data.describe.layout import find_layout
from ssl_bench.data.describe.masks import (
    Advance,
    Values,
    is_flat,
    is_flat_volume,
    picture_values,
    voxel_values,
)
from ssl_bench.data.describe.naming import sample_of
from ssl_bench.data.describe.splits import find_splits
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.images import CaseFiles, masks_without_image
from ssl_bench.data.pictures import is_deep
from ssl_bench.data.volume_files import read_array
from ssl_bench.errors import UnreadableFileError, UserError


def describe(folder: Path, name: str | None = None, advance: Callable[[int, int], None] | None = None) -> str:
    """Write the card (TOML) of the data set in `folder`; its first comment says what was found.

    Every mask is read, for the values that it holds, and every image of more than 8 bits, for its range.

    Args:
        folder: the data root of the card, which is written for use with `--data-root FOLDER`.
        name: the card's name; by default the folder's name.
        advance: called with (done, total) after each mask, and after each such image.

    Raises:
        UserError: there are no images or volumes, images and masks cannot be told apart, no card can describe how they
            lie, or a file is unreadable.
    """
    folder = folder.resolve()
    paths, kind, unread = data_files(folder)
    unreadable = Unreadable()
    look = is_flat if kind == "2D images" else is_flat_volume
    found = find_layout(folder, paths, kind, functools.cache(lambda path: unreadable.read(path, look)), unreadable)
    masks = [path for case in found.cases for path in case.masks]
    values, fields, said = _values(found.layout, kind)(masks, advance, unreadable)
    images = [path for case in found.cases for path in case.images]
    levels = deep_range(images, advance, unreadable) if kind == "2D images" else None
    channels = found.fields.get("channels") or _channels(found.cases, isinstance(found.layout, Files), unreadable)
    found = _of_readable_files(replace(found, fields={**found.fields, "channels": channels}), folder, unreadable)
    if found.labels is not None:
        seen = [*values, *([fields["ignore"]] if "ignore" in fields else [])]
        fields, said = _described(found.labels, seen, folder, kind == "2D images"), ()
    elif len(values) < 2:
        raise UserError(f"{folder}: expected masks with two or more values, found {values[0]} only")
    fields |= {} if levels is None else {"intensity_range": levels}
    fields["masks_optional"] = any(case.mask is None for case in found.cases)
    used = {path for case in found.cases for path in (*case.images, *case.masks)} | found.named
    rest = [path for path in paths if path not in used]
    listed = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
    said += (f"# Not read, in formats that are not supported: {listed}.",) if unread else ()
    found = replace(found, layout=found.layout.model_copy(update=fields), said=(*found.said, *said))
    return _card(folder, name or folder.name, found, values, rest)


def _of_readable_files(found: Found, folder: Path, unreadable: Unreadable) -> Found:
    """Exclude the cases with files that cannot be read, and say so."""
    good, exclude = unreadable.without(found.cases, folder)
    if not exclude:
        return found
    layout = found.layout.model_copy(update={"exclude": (*found.layout.exclude, *exclude)})
    bad = {path for case in found.cases if case not in good for path in (*case.images, *case.masks)}
    return replace(
        found,
        layout=layout,
        cases=cases_of(layout, folder, found.fields["channels"]),
        said=(*found.said, *unreadable.said(found.cases, folder)),
        named=found.named | bad,
    )


def _values(layout: Files | Volumes, kind: str) -> Callable[[Sequence[Path], Advance, Unreadable], Values]:
    """The reader of the values of all masks."""
    if kind == "2D images":
        return picture_values
    return functools.partial(array_values, layout=layout) if isinstance(layout, Files) else voxel_values


def card_name(text: str) -> str:
    """Convert a name to a valid card name: lower case letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or "dataset"


def _own_name(text: str) -> tuple[str, list[str]]:
    """The name of a card, which no built-in data set has, and a line if it is therefore another one."""
    name = card_name(text)
    if name not in card_names("datasets"):
        return name, []
    return f"{name}-own", [f"# Named {name}-own, since {name} is a built-in data set."]


def _channels(cases: Sequence[CaseFiles], pictures: bool, unreadable: Unreadable) -> int:
    """Number of channels of a sample of images that can be read: 1 or 3 for pictures, else the length of a fourth axis.

    Raises:
        UserError: volumes have different numbers.
    """
    found: dict[Path, tuple[int, ...]] = {}
    look = _shape_of_grey if pictures else _shape_of_channels
    known = -1
    while known < len(unreadable.errors):  # what was not known to be unreadable may be in the sample
        known = len(unreadable.errors)
        sample = sample_of([case.image for case in cases if case.image not in unreadable.errors])
        found = dict(unreadable.each(sample, look))
    if pictures:
        return 1 if found and all(channels == (1,) for channels in found.values()) else CHANNELS[2]
    sample, first = [*found], next(iter(found.values()), ())
    for path, channels in found.items():
        if channels != first:
            expected = quantity(math.prod(first), "channel")
            raise UserError(f"{path}: expected {expected} as in {sample[0]}, found {math.prod(channels)}")
    return math.prod(first)


def _shape_of_grey(path: Path) -> tuple[int, ...]:
    """(1,) for a grey picture, else (3,)."""
    try:
        with Image.open(path) as image:
            return (1,) if image.mode in ("1", "L", "LA") or is_deep(image) else (3,)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableFileError(f"{path}: not a readable image: {error}") from None


def _shape_of_channels(path: Path) -> tuple[int, ...]:
    return read_array(path, "image", channels=None).array.shape[:-3]


def _card(folder: Path, name: str, found: Found, values: list[int] | list[str], rest: list[Path]) -> str:
    """Write the card: what was found as its first comment, then the fields in the order of the package's own cards."""
    layout, cases = found.layout, found.cases
    two = isinstance(layout, Files)
    channels = found.fields["channels"]
    unmasked = sum(case.mask is None for case in cases)
    what = "2D image" if two else "3D volume"
    at = " in the same files" if layout.masks is None else f" as {quoted(layout.masks)}"
    masks = quantity(len(cases) - unmasked, "mask")
    lines = [f"# Found {quantity(len(cases), what)} as {quoted(layout.images)} and {masks}{at}."]
    lines.append(f"# Mask values: {', '.join(map(str, values[:30]))}{', ...' if len(values) > 30 else ''}.")
    lines += found.said
    lines += _not_used(rest, folder, {path for _, path in masks_without_image(layout, cases)})
    names = ["foreground"] if len(values) == 2 else [f"class{number}" for number in range(1, len(values))]
    card, told = _own_name(name)
    lines += told
    splits = find_splits(folder, cases)
    lines += splits.comment
    group = splits.grouping.group
    fields: dict[str, Any] = {
        "name": card,
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


def _not_used(rest: Sequence[Path], folder: Path, alone: Container[Path]) -> list[str]:
    """Lines about the files that the card does not use: masks without an image or of a second person, and others."""
    masks = [path.relative_to(folder).as_posix() for path in rest if path in alone]
    names = [path.relative_to(folder).as_posix() for path in rest if path not in alone]
    second = [name for name in names if SECOND.search(name) and MASK_WORDS.search(name)]
    others = [name for name in names if name not in set(second)]
    lines = []
    if masks:
        lines.append(f"# Not used: {quantity(len(masks), 'mask')} whose id is no image's, such as {quoted(masks[0])}.")
    if second:
        files = quantity(len(second), "file")
        lines.append(f"# Not used: the masks of a second person, {files} such as {quoted(second[0])}.")
    if others:
        lines.append(f"# Not used: {quantity(len(others), 'other file')}, such as {quoted(others[0])}.")
    return lines


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

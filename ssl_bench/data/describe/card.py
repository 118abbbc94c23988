"""`data init`: write a data set's card by looking at its folder."""

from __future__ import annotations

import csv
import functools
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssl_bench.cards import CHANNELS, HDF5, METRICS, Benchmark, Files, Volumes, number_of, parse_share
from ssl_bench.command import quoted
from ssl_bench.data.describe.grouping import find_grouping
from ssl_bench.data.describe.masks import is_flat, is_flat_volume, picture_values, voxel_values
from ssl_bench.data.describe.naming import (
    MASK_WORDS,
    IsFlat,
    data_files,
    find_pair,
    holding_both,
    patterns_of,
    sample_of,
)
from ssl_bench.data.images import CaseFiles, list_cases
from ssl_bench.data.volume_files import read_array
from ssl_bench.data.volumes import list_volumes
from ssl_bench.errors import UserError

TEST, LABELED = "20%", ("10%", "20%")


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
    paths, kind = data_files(folder)
    flat = functools.cache(is_flat if kind == "2D images" else is_flat_volume)
    layout, cases = _layout(folder, paths, kind, flat)
    masks = [case.mask for case in cases if case.mask is not None]
    unmasked = [case for case in cases if case.mask is None]
    _hold_no_stray_masks(unmasked, flat)
    values, fields = (picture_values if kind == "2D images" else voxel_values)(masks, advance)
    if len(values) < 2:
        raise UserError(f"{folder}: expected masks with two or more values, found {values[0]} only")
    found = {"masks_optional": bool(unmasked), **fields}
    used = {case.image for case in cases}.union(masks)
    rest = [path for path in paths if path not in used]
    return _card(folder, name or folder.name, layout.model_copy(update=found), cases, values, rest)


def card_name(text: str) -> str:
    """Convert a name to a valid card name: lower case letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or "dataset"


def _layout(folder: Path, paths: list[Path], kind: str, flat: IsFlat) -> tuple[Files | Volumes, list[CaseFiles]]:
    """Say where images and masks lie, and list the cases that the card's reader finds there."""
    pictures = kind == "2D images"
    patterns = patterns_of(folder, paths, pictures)
    if kind == "HDF5 volumes":
        images, masks = holding_both(folder, patterns), None
    else:
        images, masks = find_pair(folder, patterns, flat)
    if pictures:
        files = Files.model_validate({"roots": ["."], "images": images, "masks": masks})
        return files, list_cases(Benchmark.model_construct(title=folder.name, files=files), folder)
    layout = Volumes.model_validate({"roots": ["."], "images": images, "masks": masks})
    _, cases = list_volumes(Benchmark.model_construct(title=folder.name, volumes=(layout,)), folder)
    if masks is None and all(_is_normalised(case.image) for case in sample_of(cases)):
        layout = layout.model_copy(update={"intensity": "as-is"})
    return layout, cases


def _hold_no_stray_masks(unmasked: Sequence[CaseFiles], flat: IsFlat) -> None:
    """Raise UserError if an apparent unlabelled image is a mask, such as a second mask of a case."""
    named = [case for case in unmasked if MASK_WORDS.search(case.id) and flat(case.image)]
    sample = sample_of(unmasked)
    if named or (sample and all(flat(case.image) for case in sample)):
        stray = (named or sample)[0].image
        raise UserError(f"{stray}: looks like a mask without an image; move such files out of the folder")


def _is_normalised(path: Path) -> bool:
    image = read_array(path, "image", channels=None).array
    channels = [image] if image.ndim == 3 else list(image)
    return all(abs(one.mean(dtype=np.float64)) < 0.05 and abs(one.std(dtype=np.float64) - 1) < 0.05 for one in channels)


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


def _train_ids(split_file: Path) -> set[str] | None:
    """The training cases of a split file. None if the file does not exist or its columns are not id and part."""
    if not split_file.is_file():
        return None
    with split_file.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        return {row["id"] for row in rows if row["part"] == "train"} if rows.fieldnames == ["id", "part"] else None


def _labeled_shares(
    folder: Path, cases: Sequence[CaseFiles], train_ids: set[str] | None, in_training: tuple[int, int] | None
) -> list[str]:
    """The usual labelled shares where all of them can be drawn, else numbers of cases, or groups, that can.

    `in_training` is the number of training groups, and of those with a mask, where the card has groups.

    Raises:
        UserError: fewer than two cases have a mask, or none of those that the split's file has for training.
    """
    ids = {case.id for case in cases}
    masked = {case.id for case in cases if case.mask is not None}
    if len(masked) < 2:
        raise UserError(f"{folder}: expected two or more cases with a mask, to train and to test, found {len(masked)}")
    test = _test_cases(len(masked))
    train, drawable = len(ids) - test, len(masked) - test
    if train_ids is not None:
        train, drawable = len(train_ids & ids), len(train_ids & masked)
        if not drawable:
            raise UserError(f"{folder / 'split.csv'}: expected at least one training case with a mask, found none")
    if in_training is not None:
        train, drawable = in_training
    numbers = [number_of(parse_share(share, "labeled"), train) for share in LABELED]
    if all(1 <= number <= drawable for number in numbers):
        return list(LABELED)
    return list(dict.fromkeys(str(min(max(number, 1), drawable)) for number in numbers))


def _test_cases(masked: int) -> int:
    return max(1, number_of(parse_share(TEST, "test"), masked))


def _card(
    folder: Path,
    name: str,
    layout: Files | Volumes,
    cases: Sequence[CaseFiles],
    values: list[int] | list[str],
    rest: list[Path],
) -> str:
    """Write the card: what was found as its first comment, then the fields in the order of the package's own cards."""
    two = isinstance(layout, Files)
    channels = _channels(cases, two)
    unmasked = sum(case.mask is None for case in cases)
    masks = len(cases) - unmasked
    what = "2D images" if two else "3D volumes"
    at = " in the same files" if layout.masks is None else f" as {quoted(layout.masks)}"
    lines = [f"# Found {len(cases)} {what} as {quoted(layout.images)} and {masks} masks{at}."]
    lines.append(f"# Mask values: {', '.join(map(str, values[:30]))}{', ...' if len(values) > 30 else ''}.")
    if rest:
        lines.append(f"# Not used: {len(rest)} other files, such as {quoted(rest[0].relative_to(folder).as_posix())}.")
    split_file = folder / "split.csv"
    train_ids = _train_ids(split_file)
    if split_file.is_file() and train_ids is None:
        lines.append("# Not used: split.csv, whose columns are not id and part.")
    test = TEST if masks >= 5 else _test_cases(masks)
    grouping = find_grouping(cases, test, train_ids)
    lines += grouping.comment
    names = ["foreground"] if len(values) == 2 else [f"class{number}" for number in range(1, len(values))]
    fields: dict[str, Any] = {
        "name": card_name(name),
        "title": folder.name,
        "dimensions": 2 if two else 3,
        **({} if channels == CHANNELS[2 if two else 3] else {"channels": channels}),
        "classes": ["background", *names],
        "cases": len(cases),
        "labeled": _labeled_shares(folder, cases, train_ids, grouping.in_training),
        **({} if grouping.group is None else {"group": grouping.group}),
        "metrics": [name for name, metric in METRICS.items() if (2 if two else 3) in metric.suggested_for],
        **({"distance_unit": "mm"} if not two and not layout.images.lower().endswith(HDF5) else {}),
        "protocol": "paper",
        "source": "unknown",
        "license": "unknown",
        "citation": "unknown",
    }
    comments = {
        "channels": "grey images stay grey" if two else "of each image's fourth axis",
        "classes": "one name for each mask value, in their order; edit them as you like",
        "group": "one patient, video or lesion each",
        "source": "fill in these three: where the data set is from, what it may be used for, what to cite",
        "masks_optional": f"{unmasked} of {len(cases)} have no mask: they are unlabelled",
    }
    place = layout.model_dump(exclude_defaults=True)
    if isinstance(layout, Volumes):
        place["intensity"] = layout.intensity
    tables = {"": fields, "[files]" if two else "[[volumes]]": place}
    if train_ids is not None:
        tables["[splits.file]"] = {"file": str(split_file)}
    tables["[splits.random]"] = {"test": grouping.test, "seed": 0}
    for heading, table in tables.items():
        lines += ["", heading] if heading else [""]
        for key, value in table.items():
            lines.append(f"{key} = {quoted(value)}" + (f"  # {comments[key]}" if key in comments else ""))
    return "\n".join(lines) + "\n"

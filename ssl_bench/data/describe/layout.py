"""Where images and masks of a data set lie, and what stands beside them: second masks, 4D files, other suffixes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssl_bench.cards import Files, Volumes
from ssl_bench.command import quantity, quoted
from ssl_bench.data.describe.arrays import find_arrays
from ssl_bench.data.describe.choice import MASK_WORDS, Choice
from ssl_bench.data.describe.dataset_json import layout_of, read_description
from ssl_bench.data.describe.found import Found, cases_of
from ssl_bench.data.describe.naming import IsFlat, Patterns, find_pair, holding_both, patterns_of, sample_of
from ssl_bench.data.describe.orientation import propose_orientation
from ssl_bench.data.describe.patients import with_folders
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.patterns import literal, named
from ssl_bench.data.volume_files import read_array
from ssl_bench.errors import UserError

SHORTER = 2  # times, from which on a first axis is taken for the slices
SLICES_FIRST = (
    '# The first axis of the arrays is much the shortest, so axes = "zyx" takes it for the slices. If it is x,',
    "# remove axes. With slices = true, 2D networks train on the slices.",
)
BEST_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")  # lossless ones first


def find_layout(folder: Path, paths: list[Path], kind: str, flat: IsFlat, unreadable: Unreadable) -> Found:
    """Say where images and masks lie, and list the cases that the card's reader finds there."""
    described = read_description(folder)
    if described is not None:
        layout, fields, tests = layout_of(described, folder)
        cases = cases_of(layout, folder, fields.get("channels"))
        lines = [f"# Described by {described.path.name}: channels {', '.join(described.channels)}.", tests]
        if described.count not in (None, len(cases)):
            lines.append(f"# It has numTraining = {described.count}; found {quantity(len(cases), 'case')}.")
        named_tests = frozenset((folder / "imagesTs").glob(f"*{described.ending}"))
        fields = {**described.fields, **fields}
        return Found(layout, cases, tuple(filter(None, lines)), fields, described.labels, named_tests)
    patterns = patterns_of(folder, paths, kind == "2D images")
    if kind == "NPZ arrays":
        return _in_slices(folder, paths)
    if kind == "HDF5 volumes":
        return _in_arrays(folder, paths, patterns, unreadable)
    choice = find_pair(folder, patterns, flat)
    place = {"roots": ["."], "images": choice.images, "masks": choice.masks}
    if kind == "2D images":
        files, said = _chosen_suffixes(Files.model_validate(place), folder)
        found = _with_second_masks(_without(choice, files, folder), folder, flat)
    else:
        volumes = _without(choice, Volumes.model_validate(place), folder)
        found, said = _without_series(volumes, folder, unreadable), ()
    hold_no_stray_masks([case for case in found.cases if case.mask is None], flat)
    found = with_folders(replace(found, said=(*said, *found.said)), folder)
    return _with_orientation(found, unreadable) if kind == "2D images" else found


def _in_arrays(folder: Path, paths: list[Path], patterns: Patterns, unreadable: Unreadable) -> Found:
    """Volumes that hold image and label, or else 2D arrays that do."""
    as_volumes = Unreadable()
    try:
        layout = Volumes.model_validate({"roots": ["."], "images": holding_both(folder, patterns, as_volumes)})
    except UserError:
        with suppress(UserError):
            return _in_slices(folder, paths)
        raise
    unreadable.errors |= as_volumes.errors
    cases = cases_of(layout, folder)
    arrays = [array for _, array in unreadable.each((case.image for case in sample_of(cases)), _image_in)]
    if arrays and all(map(_is_normalised, arrays)):
        layout = layout.model_copy(update={"intensity": "as-is"})
    if arrays and all(map(_has_slices_first, arrays)):
        return Found(layout.model_copy(update={"axes": "zyx"}), cases, SLICES_FIRST)
    return Found(layout, cases)


def _in_slices(folder: Path, paths: list[Path]) -> Found:
    files, channels = find_arrays(folder, paths)
    return Found(files, cases_of(files, folder), fields={"channels": channels})


def hold_no_stray_masks(unmasked: Sequence[CaseFiles], flat: IsFlat) -> None:
    """Raise UserError if an apparent unlabelled image is a mask, such as a second mask of a case."""
    named_so = [case for case in unmasked if MASK_WORDS.search(case.id) and flat(case.image)]
    sample = sample_of(unmasked)
    if named_so or (sample and all(flat(case.image) for case in sample)):
        stray = (named_so or sample)[0].image
        raise UserError(f"{stray}: looks like a mask without an image; move such files out of the folder")


def _without(choice: Choice, layout: Files | Volumes, folder: Path) -> Found:
    """Exclude what pairs that were not chosen have, where it would be images without a mask."""
    fields = {"channels": [*choice.channels]} if choice.channels else {}
    said = [f"# Channels, a file each, in this order: {', '.join(choice.channels)}."] if fields else []
    suffixes = layout.image_suffixes if isinstance(layout, Files) else ("",)
    rejected = dict[str, set[Path]]()
    for others, whose in ((choice.other_masks, "images"), (choice.other_images, "masks")):
        rejected |= {pattern: {path for _, path in named(folder, pattern, suffixes)} for pattern in others}
        said += [f"# Not used: {', '.join(map(quoted, others))}, which fit the {whose}, too."] if others else []
    cases = cases_of(layout, folder, fields.get("channels"))
    images = {case.image for case in cases}
    exclude = tuple(_excluding(pattern, layout) for pattern, files in rejected.items() if files & images)
    if exclude:
        layout = layout.model_copy(update={"exclude": exclude})
        cases = cases_of(layout, folder, fields.get("channels"))
    return Found(layout, cases, tuple(said), dict(fields), named=frozenset[Path]().union(*rejected.values()))


def _excluding(pattern: str, layout: Files | Volumes) -> str:
    """A pattern of `exclude` for the files of another one: by their name alone, if it has more text than an id."""
    wild = re.sub(r"\{\w+\}", "*", pattern)
    name = wild.rpartition("/")[2]
    return (wild if name == "*" else name) + (".*" if isinstance(layout, Files) else "")


def _chosen_suffixes(files: Files, folder: Path) -> tuple[Files, tuple[str, ...]]:
    """Choose one suffix where an id has several files: the best one that every id has."""
    chosen: dict[str, tuple[str, ...]] = {}
    said = []
    masks = {path for _, path in named(folder, str(files.masks), files.image_suffixes)}
    for key, pattern in (("image_suffixes", files.images), ("mask_suffixes", str(files.masks))):
        by_id: dict[str, set[str]] = defaultdict(set)
        for name, path in named(folder, pattern, files.image_suffixes):
            if key == "mask_suffixes" or path not in masks:
                by_id[name].add(path.suffix.lower())
        if any(len(own) > 1 for own in by_id.values()):
            common = set.intersection(*by_id.values())
            best = next((suffix for suffix in BEST_SUFFIXES if suffix in common), None)
            if best is not None:
                chosen[key] = (best,)
                several = ", ".join(sorted(set.union(*by_id.values())))
                said.append(f"# {pattern} is there as {several}; {key} chooses {best}.")
    if "image_suffixes" in chosen and "mask_suffixes" not in chosen:
        chosen["mask_suffixes"] = files.image_suffixes
    return files.model_copy(update=chosen), tuple(said)


def _with_orientation(found: Found, unreadable: Unreadable) -> Found:
    way, line = propose_orientation(found.cases, unreadable)
    layout = found.layout if way is None else found.layout.model_copy(update={"exif_orientation": way})
    return replace(found, layout=layout, said=(*found.said, *filter(None, [line])))


def _with_second_masks(found: Found, folder: Path, flat: IsFlat) -> Found:
    """Unite the masks of an image where files that seem to be images without a mask are further masks (BUSI)."""
    layout = found.layout
    strays = {
        case.image for case in found.cases if case.mask is None and MASK_WORDS.search(case.id) and flat(case.image)
    }
    if not strays or str(layout.masks).endswith("{id}"):
        return found
    united = layout.model_copy(update={"masks": f"{layout.masks}*", "masks_united": True})
    cases = cases_of(united, folder)
    several = [case for case in cases if case.more_masks]
    if strays != {path for case in several for path in case.more_masks}:
        return found
    said = f"# Several masks of an image are united: {quantity(len(several), 'image')}, such as {several[0].id}."
    return replace(found, layout=united, cases=cases, said=(*found.said, said))


def _without_series(found: Found, folder: Path, unreadable: Unreadable) -> Found:
    """Exclude files of another number of axes than the images with a mask, such as series over time (ACDC)."""
    masked, unmasked = ([case for case in found.cases if (case.mask is None) == bare] for bare in (False, True))
    ending = _common_ending([case.id for case in unmasked])
    if not masked or not ending or any(case.id.endswith(ending) for case in masked):
        return found
    axes = [
        {array.shape[:-3] for _, array in unreadable.each((case.image for case in sample_of(cases)), _image_in)}
        for cases in (masked, unmasked)
    ]
    if axes[0] & axes[1] or not all(axes):
        return found
    suffix = str(found.layout.images).rpartition("{id}")[2]
    layout = found.layout.model_copy(update={"exclude": (*found.layout.exclude, f"*{literal(ending)}{suffix}")})
    cases = cases_of(layout, folder, found.fields.get("channels"))
    said = f"# Not used: {quantity(len(unmasked), 'file')} such as {unmasked[0].image.name}, of another number of axes."
    series = found.named.union(*(case.images for case in unmasked))
    return replace(found, layout=layout, cases=cases, said=(*found.said, said), named=series)


def _common_ending(names: Sequence[str]) -> str:
    """The longest end of all names that begins with a sign: _4d of p1_4d and p11_4d."""
    first = names[0] if len(names) > 1 else ""
    ends = (first[match.start() :] for match in re.finditer(r"[-_ .]", first))
    return next((end for end in ends if all(name.endswith(end) for name in names)), "")


def _image_in(path: Path) -> np.ndarray:
    return read_array(path, "image", channels=None).array


def _has_slices_first(image: np.ndarray) -> bool:
    """Whether the first of the last three axes is much the shortest."""
    slices, *sides = image.shape[-3:]
    return bool(SHORTER * slices <= min(sides))


def _is_normalised(image: np.ndarray) -> bool:
    channels = [image] if image.ndim == 3 else list(image)
    return all(abs(one.mean(dtype=np.float64)) < 0.05 and abs(one.std(dtype=np.float64) - 1) < 0.05 for one in channels)

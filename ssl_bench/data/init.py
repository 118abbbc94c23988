"""`data init`: a data set's card from a look at its folder: what is an image, what a mask, and what the masks hold."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ssl_bench.data.files import CaseFiles, list_cases
from ssl_bench.data.volumes import HDF5, NIFTI, list_volumes, read_array
from ssl_bench.errors import UserError
from ssl_bench.spec import GREY, METRICS, Benchmark, Files, Volumes, number_of, parse_share
from ssl_bench.wording import quantity

PICTURES: tuple[str, ...] = Files.model_fields["image_suffixes"].default
KINDS = {"2D images": PICTURES, "HDF5 volumes": HDF5, "volumes": (*NIFTI, ".nrrd", ".mha")}
MOST_LEVELS = 20  # a file with more different values is no mask
MOST_CLASSES = 255  # that a card may have
MOST_PATTERNS = 200  # that are compared with each other: those with the most files
SAMPLE = 5  # files that are read to tell images from masks
MASK_WORDS = re.compile(r"mask|(?<!un)label|seg|truth|annot|(?<![a-z])gt(?![a-z])", re.IGNORECASE)
TEST, LABELED = "20%", ("10%", "20%")

Patterns = dict[str, dict[str, Path]]  # "masks/{id}_mask" -> id -> file
IsFlat = Callable[[Path], bool]  # whether a file has few enough values for a mask
Item = TypeVar("Item")


def describe(folder: Path, name: str | None = None, advance: Callable[[int, int], None] | None = None) -> str:
    """Write the card (TOML) of the data set in `folder`; its first comment says what was found.

    Every mask is read, for the values that it holds; `advance` is told (done, total).

    Args:
        folder: the data root of the card, which is written for use with `--data-root FOLDER`.
        name: what the card is to be called; the folder's name where it is not given.
        advance: called after each mask.

    Raises:
        UserError: there are no images or volumes, images and masks cannot be told apart, no card can describe how they
            lie, or a file is unreadable.
    """
    folder = folder.resolve()
    paths, kind = _data_files(folder)
    flat = functools.cache(_is_flat if kind == "2D images" else _is_flat_volume)
    layout, cases = _layout(folder, paths, kind, flat)
    masks = [case.mask for case in cases if case.mask is not None]
    unmasked = [case for case in cases if case.mask is None]
    _hold_no_stray_masks(unmasked, flat)
    values, told = (_grey_levels if kind == "2D images" else _voxel_values)(masks, advance)
    if len(values) < 2:
        raise UserError(f"{folder}: expected masks with two or more values, found {values[0]} alone")
    found = {"masks_optional": bool(unmasked), "mask_values": tuple(values) if told else None}
    used = {case.image for case in cases}.union(masks)
    rest = [path for path in paths if path not in used]
    return _card(folder, name or folder.name, layout.model_copy(update=found), cases, values, rest)


def card_name(text: str) -> str:
    """Bring a name to what a card may be called: lower case letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or "dataset"


def _data_files(folder: Path) -> tuple[list[Path], str]:
    """Find the files of a data set, in order, and say of which of the KINDS all of them are."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found, seen = [], {folder}
    for parent, folders, names in os.walk(folder, followlinks=True):
        for child in list(folders):
            real = (Path(parent) / child).resolve()
            if child.startswith(".") or child == "__MACOSX" or real in seen:  # seen: a link back would go in circles
                folders.remove(child)
            seen.add(real)
        found += [Path(parent) / name for name in names if not name.startswith(".") and _suffix(name)]
    suffixes = Counter(_suffix(path.name) for path in found)
    kinds = [kind for kind, known in KINDS.items() if any(suffix in suffixes for suffix in known)]
    if not kinds:
        looked_for = ", ".join(suffix for known in KINDS.values() for suffix in known)
        raise UserError(f"{folder}: no images or volumes found; looked for {looked_for}")
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common())
        raise UserError(f"{folder}: expected files of one kind, found {' and '.join(kinds)} ({counts})")
    return sorted(found), kinds[0]


def _suffix(name: str) -> str:
    known = (suffix for suffixes in KINDS.values() for suffix in suffixes)
    return next((suffix for suffix in known if name.lower().endswith(suffix)), "")


def _layout(folder: Path, paths: list[Path], kind: str, flat: IsFlat) -> tuple[Files | Volumes, list[CaseFiles]]:
    """Say where images and masks lie, and list the cases that the card's reader finds there."""
    pictures = kind == "2D images"
    patterns = _patterns(folder, paths, pictures)
    if kind == "HDF5 volumes":
        images, masks = _holding_both(folder, patterns), None
    else:
        images, masks = _pair(folder, patterns, flat)
    if pictures:
        files = Files.model_validate({"roots": ["."], "images": images, "masks": masks})
        return files, list_cases(Benchmark.model_construct(title=folder.name, files=files), folder)
    layout = Volumes.model_validate({"roots": ["."], "images": images, "masks": masks})
    _, cases = list_volumes(Benchmark.model_construct(title=folder.name, volumes=(layout,)), folder)
    if masks is None and all(_is_normalised(case.image) for case in _sample(cases)):
        layout = layout.model_copy(update={"intensity": "as-is"})
    return layout, cases


def _patterns(folder: Path, paths: list[Path], pictures: bool) -> Patterns:
    """Group files by the patterns that they follow: paths that differ in the id alone.

    It is the name or a part of it, or a whole folder and wherever that stands again; of pictures, the pattern has no
    suffix.
    """
    found: Patterns = defaultdict(dict)
    for path in paths:
        text = path.relative_to(folder).as_posix()
        end_of_stem = len(text) - len(_suffix(path.name))
        spans = set(_parts_of_name(text, text.rfind("/") + 1, end_of_stem))
        text = text[:end_of_stem] if pictures else text
        for name in {match[1] for match in re.finditer("([^/]+)/", text)}:
            again = re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])")  # as a word of its own
            found[again.sub("{id}", text)][name] = path
        for start, end in spans:
            found[f"{text[:start]}{{id}}{text[end:]}"][text[start:end]] = path
    several = {pattern: files for pattern, files in found.items() if len(files) > 1}
    ranked = sorted(several, key=lambda pattern: (-len(several[pattern]), len(pattern), pattern))
    return {pattern: several[pattern] for pattern in ranked[:MOST_PATTERNS]}


def _parts_of_name(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans in which an id may stand: the whole stem, or from one word, number or sign in it to another."""
    yield start, end
    words = [match.span() for match in re.compile(r"\d+|[^\W\d_]+|[^\w\s.-]").finditer(text, start, end)]
    for i, (first, _) in enumerate(words):
        yield from ((first, last) for _, last in words[i:])


def _pair(folder: Path, patterns: Patterns, flat: IsFlat) -> tuple[str, str]:
    """Choose the patterns of images and of masks: of those that can be a pair, the two that share the most ids."""
    pairs = []
    for one, other in combinations(patterns, 2):
        shared = len(patterns[one].keys() & patterns[other].keys())
        if shared > 1:
            length = len(one) + len(other)
            pairs += [(-shared, length, one, other), (-shared, length, other, one)]
    best: dict[frozenset[tuple[Path, Path]], tuple[str, str]] = {}  # one pair for each pairing of the same files
    most = 0
    for shared, _, images, masks in sorted(pairs):
        if -shared < most:
            break
        ids = sorted(patterns[images].keys() & patterns[masks].keys())
        few = [{flat(patterns[pattern][name]) for name in _sample(ids)} for pattern in (images, masks)]
        undecided = few not in ([{False}, {True}], [{True}, {False}])
        if few == [{False}, {True}] or (undecided and _is_named_mask(masks, images)):
            files = frozenset((patterns[images][name], patterns[masks][name]) for name in ids)
            most = -shared
            best.setdefault(files, (images, masks))  # shorter patterns, whose ids are longer, come first
    chosen = list(best.values())
    if len(chosen) > 1:
        chosen = [(images, masks) for images, masks in chosen if _is_named_mask(masks, images)] or chosen
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        listed = "; ".join(f"images {_quoted(images)} with masks {_quoted(masks)}" for images, masks in chosen[:6])
        raise UserError(f"{folder}: cannot tell which files are the images and masks: {listed}; move the others away")
    raise UserError(f"{folder}: cannot tell images from masks; found {_listed(patterns)}")


def _is_named_mask(masks: str, images: str) -> bool:
    """Whether what sets the two patterns apart calls the one a mask and the other not."""
    own, others = masks.split("/"), images.split("/")
    says = [any(MASK_WORDS.search(part) for part in a if part not in b) for a, b in ((own, others), (others, own))]
    return says == [True, False]


def _holding_both(folder: Path, patterns: Patterns) -> str:
    """Choose the HDF5 files that hold image and label: the largest group of them."""
    problems, chosen = list[str](), dict[str, dict[str, Path]]()
    for pattern, files in patterns.items():
        if any(len(files) < len(other) or {*files.values()} & {*other.values()} for other in chosen.values()):
            continue  # of patterns for the same files the shortest came first
        try:
            for key in ("image", "label"):
                read_array(min(files.values()), key)
            chosen[pattern] = files
        except UserError as error:
            problems.append(str(error))
    if len(chosen) == 1:
        return next(iter(chosen))
    if chosen:
        raise UserError(f"{folder}: cannot tell which to take of {_listed(chosen)}; move the others away")
    raise UserError([*problems, f"{folder}: expected two or more volumes named alike, found none"][0])


def _listed(patterns: Patterns) -> str:
    """Say in few patterns where the files lie."""
    said, covered = list[str](), set[Path]()
    for pattern, files in patterns.items():
        if not covered.issuperset(files.values()) and len(said) < 8:
            said.append(f"{_quoted(pattern)} ({quantity(len(files), 'file')})")
            covered.update(files.values())
    return ", ".join(said) or "no two files that are named alike"


def _is_flat(path: Path) -> bool:
    """Whether a picture has few enough grey levels for a mask; a JPEG's artefacts are forgiven."""
    levels, _ = _histogram(path)
    return bool((levels > 0).sum() <= MOST_LEVELS) or (_is_jpeg(path) and _is_black_and_white(levels))


def _is_flat_volume(path: Path) -> bool:
    values = np.unique(read_array(path, "label")[0])
    return len(values) <= MOST_LEVELS and bool((values == np.rint(values)).all())


def _hold_no_stray_masks(unmasked: Sequence[CaseFiles], flat: IsFlat) -> None:
    """Raise where what would be an unlabelled case is a mask that belongs to none, such as a second one of a case."""
    named = [case for case in unmasked if MASK_WORDS.search(case.id) and flat(case.image)]
    sample = _sample(unmasked)
    if named or (sample and all(flat(case.image) for case in sample)):
        stray = (named or sample)[0].image
        raise UserError(f"{stray}: has no mask and looks like one that belongs to no image; move such files away")


def _grey_levels(masks: Sequence[Path], advance: Callable[[int, int], None] | None) -> tuple[list[int], bool]:
    """The grey levels (of palette images: indices) in all masks, background first, and whether a card must name them.

    Raises:
        UserError: more levels than a mask has, and not the black and white that a threshold parts.
    """
    total, palette = np.zeros(256, dtype=np.int64), False
    for path in _counted(masks, advance):
        levels, mode = _histogram(path)
        total += levels
        palette |= mode == "P"
    values = [int(value) for value in np.flatnonzero(total)]
    if len(values) > MOST_LEVELS or (len(values) > 2 and any(map(_is_jpeg, masks))):
        between = total[32:224]  # artefacts are few and of all levels; a third class has one
        third = between.sum() > 0.002 * total.sum() and np.convolve(between, [1] * 32).max() > 0.7 * between.sum()
        if palette or third or not _is_black_and_white(total) or not total[128:].any():
            raise UserError(
                f"{masks[0].parent}: expected masks of at most {MOST_LEVELS} grey levels (as JPEG: black and white), "
                f"found {len(values)}"
            )
        return list(GREY), False  # the card's threshold clears the artefacts away
    return values, palette or values != list(GREY)


def _voxel_values(masks: Sequence[Path], advance: Callable[[int, int], None] | None) -> tuple[list[int], bool]:
    """The values in all masks, background first, and whether a card must name them (they are not 0, 1, ...)."""
    found: set[float] = set()
    for path in _counted(masks, advance):
        found.update(np.unique(read_array(path, "label")[0]).tolist())
        if len(found) > MOST_CLASSES or any(value != int(value) for value in found):
            raise UserError(f"{path}: expected whole numbers, at most {MOST_CLASSES} in all masks, found other values")
    values = sorted(map(int, found), key=lambda value: (value != 0, value))
    return values, values != list(range(len(values)))


def _histogram(path: Path) -> tuple[np.ndarray, str]:
    """How many pixels have each of the 256 levels, as masks are read: palette indices or grey; and the file's mode."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{path}: expected 8 bits a channel, found more")
            levels = (image if image.mode in ("L", "P") else image.convert("L")).histogram()
            return np.array(levels), image.mode
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image: {error}") from None


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _is_black_and_white(levels: np.ndarray) -> bool:
    """Whether nearly all pixels are close to 0 or 255, as of a mask that was compressed or smoothed."""
    return bool(levels[:32].sum() + levels[224:].sum() >= 0.95 * levels.sum())


def _is_normalised(path: Path) -> bool:
    image = read_array(path, "image")[0]
    return bool(abs(image.mean(dtype=np.float64)) < 0.05 and abs(image.std(dtype=np.float64) - 1) < 0.05)


def _sample(items: Sequence[Item]) -> Sequence[Item]:
    """At most SAMPLE of the items, from all over."""
    return [items[i * len(items) // SAMPLE] for i in range(SAMPLE)] if len(items) > SAMPLE else items


def _counted(paths: Sequence[Path], advance: Callable[[int, int], None] | None) -> Iterator[Path]:
    for i, path in enumerate(paths):
        yield path
        if advance is not None:
            advance(i + 1, len(paths))


def _train_ids(split_file: Path) -> set[str] | None:
    """The training cases of a split file; None where there is none, or its columns are not id and part."""
    if not split_file.is_file():
        return None
    with split_file.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        return {row["id"] for row in rows if row["part"] == "train"} if rows.fieldnames == ["id", "part"] else None


def _labeled_shares(folder: Path, cases: Sequence[CaseFiles], train_ids: set[str] | None) -> list[str]:
    """The usual labelled shares where all of them can be drawn, else numbers of cases that can.

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
            raise UserError(f"{folder / 'split.csv'}: expected training cases that have a mask here, found none")
    numbers = [number_of(parse_share(share, "labeled"), train) for share in LABELED]
    if all(1 <= number <= drawable for number in numbers):
        return list(LABELED)
    return list(dict.fromkeys(str(min(max(number, 1), drawable)) for number in numbers))


def _test_cases(masked: int) -> int:
    return max(1, number_of(parse_share(TEST, "test"), masked))


def _card(
    folder: Path, name: str, layout: Files | Volumes, cases: Sequence[CaseFiles], values: list[int], rest: list[Path]
) -> str:
    """Write the card: what was found as its first comment, then the fields in the order of the package's own cards."""
    two = isinstance(layout, Files)
    unmasked = sum(case.mask is None for case in cases)
    masks = len(cases) - unmasked
    what = "2D images" if two else "3D volumes"
    at = " in the same files" if layout.masks is None else f" as {_quoted(layout.masks)}"
    lines = [f"# Found {len(cases)} {what} as {_quoted(layout.images)} and {masks} masks{at}."]
    lines.append(f"# Mask values: {', '.join(map(str, values[:30]))}{', ...' if len(values) > 30 else ''}.")
    if rest:
        lines.append(f"# Not used: {len(rest)} other files, {_quoted(rest[0].relative_to(folder).as_posix())} first.")
    split_file = folder / "split.csv"
    train_ids = _train_ids(split_file)
    if split_file.is_file() and train_ids is None:
        lines.append("# Not used: split.csv, whose columns are not id and part.")
    names = ["foreground"] if len(values) == 2 else [f"class{number}" for number in range(1, len(values))]
    fields: dict[str, Any] = {
        "name": card_name(name),
        "title": folder.name,
        "dimensions": 2 if two else 3,
        "classes": ["background", *names],
        "cases": len(cases),
        "labeled": _labeled_shares(folder, cases, train_ids),
        "metrics": METRICS[:2] if two else METRICS,
        "protocol": "paper",
        "source": "unknown",
        "license": "unknown",
        "citation": "unknown",
    }
    comments = {
        "classes": "one name for each mask value, in their order; edit them as you like",
        "source": "fill in these three: where the data set is from, what it may be used for, what to cite",
        "masks_optional": f"{unmasked} of {len(cases)} have no mask: they are unlabelled",
    }
    place = layout.model_dump(exclude_defaults=True)
    if isinstance(layout, Volumes):
        place["intensity"] = layout.intensity
    tables = {"": fields, "[files]" if two else "[[volumes]]": place}
    if train_ids is not None:
        tables["[splits.file]"] = {"file": str(split_file)}
    tables["[splits.random]"] = {"test": TEST if masks >= 5 else _test_cases(masks), "seed": 0}
    for heading, table in tables.items():
        lines += ["", heading] if heading else [""]
        for key, value in table.items():
            lines.append(f"{key} = {_quoted(value)}" + (f"  # {comments[key]}" if key in comments else ""))
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    """Write a value as TOML, whose strings and lists are JSON's as long as nothing is escaped to surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

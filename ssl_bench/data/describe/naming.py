"""Which files are images and which are masks, by the patterns of their names."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from ssl_bench.cards import HDF5, Files
from ssl_bench.command import quantity, quoted
from ssl_bench.data.describe.choice import Pair, are_views, is_named_mask, preferred
from ssl_bench.data.describe.folders import VAGUEST, Form, forms_of, vagueness
from ssl_bench.data.patterns import has_wildcards, literal
from ssl_bench.data.volume_files import ITK, NIFTI, read_array
from ssl_bench.errors import UserError

PICTURES: tuple[str, ...] = Files.model_fields["image_suffixes"].default


KINDS = {"2D images": PICTURES, "HDF5 volumes": HDF5, "NPZ arrays": (".npz",), "volumes": (*NIFTI, *ITK)}


# formats of images and volumes that are not read
UNREAD = (
    ".webp", ".heic", ".avif", ".jp2", ".ppm", ".pgm", ".svs", ".dcm", ".ima", ".mhd", ".hdr", ".img", ".npy", ".mat",
)  # fmt: skip


MOST_PATTERNS = 200  # that are compared with each other: those with the most files


SAMPLE = 5  # files that are read to tell images from masks


Patterns = dict[str, dict[str, Path]]  # "masks/{id}_mask" -> id -> file


IsFlat = Callable[[Path], bool]  # whether a file has few enough values for a mask


Item = TypeVar("Item")


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
        found += [Path(parent) / name for name in shown if _suffix(name)]
        unread.update(Path(name).suffix.lower() for name in shown if not _suffix(name))
    suffixes = Counter(_suffix(path.name) for path in found)
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


def _suffix(name: str) -> str:
    known = (suffix for suffixes in KINDS.values() for suffix in suffixes)
    return next((suffix for suffix in known if name.lower().endswith(suffix)), "")


def patterns_of(folder: Path, paths: list[Path], pictures: bool) -> Patterns:
    """Group files by the patterns that they follow: paths that differ in the id alone, or in folders, too.

    It is the name or a part of it, or a whole folder and wherever that stands again; of pictures, the pattern has no
    suffix. A pattern that gives two files one id is left out, unless they differ in their suffix alone.
    """
    found: Patterns = defaultdict(dict)
    unclear = set[str]()
    inside = {path: path.relative_to(folder).as_posix().rpartition("/") for path in paths}
    forms = forms_of({parent for parent, _, _ in inside.values()})
    for path, (parent, _, name) in inside.items():
        stem, suffix = name[: len(name) - len(_suffix(name))], _suffix(name) and name[-len(_suffix(name)) :]
        ending = "" if pictures else literal(suffix)
        for form in forms[parent]:
            for pattern, id_ in _patterns_of_file(form, parent, stem):
                text, name = pattern + ending, f"{form.word}/{id_}" if form.word else id_
                other = found[text].setdefault(name, path)
                if other is not path and (not pictures or inside[other][0] != parent):
                    unclear.add(text)
    several = {pattern: files for pattern, files in found.items() if len(files) > 1 and pattern not in unclear}
    ranked = sorted(several, key=lambda key: (-len(several[key]), vagueness(key, several[key]), len(key), key))
    different = {frozenset(several[key].items()): key for key in reversed(ranked)}  # of equal ones the first is kept
    return {pattern: several[pattern] for pattern in [*reversed(different.values())][:MOST_PATTERNS]}


def _patterns_of_file(form: Form, parent: str, stem: str) -> set[tuple[str, str]]:
    """The patterns of a file in a folder of this form, without suffix, and the id that each gives it."""
    escaped = literal if has_wildcards(stem) or "[" in stem else str
    found = {
        (form.text + escaped(stem[:start]) + "{id}" + escaped(stem[end:]), stem[start:end])
        for start, end in _parts_of_name(stem)
    }
    if form.is_part:
        again = re.compile(rf"(?<![^\W_]){re.escape(form.word)}(?![^\W_])")
        for start, end in set(_parts_of_name(stem)):
            ends = (again.sub("{folder}", literal(text)) for text in (stem[:start], stem[end:]))
            found.add((form.text + "{id}".join(ends), stem[start:end]))
    text = form.text + literal(stem)
    for name in set(parent.split("/")) & set(form.text.split("/")) - {""}:
        again = re.compile(rf"(?<![^\W_]){re.escape(literal(name))}(?![^\W_])")  # as a word of its own
        found.add((again.sub("{id}", text), name))
    return found


def _parts_of_name(stem: str) -> Iterator[tuple[int, int]]:
    """Spans in which an id may stand: the whole stem, or from one word, number or sign in it to another."""
    yield 0, len(stem)
    words = [match.span() for match in re.compile(r"\d+|[^\W\d_]+|[^\w\s.-]").finditer(stem)]
    for i, (first, _) in enumerate(words):
        yield from ((first, last) for _, last in words[i:])


def find_pair(folder: Path, patterns: Patterns, flat: IsFlat) -> tuple[str, str, list[str]]:
    """Choose the patterns of images and of masks: of those that can be a pair, the two that share the most ids.

    The third value are the masks of pairs with the same images that were left out.
    """
    pairs = []
    for one, other in combinations(patterns, 2):
        shared = len(patterns[one].keys() & patterns[other].keys())
        if shared > 1 and not patterns[one].items() & patterns[other].items():
            vague, length = sum(vagueness(key, patterns[key]) for key in (one, other)), len(one) + len(other)
            pairs += [(-shared, vague, length, one, other), (-shared, vague, length, other, one)]
    best: dict[frozenset[tuple[Path, Path]], Pair] = {}  # one pair for each pairing of the same files
    views: dict[frozenset[tuple[Path, Path]], Pair] = {}
    most = 0
    for shared, _, _, images, masks in sorted(pairs):
        if -shared < most:
            break
        ids = sorted(patterns[images].keys() & patterns[masks].keys())
        few = [{flat(patterns[pattern][name]) for name in sample_of(ids)} for pattern in (images, masks)]
        undecided = few not in ([{False}, {True}], [{True}, {False}])
        if few == [{False}, {True}] or (undecided and is_named_mask(masks, images)):
            files = frozenset((patterns[images][name], patterns[masks][name]) for name in ids)
            if "." not in masks and are_views([patterns[masks][name] for name in sample_of(ids)]):
                views.setdefault(files, (images, masks))
                continue
            most = -shared
            best.setdefault(files, (images, masks))  # shorter patterns, whose ids are longer, come first
    candidates = list((best or views).values())
    chosen = preferred(candidates)
    if len(chosen) == 1:
        own = {*patterns[chosen[0][0]].values()}
        left_out = [
            masks for images, masks in candidates if own & {*patterns[images].values()} and masks != chosen[0][1]
        ]
        return *chosen[0], left_out
    if chosen:
        listed = "; ".join(f"images {quoted(images)} with masks {quoted(masks)}" for images, masks in chosen[:6])
        raise UserError(
            f"{folder}: several pairs of images and masks fit: {listed}; move all but one out of the folder"
        )
    raise UserError(f"{folder}: cannot tell images from masks; found {_listed(patterns)}")


def holding_both(folder: Path, patterns: Patterns) -> str:
    """Choose the HDF5 files that hold image and label: the largest group of them."""
    problems, chosen = list[str](), dict[str, dict[str, Path]]()
    for pattern, files in patterns.items():
        if vagueness(pattern, files) == VAGUEST:  # a folder may be a case
            continue
        if any(len(files) < len(other) or {*files.values()} & {*other.values()} for other in chosen.values()):
            continue  # of patterns for the same files the shortest came first
        try:
            for key, channels in (("image", None), ("label", 1)):
                read_array(min(files.values()), key, channels=channels)
            chosen[pattern] = files
        except UserError as error:
            problems.append(str(error))
    if len(chosen) == 1:
        return next(iter(chosen))
    if chosen:
        raise UserError(
            f"{folder}: several groups of volumes fit: {_listed(chosen)}; move all but one out of the folder"
        )
    raise UserError([*problems, f"{folder}: expected two or more volumes with similar names, found none"][0])


def _listed(patterns: Patterns) -> str:
    """Describe the paths of files by a few patterns."""
    said, covered = list[str](), set[Path]()
    for pattern, files in sorted(patterns.items(), key=lambda item: "*" in item[0] or "{folder}" in item[0]):
        if not covered.issuperset(files.values()) and len(said) < 8:
            said.append(f"{quoted(pattern)} ({quantity(len(files), 'file')})")
            covered.update(files.values())
    return ", ".join(said) or "no two files with similar names"


def sample_of(items: Sequence[Item]) -> Sequence[Item]:
    """At most SAMPLE of the items, evenly spaced."""
    return [items[i * len(items) // SAMPLE] for i in range(SAMPLE)] if len(items) > SAMPLE else items

"""Which files are images and which are masks, by the patterns of their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from ssl_bench.command import quantity, quoted
from ssl_bench.data.describe.channels import join_channels
from ssl_bench.data.describe.choice import MASK_WORDS, Choice, Pair, are_views, is_named_mask, preferred
from ssl_bench.data.describe.files import suffix_of
from ssl_bench.data.describe.folders import VAGUEST, Form, forms_of, vagueness
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.patterns import has_wildcards, literal, nfc
from ssl_bench.data.volume_files import read_array
from ssl_bench.errors import UserError

MOST_PATTERNS = 200  # that are compared with each other: those with the most files


SAMPLE = 5  # files that are read to tell images from masks


Patterns = dict[str, dict[str, Path]]  # "masks/{id}_mask" -> id -> file


IsFlat = Callable[[Path], bool | None]  # whether a file has few enough values for a mask; None: it cannot be read


Item = TypeVar("Item")


def patterns_of(folder: Path, paths: list[Path], pictures: bool) -> Patterns:
    """Group files by the patterns that they follow: paths that differ in the id alone, or in folders, too.

    It is the name or a part of it, or a whole folder and wherever that stands again; of pictures, the pattern has no
    suffix. A pattern that gives two files one id is left out, unless they differ in their suffix alone.
    """
    found: Patterns = defaultdict(dict)
    unclear = set[str]()
    inside = {path: nfc(path.relative_to(folder).as_posix()).rpartition("/") for path in paths}
    forms = forms_of({parent for parent, _, _ in inside.values()})
    for path, (parent, _, name) in inside.items():
        stem, suffix = name[: len(name) - len(suffix_of(name))], suffix_of(name) and name[-len(suffix_of(name)) :]
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


def find_pair(folder: Path, patterns: Patterns, flat: IsFlat) -> Choice:
    """Choose the patterns of images and of masks: of those that can be a pair, the two that share the most ids.

    Pairs whose images differ in a modality alone are one pair with several channels.

    Raises:
        UserError: there is no pair, or several are left between which nothing decides.
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
        few = [{flat(patterns[pattern][name]) for name in sample_of(ids)} - {None} for pattern in (images, masks)]
        undecided = few not in ([{False}, {True}], [{True}, {False}])
        if few == [{False}, {True}] or (undecided and is_named_mask(masks, images)):
            files = frozenset((patterns[images][name], patterns[masks][name]) for name in ids)
            if "." not in masks and are_views([patterns[masks][name] for name in sample_of(ids)]):
                views.setdefault(files, (images, masks))
                continue
            most = -shared
            best.setdefault(files, (images, masks))  # shorter patterns, whose ids are longer, come first
    candidates = best or views
    chosen = preferred(list(candidates.values()))
    if len(chosen) == 1:
        return _beside(chosen[0], candidates)
    joined = join_channels([images for images, _ in chosen], patterns) if len({one[1] for one in chosen}) == 1 else None
    if joined is not None:
        return Choice(joined[0], chosen[0][1], tuple(joined[1]))
    if chosen:
        listed = "; ".join(f"images {quoted(images)} with masks {quoted(masks)}" for images, masks in chosen[:6])
        if len({images for images, _ in chosen}) == 1:
            way = "if each holds another class, merge them to one mask for each image, with a value for each class"
        else:
            way = "if they are channels of one image, write a card whose images contain {channel}"
        raise UserError(
            f"{folder}: several pairs of images and masks fit: {listed}; move all but one out of the folder, or, {way}"
        )
    raise UserError(_no_pair(folder, patterns, flat))


def _beside(chosen: Pair, candidates: Mapping[frozenset[tuple[Path, Path]], Pair]) -> Choice:
    """The chosen pair with what other pairs have beside it: masks of the same images, images of the same masks."""
    own = next(files for files, pair in candidates.items() if pair == chosen)
    images, masks = ({pair[side] for pair in own} for side in (0, 1))
    other_masks, other_images = list[str](), list[str]()
    for files, pair in candidates.items():
        others = [{pair[side] for pair in files} for side in (0, 1)]
        if images & others[0] and pair[1] != chosen[1]:
            other_masks.append(pair[1])
        elif masks & others[1] and not images & others[0]:
            other_images.append(pair[0])
    other_images = [pattern for pattern in other_images if pattern not in other_masks]
    return Choice(*chosen, other_masks=tuple(other_masks), other_images=tuple(other_images))


def _no_pair(folder: Path, patterns: Patterns, flat: IsFlat) -> str:
    """Say what was looked for, what was found, and what a card needs."""
    wanted = (
        "a card needs two or more images that have a mask of the same name in another folder, or beside them with an "
        "ending such as _mask"
    )
    names = {name for files in patterns.values() for name in files}
    masks = [key for key, files in patterns.items() if MASK_WORDS.search(key) or _are_flat(files, flat)]
    if names and not masks:
        return (
            f"{folder}: no masks found; looked for files of few grey levels, or with mask, label, seg, gt or the like "
            f"in their names; found {_listed(patterns)}; {wanted}"
        )
    return f"{folder}: cannot tell images from masks; found {_listed(patterns)}; {wanted}"


def _are_flat(files: Mapping[str, Path], flat: IsFlat) -> bool:
    return any(flat(path) for path in sample_of([*files.values()]))


def holding_both(folder: Path, patterns: Patterns, unreadable: Unreadable) -> str:
    """Choose the HDF5 files that hold image and label: the largest group of them."""
    problems, chosen = list[str](), dict[str, dict[str, Path]]()
    for pattern, files in patterns.items():
        if vagueness(pattern, files) == VAGUEST:  # a folder may be a case
            continue
        if any(len(files) < len(other) or {*files.values()} & {*other.values()} for other in chosen.values()):
            continue  # of patterns for the same files the shortest came first
        try:
            _require_both(sorted(files.values()), unreadable)
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


def _require_both(paths: Sequence[Path], unreadable: Unreadable) -> None:
    """Check that the first file that can be read holds a volume and its label.

    Raises:
        UserError: it does not, such as a colour image (H, W, 3) with a label (H, W, 1), or no file can be read.
    """
    for path in paths:
        image = unreadable.read(path, partial(read_array, key="image", channels=None))
        if image is not None:
            sides, found = image.array.shape[-3:], read_array(path, "label").array.shape
            if found != sides or found[-1] == 1:
                raise UserError(
                    f"{path}: expected a volume (x, y, z) and a label of its size, found {sides} and {found}"
                )
            return
    raise UserError(unreadable.errors[paths[0]])


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

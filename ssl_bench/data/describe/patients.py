"""Folders of patients: whether folders look like them, and ids that keep their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ssl_bench.data.describe.folders import PART
from ssl_bench.data.describe.found import Found, cases_of
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.patterns import nfc

FEWEST = 3  # folders, from which on numbered ones are taken for patients
FEWEST_DIGITS = 10  # folders that are called 0, 1, ... are taken for classes if they are fewer
OTHERS = re.compile(  # what numbered folders are if they are no patients
    r"(?<![a-z])(?:c|centre|center|site|hospital|clinic|scanner|fold|batch|set|dataset|group|class|grade|stage|type|"
    r"label|level|part|split|task|phase|version|v|mask|masks|image|images)[-_ ]?[0-9]",
    re.IGNORECASE,
)


def are_patients(folders: Sequence[str]) -> bool:
    """Whether folders, one for each case, look like patients: numbered, not as centres, classes or folds are, and each
    with several cases.
    """
    counts = Counter(folders)
    if len(counts) < FEWEST or 2 * sum(count > 1 for count in counts.values()) <= len(counts):
        return False
    if all(re.fullmatch("[0-9]", name) for name in counts) and len(counts) < FEWEST_DIGITS:
        return False
    return not any(re.search("[0-9]", name) is None or OTHERS.search(name) or PART.search(name) for name in counts)


def first_folders(ids: Collection[str]) -> list[str]:
    """The first folder of each id; empty if an id has none."""
    return [name.partition("/")[0] for name in ids] if all("/" in name for name in ids) else []


def with_folders(found: Found, folder: Path) -> Found:
    """Put {folder} for the `*` of folders that look like patients, so that ids begin with their names."""
    layout = found.layout
    if layout.masks is None or "{folder}" in layout.images:
        return found
    masked = [(case.image, case.mask) for case in found.cases if case.mask is not None]
    images, masks = ([nfc(pair[side].relative_to(folder).as_posix()).split("/") for pair in masked] for side in (0, 1))
    for place in _free(layout.images):
        if not are_patients([parts[place] for parts in images]):
            continue
        for other in _free(layout.masks):
            if all(one[place] == two[other] for one, two in zip(images, masks, strict=True)):
                patterns = {
                    key: _put(pattern, at) for key, pattern, at in
                    (("images", layout.images, place), ("masks", layout.masks, other))
                }  # fmt: skip
                named = layout.model_copy(update=patterns)
                cases = cases_of(named, folder, found.fields.get("channels"))
                if _files(cases) == _files(found.cases):
                    return replace(found, layout=named, cases=cases)
    return found


def _free(pattern: str) -> list[int]:
    """Places of the folders of a pattern that may have any name."""
    return [place for place, name in enumerate(pattern.split("/")[:-1]) if name == "*"]


def _put(pattern: str, place: int) -> str:
    parts = pattern.split("/")
    return "/".join([*parts[:place], "{folder}", *parts[place + 1 :]])


def _files(cases: Iterable[CaseFiles]) -> set[tuple[tuple[Path, ...], tuple[Path, ...]]]:
    return {(case.images, case.masks) for case in cases}

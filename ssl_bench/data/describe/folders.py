"""Patterns that put several folders of a data set into one: patients, classes, centres, parts of a split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from ssl_bench.command import quoted
from ssl_bench.data.patterns import literal

DEEPEST = 5  # folders within each other that may differ
VAGUEST = 99
TRAIN, VALIDATION, TEST = "train|training|tr", "val|valid|validation|dev", "test|testing|ts"
PART = re.compile(rf"(?<![a-z0-9])(?:{TRAIN}|{VALIDATION}|{TEST})(?![a-z0-9])", re.IGNORECASE)
SIDES = {  # of a split, by the beginning of an id: train/1, testA_1
    part: re.compile(rf"(?:{words})[A-Z]?[-_ /]", re.IGNORECASE)
    for part, words in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
}


@dataclass(frozen=True)
class Form:
    """A folder as a pattern that other folders fit, too.

    `text` ends in / unless it is empty, `word` is the text at {folder}.
    """

    text: str
    word: str = ""

    @property
    def is_part(self) -> bool:
        """Whether {folder} is a part of a split."""
        return PART.fullmatch(self.word) is not None


def forms_of(folders: Iterable[str]) -> dict[str, list[Form]]:
    """Return for each folder (relative path, "" is the root) its name as a pattern, then those for several folders.

    Of patterns for the same folders, the one that says most is kept: one without {folder}, one where it is a part of a
    split, and one where it is another folder.
    """
    merged: dict[str, dict[str, Form]] = defaultdict(dict)
    own = {folder: Form(literal(folder) + "/" if folder else "") for folder in folders}
    for folder in own:
        for form in _generalised(folder.split("/") if folder else []):
            merged[form.text][folder] = form
    best: dict[tuple[frozenset[str], bool, bool], dict[str, Form]] = {}
    for text, by_folder in sorted(merged.items(), key=lambda item: _rank(item[0], item[1].values())):
        if len(by_folder) > 1:
            is_vague = vagueness(text, [form.word for form in by_folder.values()]) == VAGUEST
            best.setdefault((frozenset(by_folder), "{folder}" in text, is_vague), by_folder)
    found = {folder: [form] for folder, form in own.items()}
    for by_folder in best.values():
        for folder, form in by_folder.items():
            found[folder].append(form)
    return found


def vagueness(pattern: str, ids: Iterable[str]) -> int:
    """Rank a pattern by how little it says: 0 for one folder, most where {folder} is no part of a split."""
    if "{folder}" in pattern:
        is_part = all(PART.fullmatch(name.partition("/")[0]) for name in ids)
        return 1 + 2 * pattern.count("*") if is_part else VAGUEST
    return 2 * pattern.count("*")


def parts_of(ids: Sequence[str], masked: set[str]) -> tuple[dict[str, list[str]], str, set[str]] | None:
    """Propose the parts of a split by the beginnings of ids, such as train/ or testA_.

    The second value says what becomes of cases for validation: they are left out, or test where there are none for the
    test. The third are the ids of the training cases.

    None unless every id begins with such a word, every test case has a mask, and a training case has one.
    """
    cases: dict[str, dict[str, list[str]]] = {part: {} for part in SIDES}
    for name in ids:
        match = next(((part, found[0]) for part, words in SIDES.items() if (found := words.match(name))), None)
        if match is None:
            return None
        cases[match[0]].setdefault(match[1] + "*", []).append(name)
    train, validation, test = cases["train"], cases["validation"], cases["test"]
    left_out = ", ".join(map(quoted, validation))
    said = f"{left_out} is left out, unless you add it to train" if validation else ""
    if not test:
        test, said = validation, "No part is named test, so the one for validation tests"
    train_ids, test_ids = ({name for own in part.values() for name in own} for part in (train, test))
    if not train_ids & masked or not test_ids or not test_ids <= masked:
        return None
    return {"train": [*train], "test": [*test]}, said, train_ids


def _rank(text: str, forms: Iterable[Form]) -> tuple[int, int, int, str]:
    return vagueness(text, [form.word for form in forms]), text.count("*"), len(text), text


def _generalised(names: Sequence[str]) -> Iterator[Form]:
    """Patterns of a folder in which one or more of its names are * or hold {folder}."""
    if not 0 < len(names) <= DEEPEST:
        return
    words = {"", *names, *(match[0] for name in names for match in PART.finditer(name)), *_repeated(names)}
    for word in sorted(words):
        put = re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])")
        parts = [literal(name) if not word else put.sub("{folder}", literal(name)) for name in names]
        free = [i for i, part in enumerate(parts) if "{folder}" not in part]
        for count in range(0 if word else 1, len(free) + 1):
            for chosen in combinations(free, count):
                shown = ["*" if i in chosen else part for i, part in enumerate(parts)]
                yield Form("/".join(shown) + "/", word)


def _repeated(names: Sequence[str]) -> set[str]:
    """Words that several names have: C1 in data_C1/images_C1."""
    words = [set(re.findall(r"[^\W_]+", name)) for name in names]
    return {word for one, other in combinations(words, 2) for word in one & other}

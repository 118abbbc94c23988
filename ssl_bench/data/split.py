"""Selection of training, test and labelled cases by hashes of ids, identical on every machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ssl_bench.cards import Split, number_of, parse_share
from ssl_bench.command import quantity
from ssl_bench.data.groups import expression_of, read_ids, sequence_of
from ssl_bench.data.patterns import nfc
from ssl_bench.errors import UserError
from ssl_bench.seeds import shuffled


@dataclass(frozen=True)
class Splits:
    """Case ids of every part; `labeled`, `unlabeled` and `validation` make up the training set."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()
    groups: Mapping[str, str] | None = None  # id -> group, on a card with groups

    def as_dict(self) -> dict[str, Any]:
        """Plain data for splits.json. `validation` is left out if it is empty, `groups` if the card has none."""
        parts = {name: getattr(self, name) for name in ("labeled", "unlabeled", "test", "validation")}
        plain: dict[str, Any] = {name: list(ids) for name, ids in parts.items() if ids or name != "validation"}
        return plain if self.groups is None else {**plain, "groups": dict(self.groups)}


def split_cases(
    split: Split,
    ids: Sequence[str],
    contents: Sequence[str],
    *,
    masked: Container[str],
    allow_partial: bool = False,
    groups: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """Divide cases into training and test ids, each in the order of `ids` (of the split's file, where it has one).

    Whole groups are held out, in an order drawn by the card's seed, until the test set has its number of cases. Cases
    of the same content are one group; with `sequence_starts`, so are the frames of one video sequence (ids are frame
    numbers). Train and test therefore never share an image. Cases without a mask train, unless their group is held out:
    then they are in neither part.

    With `groups`, the cases of one group are kept together, too, and a group is held out only if this brings the test
    set nearer to its number of cases. A split's file and its parts are followed as they are. A file names cases or, on
    a card with groups, groups.

    Args:
        split: the card's rule.
        ids: case ids.
        contents: a hash of each case's pixels.
        masked: ids of the cases that have a mask.
        allow_partial: leave out cases that the split's file names but the data set lacks.
        groups: id -> group, on a card with groups.

    Raises:
        UserError: the rule leaves no training or no test case, an id is no frame number, or the split's file is wrong.
    """
    if split.file is not None:
        return _read(Path(split.file), ids, masked, allow_partial, groups)
    if split.parts is not None:
        return _by_parts(split.parts, ids, masked)
    assert split.test is not None
    kept_whole = kept_together(split, ids, contents, groups)
    sizes = Counter(kept_whole[name] for name in ids if name in masked)
    wanted = number_of(parse_share(split.test, "test"), sizes.total())
    held_out = _held_out(sizes, wanted, split.seed, nearest=groups is not None)
    train_ids = [name for name in ids if kept_whole[name] not in held_out]
    test_ids = [name for name in ids if kept_whole[name] in held_out and name in masked]
    if not train_ids or not test_ids:
        whole = "" if groups is None else (
            f"; {quantity(len(sizes), 'group')} of {min(sizes.values(), default=0)} to "
            f"{max(sizes.values(), default=0)} cases are kept whole, and test asks for {wanted}"
        )  # fmt: skip
        raise UserError(
            f"test = {split.test}: expected training and test cases, found {_parts(train_ids, test_ids)} among "
            f"{len(ids)}{whole}"
        )
    return train_ids, test_ids


def _parts(train_ids: Sequence[str], test_ids: Sequence[str]) -> str:
    return f"{quantity(len(train_ids), 'training case')} and {quantity(len(test_ids), 'test case')}"


def _held_out(sizes: Mapping[str, int], wanted: int, seed: int, *, nearest: bool) -> set[str]:
    """Choose groups for the test set, in an order drawn by the seed.

    Args:
        sizes: number of cases with a mask of each group.
        wanted: number of test cases.
        seed: the card's.
        nearest: take a group if the number of cases comes nearer to `wanted`, not until it is reached.
    """
    chosen, count = set[str](), 0
    for group in shuffled(sizes, "test", seed):
        if count >= wanted:
            break
        if not nearest or abs(count + sizes[group] - wanted) < wanted - count:
            chosen.add(group)
            count += sizes[group]
    return chosen


def draw_labeled(
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    labeled: int,
    seed: int,
    *,
    masked: Container[str],
    first: bool,
    groups: Mapping[str, str] | None = None,
) -> Splits:
    """Draw `labeled` training images, of those with a mask, by the run's seed; a smaller draw lies inside a larger one.

    With `first` they are the first of `train_ids`, whatever the seed. With `groups`, groups are drawn instead of
    images: every image of a drawn group that has a mask is labelled.

    Raises:
        UserError: fewer of them have a mask.
    """
    unit = units_of(train_ids, groups)
    candidates = labelable(train_ids, masked, groups)
    if labeled > len(candidates):
        what = "training cases" if groups is None else "training groups"
        raise UserError(
            f"--labeled: {labeled} of {len(set(unit.values()))} {what}, but only {len(candidates)} of them have a mask"
        )
    drawn = set((candidates if first else shuffled(candidates, "labeled", seed))[:labeled])
    chosen = {name for name in train_ids if unit[name] in drawn and name in masked}
    return Splits(
        labeled=tuple(name for name in train_ids if name in chosen),
        unlabeled=tuple(name for name in train_ids if name not in chosen),
        test=tuple(test_ids),
        groups=groups,
    )


def labelable(train_ids: Sequence[str], masked: Container[str], groups: Mapping[str, str] | None = None) -> list[str]:
    """Return what `draw_labeled` draws from: the training images that have a mask, or their groups."""
    unit = units_of(train_ids, groups)
    return list(dict.fromkeys(unit[name] for name in train_ids if name in masked))


def set_apart(
    splits: Splits,
    source: Literal["labeled", "train"],
    share: float,
    seed: int,
    *,
    masked: Container[str],
    together: Mapping[str, str] | None = None,
) -> Splits:
    """Take images for validation, drawn by the run's seed, out of what is trained on.

    Where images are kept together, as the frames of a sequence or the images of a patient, these are drawn and counted
    instead of images. An image that is drawn with them is left out if it has no mask, or if it has no label and the
    labelled images are drawn from.

    Args:
        splits: without validation.
        source: labeled: of the labelled images; train: of the others, those with a mask.
        share: of the labelled images, or of all training images; at least one image.
        seed: the run's.
        masked: ids of the cases that have a mask.
        together: what each case is kept together with (`kept_together`); None: the splits' groups.

    Raises:
        UserError: nothing would be left to train on.
    """
    trained = (*splits.labeled, *splits.unlabeled)
    unit = units_of(trained, splits.groups if together is None else together)
    labeled = {unit[name] for name in splits.labeled}
    from_labeled = source == "labeled"
    pool = {unit[name] for name in trained if name in masked and (unit[name] in labeled) == from_labeled}
    count = max(1, round(share * (len(labeled) if from_labeled else len(set(unit.values())))))
    if count >= len(pool):
        alone = all(name == own for name, own in unit.items())
        instead = "" if from_labeled else "; --set validation=labeled takes some of the labelled ones"
        what = ("labelled " if from_labeled else "unlabelled ") + ("images" if alone else "groups")
        raise UserError(
            f"validation = '{source}', validation_share = {share:g}: {count} of {len(pool)} {what} with a mask would "
            f"leave none to train on{instead}"
        )
    drawn = set(shuffled(pool, "validation", seed)[:count])
    return replace(
        splits,
        labeled=tuple(name for name in splits.labeled if unit[name] not in drawn),
        unlabeled=tuple(name for name in splits.unlabeled if unit[name] not in drawn),
        validation=tuple(
            name for name in (splits.labeled if from_labeled else trained) if unit[name] in drawn and name in masked
        ),
    )


def units_of(ids: Sequence[str], groups: Mapping[str, str] | None) -> dict[str, str]:
    """What is drawn, by case: its group, or the case itself."""
    return {name: name if groups is None else groups[name] for name in ids}


def _read(
    path: Path,
    ids: Sequence[str],
    masked: Container[str],
    allow_partial: bool,
    groups: Mapping[str, str] | None,
) -> tuple[list[str], list[str]]:
    """Read a split file; cases that it does not name are in neither part."""
    table = read_ids(path, "part", "split file", ("id",) if groups is None else ("id", "group"))
    wrong = sorted(set(table["part"]) - {"train", "test"})
    if wrong:
        raise UserError(f"{path}: part: expected train or test, found '{wrong[0]}'")
    key = table.columns[0]
    named = dict[str, list[str]]()  # ids by what the file names
    for name in ids:
        named.setdefault(name if key == "id" or groups is None else groups[name], []).append(name)
    absent = [one for one in table[key] if one not in named]
    if absent and not allow_partial:
        what = quantity(len(absent), "case" if key == "id" else "group")
        raise UserError(
            f"{path}: names {what} that the data set does not have, such as '{absent[0]}'; --allow-partial ignores them"
        )
    train_ids, test_ids = (
        [name for one in table[key][table["part"] == part] for name in named.get(one, ())] for part in ("train", "test")
    )
    unmasked = [name for name in test_ids if name not in masked]
    if unmasked:
        raise UserError(f"{path}: test case '{unmasked[0]}' has no mask")
    if not train_ids or not test_ids:
        raise UserError(
            f"{path}: expected training and test cases, found {_parts(train_ids, test_ids)} among {len(ids)}"
        )
    return train_ids, test_ids


def _by_parts(
    parts: Mapping[Literal["train", "test"], Sequence[str]], ids: Sequence[str], masked: Container[str]
) -> tuple[list[str], list[str]]:
    """The cases whose ids fit the patterns of each part; every pattern must fit one."""
    found: dict[str, list[str]] = {}
    for part, patterns in parts.items():
        fitting = set[str]()
        for pattern in patterns:
            own = {name for name in ids if re.fullmatch(expression_of(nfc(pattern)), name, re.DOTALL)}
            if not own:
                raise UserError(f"parts: {part} = '{pattern}': expected cases, found none among {len(ids)}")
            fitting |= own
        found[part] = [name for name in ids if name in fitting]
    both = [name for name in found["train"] if name in set(found["test"])]
    if both:
        raise UserError(f"parts: case '{both[0]}' is in train and in test")
    unmasked = [name for name in found["test"] if name not in masked]
    if unmasked:
        raise UserError(f"parts: test case '{unmasked[0]}' has no mask")
    return found["train"], found["test"]


def kept_together(
    split: Split, ids: Sequence[str], contents: Sequence[str], groups: Mapping[str, str] | None
) -> dict[str, str]:
    """Name what each case is kept together with: its group, its sequence, or a case of the same content.

    Raises:
        UserError: with `sequence_starts`, an id is no frame number.
    """
    group = {name: sequence_of(split, name) for name in ids} if split.sequence_starts else units_of(ids, groups)
    first_with, joined = dict[str, str](), dict[str, str]()

    def root(key: str) -> str:
        while key in joined:
            key = joined[key]
        return key

    for name, content in zip(ids, contents, strict=True):
        mine, theirs = root(group[name]), root(group[first_with.setdefault(content, name)])
        if mine != theirs:
            joined[mine] = theirs
    return {name: root(key) for name, key in group.items()}

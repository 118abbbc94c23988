"""Selection of training, test and labelled cases by hashes of ids, identical on every machine."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ssl_bench.cards import Split, number_of, parse_share
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.seeds import shuffled


@dataclass(frozen=True)
class Splits:
    """Case ids of every part; `labeled`, `unlabeled` and `validation` make up the training set."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """Plain lists for splits.json. `validation` is left out if it is empty."""
        return {name: list(ids) for name, ids in asdict(self).items() if ids or name != "validation"}


def split_cases(
    split: Split, ids: Sequence[str], contents: Sequence[str], *, masked: Container[str], allow_partial: bool = False
) -> tuple[list[str], list[str]]:
    """Divide cases into training and test ids, each in the order of `ids` (of the split's file, where it has one).

    Whole groups are held out, in an order drawn by the card's seed, until the test set has its number of cases. Cases
    of the same content are one group; with `sequence_starts`, so are the frames of one video sequence (ids are frame
    numbers). Train and test therefore never share an image. Cases without a mask train, unless their group is held out:
    then they are in neither part.

    Args:
        split: the card's rule.
        ids: case ids.
        contents: a hash of each case's pixels.
        masked: ids of the cases that have a mask.
        allow_partial: leave out cases that the split's file names but the data set lacks.

    Raises:
        UserError: the rule leaves no training or no test case, an id is no frame number, or the split's file is wrong.
    """
    if split.file is not None:
        return _read(Path(split.file), ids, masked, allow_partial)
    assert split.test is not None
    groups = _groups(split, ids, contents)
    members: dict[str, list[str]] = {}
    for name in ids:
        if name in masked:
            members.setdefault(groups[name], []).append(name)
    wanted = number_of(parse_share(split.test, "test"), sum(map(len, members.values())))
    held_out, count = set(), 0
    for group in shuffled(members, "test", split.seed):
        if count >= wanted:
            break
        held_out.add(group)
        count += len(members[group])
    train_ids = [name for name in ids if groups[name] not in held_out]
    test_ids = [name for name in ids if groups[name] in held_out and name in masked]
    if not train_ids or not test_ids:
        raise UserError(
            f"test = {split.test}: expected training and test cases, found {len(train_ids)} training cases and "
            f"{len(test_ids)} test cases among {len(ids)}"
        )
    return train_ids, test_ids


def draw_labeled(
    train_ids: Sequence[str], test_ids: Sequence[str], labeled: int, seed: int, *, masked: Container[str], first: bool
) -> Splits:
    """Draw `labeled` training images, of those with a mask, by the run's seed; a smaller draw lies inside a larger one.

    With `first` they are the first of `train_ids`, whatever the seed.

    Raises:
        UserError: fewer of them have a mask.
    """
    candidates = [name for name in train_ids if name in masked]
    if labeled > len(candidates):
        raise UserError(
            f"--labeled: {labeled} of {len(train_ids)} training cases, but only {len(candidates)} of them have a mask"
        )
    chosen = set((candidates if first else shuffled(candidates, "labeled", seed))[:labeled])
    return Splits(
        labeled=tuple(name for name in train_ids if name in chosen),
        unlabeled=tuple(name for name in train_ids if name not in chosen),
        test=tuple(test_ids),
    )


def set_apart(
    splits: Splits, source: Literal["labeled", "train"], share: float, seed: int, *, masked: Container[str]
) -> Splits:
    """Take images for validation, drawn by the run's seed, out of what is trained on.

    Args:
        splits: without validation.
        source: labeled: of the labelled images; train: of the others, those with a mask.
        share: of the labelled images, or of all training images; at least one image.
        seed: the run's.
        masked: ids of the cases that have a mask.

    Raises:
        UserError: nothing would be left to train on.
    """
    pool = [name for name in (splits.labeled if source == "labeled" else splits.unlabeled) if name in masked]
    whole = len(splits.labeled) if source == "labeled" else len(splits.labeled) + len(splits.unlabeled)
    count = max(1, round(share * whole))
    if count >= len(pool):
        raise UserError(
            f"validation = '{source}', validation_share = {share:g}: {count} of {len(pool)} images with a mask would "
            "leave none to train on"
        )
    chosen = set(shuffled(pool, "validation", seed)[:count])
    return Splits(
        labeled=tuple(name for name in splits.labeled if name not in chosen),
        unlabeled=tuple(name for name in splits.unlabeled if name not in chosen),
        test=splits.test,
        validation=tuple(name for name in (*splits.labeled, *splits.unlabeled) if name in chosen),
    )


def _read(path: Path, ids: Sequence[str], masked: Container[str], allow_partial: bool) -> tuple[list[str], list[str]]:
    """Read a split file; cases that it does not name are in neither part."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the split file cannot be read: {error}") from None
    if list(table.columns) != ["id", "part"]:
        raise UserError(f"{path}: expected the columns id and part, found {', '.join(table.columns)}")
    wrong = sorted(set(table["part"]) - {"train", "test"})
    if wrong:
        raise UserError(f"{path}: part: expected train or test, found '{wrong[0]}'")
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise UserError(f"{path}: case '{twice.iloc[0]}' is named twice")
    there = set(ids)
    absent = [name for name in table["id"] if name not in there]
    if absent and not allow_partial:
        raise UserError(
            f"{path}: names {quantity(len(absent), 'case')} that the data set does not have, such as '{absent[0]}'; "
            "--allow-partial ignores them"
        )
    train_ids, test_ids = ([n for n in table["id"][table["part"] == part] if n in there] for part in ("train", "test"))
    unmasked = [name for name in test_ids if name not in masked]
    if unmasked:
        raise UserError(f"{path}: test case '{unmasked[0]}' has no mask")
    if not train_ids or not test_ids:
        raise UserError(
            f"{path}: expected training and test cases, found {len(train_ids)} training cases and {len(test_ids)} test "
            f"cases among {len(ids)}"
        )
    return train_ids, test_ids


def _groups(split: Split, ids: Sequence[str], contents: Sequence[str]) -> dict[str, str]:
    """Name each case's group by one of its members or its sequence."""
    group = {name: _sequence(split, name) if split.sequence_starts else name for name in ids}
    first_with: dict[str, str] = {}
    for name, content in zip(ids, contents, strict=True):
        twin = first_with.setdefault(content, name)
        if group[twin] != group[name]:
            mine, theirs = group[name], group[twin]
            group = {case: theirs if key == mine else key for case, key in group.items()}
    return group


def _sequence(split: Split, name: str) -> str:
    assert split.sequence_starts is not None
    if not (name.isascii() and name.isdigit()):
        raise UserError(f"case '{name}': a split by sequence needs frame numbers as ids")
    number = int(np.searchsorted(split.sequence_starts, int(name), side="right"))
    return f"sequence {number}"

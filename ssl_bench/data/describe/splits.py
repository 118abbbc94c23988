"""How a new card splits its cases, and the labelled shares that can be drawn."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_bench.cards import number_of, parse_share
from ssl_bench.command import quoted
from ssl_bench.data.describe.folders import PART, parts_of
from ssl_bench.data.describe.grouping import Grouping, find_grouping
from ssl_bench.data.describe.patients import first_folders
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.patterns import literal, nfc
from ssl_bench.errors import UserError

TEST, LABELED = "20%", ("10%", "20%")


@dataclass(frozen=True)
class Splitting:
    """What a card says about splits: tables of TOML by heading, groups, labelled shares, and lines of the comment."""

    tables: dict[str, dict[str, object]]
    grouping: Grouping
    labeled: list[str]
    comment: tuple[str, ...]


def find_splits(folder: Path, cases: Sequence[CaseFiles]) -> Splitting:
    """Propose splits: `split.csv` in the folder, or else the parts that the ids name; and one that is drawn.

    Raises:
        UserError: too few cases have a mask to train and to test.
    """
    ids = [case.id for case in cases]
    masked = {case.id for case in cases if case.mask is not None}
    split_file, comment, tables = folder / "split.csv", list[str](), dict[str, dict[str, object]]()
    train_ids = _train_ids(split_file)
    if train_ids is not None:
        tables["[splits.file]"] = {"file": str(split_file)}
    elif split_file.is_file():
        comment.append("# Not used: split.csv, whose columns are not id and part.")
    named = parts_of(ids, masked) if train_ids is None else None
    if named is not None:
        parts, said, train_ids = named
        listed = ", ".join(f"{part} = {quoted(patterns)}" for part, patterns in parts.items())
        comment.append(f"# Split by the ids: {listed}." + (f" {said}." if said else ""))
        tables["[splits.parts]"] = {"parts": parts}
    elif train_ids is None:
        above = parts_above(folder, cases)
        if above is not None:
            parts, said, train_ids = above
            comment.append(said)
            tables["[splits.parts]"] = {"parts": parts}
        else:
            comment += _unmasked_folders(ids, masked) or _unused_parts(folder, cases)
    test = TEST if len(masked) >= 5 else _test_cases(len(masked))
    grouping = find_grouping(cases, test, train_ids)
    tables["[splits.random]"] = {"test": grouping.test, "seed": 0}
    labeled = _labeled_shares(folder, set(ids), masked, train_ids, grouping.in_training)
    return Splitting(tables, grouping, labeled, (*comment, *grouping.comment))


def parts_above(folder: Path, cases: Sequence[CaseFiles]) -> tuple[dict[str, list[str]], str, set[str]] | None:
    """Propose parts of a split that folders above those in the ids name, such as train/P1/1.png with the id P1/1.

    Returns the parts, which list the folders of the ids, a line of the comment, and the ids of the training cases. None
    unless every image lies in one such folder, and those of each folder of the ids in the same one.
    """
    firsts, above = first_folders([case.id for case in cases]), list[str]()
    for case in cases:
        named = [name for name in case.image.relative_to(folder).parts[:-1] if PART.fullmatch(name)]
        above += named if len(named) == 1 else []
    part_of = dict(zip(firsts, above, strict=False))
    if len(above) < len(cases) or not firsts or [part_of[first] for first in firsts] != above:
        return None
    whole = [f"{part}/{case.id}" for part, case in zip(above, cases, strict=True)]
    masked = {name for name, case in zip(whole, cases, strict=True) if case.mask is not None}
    found = parts_of(whole, masked)
    if found is None:
        return None
    sides = {side: {pattern.removesuffix("/*") for pattern in patterns} for side, patterns in found[0].items()}
    parts = {
        side: [f"{literal(first)}/*" for first in dict.fromkeys(firsts) if part_of[first] in names]
        for side, names in sides.items()
    }
    left_out = sorted(set(above) - sides["train"] - sides["test"])
    said = (
        f"# Split by the folders: {', '.join(sorted(sides['train']))} trains, {', '.join(sorted(sides['test']))} tests"
    )
    said += f", {', '.join(left_out)} is left out." if left_out else "."
    return parts, said, {case.id for part, case in zip(above, cases, strict=True) if part in sides["train"]}


def _unused_parts(folder: Path, cases: Sequence[CaseFiles]) -> list[str]:
    """Say that folders named as parts of a split are not followed."""
    named = {name for case in cases for name in case.image.relative_to(folder).parts[:-1] if PART.fullmatch(name)}
    if len(named) < 2:
        return []
    listed = ", ".join(sorted(named))
    return [f"# Not followed as a split: the folders {listed}. A split.csv with the columns id and part can name them."]


def _unmasked_folders(ids: Sequence[str], masked: set[str]) -> list[str]:
    """Say which first folders of ids have no masks, since their images train, whatever the folders are called."""
    folders: dict[str, list[str]] = {}
    for name in ids:
        folders.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    without = {folder: own for folder, own in folders.items() if folder and not masked.intersection(own)}
    if not without or len(without) == len(folders):
        return []
    named = ", ".join(f"{folder} ({len(own)})" for folder, own in without.items())
    return [
        f"# Without masks: {named}. These images train unlabelled; the test cases are drawn from all others.",
        "# To leave them out, name them in exclude, or write a split with parts.",
    ]


def _train_ids(split_file: Path) -> set[str] | None:
    """The training cases of a split file. None if the file does not exist or its columns are not id and part."""
    if not split_file.is_file():
        return None
    with split_file.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        return {nfc(row["id"]) for row in rows if row["part"] == "train"} if rows.fieldnames == ["id", "part"] else None


def _labeled_shares(
    folder: Path, ids: set[str], masked: set[str], train_ids: set[str] | None, in_training: tuple[int, int] | None
) -> list[str]:
    """The usual labelled shares where all of them can be drawn, else numbers of cases, or groups, that can.

    `in_training` is the number of training groups, and of those with a mask, where the card has groups.

    Raises:
        UserError: fewer than two cases have a mask, or none of those that the split's file has for training.
    """
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

"""Groups: which patient, video or lesion each case belongs to, by the card's `group`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_bench.cards import Benchmark, Split
from ssl_bench.data.patterns import nfc, one_of
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def groups_of(benchmark: Benchmark, ids: Sequence[str]) -> list[str]:
    """Name the group of each case, in the order of `ids`.

    The rule is the card's `group`. Without it, a card with `sequence_starts` groups frames by video sequence. On any
    other card each case is its own group, named by its id.

    Raises:
        UserError: an id does not match the pattern, is missing in the file or is no frame number, or the file is wrong.
    """
    if benchmark.group is not None:
        if benchmark.group.endswith(".csv"):
            return _listed(Path(benchmark.group), ids)
        return _matched(benchmark.group, ids)
    starts = (split for split in benchmark.splits.values() if split.sequence_starts)
    split = next(starts, None)
    return list(ids) if split is None else [sequence_of(split, name) for name in ids]


def card_groups(benchmark: Benchmark, ids: Sequence[str]) -> dict[str, str] | None:
    """Return id -> group for a card with `group`, whose groups every split and draw keeps whole; else None.

    Raises:
        UserError: as in `groups_of`.
    """
    return None if benchmark.group is None else dict(zip(ids, groups_of(benchmark, ids), strict=True))


def straddling(groups: Mapping[str, str], train_ids: Sequence[str], test_ids: Sequence[str]) -> list[str]:
    """Name the groups that have cases in training and in test, in the order of `train_ids`."""
    tested = {groups[name] for name in test_ids}
    return [name for name in dict.fromkeys(groups[name] for name in train_ids) if name in tested]


def sequence_of(split: Split, name: str) -> str:
    """Name the video sequence of a frame; its id is the frame's number.

    Raises:
        UserError: the id is no number.
    """
    assert split.sequence_starts is not None
    if not (name.isascii() and name.isdigit()):
        raise UserError(f"case '{name}': a split by sequence needs frame numbers as ids")
    number = int(np.searchsorted(split.sequence_starts, int(name), side="right"))
    return f"sequence {number}"


def _matched(pattern: str, ids: Sequence[str]) -> list[str]:
    """The part of each id at {group}."""
    try:
        expression = re.compile(expression_of(nfc(pattern)), re.DOTALL)
    except re.error as error:
        raise UserError(f"group = '{pattern}': not a pattern: {error}") from None
    matches = [expression.fullmatch(name) for name in ids]
    strays = [name for name, match in zip(ids, matches, strict=True) if match is None]
    if strays:
        raise UserError(
            f"group = '{pattern}': expected every case's id to match, found {len(strays)} of {len(ids)} that do not, "
            f"such as '{strays[0]}'"
        )
    return [match[1] for match in matches if match is not None]


def expression_of(pattern: str) -> str:
    """Return a pattern of ids as a regular expression; {group} is its only capture, as little text as possible."""
    pieces = re.split(r"(\{group\}|\*|\?|\[[^\[\]]+\])", pattern)
    known = {"{group}": "(.+?)", "*": ".*", "?": "."}
    return "".join(
        known.get(piece) or (one_of(piece) if piece.startswith("[") else re.escape(piece)) for piece in pieces
    )


def read_ids(path: Path, column: str, what: str, keys: Sequence[str] = ("id",)) -> pd.DataFrame:
    """Read a CSV file as text in the normal form NFC, as ids have it; its first column is a key, once each.

    A file with the columns id, part and group is both a split file and a file of groups.

    Args:
        path: the file.
        column: name of the second column.
        what: names the file in messages.
        keys: names that the first column may have.

    Raises:
        UserError: the file cannot be read, has other columns or names a case or group twice.
    """
    import pandas as pd  # here, since few cards name a file

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).map(nfc)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the {what} cannot be read: {error}") from None
    found = list(map(str, table.columns))
    if found == ["id", "part", "group"]:
        found = ["id", column]
        table = table[found].copy()
    if found not in [[key, column] for key in keys]:
        raise UserError(f"{path}: expected the columns {' or '.join(keys)} and {column}, found {', '.join(found)}")
    twice = table[found[0]][table[found[0]].duplicated()]
    if len(twice):
        raise UserError(f"{path}: {'case' if found[0] == 'id' else found[0]} '{twice.iloc[0]}' is named twice")
    return table


def _listed(path: Path, ids: Sequence[str]) -> list[str]:
    """The group of each id in a CSV file with the columns id and group; further ids in it are ignored."""
    table = read_ids(path, "group", "file of groups")
    table["group"] = table["group"].str.strip()
    unnamed = table["id"][table["group"] == ""]
    if len(unnamed):
        raise UserError(f"{path}: case '{unnamed.iloc[0]}': expected the name of its group, found nothing")
    found = dict(zip(table["id"], table["group"], strict=True))
    strays = [name for name in ids if name not in found]
    if strays:
        raise UserError(
            f"{path}: expected a group for every case, found none for {len(strays)} of {len(ids)}, such as "
            f"'{strays[0]}'"
        )
    return [found[name] for name in ids]

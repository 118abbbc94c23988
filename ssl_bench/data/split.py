"""Which cases train, test, and have labels: drawn by hashes of ids, so the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ssl_bench.errors import UserError
from ssl_bench.random import shuffled
from ssl_bench.spec import Split, number_of, parse_share


@dataclass(frozen=True)
class Splits:
    """Case ids of every part; `labeled` and `unlabeled` make up the training set."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    test: tuple[str, ...]

    def as_dict(self) -> dict[str, list[str]]:
        """Plain lists, for splits.json."""
        return {name: list(ids) for name, ids in asdict(self).items()}


def split_cases(split: Split, ids: Sequence[str], contents: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide cases into training and test ids, each in the order of `ids`.

    Whole groups are held out, in an order drawn by the card's seed, until the test set has its number of cases. Cases
    of the same content are one group; with `sequence_starts`, so are the frames of one video sequence (ids are frame
    numbers). Train and test therefore never share an image.

    Args:
        split: the card's rule.
        ids: case ids.
        contents: a hash of each case's pixels.

    Raises:
        UserError: the rule leaves no training or no test case, or an id is no frame number.
    """
    wanted = number_of(parse_share(split.test, "test"), len(ids))
    groups = _groups(split, ids, contents)
    members: dict[str, list[str]] = {}
    for name in ids:
        members.setdefault(groups[name], []).append(name)
    test: set[str] = set()
    for group in shuffled(members, "test", split.seed):
        if len(test) >= wanted:
            break
        test.update(members[group])
    train_ids, test_ids = [name for name in ids if name not in test], [name for name in ids if name in test]
    if not train_ids or not test_ids:
        raise UserError(
            f"test = {split.test}: of {len(ids)} cases, {len(train_ids)} would train and {len(test_ids)} test"
        )
    return train_ids, test_ids


def draw_labeled(train_ids: Sequence[str], test_ids: Sequence[str], labeled: int, seed: int) -> Splits:
    """Draw `labeled` training images by the run's seed; a smaller draw lies inside a larger one."""
    chosen = set(shuffled(train_ids, "labeled", seed)[:labeled])
    return Splits(
        labeled=tuple(name for name in train_ids if name in chosen),
        unlabeled=tuple(name for name in train_ids if name not in chosen),
        test=tuple(test_ids),
    )


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

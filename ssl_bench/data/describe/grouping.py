"""Which cases the names of a data set put into one group, such as frames of a patient or eyes of a child."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

from ssl_bench.cards import Benchmark, Split
from ssl_bench.command import quoted
from ssl_bench.data.describe.patients import are_patients, first_folders
from ssl_bench.data.groups import groups_of
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.split import split_cases
from ssl_bench.errors import UserError

WHOLE = r"patient|pat|subject|subj|sub|case|child|person|video|vid|seq|sequence|lesion|study|scan|volume|vol"
PART = r"frame|slice|img|image|view|visit|time|phase|eye|crop|patch|tile"
TEXT, NUMBER = "[*?[\\]{}]", "[0-9]+"
NAMED_WHOLE = re.compile(rf"^((?:.*[^a-z])?(?:{WHOLE})[-_ ]?){NUMBER}([-_ /.]).+$", re.IGNORECASE)
NAMED_PART = re.compile(rf"^.+?([-_ /.](?:{PART})[-_ ]?){NUMBER}(?:[-_ /.].*)?$", re.IGNORECASE)
NUMBERED = re.compile(rf"^(([a-z]*[-_ ]?){NUMBER})([-_]).*[0-9]", re.IGNORECASE)
EYE = re.compile(r"^(.*?)[0-9]+([-_ ]?)([LR]|OD|OS|left|right)$")


@dataclass(frozen=True)
class Grouping:
    """What a card says about groups.

    `group` is its rule, None if names suggest none; `in_training` the number of training groups and how many of them
    have a mask; `test` the drawn split's test set; `comment` the lines of the card's first comment.
    """

    group: str | None
    in_training: tuple[int, int] | None
    test: str | int
    comment: tuple[str, ...] = ()


def find_grouping(cases: Sequence[CaseFiles], test: str | int, train_ids: set[str] | None) -> Grouping:
    """Propose the groups of a new card. The test set is one group where every group is too large for `test`.

    Args:
        cases: of the data set.
        test: the test set of a card without groups.
        train_ids: training cases of the split's file, where there is one.
    """
    ids = [case.id for case in cases]
    proposed = propose_group(ids)
    if proposed is None:
        return Grouping(None, None, test)
    pattern, count = proposed
    found = f"# Groups: the names suggest {count} groups of {len(ids)} cases, by group = {quoted(pattern)}."
    masked = {case.id for case in cases if case.mask is not None}
    for share in (test, smallest_group(pattern, ids, masked)):
        in_training = training_groups(pattern, ids, masked, Split.model_validate({"test": share}), train_ids)
        if in_training[1] > 1:
            kept = (
                "# Splits keep a group whole, and labelled counts groups. Remove it if the names mean something else."
            )
            return Grouping(pattern, in_training, share, (found, kept))
    few = "# They are too few for whole groups in training and in test, so splits may part them."
    return Grouping(None, None, test, (found, few))


def propose_group(ids: Sequence[str]) -> tuple[str, int] | None:
    """Return a pattern for the card's `group` and the number of its groups; None if the names suggest none.

    Every id must match the pattern, and some group must have several cases.
    """
    patterns = [*_by_whole(ids), *_by_folder(ids), *_by_part(ids), *_by_eye(ids), *_by_number(ids)]
    if all("/" in name for name in ids):  # folders may differ where the rest is alike
        names = [name.partition("/")[2] for name in ids]
        patterns += [f"*/{pattern}" for pattern in (*_by_whole(names), *_by_eye(names), *_by_number(names))]
    for pattern in dict.fromkeys(patterns):
        try:
            found = len(set(groups_of(Benchmark.model_construct(group=pattern, splits={}), ids)))
        except UserError:
            continue
        if 2 <= found < len(ids):
            return pattern, found
    return None


def training_groups(
    pattern: str, ids: Sequence[str], masked: Container[str], split: Split, train_ids: Container[str] | None
) -> tuple[int, int]:
    """Return how many groups are in training, and how many of these have a mask; 0 and 0 if there are no two sides.

    Args:
        pattern: the card's `group`.
        ids: case ids.
        masked: ids of the cases that have a mask.
        split: the drawn split; copies of one image, which share a side, are not known here.
        train_ids: of the split's file, which then counts instead.
    """
    groups = dict(zip(ids, groups_of(Benchmark.model_construct(group=pattern, splits={}), ids), strict=True))
    try:
        drawn, _ = split_cases(split, ids, ids, masked=masked, groups=groups)
    except UserError:
        return 0, 0
    train = drawn if train_ids is None else [name for name in ids if name in train_ids]
    return len({groups[name] for name in train}), len({groups[name] for name in train if name in masked})


def smallest_group(pattern: str, ids: Sequence[str], masked: Container[str]) -> int:
    """Return the number of cases with a mask of the smallest group that has any."""
    groups = groups_of(Benchmark.model_construct(group=pattern, splits={}), ids)
    return min(Counter(group for name, group in zip(ids, groups, strict=True) if name in masked).values())


def _by_whole(ids: Sequence[str]) -> list[str]:
    """patient001_frame01 gives patient{group}_*."""
    match = NAMED_WHOLE.match(ids[0])
    return [] if match is None or re.search(TEXT, match[1]) else [f"{match[1]}{{group}}{match[2]}*"]


def _by_folder(ids: Sequence[str]) -> list[str]:
    """P0/1 and P0/2 give {group}/*."""
    return ["{group}/*"] if are_patients(first_folders(ids)) else []


def _by_part(ids: Sequence[str]) -> list[str]:
    """x7_slice_3 gives {group}_slice_*."""
    match = NAMED_PART.match(ids[0])
    return [] if match is None else [f"{{group}}{match[1]}*"]


def _by_number(ids: Sequence[str]) -> list[str]:
    """p00_f0, p00_f1 and p01_f0 give p{group}_*, and 001_1 gives {group}_*: if every first number has several cases."""
    matches = [match for name in ids if (match := NUMBERED.match(name))]
    if len(matches) < len(ids):
        return []
    heads, (_, text, sign) = [match[1] for match in matches], matches[0].groups()
    return [f"{text}{{group}}{sign}*"] if are_patients(heads) and min(Counter(heads).values()) > 1 else []


def _by_eye(ids: Sequence[str]) -> list[str]:
    """Image_01L and Image_01R give Image_{group}[LR]."""
    matches = [match for name in ids if (match := EYE.match(name))]
    if len(matches) < len(ids) or re.search(TEXT, matches[0][1]):
        return []
    head, gap, _ = matches[0].groups()
    ends = {match[3] for match in matches}
    known = {"[LR]": {"L", "R"}, "O[DS]": {"OD", "OS"}, "*": {"left", "right"}}
    return [f"{head}{{group}}{gap}{end}" for end, both in known.items() if ends == both and (gap or end != "*")]

"""What `data check` says of splits: what they part, which cannot be made, and labelled shares that cannot be drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from typing import Literal

from ssl_bench.cards import Benchmark, share_of
from ssl_bench.command import quantity, quoted
from ssl_bench.data.describe.folders import PART
from ssl_bench.data.describe.grouping import propose_group
from ssl_bench.data.describe.patients import first_folders
from ssl_bench.data.finding import Finding, Seen
from ssl_bench.data.groups import groups_of
from ssl_bench.data.leaks import Sides, equal_pairs, near_pairs, sides_of, splits_between, straddling_groups
from ssl_bench.errors import UserError


def sides_of_splits(benchmark: Benchmark, cases: list[Seen], complete: bool) -> tuple[Sides, list[Finding]]:
    """The sides of the card's splits. Each split that cannot be made is a finding, if every case is there."""
    if not cases:
        return {}, []
    masked = {case.id for case in cases if case.foreground is not None}
    ids, contents = [case.id for case in cases], [case.content for case in cases]
    sides, findings = Sides(), list[Finding]()
    for name, split in benchmark.splits.items():
        alone = benchmark.model_copy(update={"splits": {name: split}})
        for allow_partial in (False, True):  # as `run` makes it; and what stands on both sides, if it names others, too
            try:
                sides |= sides_of(alone, ids, contents, masked, allow_partial=allow_partial)
                break
            except UserError as error:
                if not allow_partial:
                    text = str(error).removesuffix("; --allow-partial ignores them")
                    findings.append(Finding("error", "split", text if split.file else f"split {name}: {text}"))
    return sides, findings if complete else []


def suggested_groups(benchmark: Benchmark, names: list[str], sides: Sides) -> list[str]:
    """A line for each split that parts groups which the names suggest, on a card that says nothing about groups."""
    if benchmark.has_groups or not names:
        return []
    proposed = propose_group(names)
    if proposed is None:
        return _parted_folders(benchmark, names, sides)
    pattern, _ = proposed
    groups = dict(zip(names, groups_of(benchmark.model_copy(update={"group": pattern}), names), strict=True))
    advice = f"the names suggest group = {quoted(pattern)} on the card"
    return [f"{line}; {advice}" for line in straddling_groups(groups, sides)]


def labeled_shares(
    benchmark: Benchmark, sides: Sides, groups: Mapping[str, str], masked: Container[str]
) -> list[Finding]:
    """The card's labelled shares that cannot be drawn: the default of the default split is an error, others warnings.

    Args:
        benchmark: the card.
        sides: training and test cases of each split.
        groups: id -> group, or on a card without groups the id.
        masked: ids of the cases that have a mask.
    """
    findings = []
    for name, (train, _) in sides.items():
        unit = groups if benchmark.group is not None else {one: one for one in train}
        units, drawable = ({unit[one] for one in train if one in among} for among in (train, masked))
        noun = "image" if benchmark.group is None else "group"
        for share in benchmark.labeled:
            is_default = (name, share) == (next(iter(benchmark.splits)), benchmark.labeled[0])
            level: Literal["error", "warning"] = "error" if is_default else "warning"
            try:
                number = share_of(share, len(units), "labeled", noun)
            except UserError as error:
                findings.append(Finding(level, "labeled", f"split {name}: {error}"))
                continue
            if number > len(drawable):
                text = f"split {name}: labeled: '{share}' is {number} of {quantity(len(units), f'training {noun}')}"
                findings.append(Finding(level, "labeled", f"{text}, but only {len(drawable)} of them have a mask"))
    return findings


def doubles_of(cases: list[Seen], groups: dict[str, str], sides: Sides) -> tuple[list[Finding], list[Finding]]:
    """Pairs that have the same pixels or (2D) look alike: those in training and test of a split, then the others.

    Pairs inside a group of several cases are one finding that counts them.
    """
    contents = {case.id: case.content for case in cases}
    hashes = {case.id: case.perceptual for case in cases if case.perceptual is not None}
    near = near_pairs(hashes, {case.id: case.thumbnail for case in cases}, contents, groups)
    straddling, others, inside = list[Finding](), list[Finding](), Counter[str]()
    for pair in (*equal_pairs(contents, sides), *near):
        kind = "duplicate" if pair.bits is None else "near-duplicate"
        splits = splits_between(pair, sides)
        if splits:
            text = f"{pair.text}; one trains, one tests (split {', '.join(splits)})"
            straddling.append(Finding("warning", f"{kind} in training and test", text))
        elif groups[pair.first] == groups[pair.second]:
            inside[kind] += 1
        else:
            others.append(Finding("warning", kind, pair.text))
    counted = (f"{quantity(count, 'pair')} of cases of one group" for count in inside.values())
    return straddling, others + [Finding("warning", kind, text) for kind, text in zip(inside, counted, strict=True)]


def _parted_folders(benchmark: Benchmark, names: list[str], sides: Sides) -> list[str]:
    """A line for each drawn split that parts the cases of a folder, the first part of their ids."""
    folders = dict(zip(names, first_folders(names), strict=False))
    if len(set(folders.values())) < 2 or any(PART.fullmatch(folder) for folder in folders.values()):
        return []
    drawn = {name: own for name, own in sides.items() if benchmark.splits[name].test is not None}
    advice = 'if a folder is a patient or a video, add group = "{group}/*" to the card'
    return [f"{line}; {advice}" for line in straddling_groups(folders, drawn, "folder")]

"""What a split puts on both sides: groups, equal images, and images that look alike."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssl_bench.cards import Benchmark
from ssl_bench.command import quantity
from ssl_bench.data.groups import card_groups, straddling
from ssl_bench.data.split import split_cases

NEAR_DUPLICATE_BITS = 4  # of the 64 of a perceptual hash; an encoder's artefacts flip 0 to 2
NAMED = 3  # groups that a line names


@dataclass(frozen=True)
class Alike:
    """Two cases with the same pixels (`bits` is None), or whose perceptual hashes differ in a few bits."""

    first: str
    second: str
    bits: int | None

    @property
    def text(self) -> str:
        """One line about the two."""
        if self.bits is None:
            return f"{self.first} and {self.second} have the same pixels"
        return f"{self.first} and {self.second} look alike (perceptual hashes differ in {self.bits} of 64 bits)"


Sides = dict[str, tuple[set[str], set[str]]]  # split -> ids of its training and of its test cases


def sides_of(benchmark: Benchmark, ids: Sequence[str], contents: Sequence[str], masked: Container[str]) -> Sides:
    """Return the two sides of each of the card's splits.

    Raises:
        UserError: a split or the groups cannot be made of these cases.
    """
    groups, sides = card_groups(benchmark, ids), Sides()
    for name, split in benchmark.splits.items():
        train, test = split_cases(split, ids, contents, masked=masked, allow_partial=True, groups=groups)
        sides[name] = set(train), set(test)
    return sides


def straddling_groups(groups: Mapping[str, str], sides: Sides) -> list[str]:
    """Return a line for each split that has groups in training and in test."""
    lines, whole = [], len(set(groups.values()))
    for split, (train, test) in sides.items():
        torn = straddling(groups, [name for name in groups if name in train], list(test))
        if torn:
            tested = len({groups[name] for name in test})
            named = ", ".join(torn[:NAMED]) + (", ..." if len(torn) > NAMED else "")
            lines.append(
                f"split {split}: {len(torn)} of {quantity(whole, 'group')} have cases in training and in test, of "
                f"{tested} in test: {named}"
            )
    return lines


def splits_between(pair: Alike, sides: Sides) -> list[str]:
    """Name the splits that have one of two cases in training and the other in test."""
    return [
        split for split, (train, test) in sides.items()
        if (pair.first in train and pair.second in test) or (pair.first in test and pair.second in train)
    ]  # fmt: skip


def equal_pairs(contents: Mapping[str, str]) -> list[Alike]:
    """Pair each case with the first case of the same pixels; `contents` is id -> hash of the pixels."""
    first: dict[str, str] = {}
    twins = ((first.setdefault(content, name), name) for name, content in contents.items())
    return [Alike(twin, name, None) for twin, name in twins if twin != name]


def near_pairs(perceptual: Mapping[str, int], contents: Mapping[str, str]) -> list[Alike]:
    """Pairs of other pixels whose perceptual hashes differ in at most NEAR_DUPLICATE_BITS bits."""
    names, pairs = list(perceptual), []
    hashes = np.array([perceptual[name] for name in names], dtype=np.uint64)
    for i, name in enumerate(names):
        distances = np.bitwise_count(hashes[i + 1 :] ^ hashes[i])
        for j in np.flatnonzero(distances <= NEAR_DUPLICATE_BITS):
            other = names[i + 1 + int(j)]
            if contents[other] != contents[name]:
                pairs.append(Alike(name, other, int(distances[j])))
    return pairs

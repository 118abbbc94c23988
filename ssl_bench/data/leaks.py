"""What a split puts on both sides: groups, equal images, and images that look alike."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssl_bench.cards import Benchmark
from ssl_bench.command import quantity
from ssl_bench.data.groups import card_groups, straddling
from ssl_bench.data.split import split_cases

NEAR_DUPLICATE_BITS = 4  # of the 64 of a perceptual hash; an encoder's artefacts flip 0 to 2
NAMED = 3  # groups that a line names


@dataclass(frozen=True)
class SimilarPair:
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


def splits_between(pair: SimilarPair, sides: Sides) -> list[str]:
    """Name the splits that have one of two cases in training and the other in test."""
    return [
        split for split, (train, test) in sides.items()
        if (pair.first in train and pair.second in test) or (pair.first in test and pair.second in train)
    ]  # fmt: skip


def equal_pairs(contents: Mapping[str, str], sides: Sides) -> list[SimilarPair]:
    """Pair each case with the first case of the same pixels, and each test case with the first such training case.

    `contents` is id -> hash of the pixels.
    """
    place = {name: i for i, name in enumerate(contents)}
    pairs = _with_the_first(contents, contents, contents)
    for train, test in sides.values():
        pairs += _with_the_first(contents, [name for name in contents if name in train], test)
    ordered = {(min(pair, key=place.__getitem__), max(pair, key=place.__getitem__)) for pair in pairs}
    return [SimilarPair(*pair, None) for pair in sorted(ordered, key=lambda pair: (place[pair[1]], place[pair[0]]))]


def _with_the_first(contents: Mapping[str, str], pool: Iterable[str], names: Iterable[str]) -> list[tuple[str, str]]:
    """Pair each of `names` with the first other case of `pool` that has the same pixels."""
    first: dict[str, str] = {}
    for name in pool:
        first.setdefault(contents[name], name)
    twins = ((first.get(contents[name], name), name) for name in names)
    return [(twin, name) for twin, name in twins if twin != name]


def near_pairs(perceptual: Mapping[str, int], contents: Mapping[str, str]) -> list[SimilarPair]:
    """Pairs of other pixels whose perceptual hashes differ in at most NEAR_DUPLICATE_BITS bits."""
    names, pairs = list(perceptual), []
    hashes = np.array([perceptual[name] for name in names], dtype=np.uint64)
    for i, name in enumerate(names):
        distances = np.bitwise_count(hashes[i + 1 :] ^ hashes[i])
        for j in np.flatnonzero(distances <= NEAR_DUPLICATE_BITS):
            other = names[i + 1 + int(j)]
            if contents[other] != contents[name]:
                pairs.append(SimilarPair(name, other, int(distances[j])))
    return pairs

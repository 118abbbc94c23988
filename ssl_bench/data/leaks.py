"""What a split puts on both sides: groups, equal images, and images that look alike."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ssl_bench.cards import Benchmark
from ssl_bench.command import quantity
from ssl_bench.data.groups import card_groups, straddling
from ssl_bench.data.split import split_cases

NEAR_DUPLICATE_BITS = 4  # of the 64 of a perceptual hash; an encoder's artefacts flip 0 to 2
NEAR = 0.4  # of the usual distance of two images; pairs that only their hashes call alike are at 0.45 and more
SAME = 0.05  # distance of thumbnails of one image, encoded anew
SAMPLE = 2000  # cases that the usual distance is taken from
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


def sides_of(
    benchmark: Benchmark,
    ids: Sequence[str],
    contents: Sequence[str],
    masked: Container[str],
    *,
    allow_partial: bool = True,
) -> Sides:
    """Return the two sides of each of the card's splits; `allow_partial` is as in `split_cases`.

    Raises:
        UserError: a split or the groups cannot be made of these cases.
    """
    groups, sides = card_groups(benchmark, ids), Sides()
    for name, split in benchmark.splits.items():
        train, test = split_cases(split, ids, contents, masked=masked, allow_partial=allow_partial, groups=groups)
        sides[name] = set(train), set(test)
    return sides


def straddling_groups(groups: Mapping[str, str], sides: Sides, noun: str = "group") -> list[str]:
    """Return a line for each split that has groups in training and in test."""
    lines, whole = [], len(set(groups.values()))
    for split, (train, test) in sides.items():
        torn = straddling(groups, [name for name in groups if name in train], list(test))
        if torn:
            tested = len({groups[name] for name in test})
            named = ", ".join(torn[:NAMED]) + (", ..." if len(torn) > NAMED else "")
            lines.append(
                f"split {split}: {len(torn)} of {quantity(whole, noun)} have cases in training and in test, of "
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


def near_pairs(
    perceptual: Mapping[str, int],
    thumbnails: Mapping[str, np.ndarray],
    contents: Mapping[str, str],
    groups: Mapping[str, str],
) -> list[SimilarPair]:
    """Pairs of other pixels that look alike, compared with how much the data set's images differ.

    Their perceptual hashes differ in at most NEAR_DUPLICATE_BITS bits, and their thumbnails by at most NEAR of what is
    usual between images of different groups. Hashes alone call many images of a uniform data set alike.

    Args:
        perceptual: id -> hash.
        thumbnails: id -> `thumbnail` of the image.
        contents: id -> hash of the pixels.
        groups: id -> group.
    """
    names, pairs = list(perceptual), []
    hashes = np.array([perceptual[name] for name in names], dtype=np.uint64)
    most = max(SAME, NEAR * _usual_distance(names, thumbnails, groups))
    for i, name in enumerate(names):
        distances = np.bitwise_count(hashes[i + 1 :] ^ hashes[i])
        for j in np.flatnonzero(distances <= NEAR_DUPLICATE_BITS):
            other = names[i + 1 + int(j)]
            is_near = np.linalg.norm(thumbnails[name] - thumbnails[other]) <= most
            if is_near and contents[other] != contents[name]:
                pairs.append(SimilarPair(name, other, int(distances[j])))
    return pairs


def thumbnail(image: Image.Image) -> np.ndarray:
    """Return a picture as a unit vector of 16 x 16 grey levels that brightness and contrast do not change."""
    grey: np.ndarray = np.array(image.convert("L").resize((16, 16), Image.Resampling.BOX), np.float32).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    result: np.ndarray = grey / np.float32(length or 1)
    return result


def _usual_distance(names: Sequence[str], thumbnails: Mapping[str, np.ndarray], groups: Mapping[str, str]) -> float:
    """The median distance of the thumbnails of two cases of different groups, over a sample of the cases."""
    some = names[:: 1 + len(names) // SAMPLE]
    if len(some) < 2:
        return 0.0
    vectors, own = np.stack([thumbnails[name] for name in some]), np.array([groups[name] for name in some])
    squares = 2 * np.clip(1 - vectors @ vectors.T, 0, None)
    apart = squares[np.triu(own[:, None] != own, 1)]
    return float(np.sqrt(np.median(apart))) if len(apart) else 0.0

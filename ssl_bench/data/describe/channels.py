"""Images whose channels are files of their own: names that differ in a word for a modality alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ssl_bench.data.images import natural

MODALITY = re.compile(
    r"flair|t1|t1c|t1ce|t1gd|t1n|t1w|t1post|t2|t2f|t2w|pd|pdw|swi|dce|dwi|adc|ct|cta|ctp|cbct|pet|suv|000[0-9]", re.I
)


def join_channels(images: Sequence[str], patterns: Iterable[str]) -> tuple[str, list[str]] | None:
    """Return the pattern of images with {channel}, and the channels in the order of their names.

    Args:
        images: patterns of images that have the same masks.
        patterns: all patterns; those that differ in another modality alone are channels, too.

    None unless the patterns differ in one word, which is a modality (or nnU-Net's number of a channel) in all of them.
    """
    split = [_words(pattern) for pattern in images]
    if len(split) < 2 or len({len(words) for words in split}) != 1:
        return None
    places = [i for i, words in enumerate(zip(*split, strict=True)) if len(set(words)) > 1]
    if len(places) != 1:
        return None
    (place,) = places
    if not all(MODALITY.fullmatch(words[place]) for words in split):
        return None
    before, after = split[0][:place], split[0][place + 1 :]
    channels = {
        words[place] for words in map(_words, patterns)
        if words[:place] == before and words[place + 1 :] == after and MODALITY.fullmatch(words[place])
    }  # fmt: skip
    return "".join([*before, "{channel}", *after]), sorted(channels, key=natural)


def _words(pattern: str) -> list[str]:
    """Words and what stands between them, in turn."""
    return re.split(r"([^\W_]+)", pattern)

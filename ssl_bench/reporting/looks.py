"""How a method looks in every figure: its colour, dash and marker depend on its name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import seaborn

COLOURS = tuple(seaborn.color_palette("colorblind", 8).as_hex())
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
OTHER_COLOURS = ("#ca9161", "#999933", "#44aa99", "#949494", "#aa4499", "#117733")  # of no method in FIELD


@dataclass(frozen=True)
class Look:
    """A line's colour as "#rrggbb", and its dash and marker as matplotlib takes them."""

    colour: str
    dash: Any
    marker: str


FIELD = {  # methods by name; a family shares a colour, and no two methods share dash and marker, as in a print in grey
    "supervised": Look("#4d4d4d", "-", "o"),
    "mt": Look("#0173b2", "--", "s"),
    "mt-cutmix": Look("#0173b2", ":", "p"),
    "uamt": Look("#56b4e9", "-.", "^"),
    "cct": Look("#029e73", (0, (5, 1)), "v"),
    "cps": Look("#de8f05", (0, (8, 2)), "D"),
    "cps-cutmix": Look("#de8f05", (0, (1, 1)), "d"),
    "cmtv1": Look("#cc78bc", "--", "<"),
    "cmtv2": Look("#882255", "-.", ">"),
    "cmtv3": Look("#332288", (0, (3, 1, 1, 1, 1, 1)), "P"),
    "ucmt": Look("#d55e00", "-", "X"),
    "ucmt-cutmix": Look("#d55e00", (0, (2, 1)), "*"),
    # entropy and pseudo labels of the network itself
    "entmin": Look("#662200", "-", "s"),
    "pseudo-label": Look("#662200", "--", "o"),
    # a teacher's predictions under noise, interpolation or uncertainty
    "ict": Look("#8877ff", "-", "^"),
    "acmt": Look("#8877ff", "--", "v"),
    "duwm": Look("#8877ff", "-.", "D"),
    "lg-er-mt": Look("#8877ff", ":", "o"),
    # co-training by other views or architectures
    "dct": Look("#005566", "-", "v"),
    "rotation": Look("#005566", "--", "^"),
    "ctct": Look("#005566", "-.", "s"),
    # weak to strong views
    "fixmatch": Look("#0044ff", "-", "D"),
    "unimatch": Look("#0044ff", "--", "P"),
    "unimatch-v2": Look("#0044ff", "-.", "X"),
    "augseg": Look("#0044ff", ":", "s"),
    # several teachers or perturbations at once
    "admt": Look("#003300", "-", "d"),
    "crossmatch": Look("#003300", "--", "*"),
    # pasted and displaced patches
    "bcp": Look("#dd2255", "-", "P"),
    "abd": Look("#dd2255", "--", "D"),
    # distance maps
    "dtc": Look("#cc9999", "-", "<"),
    "sassnet": Look("#cc9999", "--", ">"),
    # discriminators
    "advsemseg": Look("#cc0000", "-", ">"),
    "dan": Look("#cc0000", "--", "X"),
    "coladv": Look("#cc0000", "-.", "P"),
    # several decoders or scales
    "mcnet": Look("#110011", "-", "p"),
    "mcnet+": Look("#110011", "--", "h"),
    "urpc": Look("#110011", "-.", "v"),
    # contrast of features
    "ssnet": Look("#776677", "-", "h"),
    "ugcl": Look("#776677", "--", "d"),
}
OTHERS = tuple(  # no two have the same colour and dash
    Look(OTHER_COLOURS[i % 6], DASHES[(i + i // 6) % 8], MARKERS[(i + i // 6) % 8]) for i in range(48)
)
UNNAMED = tuple(Look(COLOURS[i % 8], DASHES[(i + i // 8) % 8], MARKERS[i % 8]) for i in range(64))


def method_colour(name: str, known: Sequence[str] = ()) -> Look:
    """Return a method's look: fixed for a built-in method, and drawn by a hash of the name for any other.

    Args:
        name: the method's name in the registry.
        known: names of all methods that can stand in a figure with it. Their order has no effect. Where two names draw
            the same look, the later one in the alphabet takes the next free look, with a free colour if there is one.

    """
    if name in FIELD:
        return FIELD[name]
    taken: dict[str, Look] = {}
    for other in sorted({*known, name} - FIELD.keys()):
        taken[other] = _first_free(_from(OTHERS, other), list(taken.values()))
    return taken[name]


def looks(labels: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """Return a look per label of a figure; no two are the same as long as there are enough.

    The first label of a method has the method's look. Labels without a method, and further labels of the same method
    (with other settings), have looks by their order.

    Args:
        labels: pairs of a label and its method's name; "" for none. Of equal labels the first counts.

    """
    methods = dict(reversed(labels))  # of equal labels, the first
    order = list(dict.fromkeys(label for label, _ in labels))
    first = {methods[label]: label for label in reversed(order) if methods[label]}
    found = {label: method_colour(key, list(first)) for key, label in first.items()}
    for label in order:
        if label not in found:
            found[label] = _first_free(UNNAMED, list(found.values()))
    return {label: found[label] for label in order}


def _from(candidates: tuple[Look, ...], name: str) -> tuple[Look, ...]:
    """The candidates in their order, rotated to begin at one that a hash of the name selects."""
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % len(candidates)
    return candidates[start:] + candidates[:start]


def _first_free(candidates: Sequence[Look], taken: Sequence[Look]) -> Look:
    """The first candidate with a colour that nothing has, else the first that nothing has, else the least common."""
    times, colours = Counter(taken), {look.colour for look in taken}
    return min(candidates, key=lambda look: (times[look], look.colour in colours))

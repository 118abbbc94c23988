"""Shares of a data set: '5%' or a number of cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from ssl_bench.errors import UserError


def parse_share(value: int | str, option: str) -> Fraction | int:
    """Read '5%' as a fraction of a whole and '90' (or 90) as a number of cases.

    Raises:
        UserError: not of either form, zero, or above 100 %.
    """
    text = str(value).strip()
    try:
        share: Fraction | int = Fraction(text[:-1]) / 100 if text.endswith("%") else int(text)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"{option}: expected a share such as '5%' or a number of cases, found '{text}'") from None
    if share <= 0 or (isinstance(share, Fraction) and share > 1):
        raise UserError(f"{option}: expected more than 0 and at most 100%, found '{text}'")
    return share


def number_of(share: Fraction | int, whole: int) -> int:
    """Number of cases that a parsed share of `whole` is: floor(fraction x whole), or the count itself."""
    return math.floor(share * whole) if isinstance(share, Fraction) else share


def share_of(value: int | str, whole: int, option: str, unit: str = "image") -> int:
    """Return the number of cases that a share of `whole` is: floor(fraction x whole), or the count itself.

    `unit` is what the error messages call one of the whole.

    Raises:
        UserError: the share is malformed, leaves no case, or asks for more than there are.
    """
    share = parse_share(value, option)
    number = number_of(share, whole)
    if number < 1:
        raise UserError(
            f"{option}: '{value}' of {whole} training {unit}s leaves no labelled {unit}; give at least {_least(whole)}"
        )
    if number > whole:
        what = "cases" if unit == "image" else f"{unit}s"
        raise UserError(f"{option}: expected at most {whole} {what}, found {number}")
    return number


def _least(whole: int) -> str:
    return f"{math.ceil(10000 / whole) / 100:g}% or 1"


def scaled(text: str, scale: float) -> str:
    """Return a share multiplied by `scale`: 5% times 0.1 is 0.5%. 100% and numbers of cases stay as they are."""
    value = parse_share(text, "labeled")
    if scale == 1 or not isinstance(value, Fraction) or value == 1:
        return text
    return f"{float(100 * value * Fraction(str(scale))):.10g}%"


def by_share(texts: Sequence[str], whole: int | None) -> list[int]:
    """Return the positions of labelled shares, the fewest of `whole` cases first.

    With None, percentages and numbers cannot be compared: the former come first.
    """
    shares = [share(text) for text in texts]
    keys = [(isinstance(one, int), one) if whole is None else (False, number_of(one, whole)) for one in shares]
    return sorted(range(len(keys)), key=keys.__getitem__)


def share(text: str) -> Fraction | int:
    """A labelled share as a number, so that 5% and 5.0% are equal."""
    return parse_share(text, "--labeled")

"""Whose turn it is, in periods of random length."""

from __future__ import annotations

import random
from bisect import bisect_left
from functools import lru_cache


def whose_turn(iteration: int, *, longest: int, seed: int) -> int:
    """Return 0 or 1 by turns: each holds for a period of 1 to `longest` iterations, all lengths as likely.

    A pure function without tensors, so a resumed run goes on with the same periods and nothing waits for the device.

    Args:
        iteration: counts from 1, where it is the turn of 0.
        longest: the longest period.
        seed: of the lengths.

    """
    periods = _periods(longest, seed)
    periods.reach(iteration)
    return bisect_left(periods.ends, iteration) % 2


class _Periods:
    """The last iterations of the periods so far, and the generator of the lengths to come."""

    def __init__(self, longest: int, seed: int) -> None:
        self.longest, self.lengths = longest, random.Random(seed)
        self.ends: list[int] = []

    def reach(self, iteration: int) -> None:
        """Draw periods up to an iteration."""
        while not self.ends or self.ends[-1] < iteration:
            before = self.ends[-1] if self.ends else 0
            self.ends.append(before + 1 + int(self.longest * self.lengths.random()))


@lru_cache(maxsize=8)
def _periods(longest: int, seed: int) -> _Periods:
    return _Periods(longest, seed)

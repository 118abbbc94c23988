"""Whose turn it is, in periods of random length."""

from __future__ import annotations

import random


def whose_turn(iteration: int, *, longest: int, seed: int) -> int:
    """Return 0 or 1 by turns: each holds for a period of 1 to `longest` iterations, all lengths as likely.

    A pure function without tensors, so a resumed run goes on with the same periods and nothing waits for the device.

    Args:
        iteration: counts from 1, where it is the turn of 0.
        longest: the longest period.
        seed: of the lengths.

    """
    lengths = random.Random(seed)
    end, periods = 0, 0
    while end < iteration:
        end += 1 + int(longest * lengths.random())
        periods += 1
    return (periods - 1) % 2

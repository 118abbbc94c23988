"""Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float], tests: int | None = None) -> list[float]:
    """Adjust the p values of one family of tests for their number; in the input's order, each at most 1.

    The k-th smallest of m is multiplied by m - k + 1, and is never below a smaller one's (Holm, Scandinavian Journal of
    Statistics 6(2), 1979). Where only some of a family's p values are given, `tests` is m.
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    adjusted = np.empty_like(given)
    factors = (tests or len(given)) - np.arange(len(given))
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return [float(p) for p in adjusted]

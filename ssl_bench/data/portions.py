"""Division of a batch into portions that fit a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

CACHED = 1 << 20  # numbers in a portion: one image of 512 x 512 in RGB, or all of a usual batch at 128 x 128


def portions(count: int, sample: Tensor) -> Iterator[slice]:
    """Yield slices that divide `count` samples of this size: small ones on a CPU, one slice elsewhere.

    A row of operations on one portion after the other finds its intermediate values in the cache. On a GPU it would
    start more kernels. No samples are one empty slice.
    """
    size = max(1, CACHED // max(1, sample.numel())) if sample.device.type == "cpu" else max(1, count)
    return (slice(start, start + size) for start in range(0, max(1, count), size))

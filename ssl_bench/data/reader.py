"""Images that stay in the cache while a run trains: when that is so, and the thread that reads ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ssl_bench.errors import UserError

VARIABLE = "SSL_BENCH_MEMORY"
MODES = ("auto", "all", "stream")
Pair = tuple[Tensor, Tensor]  # images and masks


def memory_mode() -> str:
    """Return the mode that SSL_BENCH_MEMORY names; `auto` if it is not set.

    Raises:
        UserError: there is no such mode.
    """
    mode = os.environ.get(VARIABLE) or "auto"
    if mode not in MODES:
        raise UserError(f"{VARIABLE}: expected {', '.join(MODES)}; found '{mode}'")
    return mode


def holds_all(size: int, device: torch.device) -> bool:
    """Whether a run holds its training images, `size` bytes, on its device.

    By default a GPU holds them if they take at most half of its free memory. A CPU reads them from the cache, where the
    operating system keeps one copy for all processes.
    """
    mode = memory_mode()
    if mode == "auto" and device.type == "cuda":
        return size <= torch.cuda.mem_get_info(device)[0] / 2
    return mode == "all"


class Reader:
    """Reads pairs of images and masks to a device, and one or more ahead in a thread.

    Args:
        device: where the pairs are used; memory that a GPU copies from is pinned.

    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._begun: dict[Hashable, Future[Pair]] = {}

    def begin(self, key: Hashable, function: Callable[[], Pair]) -> None:
        """Call a function in the thread; `read` with the same key returns its result."""
        self._begun[key] = self._thread.submit(self._pinned, function)

    def read(self, key: Hashable, function: Callable[[], Pair]) -> Pair:
        """Return the pair that was begun under a key, or the function's own, on the device.

        Raises:
            UserError: the cache cannot be read.
        """
        begun = self._begun.pop(key, None)
        images, masks = self._pinned(function) if begun is None else begun.result()
        return images.to(self.device, non_blocking=True), masks.to(self.device, non_blocking=True)

    def close(self) -> None:
        """End the thread, and forget what was begun: a function may hold what holds this reader."""
        self._thread.shutdown(cancel_futures=True)
        self._begun.clear()

    def _pinned(self, function: Callable[[], Pair]) -> Pair:
        images, masks = function()
        if self.device.type != "cuda":
            return images, masks
        return images.pin_memory(), masks.pin_memory()

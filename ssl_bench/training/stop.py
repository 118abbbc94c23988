"""Turns Ctrl-C, SIGTERM and the time limit into a flag that the training loop polls."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

TIME_IS_UP = 0  # in a signal's place


class StopSignal:
    """Within `with`, the first SIGINT or SIGTERM sets `signal_number`; a second SIGINT stops at once.

    After `deadline`, a value of the monotonic clock, `signal_number` is TIME_IS_UP. Python handles signals in the main
    thread only; in another thread, only the deadline applies.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def signal_number(self) -> int | None:
        """The signal to stop for; None to continue."""
        is_late = self.deadline is not None and time.monotonic() >= self.deadline
        return TIME_IS_UP if self._number is None and is_late else self._number

    @signal_number.setter
    def signal_number(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number

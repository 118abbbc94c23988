"""Keeps libraries of C and C++ from writing to the terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_lock = threading.Lock()
_inside, _stderr = 0, -1


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Discard what is written to stderr by libraries that do not use Python's (libtiff, ITK); several threads may.

    Python's own stderr is the same file, so this encloses single calls of such libraries.
    """
    global _inside, _stderr
    with _lock:
        if _inside == 0:
            _stderr = _redirected()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _stderr >= 0:
                os.dup2(_stderr, 2)
                os.close(_stderr)


def _redirected() -> int:
    """Redirect file descriptor 2 to nowhere; returns a copy of what it was, -1 if it is closed."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:
        return -1
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return before

"""Locks between processes, which the operating system releases when their holder dies."""

from __future__ import annotations

import errno
import os
from typing import Any

import filelock

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class FileLock(filelock.FileLock):
    """filelock's lock by `flock`, and nothing else: a mere file in its place would outlive a killed holder."""

    def __init__(self, path: str | os.PathLike[str], timeout: float = -1) -> None:
        super().__init__(path, timeout, fallback_to_soft=False)

    def acquire(self, *args: Any, **options: Any) -> Any:
        """Take the lock.

        Raises:
            Timeout: another process holds it.
            OSError: the file cannot be written, or its disk has no locks.
        """
        try:
            return super().acquire(*args, **options)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise OSError(error.errno, "the disk has no file locks (flock)", self.lock_file) from None

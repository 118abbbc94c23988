"""Locks: held by one process at a time, and refused on a disk that has none."""

import errno
from pathlib import Path

import pytest
from conftest import Call, assert_error
from filelock import Timeout

from ssl_bench.locks import FileLock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(Timeout):
        FileLock(tmp_path / "lock", timeout=0).acquire()
    FileLock(tmp_path / "lock", timeout=0).acquire()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """A mere file as the lock would stay when its holder is killed, and other machines would wait for ever."""

    def refuse(_file: int, _operation: int) -> None:
        raise OSError(number, "not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    found = call(
        "run", "--methods", "mt", "--dataset", "demo", "--protocol", "tiny", "--results-root", tmp_path / "results"
    )
    assert_error(found, "cannot be written", "the disk has no file locks (flock)")
    assert not [path for path in tmp_path.rglob("*lock*") if path.stat().st_size]

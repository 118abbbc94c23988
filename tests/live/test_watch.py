"""`ssl-bench watch`: what it prints, at every width, and that Ctrl-C ends it quietly."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, Call, assert_error
from handwritten import write_run
from rich.console import Console
from served import change, write_full_run

from ssl_bench.live.snapshot import StoreReader
from ssl_bench.live.watch import Screen, seconds_text, sparkline, speed_text
from ssl_bench.store import RunFolder, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    write_full_run(store, "ucmt", 1, [0.5, 0.75])
    failed = RunFolder(store.folder(write_run(store, "cps", 1, [0.5], status="failed")).path)
    change(failed, error="[bold]no[/bold] memory :smile:")
    running = RunFolder(store.folder(write_run(store, "mt", 2, [0.5], status="running")).path)
    (running.path / ".lock").touch()
    told = {"task": "training", "done": 75, "total": 300, "text": "loss 0.25", "speed": 0.5, "host": "elsewhere"}
    running.progress.write_text(json.dumps(told))
    return store


def printed(store: Store, width: int, rows: int | None = None, encoding: str = "utf-8") -> list[str]:
    reader, file = StoreReader(store.root), io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    Console(file=file, width=width).print(Screen(reader, reader.snapshot(), rows))
    file.seek(0)
    return file.read().splitlines()


@pytest.mark.parametrize("width", [40, 60, 109, 110, 200])
def test_every_line_fits_and_running_ones_come_first(store: Store, width: int) -> None:
    lines = printed(store, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    places = [text.index(word) for word in ("\nrunning", "\nfailed", "\nfinished")]
    assert places == sorted(places)
    for word in ("75/300", "25%", "2.0 s/it", "7m 30s"):
        assert word in text


def test_all_is_said_at_200_columns(store: Store) -> None:
    text = "\n".join(printed(store, 200))
    assert "1 running, 1 failed, 1 finished" in text
    assert "loss 0.25" in text
    assert "[bold]no[/bold] memory :smile:" in text  # as it is, not as markup
    assert "DSC 62.50" in text
    assert "▁▅█" in text  # validation scores 0.25, 0.5, 0.75


def test_a_stored_text_moves_no_cursor(store: Store) -> None:
    bell, title, clear = "\x07", "\x1b]0;taken\x07", "\x1b[2J"
    folder = RunFolder(store.folder(write_run(store, "mt", 3, [0.5])).path)
    change(folder, spec={"method": f"a{clear}b", "benchmark": title, "seed": bell}, error=clear)
    folder.path.with_name("0123456789abcdef").mkdir()
    folder.path.with_name("0123456789abcdef").joinpath("run.json").write_text(json.dumps({"hash": clear}))
    text = "".join(printed(store, 200))
    assert "ab" in text
    assert not set(text) & {"\x07", "\x1b"}


def test_a_terminal_without_unicode_has_letters(store: Store) -> None:
    text = "\n".join(printed(store, 110, encoding="ascii"))
    assert "▁" not in text
    assert "_-#" in text or "_=#" in text


@pytest.mark.parametrize(("width", "rows", "shown"), [(60, 6, 2), (200, 5, 2), (200, 1, 1)])
def test_what_has_no_room_is_counted(store: Store, width: int, rows: int, shown: int) -> None:
    lines = printed(store, width, rows)
    assert len(lines) <= max(rows, 4)
    assert f"and {3 - shown} more run" in lines[-1]


def test_without_a_terminal_one_snapshot_is_printed(store: Store, call: Call) -> None:
    code, out, err = call("watch", "--results-root", store.root)
    assert (code, err) == (0, "")
    assert "running" in out
    assert call("watch", "--once", "--method", "cps", "--results-root", store.root)[1].count("\n") == 3


def test_what_the_store_does_not_have_is_named(store: Store, call: Call) -> None:
    names = {kind: sorted({path.parts[-1 - up] for path in store.root.glob("runs/*/*/*")})
             for kind, up in (("dataset", 2), ("method", 1))}  # fmt: skip
    for option, own in names.items():
        code, out, _ = call("watch", f"--{option}", "nope", "--results-root", store.root)
        assert code == 0  # a training may be about to begin
        assert f"no runs of --{option} nope (the store has {', '.join(own)})" in " ".join(out.split())


def test_mistakes(call: Call, tmp_path: Path) -> None:
    assert_error(call("watch", "--results-root", "nowhere"), "--results-root: no folder at nowhere")
    assert_error(call("watch", "--every", "0", "--results-root", tmp_path), "--every")


def test_nothing_in_the_store_changes(store: Store, call: Call) -> None:
    def tree() -> dict[str, tuple[int, int, int]]:
        paths = sorted(store.root.rglob("*"))
        found = {str(path): path.stat() for path in paths}
        return {path: (own.st_mtime_ns, own.st_ctime_ns, own.st_size) for path, own in found.items()}

    before = tree()
    assert call("watch", "--results-root", store.root)[0] == 0
    assert tree() == before


def test_on_a_terminal_it_refreshes_until_ctrl_c(store: Store) -> None:
    main, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "120", "LINES": "20"}
    words = [sys.executable, "-m", "ssl_bench", "watch", "--every", "0.1", "--results-root", str(store.root)]
    process = subprocess.Popen(
        words, stdout=terminal, stderr=subprocess.PIPE, stdin=terminal, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while b"1 running" not in seen:
        seen += os.read(main, 65536)
    write_run(store, "supervised", 7, [0.25])  # shown at the next refresh
    deadline = time.monotonic() + 20
    while b"2 finished" not in seen and time.monotonic() < deadline:
        seen += os.read(main, 65536)
    process.send_signal(signal.SIGINT)
    try:
        while os.read(main, 65536):
            pass
    except OSError:  # the other end is closed
        pass
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (0, b"")
    assert b"2 finished" in seen
    os.close(main)


def test_torch_and_pandas_are_not_imported(store: Store) -> None:
    program = (
        "import sys; from ssl_bench import api; api.watch(sys.argv[1], once=True); "
        "assert not {'torch', 'pandas', 'matplotlib', 'scipy', 'h5py'} & sys.modules.keys()"
    )
    subprocess.run(
        [sys.executable, "-c", program, store.root], check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )


def test_small_words() -> None:
    assert [speed_text(one) for one in (None, 0.0, 12.34, 0.25)] == ["", "", "12.3 it/s", "4.0 s/it"]
    seconds = (None, 0.4, 59, 61, 3600, 86400 + 7200)
    assert [seconds_text(one) for one in seconds] == ["", "0s", "59s", "1m 01s", "1h 00m", "1d 2h"]
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([0.0, 7.0, 3.5]) in ("▁█▄", "▁█▅")
    assert sparkline([]) == ""

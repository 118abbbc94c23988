"""`data download` against a local server: cuts, wrong files, full disks, hostile archives; no public network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import nibabel
import numpy as np
import pytest
from conftest import REPOSITORY, Call, assert_error, write_dataset
from PIL import Image

from ssl_bench.cards import Archive, Download, card_names, load_benchmark
from ssl_bench.data import fetch as fetching
from ssl_bench.data.download import download
from ssl_bench.data.sources import decode, find_cases

CASES = ["a", "b", "c"]


class Server:
    """Serves `files` by path; the public fields are how it does so."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []  # the connection ends after so many bytes of each of the next answers
        self.hold_after: int | None = None  # bytes after which an answer waits until `let_go`
        self.held, self.let_go = Event(), Event()
        self.ranges, self.lengths, self.shift = True, True, 0  # an answer to a Range may begin elsewhere
        self.state, self.kind, self.tag = 200, "application/zip", '"version 1"'
        self.states: list[int] = []  # of the next answers
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.thread = Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def stop(self) -> None:
        self.let_go.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append((self.path, asked))
            content = server.files.get(self.path)
            state = server.states.pop(0) if server.states else server.state if content is not None else 404
            if content is None or state != 200:
                self.send_error(state)
                return
            start = 0
            if server.ranges and asked and self.headers.get("If-Range") == server.tag:
                start = int(asked.removeprefix("bytes=").rstrip("-")) + server.shift
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", server.kind)
            if server.ranges:
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("ETag", server.tag)
            if server.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + server.cuts.pop(0) if server.cuts else len(content)
            if server.hold_after is not None:
                self.wfile.write(content[start : start + server.hold_after])
                self.wfile.flush()
                server.held.set()
                server.let_go.wait(60)
                return
            self.wfile.write(content[start:end])

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server without files; no proxy is used, nothing waits, and every KiB is written."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(fetching, "WAIT", 0.0)
    monkeypatch.setattr(fetching, "CHUNK", 1024)
    started = Server()
    yield started
    started.stop()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """The published files of a data set in Kvasir's layout, by their paths in the archive."""
    root = write_dataset(tmp_path / "source", "kvasir", CASES, [(90, 70)] * 3)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], *links: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return buffer.getvalue()


def write_card(folder: Path, *archives: str, cases: int = len(CASES)) -> Path:
    """Write a card in Kvasir's layout; `archives` are the lines of each archive."""
    tables = "".join(f"[[download.archives]]\n{lines}\n" for lines in archives)
    text = f"""
name = "tiny"
title = "Tiny set"
classes = ["background", "polyp"]
cases = {cases}
labeled = ["1"]
metrics = ["dsc"]
source = "https://example.org/tiny"
license = "CC0"
citation = "none"
[files]
roots = ["tiny/Kvasir-SEG", "."]
images = "images/{{id}}"
masks = "masks/{{id}}"
[download]
page = "https://example.org/tiny"
unpack_to = "tiny"
{tables}
[splits.random]
test = 1
"""
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


@pytest.fixture
def card(tmp_path: Path, server: Server, files: dict[str, bytes]) -> Path:
    """A card whose archive the server has; no checksum is known."""
    server.files["/set.zip"] = zipped(files)
    return write_card(tmp_path, f'url = "{server.url}/set.zip"')


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_arrived(root: Path, files: dict[str, bytes]) -> None:
    """Every file is there bit for bit, a record lies beside them, and nothing else."""
    assert contents(root / "tiny") == files
    assert names(root) == ["tiny", "tiny.download.json"]


def get(call: Call, card: Path) -> tuple[int, str, str]:
    return call("data", "download", card, "--data-root", "data")


# --------------------------------------------------------------------------------------------------------- it arrives


def test_a_data_set_arrives_whole_and_its_checksum_is_said_and_recorded(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    code, out, err = get(call, card)
    assert (code, err) == (0, "")
    assert_arrived(Path("data"), files)
    archive = server.files["/set.zip"]
    digest = hashlib.sha256(archive).hexdigest()
    assert f"{len(archive)} bytes, SHA-256 {digest}, no checksum is published" in out
    assert "Licence: CC0" in out
    assert f"ssl-bench data check {card} --data-root data" in out
    [entry] = json.loads(Path("data/tiny.download.json").read_text())["archives"]
    assert (entry["url"], entry["sha256"], entry["bytes"]) == (f"{server.url}/set.zip", digest, len(archive))
    checked = call("data", "check", card, "--data-root", "data")
    assert checked[0] == 0
    assert "3 cases" in checked[1]


def test_several_archives_fill_one_folder_and_each_known_checksum_is_compared(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    parts = [{name: files[name] for name in files if f"/{part}/" in name} for part in ("images", "masks")]
    server.files = {"/images.zip": zipped(parts[0]), "/masks.tar.gz": tarred(parts[1])}
    sha256 = hashlib.sha256(server.files["/images.zip"]).hexdigest()
    md5 = hashlib.md5(server.files["/masks.tar.gz"]).hexdigest()
    card = write_card(
        tmp_path,
        f'url = "{server.url}/images.zip"\nsha256 = "{sha256}"\nchecksum_from = "the publisher"',
        f'url = "{server.url}/masks.tar.gz?x=1"\nmd5 = "{md5}"\nchecksum_from = "someone"',
    )
    server.files["/masks.tar.gz?x=1"] = server.files["/masks.tar.gz"]
    code, out, _ = get(call, card)
    assert code == 0
    assert_arrived(Path("data"), files)
    assert "equal to the checksum of the publisher" in out
    assert "equal to the checksum of someone" in out


def test_what_is_there_is_not_touched(call: Call, server: Server, card: Path, files: dict[str, bytes]) -> None:
    get(call, card)
    before = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")}
    server.asked.clear()
    code, out, _ = get(call, card)
    assert code == 0
    assert out.startswith("already there: 3 cases in data/tiny/Kvasir-SEG/images")
    assert server.asked == []
    assert {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")} == before


def test_a_later_download_that_differs_is_said(call: Call, server: Server, card: Path, files: dict[str, bytes]) -> None:
    get(call, card)
    old = hashlib.sha256(server.files["/set.zip"]).hexdigest()
    for kept in (False, True):  # the same file again, then another one
        subprocess.run(["rm", "-r", "data/tiny"], check=True)
        if kept:
            server.files["/set.zip"] = zipped({**files, "LICENSE.txt": b"new"})
        code, out, _ = get(call, card)
        assert code == 0
        assert ("NOTE: differs from the last download" in out) == kept
    assert old in out
    assert len(json.loads(Path("data/tiny.download.json").read_text())["archives"]) == 3


def test_a_proxy_of_the_environment_is_used(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    server.files["http://data.invalid/set.zip"] = zipped(files)
    code, _, _ = get(call, write_card(tmp_path, 'url = "http://data.invalid/set.zip"'))
    assert code == 0
    assert_arrived(Path("data"), files)


# ----------------------------------------------------------------------------------------------------- cuts and resume


def test_a_cut_connection_continues_where_it_ended(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    server.cuts = [3000, 2000, 4096]
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    ranges = [asked for _, asked in server.asked]
    assert ranges[0] is None
    starts = [int(re.sub("[^0-9]", "", str(asked))) for asked in ranges[1:]]
    assert len(starts) == 3
    assert [start > 0 for start in np.diff([0, *starts])] == [True] * 3  # an attempt from the start would end earlier
    assert starts[0] <= 3000 < starts[2] <= 3000 + 2000 + 4096


def test_the_next_command_continues_after_too_many_cuts(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    server.cuts = [3000, 0, 0, 0, 0]
    assert_error(get(call, card), "set.zip", "cut", "after", "the same command continues")
    assert not Path("data/tiny").exists()
    server.cuts.clear()
    server.asked.clear()
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    [(_, asked)] = server.asked
    assert asked is not None


def test_a_server_without_ranges_is_read_from_the_start_again(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    server.ranges, server.cuts = False, [3000, 2000]
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    assert [asked for _, asked in server.asked] == [None] * 3


def test_a_server_without_ranges_that_always_cuts_is_given_up(call: Call, server: Server, card: Path) -> None:
    server.ranges, server.cuts = False, [3000] * 9
    assert_error(get(call, card), "cannot continue a download; the same command starts again")
    assert len(server.asked) == 1 + fetching.TRIES


def test_a_file_that_changed_on_the_server_is_not_mixed_with_the_old_one(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    server.cuts = [3000, 0, 0, 0, 0]
    get(call, card)
    server.cuts.clear()
    server.tag, server.files["/set.zip"] = '"version 2"', zipped({"Kvasir-SEG/README": b"2" * 999, **files})
    assert get(call, card)[0] == 0
    assert contents(Path("data/tiny")) == {"Kvasir-SEG/README": b"2" * 999, **files}


def test_a_file_that_came_whole_before_a_kill_is_not_asked_for_again(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    staging, content = Path("data/.download-tiny"), server.files["/set.zip"]
    staging.mkdir(parents=True)
    (staging / "set.zip.partial").write_bytes(content)
    note = {"url": f"{server.url}/set.zip", "validator": server.tag, "total": len(content)}
    (staging / "set.zip.partial.json").write_text(json.dumps(note))
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    assert server.asked == []


def test_an_answer_that_begins_elsewhere_is_refused(call: Call, server: Server, card: Path) -> None:
    server.cuts, server.shift = [3000], 1
    assert_error(get(call, card), "/set.zip", "expected the bytes from", "the server sends 'bytes")
    assert not Path("data/tiny").exists()


def test_progress_without_a_terminal_is_a_line_now_and_then(
    call: Call, server: Server, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_bench.launch.console.LINE_SECONDS", -1.0)
    size = len(server.files["/set.zip"])
    code, out, _ = get(call, card)
    assert code == 0
    assert f"set.zip: {size} of {size} bytes" in out
    assert "unpacking set.zip: " in out


def test_a_busy_server_is_asked_again(call: Call, server: Server, card: Path, files: dict[str, bytes]) -> None:
    server.states = [503, 429]
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)


def test_a_cut_that_no_length_shows_is_found_in_the_archive(call: Call, server: Server, card: Path) -> None:
    server.lengths, server.cuts = False, [3000]
    assert_error(get(call, card), "set.zip", "damaged")
    assert names(Path("data/.download-tiny")) == ["lock"]


PROGRAM = """
import os, resource, signal, sys
from pathlib import Path
from ssl_bench.data import fetch

fetch.CHUNK, fetch.WAIT = 1024, 0.0
kill, limit = sys.argv[1] == "kill", int(sys.argv[2])
sys.argv[1:3] = []
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
if kill:
    Path.rename = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # no file may grow beyond it, as on a full disk
from ssl_bench.cli import main
main()
"""


def start(card: Path, *, kill: bool = False, limit: int = 0) -> subprocess.Popen[str]:
    """Start the command in a process of its own, to be killed before it renames, or with a full disk."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    words = ["kill" if kill else "go", str(limit), "data", "download", str(card), "--data-root", "data"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_after_ctrl_c_or_a_kill_the_same_command_continues(
    call: Call, server: Server, card: Path, files: dict[str, bytes], number: int, code: int
) -> None:
    server.hold_after = 4096
    process = start(card)
    assert server.held.wait(60)
    partial = Path("data/.download-tiny/set.zip.partial")
    end = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert number == signal.SIGKILL or err == "interrupted: nothing is lost; run the same command again to continue\n"
    assert not Path("data/tiny").exists()
    server.hold_after = None
    server.asked.clear()
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    assert server.asked[0][1] is not None


def test_a_kill_between_unpacking_and_renaming_leaves_nothing_that_looks_complete(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    process = start(card, kill=True)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not Path("data/tiny").exists()
    assert call("data", "check", card, "--data-root", "data")[0] == 2
    server.asked.clear()
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    assert server.asked == []  # the archive was there


# ---------------------------------------------------------------------------------------------------------- no, and why


def test_a_wrong_checksum_is_refused_and_the_file_deleted(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    server.files["/set.zip"] = zipped(files)
    found = hashlib.sha256(server.files["/set.zip"]).hexdigest()
    card = write_card(tmp_path, f'url = "{server.url}/set.zip"\nsha256 = "{"0" * 64}"\nchecksum_from = "nobody"')
    assert_error(get(call, card), "/set.zip", "0" * 64, found, "nobody", "https://example.org/tiny")
    assert names(Path("data")) == [".download-tiny"]
    assert names(Path("data/.download-tiny")) == ["lock"]


def test_another_size_than_the_card_says_is_refused_before_the_download(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    server.files["/set.zip"] = zipped(files)
    card = write_card(tmp_path, f'url = "{server.url}/set.zip"\nbytes = 7')
    assert_error(get(call, card), "expected 7 bytes", str(len(server.files["/set.zip"])))


def test_a_missing_file_a_web_page_and_no_server_are_one_line_each(call: Call, server: Server, card: Path) -> None:
    content = server.files.pop("/set.zip")
    assert_error(get(call, card), "404", "https://example.org/tiny")
    server.files["/set.zip"], server.kind = b"<!doctype html><p>Log in", "text/html; charset=utf-8"
    assert_error(get(call, card), "a web page", "the address may have changed")
    server.kind = "application/octet-stream"
    assert_error(get(call, card), "a web page")
    server.states = [503] * 9
    assert_error(get(call, card), "503")
    server.states.clear()
    server.files["/set.zip"] = content
    server.stop()
    assert_error(get(call, card), "cannot be reached", "HTTPS_PROXY")
    assert not Path("data/tiny").exists()


def test_a_disk_that_is_too_small_is_said_before_the_download_and_before_unpacking(
    call: Call, server: Server, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(server.files["/set.zip"])
    free = [10, 10**9, 11]
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and _Usage(free.pop(0)))
    assert_error(get(call, card), "--data-root", f"needs {size} more bytes", "10 free")
    assert_error(get(call, card), "--data-root", "to unpack set.zip", "11 free")
    assert Path("data/.download-tiny/set.zip").exists()
    assert not Path("data/tiny").exists()


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


@pytest.mark.parametrize("limit", [4000, 60_000])  # smaller than the archive; smaller than a file in it
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    call: Call, server: Server, card: Path, files: dict[str, bytes], limit: int
) -> None:
    files["Kvasir-SEG/big.bin"] = bytes(100_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    server.files["/set.zip"] = buffer.getvalue()
    assert 4000 < len(buffer.getvalue()) < 60_000
    _, err = (process := start(card, limit=limit)).communicate(timeout=60)
    assert_error((process.returncode, "", err), "--data-root", "File too large")
    assert not Path("data/tiny").exists()
    assert not Path("data/.download-tiny/unpacked").exists()
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)
    assert server.asked[-1][1] is not None or limit > 4000


def test_a_data_root_that_cannot_be_written_is_said(call: Call, card: Path) -> None:
    Path("data").write_text("a file")
    assert_error(get(call, card), "--data-root", "data cannot be written")


def test_other_files_in_the_place_are_not_touched(call: Call, server: Server, card: Path) -> None:
    other = Path("data/tiny/notes.txt")
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    assert_error(get(call, card), "data/tiny", "move it away")
    assert (other.read_text(), server.asked) == ("mine", [])


def test_an_incomplete_data_set_in_the_place_is_not_taken_for_the_whole(call: Call, server: Server, card: Path) -> None:
    get(call, card)
    next(Path("data/tiny/Kvasir-SEG/masks").iterdir()).unlink()
    server.asked.clear()
    assert_error(get(call, card), "3 cases and 2 masks")
    assert server.asked == []


def test_an_archive_with_another_number_of_cases_does_not_arrive(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    server.files["/set.zip"] = zipped(files)
    card = write_card(tmp_path, f'url = "{server.url}/set.zip"', cases=5)
    assert_error(get(call, card), "expected 5 cases", "found 3", "data/.download-tiny")
    assert not Path("data/tiny").exists()
    server.files["/set.zip"] = zipped({"README": b""})
    subprocess.run(["rm", "-r", "data"], check=True)
    assert_error(get(call, card), "no images of Tiny set found")


def test_a_second_process_does_not_download_the_same(call: Call, server: Server, card: Path) -> None:
    server.hold_after = 1
    process = start(card)
    assert server.held.wait(60)
    assert_error(get(call, card), "another process")
    process.kill()
    process.communicate()


# ----------------------------------------------------------------------------------------------------- hostile archives


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


OUTSIDE = ["../evil.txt", "absolute", "images/../../evil.txt", "..\\evil.txt", "C:/evil.txt", "C:evil.txt"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_outside_the_folder_is_refused_by_name(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes], name: str, kind: str
) -> None:
    name = f"{tmp_path}/evil.txt" if name == "absolute" else name
    hostile = {**files, name: b"evil"}
    server.files[f"/set.{kind}"] = zipped(hostile) if kind == "zip" else tarred(hostile)
    card = write_card(tmp_path, f'url = "{server.url}/set.{kind}"')
    assert_error(get(call, card), f"found '{name}'")
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("data/tiny").exists()


def test_links_and_devices_in_a_tar_file_are_refused_by_name(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    for bad in (
        link("images", "/etc"),
        link("hard", "../../tiny.toml", tarfile.LNKTYPE),
        link("fifo", "", tarfile.FIFOTYPE),
    ):
        server.files["/set.tar.gz"] = tarred(files, bad)
        card = write_card(tmp_path, f'url = "{server.url}/set.tar.gz"')
        assert_error(get(call, card), f"'{bad.name}'", "link")
        assert not Path("data/tiny").exists()


def test_a_link_in_a_zip_file_is_refused_by_name(
    call: Call, server: Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    buffer = io.BytesIO(zipped(files))
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("sub/link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    server.files["/set.zip"] = buffer.getvalue()
    assert_error(get(call, write_card(tmp_path, f'url = "{server.url}/set.zip"')), "'sub/link'", "link")


def test_one_name_twice_and_a_damaged_member_are_refused(
    call: Call, server: Server, card: Path, files: dict[str, bytes]
) -> None:
    buffer = io.BytesIO(zipped(files))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(next(iter(files)), b"another")
    intact, server.files["/set.zip"] = server.files["/set.zip"], buffer.getvalue()
    assert_error(get(call, card), next(iter(files)), "twice")
    damaged = bytearray(intact)
    damaged[2000] ^= 1
    server.files["/set.zip"] = bytes(damaged)
    assert_error(get(call, card), "set.zip", "damaged")
    server.files["/set.zip"] = intact
    assert get(call, card)[0] == 0
    assert_arrived(Path("data"), files)


# --------------------------------------------------------------------------------------------------------------- cards


@pytest.mark.parametrize("name", card_names("datasets"))
def test_every_card_says_how_to_get_its_data(name: str) -> None:
    benchmark = load_benchmark(name)
    if benchmark.generator is not None:
        assert benchmark.download is None
        return
    assert benchmark.download is not None
    layouts = [benchmark.files] if benchmark.files else list(benchmark.volumes)
    roots = [root for layout in layouts if layout for root in layout.roots]
    assert roots[0].split("/")[0] == benchmark.download.unpack_to


@pytest.mark.parametrize(
    ("name", "task", "channels", "labels"),
    [
        ("hippocampus", "Task04_Hippocampus", 1, 3),
        ("heart", "Task02_Heart", 1, 2),
        ("prostate", "Task05_Prostate", 2, 3),
        ("spleen", "Task09_Spleen", 1, 2),
    ],
)
def test_a_task_of_the_decathlon_arrives_in_the_layout_of_its_card(
    server: Server, tmp_path: Path, name: str, task: str, channels: int, labels: int
) -> None:
    rng, files, drawn = np.random.default_rng(0), {}, {}
    for number in (3, 11):
        case = f"{name}_{number:02d}"
        sides = (7, 6, 5) if channels == 1 else (7, 6, 5, channels)
        drawn[case] = rng.normal(size=sides).astype(np.float32), rng.integers(0, labels, sides[:3]).astype(np.uint8)
        for kind, array in zip(("imagesTr", "labelsTr"), drawn[case], strict=True):
            files[f"{task}/{kind}/{case}.nii.gz"] = nibabel.Nifti1Image(array, np.diag([2.0, 1, 1, 1])).to_bytes()
            files[f"{task}/{kind}/._{case}.nii.gz"] = b"a file of macOS"
    files |= {f"{task}/imagesTs/{name}_99.nii.gz": b"", f"{task}/dataset.json": b"{}"}
    server.files["/task.tar"] = tarred(files)
    published = load_benchmark(f"msd-{name}")
    assert published.download is not None
    archive = published.download.archives[0]
    assert archive.url == f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{task}.tar"
    local = published.download.model_copy(update={"archives": (Archive(url=f"{server.url}/task.tar"),)})
    card = published.model_copy(update={"cases": 2, "download": local})
    done = download(card, tmp_path / "data", lambda *_: None)
    assert (done.cases, done.folder) == (2, tmp_path / "data" / f"msd-{name}" / task / "imagesTr")
    layout, cases = find_cases(card, tmp_path / "data")
    assert [case.id for case in cases] == list(drawn)
    for found in cases:
        read, _ = decode(found, layout, card)
        image, mask = drawn[found.id]
        assert np.array_equal(read.mask, mask)
        assert read.spacing == (2.0, 1.0, 1.0)
        planes = [image] if channels == 1 else np.moveaxis(image, 3, 0)
        expected = np.stack([(plane - plane.mean()) / plane.std() for plane in planes])
        assert np.allclose(read.image, expected[0] if channels == 1 else expected, atol=1e-5)


def test_glas_is_read_as_published_every_numbered_gland_is_foreground(tmp_path: Path) -> None:
    folder = tmp_path / "glas" / "Warwick QU Dataset (Released 2016_07_08)"
    folder.mkdir(parents=True)
    glands = np.zeros((6, 9), np.uint8)
    glands[1:3, 2:5], glands[4, 6:] = 1, 2
    for name in ("train_1", "testA_1", "testB_2"):
        Image.fromarray(np.full((6, 9, 3), 200, np.uint8)).save(folder / f"{name}.bmp")
        Image.fromarray(glands).save(folder / f"{name}_anno.bmp")
    (folder / "Grade.csv").write_text("name,patient ID, grade (GlaS)\n")
    card = load_benchmark("glas")
    layout, cases = find_cases(card, tmp_path)
    assert [case.id for case in cases] == ["testA_1", "testB_2", "train_1"]
    read, _ = decode(cases[0], layout, card)
    assert read.mask is not None
    assert np.array_equal(read.mask > 0, glands > 0)
    parts = dict(line.split(",") for line in Path(str(card.splits["challenge"].file)).read_text().split()[1:])
    assert [sum(name.startswith(part) for name in parts) for part in ("train_", "testA_", "testB_")] == [85, 60, 20]
    assert all((parts[name] == "train") == name.startswith("train_") for name in parts)


@pytest.mark.parametrize("name", ["acdc", "cvc", "glas", "la"])
def test_a_data_set_behind_a_page_prints_what_to_do(call: Call, name: str) -> None:
    code, out, err = call("data", "download", name, "--data-root", "my data")
    wanted = load_benchmark(name).download
    assert wanted is not None
    assert (code, err) == (2, "")
    assert str(wanted.instructions) in out
    assert f"Page: {wanted.page}" in out
    assert f"Unpack to: my data/{name}" in out
    assert f"Then: ssl-bench data check {name} --data-root 'my data'" in out
    assert not Path("my data").exists()


def test_a_data_set_behind_a_page_that_is_there_is_found(call: Call, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", "cvc", [str(number) for number in range(1, 613)], [(4, 4)] * 612)
    code, out, _ = call("data", "download", "cvc", "--data-root", "data")
    assert code == 0
    assert out.startswith("already there: 612 cases")


def test_an_unknown_name_a_drawn_set_and_a_card_without_download_are_refused(call: Call, tmp_path: Path) -> None:
    assert_error(call("data", "download", "nonsense"), "--dataset", "'nonsense'", "kvasir")
    assert_error(call("data", "download", "demo"), "demo", "nothing to download")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.png")
    text = write_card(tmp_path).read_text()
    (tmp_path / "bare.toml").write_text(re.sub(r"(?s)\[download\].*?(?=\[splits)", "", text))
    assert_error(call("data", "download", "bare.toml"), "bare.toml", "https://example.org/tiny", "[download]")
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"url": "ftp://a.org/x.zip"}, "url"),
        ({"url": "https://a.org/x.rar"}, ".zip"),
        ({"url": "https://a.org/x.zip", "sha256": "0" * 64}, "checksum_from"),
        ({"url": "https://a.org/x.zip", "md5": "xyz", "checksum_from": "me"}, "md5"),
    ],
)
def test_a_wrong_archive_on_a_card_is_refused(fields: dict[str, str], word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        Archive.model_validate(fields)


@pytest.mark.parametrize("unpack_to", ["..", "/tmp", ".", "a/../../b"])
def test_archives_are_unpacked_below_the_data_root(unpack_to: str) -> None:
    with pytest.raises(ValueError, match="below the data root"):
        Download(page="p", unpack_to=unpack_to, instructions="i")


def test_a_download_has_archives_or_instructions() -> None:
    archive = Archive(url="https://a.org/x.zip")
    with pytest.raises(ValueError, match="exactly one"):
        Download(page="p", unpack_to="x")
    with pytest.raises(ValueError, match="exactly one"):
        Download(page="p", unpack_to="x", instructions="i", archives=(archive,))
    with pytest.raises(ValueError, match="different names"):
        Download(page="p", unpack_to="x", archives=(archive, Archive(url="https://b.org/x.zip")))

"""Fetches one archive over HTTP. A download that was cut continues where it ended."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests

from ssl_bench.atomic import write_json
from ssl_bench.cards import Archive
from ssl_bench.command import quantity
from ssl_bench.errors import UserError, first_line

Advance = Callable[[str, int, int | None], None]  # (file, bytes so far, all bytes where they are known)

CHUNK = 1 << 18  # bytes
TIMEOUT = (15, 60)  # seconds to connect, and between two packets
TRIES = 4  # attempts in a row that bring nothing new
WAIT = 2.0  # seconds before the second attempt; longer before the later ones
BUSY = {408, 429, 500, 502, 503, 504}  # HTTP states that may pass


def fetch(archive: Archive, page: str, folder: Path, advance: Advance) -> Path:
    """Return the archive's file in `folder`. It has been fetched completely, and its checksum compared.

    Until then its bytes lie in a file with the suffix `.partial`, from which the next call continues. A file with a
    wrong checksum is deleted.

    Args:
        archive: what to fetch.
        page: the data set's web page, for the messages.
        folder: an existing folder.
        advance: called with the progress.

    Raises:
        UserError: the server cannot be reached, does not have the file, sends something else, or cuts every attempt.
        OSError: the file cannot be written.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    download = _Download(archive, page, folder / f"{archive.name}.partial", advance)
    try:
        return Path(
            pooch.retrieve(archive.url, archive.known_hash, fname=archive.name, path=folder, downloader=download)
        )
    except UserError:
        raise
    except ValueError as error:  # pooch's, about the checksum
        raise UserError(
            f"{archive.url}: {first_line(error)} The checksum is from {archive.checksum_from}. If the file has been "
            f"replaced since, get it by hand: see {page}"
        ) from None


class _CutError(Exception):
    """An attempt ended early; another one may continue."""


class _Download:
    """Downloads a file for `pooch.retrieve`, which passes the path of a temporary file and checks the result."""

    def __init__(self, archive: Archive, page: str, partial: Path, advance: Advance) -> None:
        self.archive, self.page, self.partial, self.advance = archive, page, partial, advance
        self.note = partial.with_name(f"{partial.name}.json")  # which file on the server the partial one is a part of
        self.continues = True

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        """Receive the file in as many attempts as it needs.

        Raises:
            UserError: the server refuses, or `TRIES` attempts in a row bring nothing new.
        """
        most, fruitless = self._size(), 0
        while True:
            try:
                self._receive(url)
                break
            except (_CutError, requests.ConnectionError, requests.Timeout) as error:
                problem = _reason(error)
            except requests.exceptions.ChunkedEncodingError:
                problem = "the connection was cut"
            except requests.RequestException as error:
                raise UserError(f"{url}: cannot be fetched: {first_line(error)}") from None
            fruitless = 0 if self._size() > most else fruitless + 1
            most = max(most, self._size())
            if fruitless == TRIES:
                raise UserError(f"{url}: {problem}{self._what_next(most)}")
            time.sleep(WAIT * max(1, fruitless))
        self.note.unlink(missing_ok=True)
        self.partial.replace(output_file)

    def _what_next(self, most: int) -> str:
        if most == 0:
            return "; nothing has come (a proxy is taken from the variable HTTPS_PROXY)"
        if not self.continues:
            return f" after {most} bytes, and the server cannot continue a download; the same command starts again"
        return f" after {most} bytes; the same command continues there"

    def _receive(self, url: str) -> None:
        """Make one attempt: append to the partial file, or begin it again where the server cannot continue."""
        start, validator, total = self._begun()
        if start and start == total:
            return
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            self._require_archive(answer)
            if answer.status_code == requests.codes.partial_content:
                total = _continued(answer, start)
            else:
                start, total = 0, _length(answer)
                self.partial.unlink(missing_ok=True)  # before the note that describes the next one
                self.continues = "bytes" in answer.headers.get("Accept-Ranges", "") and bool(_validator(answer))
                write_json(self.note, {"url": url, "validator": _validator(answer), "total": total})
            self._require_size(total, start)
            self._append(answer, start, total)

    def _append(self, answer: requests.Response, start: int, total: int | None) -> None:
        done = start
        with self.partial.open("ab") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                file.flush()  # so that a killed process loses one chunk at most
                done += len(chunk)
                self.advance(self.archive.name, done, total)
            os.fsync(file.fileno())
        if total is not None and done < total:
            raise _CutError("the connection was cut")
        if total is not None and done > total:
            self.partial.unlink()
            raise UserError(f"{answer.url}: expected {quantity(total, 'byte')}, found {done}")

    def _begun(self) -> tuple[int, str, int | None]:
        """Return the partial file's size, the server's name of its version, and its full size.

        The size is 0 if the version is not known, since the rest could then be of another one.
        """
        try:
            note = json.loads(self.note.read_text())
            url, validator, total = note["url"], note["validator"], note["total"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, "", None
        known = validator and url == self.archive.url
        return (self._size(), validator, total) if known else (0, "", None)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _require_archive(self, answer: requests.Response) -> None:
        """Raise if the server does not send the file, or sends a web page."""
        state = f"{answer.status_code} {answer.reason}"
        if answer.status_code in BUSY:
            raise _CutError(f"the server answers {state}")
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            self.partial.unlink(missing_ok=True)
            raise _CutError(f"the server answers {state}")
        if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise UserError(f"{answer.url}: expected an archive, the server answers {state}; see {self.page}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise UserError(
                f"{answer.url}: expected an archive, found a web page; the address may have changed, or want a login: "
                f"see {self.page}"
            )

    def _require_size(self, total: int | None, start: int) -> None:
        """Raise if the file has another size than the card says, or does not fit on the disk."""
        if total is None:
            return
        if self.archive.bytes not in (None, total):
            raise UserError(f"{self.archive.url}: expected {self.archive.bytes} bytes, found {total}; see {self.page}")
        free = shutil.disk_usage(self.partial.parent).free
        if total - start > free:
            raise UserError(
                f"--data-root: {self.partial.parent} needs {total - start} more bytes for {self.archive.name}, "
                f"found {free} free"
            )


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {TIMEOUT[0]} s"
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return f"nothing came for {TIMEOUT[1]} s"
    return str(error) if isinstance(error, _CutError) else "the server cannot be reached"


def _validator(answer: requests.Response) -> str:
    """What names this version of the file in `If-Range`: a strong ETag, else the date; empty if there is neither."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return ""
    tag = answer.headers.get("ETag", "W/")
    return answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _length(answer: requests.Response) -> int | None:
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() and not encoded else None


def _continued(answer: requests.Response, start: int) -> int | None:
    """Return the full size that the answer to a request from `start` on states.

    Raises:
        UserError: the answer begins elsewhere.
    """
    stated = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)", stated.strip())
    if match is None or int(match[1]) != start:
        raise UserError(f"{answer.url}: expected the bytes from {start} on, the server sends '{stated}'")
    return None if match[2] == "*" else int(match[2])

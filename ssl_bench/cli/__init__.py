"""The command line: parse, call the library, print. Slow imports are made in the commands that need them."""

from __future__ import annotations

import errno
import functools
import io
import logging
import os
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from ssl_bench.cli import catalogue, data, exchange, live, models, results, sweep, training  # noqa: F401
from ssl_bench.cli.common import app, say, with_default_card
from ssl_bench.command import called_as, command_line
from ssl_bench.environment import before_torch
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.version import current_version

ORDER = (
    "run",
    "reproduce",
    "score",
    "report",
    "compare",
    "status",
    "watch",
    "serve",
    "predict",
    "export_model",
    "methods",
    "benchmarks",
)  # in which --help lists them
app.registered_commands.sort(key=lambda command: ORDER.index(getattr(command.callback, "__name__", "")))


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ssl-bench {current_version()}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit.")
]


@app.callback()
def root(version: VersionOption = False) -> None:
    """A reproducible benchmark of semi-supervised learning methods for medical image segmentation."""


@functools.cache
def command() -> Any:
    """Return the command line as click runs it; made once, since typer reads every signature for it."""
    return typer.main.get_command(app)


class _ToStderr(logging.Handler):
    """Prints log messages to stderr, one on a line."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def main() -> NoReturn:
    """Entry point: a user's mistake is one clear message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal cannot show
    try:
        _run()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EPIPE) or error.filename is not None:
            raise
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own flush succeeds
        say(f"error: the output cannot be written: {error.strerror}")
        sys.exit(1)
    sys.exit(0)


def _run() -> None:
    """Run the command and write out what it printed.

    Raises:
        OSError: the output cannot be written.
    """
    before_torch()
    log, handler = logging.getLogger("ssl_bench"), _ToStderr(logging.INFO)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with called_as(command_line()):
            command()(with_default_card(sys.argv[1:]))
    except UserError as error:
        say("\n".join(f"error: {line}" for line in str(error).splitlines()))
        sys.exit(2)
    except InterruptedRunError as error:
        say("interrupted: nothing is lost; run the same command again to continue")
        sys.exit(128 + error.signal_number)
    finally:
        log.removeHandler(handler)
        sys.stdout.flush()

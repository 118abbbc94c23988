"""The command line: parse, call the library, print. Slow imports are made in the commands that need them."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

from ssl_bench.cli import catalogue, data, exchange, results, sweep, training  # noqa: F401
from ssl_bench.cli.common import app, say
from ssl_bench.command import called_as, command_line
from ssl_bench.environment import before_torch
from ssl_bench.errors import InterruptedRunError, UserError

ORDER = (
    "run",
    "reproduce",
    "score",
    "report",
    "status",
    "predict",
    "methods",
    "benchmarks",
)  # in which --help lists them
app.registered_commands.sort(key=lambda command: ORDER.index(getattr(command.callback, "__name__", "")))


class _ToStderr(logging.Handler):
    """Prints log messages to stderr, one on a line."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def main() -> NoReturn:
    """Entry point: a user's mistake is one clear message and exit code 2."""
    before_torch()
    log, handler = logging.getLogger("ssl_bench"), _ToStderr(logging.INFO)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with called_as(command_line()):
            app()
    except UserError as error:
        say("\n".join(f"error: {line}" for line in str(error).splitlines()))
        sys.exit(2)
    except InterruptedRunError as error:
        say("interrupted: nothing is lost; run the same command again to continue")
        sys.exit(128 + error.signal_number)
    finally:
        log.removeHandler(handler)
    sys.exit(0)

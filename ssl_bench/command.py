"""The command line as words: to print for people, and to start other processes with."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any


def quantity(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`: a count and its noun, with an s where it is not one."""
    return f"{count} {noun}{'s' * (count != 1)}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first `most` names between commas, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def run_words(
    methods: Sequence[str],
    dataset: str,
    labeled: str,
    protocol: str,
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    label_seeds: Sequence[int] = (),
) -> list[str]:
    """Words of `ssl-bench run ...`, without the first one."""
    words = ["run", "--methods", ",".join(methods), "--dataset", dataset, "--labeled", labeled]
    words += ["--protocol", protocol, "--seeds", ",".join(map(str, seeds)), *label_words(label_seeds)]
    return [*words, *setting_words(settings)]


def label_words(label_seeds: Sequence[int]) -> list[str]:
    """`--label-seeds 1,2`, or nothing without label seeds."""
    return ["--label-seeds", ",".join(map(str, label_seeds))] if label_seeds else []


COMMAND = "SSL_BENCH_COMMAND"  # what the person typed, for the provenance of what a child of it trains


_CALL: ContextVar[str | None] = ContextVar("ssl_bench_call", default=None)


@contextmanager
def called_as(command: str) -> Iterator[None]:
    """Within `with`, `command` is what a person typed; an outer `with` takes precedence over an inner one."""
    token = _CALL.set(_CALL.get() or command)
    try:
        yield
    finally:
        _CALL.reset(token)


def typed_command() -> str:
    """The command line or the Python call that asked for this process's work, as a person typed it."""
    return _CALL.get() or command_line()


def command_line() -> str:
    """The command line of this process, or of the process that started it to train a run."""
    return os.environ.get(COMMAND) or shlex.join(["ssl-bench", *sys.argv[1:]])


def call_words(function: str, arguments: Mapping[str, Any]) -> str:
    """Return a Python call as text, as in `ssl_bench.run(methods='mt', dataset='demo')`."""
    return f"ssl_bench.{function}({', '.join(f'{key}={_literal(value)}' for key, value in arguments.items())})"


def _literal(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    return repr(os.fspath(value)) if isinstance(value, os.PathLike) else repr(value)


RESULTS = Path("results")  # the results root where none is named


def same_place(results_root: Path, methods_dir: Sequence[Path]) -> list[str]:
    """Path options of a command that reads the same store and methods."""
    named = ["--results-root", str(results_root)] if results_root != RESULTS else []
    return named + [word for folder in methods_dir for word in ("--methods-dir", str(folder))]


def place_words(
    data_root: Path | None,
    results_root: Path,
    methods_dir: Sequence[Path],
    *,
    allow_partial: bool,
    log: Sequence[str] = (),
) -> list[str]:
    """Path options to pass on to a child process, and `log`, the words that name its trackers."""
    words = [] if data_root is None else ["--data-root", str(data_root)]
    words += ["--allow-partial"] if allow_partial else []
    return [*words, "--results-root", str(results_root), *same_place(RESULTS, methods_dir), *log]


def setting_words(settings: Mapping[str, Any]) -> list[str]:
    """`--set KEY=VALUE` for each setting."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={toml_value(value)}")]


def toml_value(value: Any) -> str:
    """A setting's value as `--set` reads it."""
    return (
        written(value) if isinstance(value, Mapping) else str(value).lower() if isinstance(value, bool) else str(value)
    )


def written(value: Any) -> str:
    """Write a value as TOML, a mapping as an inline table."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(str(key))} = {written(own)}" for key, own in value.items()) + "}"
    return quoted(value)


def quoted(value: Any) -> str:
    """Write a value as TOML, whose strings and lists are JSON's as long as nothing is escaped to surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

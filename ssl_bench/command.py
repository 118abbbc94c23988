"""The command line as words: to print for people, and to start other processes with."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def quantity(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`: a count and its noun, with an s where it is not one."""
    return f"{count} {noun}{'s' * (count != 1)}"


def run_words(
    methods: Sequence[str], dataset: str, labeled: str, protocol: str, seeds: Sequence[int], settings: Mapping[str, Any]
) -> list[str]:
    """Words of `ssl-bench run ...`, without the first one."""
    words = ["run", "--methods", ",".join(methods), "--dataset", dataset, "--labeled", labeled]
    return [*words, "--protocol", protocol, "--seeds", ",".join(map(str, seeds)), *setting_words(settings)]


COMMAND = "SSL_BENCH_COMMAND"  # what the person typed, for the provenance of what a child of it trains


def typed_command() -> str:
    """The command line that asked for this process's work, as a person typed it."""
    return os.environ.get(COMMAND) or shlex.join(["ssl-bench", *sys.argv[1:]])


def setting_words(settings: Mapping[str, Any]) -> list[str]:
    """`--set KEY=VALUE` for each setting."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={toml_value(value)}")]


def toml_value(value: Any) -> str:
    """A setting's value as `--set` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Where the data of stored runs lay, by the commands that trained them: options for commands that train more."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise

from ssl_bench.store import Run

PARTIAL = "--allow-partial"
IN_PYTHON = re.compile(r"data_root=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")


def data_options(runs: Sequence[Run]) -> list[str]:
    """Return `--data-root` and `--allow-partial` as the last of these runs was trained with; empty without both."""
    named = [run for run in runs if run.provenance.get("command")]
    if not named:
        return []
    last = max(named, key=lambda run: str(run.provenance["finished"]))
    root = _data_root(_command(last))
    return ([] if root is None else ["--data-root", root]) + [PARTIAL] * _allows_partial(last)


def partial_copies(runs: Sequence[Run]) -> list[str]:
    """A line for each data set of which some runs accepted another number of cases than its card names."""
    found: dict[tuple[str, str], int] = {}
    for run in runs:
        if _allows_partial(run):
            spec = run.spec
            found[spec.benchmark, spec.data_fingerprint] = spec.train_count + spec.test_count
    return [
        f"{name} (data {data}): {PARTIAL} accepted a copy with another number of cases than the published data set; "
        f"these runs use {cases}."
        for (name, data), cases in found.items()
    ]


def _command(run: Run) -> str:
    return str(run.provenance.get("command") or "")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a Python call
        return []


def _data_root(command: str) -> str | None:
    if command.startswith("ssl_bench."):
        match = IN_PYTHON.search(command)
        return None if match is None else str(ast.literal_eval(match[1]))
    words = _words(command)
    after = [word for before, word in pairwise(words) if before == "--data-root"]
    joined = [word.removeprefix("--data-root=") for word in words if word.startswith("--data-root=")]
    return next(iter([*after, *joined]), None)


def _allows_partial(run: Run) -> bool:
    command = _command(run)
    if command.startswith("ssl_bench."):
        return "allow_partial=True" in command
    return PARTIAL in _words(command)

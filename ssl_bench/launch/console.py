"""The console for progress and tables, and the bars of downloads, without slow imports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

LINE_SECONDS = 30.0  # between two lines where there is no terminal


def make_console(*, quiet: bool = False) -> Console:
    """Return a console for the terminal or notebook; other output has 160 columns. A quiet console prints nothing."""
    if quiet:
        return Console(quiet=True, force_terminal=False)
    console = Console()
    return console if console.is_terminal else Console(width=160)


@contextmanager
def transferred(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each (name, bytes done, all bytes); without a terminal, a line every LINE_SECONDS.

    All bytes may be unknown.
    """
    tasks: dict[str, TaskID] = {}
    said = time.monotonic()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bars:  # fmt: skip

        def advance(name: str, done: int, total: int | None) -> None:
            nonlocal said
            if name not in tasks:
                tasks[name] = bars.add_task(escape(name), total=total)
            bars.update(tasks[name], completed=done, total=total)
            if not console.is_terminal and time.monotonic() - said > LINE_SECONDS:
                said = time.monotonic()
                console.print(escape(f"{name}: {done} of {total or 'unknown'} bytes"), highlight=False, soft_wrap=True)

        yield advance

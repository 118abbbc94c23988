"""The console for progress and tables, and the bars of downloads, without slow imports."""

from __future__ import annotations

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


def make_console(*, quiet: bool = False) -> Console:
    """Return a console for the terminal or notebook; other output has 160 columns. A quiet console prints nothing."""
    if quiet:
        return Console(quiet=True, force_terminal=False)
    console = Console()
    return console if console.is_terminal else Console(width=160)


@contextmanager
def transferred(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each (name, bytes done, all bytes); all bytes may be unknown."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(escape(name), total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield advance

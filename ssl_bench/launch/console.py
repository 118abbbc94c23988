"""The console for progress and tables."""

from __future__ import annotations

from rich.console import Console


def make_console(*, quiet: bool = False) -> Console:
    """Return a console for the terminal or notebook; other output has 160 columns. A quiet console prints nothing."""
    if quiet:
        return Console(quiet=True, force_terminal=False)
    console = Console()
    return console if console.is_terminal else Console(width=160)

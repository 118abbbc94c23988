"""The console that progress and tables are shown on."""

from __future__ import annotations

from rich.console import Console


def make_console(*, quiet: bool = False) -> Console:
    """The terminal or the notebook, or 160 columns where the output goes elsewhere; a quiet one prints nothing."""
    if quiet:
        return Console(quiet=True, force_terminal=False)
    console = Console()
    return console if console.is_terminal else Console(width=160)

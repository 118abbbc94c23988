"""Parts of Markdown pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, with an empty line after it."""
    lines = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(map(_cell, row)) for row in rows)]
    return [*(f"| {line} |" for line in lines), ""]


def code(text: str) -> str:
    """Return a text as inline code."""
    return f"`{text}`" if text else ""


def page(title: str, lines: Iterable[str]) -> str:
    """Return a page from its title and the lines below it."""
    return "\n".join([f"# {title}", "", *lines]).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", r"\|")

"""Signs at a row's title that tell it from the other rows, and the lines that explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssl_bench.command import toml_value

AUTHORS = "‡"  # at its authors' settings
RECONSTRUCTED = "§"  # built from a description
RECONSTRUCTED_WORDS = "reconstructed from its description (an abstract), since no code of its training was published"


def signed(title: str, *, reconstructed: bool, tuned: bool) -> str:
    """Return a row's title with its signs."""
    return title + RECONSTRUCTED * reconstructed + AUTHORS * tuned


def sign_notes(authors: Mapping[str, Mapping[str, Any]], reconstructed: Sequence[str]) -> list[str]:
    """Explain the signs of a table or figure.

    Args:
        authors: settings by title of the rows at their authors' settings.
        reconstructed: titles of the rows whose method is reconstructed.

    """
    notes = [f"{RECONSTRUCTED}: {RECONSTRUCTED_WORDS}: {', '.join(reconstructed)}."] if reconstructed else []
    if authors:
        titles: dict[str, list[str]] = {}
        for title, settings in authors.items():
            titles.setdefault(in_words(settings), []).append(title)
        each = "; ".join(f"{', '.join(own)}: {words}" for words, own in titles.items())
        notes.append(f"{AUTHORS}: at its authors' settings; a row without {AUTHORS} is at the protocol's. {each}.")
    return notes


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as `key = value` between commas, values as in TOML."""
    return ", ".join(f"{key} = {toml_value(value)}" for key, value in settings.items())

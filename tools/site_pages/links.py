"""Links that leave docs/: files of the repository that are pages of the site."""

from __future__ import annotations

import posixpath
import re

LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
PAGES = {  # a file of the repository, and its page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "results/measured/README.md": "measured/store.md",
    "results/measured-intel/README.md": "measured/store-intel.md",
}


def page_of(path: str) -> str | None:
    """Return the page of a repository's file, relative to the site's root; None if it has none."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("examples/") and path.endswith(".ipynb"):
        return path.removesuffix(".ipynb") + ".md"
    return PAGES.get(path)


def moved(text: str, source: str, page: str) -> str:
    """Rewrite the links of a repository's file for the page that shows it.

    Args:
        text: the file's Markdown.
        source: its path in the repository, such as `docs/index.md`.
        page: its page, relative to the site's root, such as `index.md`.
    """

    def link(match: re.Match[str]) -> str:
        target = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"])))
        if target is None:
            return match[0]
        own = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"{match['before']}{own}{match['anchor'] or ''}{match['after']}"

    return LINK.sub(link, text)

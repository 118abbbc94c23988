"""Adds the generated pages to the site (`hooks` in mkdocs.yml) and follows links that leave docs/."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from site_pages.cards import cards_page, protocols_page  # noqa: E402
from site_pages.command_line import command_line_page  # noqa: E402
from site_pages.diagram import drawn  # noqa: E402
from site_pages.links import PAGES, moved  # noqa: E402
from site_pages.measured import PAGES as MEASURED  # noqa: E402
from site_pages.measured import measured_index, measured_page  # noqa: E402
from site_pages.notebooks import notebook_page  # noqa: E402
from site_pages.python_api import MODULES, module_page  # noqa: E402

logging.getLogger("matplotlib").setLevel(logging.ERROR)


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add every generated page and picture."""
    for path, content in generated():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links to files of the repository that have a page, and draw diagrams."""
    path = page.file.src_uri
    return drawn(moved(markdown, f"docs/{path}", path)) if page.file.generated_by is None else markdown


def generated() -> Iterator[tuple[str, str | bytes]]:
    """Yield the path and the content of each generated file."""
    yield "reference/cards.md", cards_page()
    yield "reference/protocols.md", protocols_page()
    yield "reference/command-line.md", command_line_page()
    for module in MODULES:
        yield f"reference/python/{module.file}", module_page(module)
    yield "measured/index.md", measured_index()
    for one in MEASURED:
        made = measured_page(one)
        yield f"measured/{one.slug}.md", made.text
        yield from ((f"measured/{name}", content) for name, content in made.pictures.items())
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        text, pictures = notebook_page(notebook)
        yield f"examples/{notebook.stem}.md", moved(text, f"examples/{notebook.name}", f"examples/{notebook.stem}.md")
        yield from ((f"examples/{name}", content) for name, content in pictures.items())
    for source, page in PAGES.items():
        if source != "README.md" and (ROOT / source).is_file():
            yield page, moved((ROOT / source).read_text(encoding="utf-8"), source, page)

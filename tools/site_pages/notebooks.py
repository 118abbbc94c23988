"""Executed notebooks as pages."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
STYLE = re.compile(r"<style[^>]*>.*?</style>", re.DOTALL)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by file name."""
    lines, pictures = list[str](), dict[str, bytes]()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [source, ""]
        elif cell["cell_type"] == "code":
            lines += [*_fenced(source, "python"), ""]
            for output in cell["outputs"]:
                lines += [*_output(output, path.stem, pictures), ""]
    return "\n".join(lines).rstrip("\n") + "\n", pictures


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> list[str]:
    """The best form of a cell's output: a picture, a table, or text."""
    if output["output_type"] == "stream":
        return _fenced(COLOURS.sub("", "".join(output["text"])), "text")
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return [f"![Output of the cell above]({name})"]
    if "text/html" in data:
        lines = STYLE.sub("", "".join(data["text/html"])).splitlines()
        return ['<div class="output" markdown="0">', *(line for line in lines if line.strip()), "</div>"]
    return _fenced(html.unescape("".join(data.get("text/plain", ""))), "text")


def _fenced(text: str, language: str) -> list[str]:
    return [f"```{language}", text.rstrip("\n"), "```"]

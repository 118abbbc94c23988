"""Diagrams of boxes and arrows as SVG, so that the site needs no script from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

FENCE = re.compile(r"```mermaid\ngraph TD\n(.*?)```", re.DOTALL)
EDGE = re.compile(r"^\s*(\w+) --> (\w+)\s*$", re.MULTILINE)
WIDTH, HEIGHT, GAP, STEP, MARGIN = 104, 30, 22, 70, 8  # pixels: a box, between boxes, between rows, around


def drawn(text: str) -> str:
    """Replace each Mermaid graph of a page by a picture of it."""
    return FENCE.sub(lambda match: f"\n{svg(EDGE.findall(match[1]))}\n", text)


def svg(edges: Sequence[tuple[str, str]]) -> str:
    """Draw a graph without circles: each box below all that point to it.

    Args:
        edges: from a box to another one.
    """
    level = levels(edges)
    rows = [[name for name in level if level[name] == number] for number in range(max(level.values()) + 1)]
    for number, row in enumerate(rows[1:], 1):  # near the boxes above, so that few arrows cross
        places = {name: index / max(1, len(above) - 1) for above in rows[:number] for index, name in enumerate(above)}
        row.sort(key=lambda name: _mean([places[a] for a, b in edges if b == name and a in places]))
    width = max(len(row) for row in rows) * (WIDTH + GAP) - GAP + 2 * MARGIN
    height = (len(rows) - 1) * STEP + HEIGHT + 2 * MARGIN
    left = {
        name: (width - len(row) * (WIDTH + GAP) + GAP) / 2 + index * (WIDTH + GAP)
        for row in rows
        for index, name in enumerate(row)
    }
    lines = [
        f'<svg class="diagram" viewBox="0 0 {width} {height}" role="img" aria-label="Diagram">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    for start, end in edges:
        x1, y1 = left[start] + WIDTH / 2, MARGIN + level[start] * STEP + HEIGHT
        x2, y2 = left[end] + WIDTH / 2, MARGIN + level[end] * STEP
        bend = (y2 - y1) / 2
        lines.append(
            f'<path class="edge" d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" '
            'marker-end="url(#arrow)"/>'
        )
    for name, x in left.items():
        y = MARGIN + level[name] * STEP
        lines += [
            f'<rect x="{x:g}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>',
            f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 4:g}">{name}</text>',
        ]
    return "\n".join([*lines, "</svg>"])


def levels(edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return each box's row: one below the lowest box that points to it."""
    level = {name: 0 for edge in edges for name in edge}
    for _ in level:
        for start, end in edges:
            level[end] = max(level[end], level[start] + 1)
    return level


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.5

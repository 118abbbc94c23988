"""The paper's figures from the runs of a store, with their captions."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.figure import Figure

from ssl_bench.cards import Grid
from ssl_bench.declarations import Declarations
from ssl_bench.grids.aim import Target, aim
from ssl_bench.reporting.canvas import render
from ssl_bench.reporting.curve_figures import draw_curves, draw_shares
from ssl_bench.reporting.gather import ShownOptions, gather
from ssl_bench.reporting.kept_files import Kept, unreadable_notes
from ssl_bench.reporting.label_seeds import label_notes
from ssl_bench.reporting.notes import damage_notes, fill_commands, missing_notes, origin, protocol_notes, row_notes
from ssl_bench.reporting.picture_figures import draw_examples, draw_moments
from ssl_bench.reporting.processors import processor_notes
from ssl_bench.reporting.unlike_runs import unlike_notes
from ssl_bench.store import Run

READ: dict[str, tuple[Kept, ...]] = {"curves": ("curves",), "examples": ("examples",), "moments": ("moments",)}


@dataclass(frozen=True)
class FigureReport:
    """A figure of the paper, the lines below it, and the commands that train its missing runs.

    Attributes:
        grid: the card.
        figure: the figure.
        notes: the lines below it.
        runs: all runs of its cells, each once.
        missing: commands.
        cells: how many cells have runs, and how many there are.
        thumbnail: draws a part of the figure that is legible at half its width; None: its upper left corner is.
        pictureless: runs that it cannot show because they have no pictures.
        is_empty: whether it shows nothing measured.
        finding: what it shows, in a sentence; may be empty.
    """

    grid: Grid
    figure: Figure
    notes: tuple[str, ...]
    runs: tuple[Run, ...] = field(repr=False)
    missing: tuple[str, ...] = ()
    cells: tuple[int, int] = (0, 0)
    thumbnail: Callable[[], Figure] | None = field(default=None, repr=False)
    pictureless: tuple[Run, ...] = field(default=(), repr=False)
    is_empty: bool = False
    finding: str = ""

    @property
    def name(self) -> str:
        """The label, for example `Figure 1`."""
        return self.grid.name

    def _repr_html_(self) -> str:
        """The figure and its caption as a notebook shows them."""
        picture = base64.b64encode(render(self.figure, "png")).decode()
        name = escape(f"{self.grid.name}. {self.grid.title}")
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f'<img alt="{name}" src="data:image/png;base64,{picture}">\n<p>{name}</p>\n<ul>{notes}</ul>\n'


def paper_figure(
    grid: Grid, target: Target, runs: Sequence[Run], methods: Declarations, view: ShownOptions
) -> FigureReport:
    """Draw a figure of the paper from the available runs.

    Args:
        grid: the card.
        target: data set, shares, protocol and settings to show.
        runs: the store's runs.
        methods: the registry.
        view: options of the figure.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would stand in one figure.
    """
    found = gather(aim(grid, target, methods), target, runs, methods)
    draw = {"curves": draw_curves, "shares": draw_shares, "examples": draw_examples, "moments": draw_moments}[grid.kind]
    drawn = draw(found)
    missing = tuple(fill_commands(found.rows, target, view, grid.metrics))
    notes = [
        *drawn.remarks,
        *row_notes(found.rows),
        *unreadable_notes(found.runs, *READ.get(grid.kind, ())),
        *damage_notes(found.damaged),
        *protocol_notes(target, found.body),
        *origin(found.runs, has_deviation=False),
        *processor_notes(found),
        *unlike_notes(found.rows, runs),
        *label_notes(found.body, runs),
        *missing_notes(grid, target, found.rows, missing, view),
    ]
    return FigureReport(
        found.grid, drawn.figure, tuple(notes), found.runs, missing, found.cells, drawn.thumbnail, drawn.pictureless,
        drawn.is_empty, drawn.finding,
    )  # fmt: skip

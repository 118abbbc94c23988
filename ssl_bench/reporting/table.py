"""A table of cells, and the formats that it is printed in."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape as escape_html
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable

from ssl_bench.atomic import csv_text

if TYPE_CHECKING:
    import pandas as pd

LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "✓": r"\checkmark", "±": r"$\pm$", "—": "--",
         "·": r"$\cdot$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}",
         "▲": r"$\uparrow$", "▼": r"$\downarrow$", "≤": r"$\leq$",
         "<": "$<$", ">": "$>$"}  # fmt: skip
# How the notes begin that a reader of the table alone needs: those that explain a sign, and what was averaged.
BESIDE_THE_TABLE = (*"†‡§▲▼*+", "Bold, underlined:", "Protocol ", "Measured:")
WIDEST = 10_000  # columns of a terminal
Emphasis = Literal["", "best", "second"]
ONE_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?)(?: ± \d+(?:\.\d+)?)?[^\w.]*")
EMPHASIS: dict[str, dict[Emphasis, tuple[str, str]]] = {  # what stands before and after an emphasised text
    "terminal": {"best": ("[bold]", "[/bold]"), "second": ("[underline]", "[/underline]")},
    "markdown": {"best": ("**", "**"), "second": ("<u>", "</u>")},
    "latex": {"best": (r"\textbf{", "}"), "second": (r"\underline{", "}")},
    "html": {"best": ("<b>", "</b>"), "second": ("<u>", "</u>")},
}


@dataclass(frozen=True)
class Cell:
    """A number of a table: as it is printed, as it is sorted (`value`), and the hashes of the runs it comes from."""

    text: str
    value: float | None = None
    emphasis: Emphasis = ""
    runs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """Rows under a header; `notes` stand below, one a line. `numeric` columns are set to the right.

    On a terminal neither these nor the first nor `unbroken` ones are folded or cut.
    A line break in a heading is one on a terminal, and a space elsewhere.
    """

    title: str
    header: list[str]
    rows: Sequence[Sequence[str | Cell]]
    numeric: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    name: str = ""  # tells it from others of the same exhibit, in file names
    unbroken: frozenset[str] = frozenset()

    def print(self, console: Console, *, fold: bool = False) -> None:
        """Print to a terminal, which breaks long notes itself unless they are to be folded at its width."""
        table = RichTable(title=escape(self.title), title_justify="left", title_style="bold")
        for number, name in enumerate(self.header):
            whole = number == 0 or name in self.numeric | self.unbroken
            lines = [line for text in (name, *(str(row[number]) for row in self.rows)) for line in text.split("\n")]
            table.add_column(
                escape(name), justify="right" if name in self.numeric else "left", overflow="fold", no_wrap=whole,
                min_width=max(map(cell_len, lines)) if whole else None,
            )  # fmt: skip
        for row in self.rows:
            table.add_row(*_emphasised(row, "terminal", escape))
        _print_whole(table, console)
        for note in self.notes:
            console.print(escape(note), highlight=False, soft_wrap=not fold)

    @property
    def headings(self) -> list[str]:
        """The header on one line."""
        return [name.replace("\n", " ") for name in self.header]

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        rule = ["---:" if name in self.numeric else "---" for name in self.header]
        rows = [
            _emphasised(row, "markdown", lambda text: text.replace("|", r"\|"))
            for row in (self.headings, rule, *self.rows)
        ]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"**{self.title}**", "", *("| " + " | ".join(row) + " |" for row in rows), "", *notes]) + "\n"

    def latex(self) -> str:
        """A booktabs table (needs the packages booktabs and amssymb).

        Notes that explain signs and numbers stand below it, all notes as comments above it.
        """
        columns = "".join("r" if name in self.numeric else "l" for name in self.header)
        lines = [" & ".join(_emphasised(row, "latex", _tex)) + r" \\" for row in (self.headings, *self.rows)]
        below = [rf"\par\footnotesize {_tex(note)}" for note in self.notes if note.startswith(BESIDE_THE_TABLE)]
        return "\n".join(
            [f"% {note}" for note in self.notes]
            + [r"\begin{table}", r"\centering", rf"\caption{{{_tex(self.title)}}}", rf"\begin{{tabular}}{{{columns}}}"]
            + [
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                *below,
                r"\end{table}",
                "",
            ]
        )

    def csv(self) -> str:
        """Comma-separated values, without title and notes."""
        return csv_text(self.headings, self.rows)

    def html(self) -> str:
        """A table element and its notes, for a page of one's own."""
        lines = ["<table>", f"<caption>{escape_html(self.title)}</caption>"]
        for tag, row in (("th", self.headings), *(("td", row) for row in self.rows)):
            lines.append(
                "<tr>" + "".join(f"<{tag}>{c}</{tag}>" for c in _emphasised(row, "html", escape_html)) + "</tr>"
            )
        notes = [f"<li>{escape_html(note)}</li>" for note in self.notes]
        return "\n".join([*lines, "</table>", "<ul>", *notes, "</ul>", ""])

    def to_frame(self) -> pd.DataFrame:
        """The table as a DataFrame, whose columns are the headings.

        A text that is one number, with or without its deviation over seeds and marks, becomes this number, unrounded
        where it is known so. In a column of numbers, a text without digits becomes NaN. Every other cell is its text.
        """
        import pandas as pd

        columns = [
            _numbers_and_texts([row[number] for row in self.rows], name in self.numeric)
            for number, name in enumerate(self.header)
        ]
        return pd.DataFrame(dict(enumerate(columns))).set_axis(self.headings, axis="columns")

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return self.html()


def joined(write: Callable[[Table], str]) -> Callable[[Sequence[Table]], str]:
    """A format of several tables, one below the other."""
    return lambda tables: "\n".join(write(table) for table in tables)


def picture(tables: Sequence[Table]) -> str:
    """An SVG of what `print` shows."""
    console = Console(record=True, file=io.StringIO(), width=118, force_terminal=True)
    for table in tables:
        table.print(console, fold=True)
    return console.export_svg(title="ssl-bench", unique_id="ssl-bench")


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": joined(Table.markdown),
    "latex": joined(Table.latex),
    "csv": joined(Table.csv),
    "html": joined(Table.html),
    "svg": picture,
}


def _print_whole(table: RichTable, console: Console) -> None:
    """Print a table at the console's width, or wider where it would break words or numbers to keep to that."""
    width = console.width
    needed = Measurement.get(console, console.options.update(max_width=WIDEST), table).minimum
    try:
        console.width = max(width, needed)
        console.print(table, crop=False)
    finally:
        console.width = width


def _numbers_and_texts(cells: Sequence[str | Cell], is_numeric: bool) -> list[float | str]:
    """A column's cells as numbers where they are numbers; a column that is not meant as one has texts alone."""
    found: list[float | str] = []
    for cell in cells:
        text = str(cell)
        match = ONE_NUMBER.fullmatch(text)
        if isinstance(cell, Cell) and cell.value is not None and match:
            found.append(cell.value)
        elif is_numeric and match:
            found.append(float(match[1]))
        else:
            found.append(text if not is_numeric or any(map(str.isdigit, text)) else math.nan)
    return found


def _emphasised(row: Sequence[str | Cell], format_name: str, escape_text: Callable[[str], str]) -> list[str]:
    """A row's texts, escaped, with the best bold and the second underlined."""
    texts = []
    for cell in row:
        before, after = EMPHASIS[format_name].get(cell.emphasis, ("", "")) if isinstance(cell, Cell) else ("", "")
        texts.append(f"{before}{escape_text(str(cell))}{after}")
    return texts


def _tex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)

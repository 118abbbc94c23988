"""A table of text cells, and the formats that it is printed in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "✓": r"\checkmark", "±": r"$\pm$", "—": "--",
         "·": r"$\cdot$"}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; `notes` stand below, one a line. `numeric` columns are set to the right."""

    title: str
    header: list[str]
    rows: list[list[str]]
    numeric: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    def print(self, console: Console) -> None:
        """Print to a terminal; the notes are never cut."""
        table = RichTable(title=escape(self.title), title_justify="left", title_style="bold")
        for name in self.header:
            table.add_column(
                escape(name), justify="right" if name in self.numeric else "left", no_wrap=name in self.numeric
            )
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
        for note in self.notes:
            console.print(escape(note), highlight=False, soft_wrap=True)

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        rule = ["---:" if name in self.numeric else "---" for name in self.header]
        rows = ["| " + " | ".join(c.replace("|", r"\|") for c in row) + " |" for row in (self.header, rule, *self.rows)]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"**{self.title}**", "", *rows, "", *notes]) + "\n"

    def latex(self) -> str:
        """A booktabs table (needs the packages booktabs and amssymb); the notes are comments above it."""
        columns = "".join("r" if name in self.numeric else "l" for name in self.header)
        lines = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in (self.header, *self.rows)]
        return "\n".join(
            [f"% {note}" for note in self.notes]
            + [r"\begin{table}", r"\centering", rf"\caption{{{_tex(self.title)}}}", rf"\begin{{tabular}}{{{columns}}}"]
            + [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
        )

    def csv(self) -> str:
        """Comma-separated values, without title and notes."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue()

    def svg(self) -> str:
        """A picture of what `print` shows."""
        console = Console(record=True, file=io.StringIO(), width=118, force_terminal=True)
        self.print(console)
        return console.export_svg(title="ssl-bench", unique_id="ssl-bench")


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": Table.markdown,
    "latex": Table.latex,
    "csv": Table.csv,
    "svg": Table.svg,
}


def _tex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)

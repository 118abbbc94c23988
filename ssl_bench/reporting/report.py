"""A report: several tables, figures and claims, to display or to write to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_bench.reporting.claims import ClaimsReport
from ssl_bench.reporting.table import Table
from ssl_bench.reporting.tables import TableReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ssl_bench.reporting.figures import FigureReport


@dataclass(frozen=True)
class Report:
    """Tables, figures and claims in the order of the request; a notebook shows all of them."""

    exhibits: tuple[TableReport | FigureReport | ClaimsReport, ...]

    @property
    def tables(self) -> list[Table]:
        """Every table; one of the paper's tables can be several, and claims are two."""
        return [table for one in self.exhibits if isinstance(one, TableReport | ClaimsReport) for table in one.tables]

    @property
    def statistics(self) -> list[Table]:
        """Intervals, tests, verdicts and sources of the spread of each of the paper's tables that has any."""
        return [table for one in self.exhibits if isinstance(one, TableReport) for table in one.statistics_tables]

    @property
    def figures(self) -> list[Figure]:
        """Every figure."""
        return [one.figure for one in self.exhibits if not isinstance(one, TableReport | ClaimsReport)]

    @property
    def missing(self) -> list[str]:
        """Commands that train the runs which the exhibits lack."""
        return list(dict.fromkeys(command for one in self.exhibits for command in one.missing))

    def write(self, folder: str | Path) -> list[Path]:
        """Write each table (Markdown, LaTeX, HTML, CSV) and figure (PNG, SVG, PDF) into a folder; returns the files.

        Raises:
            UserError: the folder cannot be written.
        """
        from ssl_bench.reporting.publish import write_files

        return [path for one in self.exhibits for path in write_files(one, Path(folder))]

    def write_html(self, folder: str | Path) -> int:
        """Write a site with a page per table, figure and run; returns the number of pages.

        Raises:
            UserError: the folder holds something else than an earlier report, or cannot be written.
        """
        from ssl_bench.reporting.publish import write_html

        return write_html(self.exhibits, Path(folder))

    def _repr_html_(self) -> str:
        """All tables and figures as a notebook shows them."""
        return "\n".join(one._repr_html_() for one in self.exhibits)

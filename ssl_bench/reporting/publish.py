"""Tables, figures and claims as files: every format of each in a folder, or all of them as a site."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from ssl_bench.atomic import require_folder, write_bytes, writing
from ssl_bench.cards import Claims, Grid
from ssl_bench.reporting.canvas import render, rendered
from ssl_bench.reporting.claim_figures import claims_thumbnail
from ssl_bench.reporting.claims import ClaimsReport
from ssl_bench.reporting.coverage import is_measured, sentence, state
from ssl_bench.reporting.figures import FigureReport
from ssl_bench.reporting.run_pages import run_page
from ssl_bench.reporting.site import ExhibitPage, Picture, refuse_others, write_site
from ssl_bench.reporting.table import FORMATS, Cell, Table
from ssl_bench.reporting.table_figures import TableFigure, forest_thumbnail
from ssl_bench.reporting.tables import TableReport

FIRST = "forest"  # the kind of a table's picture that stands above its numbers
SUFFIXES = {"markdown": "md", "latex": "tex", "html": "html"}


AnyReport = TableReport | FigureReport | ClaimsReport


def write_files(report: AnyReport, folder: Path) -> list[Path]:
    """Write a table or claims (Markdown, LaTeX, HTML, CSV, statistics) or a figure (PNG, SVG, PDF, caption).

    A CSV file holds one table; the other formats hold all of an exhibit.

    Returns:
        The files.

    Raises:
        UserError: the folder cannot be written.
    """
    contents: dict[str, bytes] = {}
    if isinstance(report, TableReport | ClaimsReport):
        contents = _as_tables(report)
        if isinstance(report, ClaimsReport):
            contents["-statistics.csv"] = report.csv.encode()
        else:
            contents["-statistics.csv"] = report.statistics_csv.encode()
            for table in report.statistics_tables[1:]:
                contents[f"-{table.name}.csv"] = table.csv().encode()
        for picture in report.figures:
            contents |= {f"-{picture.name}.{suffix}": content for suffix, content in picture.files.items()}
    else:
        contents = {f".{suffix}": content for suffix, content in rendered(report.figure).items()}
        contents[".md"] = _caption(report).encode()
    paths = {folder / f"{_slug(report)}{suffix}": content for suffix, content in contents.items()}
    with writing("--output", folder):
        for path, content in paths.items():
            write_bytes(path, content)
    return list(paths)


def _as_tables(report: TableReport | ClaimsReport) -> dict[str, bytes]:
    """The tables of an exhibit in every format, by the end of the file's name."""
    formats = {f".{suffix}": FORMATS[name](report.tables).encode() for name, suffix in SUFFIXES.items()}
    return formats | {f"{table.name and '-'}{table.name}.csv": table.csv().encode() for table in report.tables}


def write_html(reports: Sequence[AnyReport], folder: Path) -> int:
    """Write a site with a page per table, figure and run behind them; returns the number of pages.

    Raises:
        UserError: the folder holds something else than an earlier report, or cannot be written.
    """
    require_folder("--html", folder)
    refuse_others(folder)
    exhibits = [_exhibit(report) for report in reports]
    runs = {run.path.name: run for report in reports for run in report.runs}
    pages = [run_page(runs[name]) for name in sorted(runs)]
    with writing("--html", folder):
        write_site(folder, "ssl-bench report", _overview(reports), exhibits, pages)
    return 2 + len(exhibits) + len(pages)  # with the overview and the list of runs


def _slug(report: AnyReport) -> str:
    """What an exhibit's files and page are called: of a-z, 0-9 and -.

    With a hash where the label of one's own has more than these, or is a number as the paper's are.
    """
    card = _card(report)
    plain = re.sub(r"[^a-z0-9]+", "-", card.label.lower()).strip("-")
    is_papers = isinstance(card, Grid) and card.number is not None
    is_plain = plain == card.label and (is_papers or not plain.isdigit())
    mark = "" if is_plain else f"-{hashlib.sha256(card.label.encode()).hexdigest()[:6]}"
    return f"{card.exhibit}-{plain}{mark}"


def _card(report: AnyReport) -> Grid | Claims:
    return report.card if isinstance(report, ClaimsReport) else report.grid


def _picture(one: TableFigure, slug: str) -> Picture:
    """A table's figure in all its formats."""
    return Picture(one.title, f"{slug}-{one.name}", one.files, one.caption, float(one.figure.get_size_inches()[0]))


def _thumbnail(title: str, slug: str, figure: Figure | None) -> Picture | None:
    return None if figure is None else Picture(title, f"{slug}-thumbnail", {"svg": render(figure, "svg")})


def _caption(report: FigureReport) -> str:
    lines = [f"**{report.grid.name}. {report.grid.title}**", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def _exhibit(report: AnyReport) -> ExhibitPage:
    """Lay out an exhibit's page: pictures first, for tables too."""
    slug, title = _slug(report), f"{report.name}. {_card(report).title}"
    page = ExhibitPage(
        slug, report.name, title, finding=sentence(report), is_measured=is_measured(report),
    )  # fmt: skip
    if isinstance(report, TableReport):
        pictures = [(one.kind, _picture(one, slug)) for one in report.figures]
        return replace(
            page,
            pictures=tuple(picture for kind, picture in pictures if kind == FIRST),
            tables=(*report.tables, *report.statistics_tables),
            further=tuple(picture for kind, picture in pictures if kind != FIRST),
            thumbnail=_thumbnail(title, slug, forest_thumbnail(report.analysis)),
        )
    if isinstance(report, ClaimsReport):
        return replace(
            page,
            tables=report.tables,
            further=tuple(_picture(one, slug) for one in report.figures),
            thumbnail=_thumbnail(title, slug, claims_thumbnail(report.card, report.tests)),
        )
    rows = [[Cell(run.spec.label, runs=(run.path.name,))] for run in report.runs]
    return replace(
        page,
        pictures=(Picture(title, slug, rendered(report.figure)),),
        tables=(Table("The runs of this figure", ["Run"], rows),) if rows else (),
        notes=report.notes,
        thumbnail=_thumbnail(title, slug, None if report.thumbnail is None else report.thumbnail()),
    )


def _overview(reports: Sequence[AnyReport]) -> Table:
    """List the exhibits that show anything measured; the index folds the others away."""
    rows: list[list[str | Cell]] = []
    for report in reports:
        runs = report.runs
        if is_measured(report):
            rows.append([
                report.name, _card(report).title, ", ".join(sorted({run.spec.benchmark for run in runs})),
                ", ".join(sorted({run.spec.protocol.name for run in runs})), Cell(str(len(runs)), float(len(runs))),
                ", ".join(map(str, sorted({run.spec.seed for run in runs}))), state(report),
            ])  # fmt: skip
    header = ["Exhibit", "Title", "Data sets", "Protocols", "Runs", "Seeds", "State"]
    return Table("Tables, figures and claims", header, rows, frozenset({"Runs"}))

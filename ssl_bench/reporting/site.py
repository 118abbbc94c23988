"""The report as a static site: a page per table, figure and run, that opens from disk without a network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ssl_bench.atomic import write_bytes
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.reporting.table import Cell, Table

TEMPLATES = Path(__file__).with_name("templates")
ASSETS = ("style.css", "sort.js")
MARK = ".ssl-bench-report"  # distinguishes an earlier report from a user's folder
RUNS_PAGE = "runs/index.html"


@dataclass(frozen=True)
class Picture:
    """A picture in one or more formats; the page shows SVG where there is one, else PNG, and links to all."""

    alt: str
    name: str  # file stem, of a-z, 0-9 and -
    files: Mapping[str, bytes]  # "svg", "png", "pdf" -> content
    caption: str = ""
    inches: float = 7.0  # width in print; the page shows 7 inches as its whole width

    @property
    def shown(self) -> str:
        """The format on the page."""
        return "svg" if "svg" in self.files else "png"


@dataclass(frozen=True)
class ExhibitPage:
    """One table or figure of the paper, a page of its own: pictures, notes, tables, further pictures, in this order.

    Attributes:
        slug: such as "table-4".
        label: what the navigation calls it, such as "Table 4".
        title: with its label.
        tables: with their notes.
        pictures: the first one is shown on the index, where there is no thumbnail.
        notes: below the pictures.
        finding: what it shows, in a sentence for the index.
        further: pictures below the tables.
        thumbnail: a picture for the index, legible at half the width of a page.
        is_measured: whether it shows anything measured; the index folds the others away.
    """

    slug: str
    label: str
    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    finding: str = ""
    further: tuple[Picture, ...] = ()
    thumbnail: Picture | None = None
    is_measured: bool = True

    @property
    def preview(self) -> Picture | None:
        """The picture on the index; None if there is none."""
        return self.thumbnail or next(iter(self.pictures), None)

    @property
    def all_pictures(self) -> tuple[Picture, ...]:
        """Every picture of the page, and the thumbnail if there is one."""
        return (*self.pictures, *self.further, *([] if self.thumbnail is None else [self.thumbnail]))


@dataclass(frozen=True)
class RunPage:
    """A run's page: headings with rows of key and value, pictures and tables."""

    hash: str
    title: str
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def write_site(
    folder: Path, title: str, overview: Table, exhibits: Sequence[ExhibitPage], runs: Sequence[RunPage]
) -> None:
    """Write `index.html`, `<slug>.html`, `runs/<hash>.html` and `pictures/`; the same input gives the same bytes.

    An earlier report in the folder is replaced, and its pages that are no longer written are removed.

    Raises:
        UserError: the folder holds something else than an earlier report.
        ValueError: a slug, hash or picture name is not of a-z, 0-9 and -, is taken twice, or a cell names a run
            that has no page.

    """
    refuse_others(folder)
    own: list[ExhibitPage | RunPage] = [*exhibits, *runs]
    _check_runs([overview, *(table for page in own for table in page.tables)], runs)
    contents = _pages(title, overview, exhibits, runs)
    contents |= {name: (TEMPLATES / name).read_bytes() for name in ASSETS}
    contents |= _pictures([picture for one in exhibits for picture in one.all_pictures])
    contents |= _pictures([picture for run in runs for picture in run.pictures])
    write_bytes(folder / MARK, b"Written by ssl-bench report --html, which replaces what is here.\n")
    for name, content in contents.items():
        write_bytes(folder / name, content)
    for pattern in ("*.html", "runs/*.html", "pictures/*"):
        for path in folder.glob(pattern):
            if path.is_file() and path.relative_to(folder).as_posix() not in contents:
                path.unlink()


def refuse_others(folder: Path) -> None:
    """Raise UserError where a folder holds something else than an earlier report."""
    expected = "--html: expected an empty folder or an earlier report, found"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{expected} the file {folder}")
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if found and MARK not in found:
        raise UserError(f"{expected} {folder} with {found[0]} in it")


def _pages(title: str, overview: Table, exhibits: Sequence[ExhibitPage], runs: Sequence[RunPage]) -> dict[str, bytes]:
    """Every HTML page by its path."""
    _check_names(["index", "overview", "runs", *(one.slug for one in exhibits)])
    _check_names(["index", *(run.hash for run in runs)])
    environment = make_environment()
    addresses = {"Overview": "index.html"} | {one.label: f"{one.slug}.html" for one in exhibits} | {"Runs": RUNS_PAGE}
    shared = {"title": title, "addresses": addresses, "runs": {run.hash: run for run in runs}}
    pages: dict[str, tuple[str, dict[str, Any]]] = {
        "index.html": ("index", {"overview": overview, "exhibits": exhibits}),
        RUNS_PAGE: ("runs", {"table": _run_list(runs)}),
        **{f"{one.slug}.html": ("exhibit", {"exhibit": one}) for one in exhibits},
        **{f"runs/{run.hash}.html": ("run", {"run": run}) for run in runs},
    }
    return {
        path: environment.get_template(f"{name}.html.j2")
        .render(shared | own | {"path": path, "root": "../" * path.count("/")})
        .encode()
        for path, (name, own) in pages.items()
    }


def make_environment(*folders: Path) -> Environment:
    """Return the environment of the site's templates, and of those in further folders, which may extend them."""
    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"cells": _cells, "number": _number, "with_code": _with_code, "is_below": _is_below}
    environment.filters["quantity"] = quantity
    return environment


def _run_list(runs: Sequence[RunPage]) -> Table:
    return Table("Runs", ["Run", "Hash"], [[Cell(run.title, runs=(run.hash,)), run.hash] for run in runs])


def _pictures(pictures: Sequence[Picture]) -> dict[str, bytes]:
    """Every picture's files by their paths."""
    _check_names([picture.name for picture in pictures])
    for picture in pictures:
        _check_names(picture.files)
        if picture.shown not in picture.files:
            raise ValueError(f"picture {picture.name}: expected svg or png, found {', '.join(picture.files) or 'none'}")
    return {
        f"pictures/{picture.name}.{suffix}": content
        for picture in pictures
        for suffix, content in picture.files.items()
    }


def _check_names(names: Iterable[str]) -> None:
    """Check slugs, hashes and picture names, which become file names and must be unique."""
    seen = set[str]()
    for name in names:
        if not re.fullmatch("[a-z0-9-]+", name):
            raise ValueError(f"expected a name of a-z, 0-9 and -, found {name!r}")
        if name in seen:
            raise ValueError(f"expected names that differ, found {name!r} twice")
        seen.add(name)


def _check_runs(tables: Sequence[Table], runs: Sequence[RunPage]) -> None:
    """Check that every number links to an existing page."""
    cells = [cell for table in tables for row in table.rows for cell in _cells(row)]
    missing = sorted({name for cell in cells for name in cell.runs} - {run.hash for run in runs})
    if missing:
        raise ValueError(f"expected a page for each run that a cell names, found none for {', '.join(missing)}")


# ------------------------------------------------------------------------------------------ what the templates ask for


def _cells(row: Sequence[str | Cell]) -> list[Cell]:
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]


def _number(cell: Cell, is_numeric: bool) -> str:
    """The sort key of a cell for JavaScript: its value, its text in a numeric column, or ""."""
    value = cell.value
    if value is None and is_numeric:
        try:
            value = float(cell.text)
        except ValueError:
            return ""
    return "" if value is None or math.isnan(value) else repr(float(value)).replace("inf", "Infinity")


def _with_code(text: str) -> list[tuple[str, bool]]:
    """A note's parts, and whether each stood between backquotes."""
    return [(part, place % 2 == 1) for place, part in enumerate(re.split("`([^`]+)`", text)) if part]


def _is_below(row: Sequence[str | Cell]) -> bool:
    """Whether a row, by its indent, belongs to one above it (a class, another network)."""
    return str(row[0]).startswith(" ")

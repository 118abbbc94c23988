"""Tables and figures as files: every format of each in a folder, or all of them as a site."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ssl_bench.atomic import require_folder, write_bytes, writing
from ssl_bench.cards import Measurement, MetricName, dotted
from ssl_bench.reporting.draw import Line, Panel, PicturedCase, example_figure, line_figure, render
from ssl_bench.reporting.figures import FigureReport, case_metric_title, case_score
from ssl_bench.reporting.scores import cell_scores, mean_and_deviation
from ssl_bench.reporting.site import ExhibitPage, Picture, RunPage, refuse_others, write_site
from ssl_bench.reporting.table import FORMATS, Cell, Table
from ssl_bench.reporting.tables import TableReport
from ssl_bench.store import Run

FigureFormat = Literal["png", "svg", "pdf"]
SUFFIXES = {"markdown": "md", "latex": "tex", "html": "html"}


def write_files(report: TableReport | FigureReport, folder: Path) -> list[Path]:
    """Write a table (Markdown, LaTeX, HTML, CSV) with its statistics, or a figure (PNG, SVG, PDF) with its caption.

    A CSV file holds one table; the other formats hold all of an exhibit.

    Returns:
        The files.

    Raises:
        UserError: the folder cannot be written.
    """
    contents: dict[str, bytes] = {}
    if isinstance(report, TableReport):
        for name, suffix in SUFFIXES.items():
            contents[f".{suffix}"] = FORMATS[name](report.tables).encode()
        for table in report.tables:
            contents[f"{table.name and '-'}{table.name}.csv"] = table.csv().encode()
        contents["-statistics.csv"] = report.statistics_csv.encode()
        if report.spread is not None:
            contents["-spread.csv"] = report.spread.csv().encode()
    else:
        contents = {f".{suffix}": content for suffix, content in _rendered(report).items()}
        contents[".md"] = _caption(report).encode()
    paths = {folder / f"{_slug(report)}{suffix}": content for suffix, content in contents.items()}
    with writing("--output", folder):
        for path, content in paths.items():
            write_bytes(path, content)
    return list(paths)


def write_html(reports: Sequence[TableReport | FigureReport], folder: Path) -> int:
    """Write a site with a page per table, figure and run behind them; returns the number of pages.

    Raises:
        UserError: the folder holds something else than an earlier report, or cannot be written.
    """
    require_folder("--html", folder)
    refuse_others(folder)
    exhibits = [_exhibit(report) for report in reports]
    runs = {run.path.name: run for report in reports for run in report.runs}
    pages = [_run_page(runs[name]) for name in sorted(runs)]
    with writing("--html", folder):
        write_site(folder, "ssl-bench report", _overview(reports), exhibits, pages)
    return 2 + len(exhibits) + len(pages)  # with the overview and the list of runs


def _slug(report: TableReport | FigureReport) -> str:
    """What an exhibit's files and page are called: of a-z, 0-9 and -.

    With a hash where the label of one's own has more than these, or is a number as the paper's are.
    """
    grid = report.grid
    plain = re.sub(r"[^a-z0-9]+", "-", grid.label.lower()).strip("-")
    is_plain = plain == grid.label and (grid.number is not None or not plain.isdigit())
    mark = "" if is_plain else f"-{hashlib.sha256(grid.label.encode()).hexdigest()[:6]}"
    return f"{grid.exhibit}-{plain}{mark}"


def _rendered(report: FigureReport) -> dict[str, bytes]:
    return {suffix: render(report.figure, suffix) for suffix in get_args(FigureFormat)}


def _caption(report: FigureReport) -> str:
    lines = [f"**{report.grid.name}. {report.grid.title}**", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def _exhibit(report: TableReport | FigureReport) -> ExhibitPage:
    name, title = report.grid.name, f"{report.grid.name}. {report.grid.title}"
    if isinstance(report, TableReport):
        return ExhibitPage(_slug(report), name, title, tables=(*report.tables, *report.statistics_tables))
    picture = Picture(title, _slug(report), _rendered(report))
    rows = [[Cell(run.spec.label, runs=(run.path.name,))] for run in report.runs]
    runs = Table("The runs that are drawn", ["Run"], rows)
    return ExhibitPage(
        _slug(report), name, title, tables=(runs,) if rows else (), pictures=(picture,), notes=report.notes
    )


def _overview(reports: Sequence[TableReport | FigureReport]) -> Table:
    rows: list[list[str | Cell]] = []
    for report in reports:
        runs = report.runs
        rows.append([
            report.grid.name, report.grid.title, ", ".join(sorted({run.spec.benchmark for run in runs})),
            ", ".join(sorted({run.spec.protocol.name for run in runs})), Cell(str(len(runs)), float(len(runs))),
            ", ".join(map(str, sorted({run.spec.seed for run in runs}))),
            "complete" if not report.missing else "runs are missing" if runs else "no run",
        ])  # fmt: skip
    header = ["Exhibit", "Title", "Data sets", "Protocols", "Runs", "Seeds", "State"]
    return Table("Tables and figures", header, rows, frozenset({"Runs"}))


# ------------------------------------------------------------------------------------------------------ a run's page


def _run_page(run: Run) -> RunPage:
    tables = tuple(_networks(run, scores.measurement) for scores in run.scores.values())
    facts = (
        ("Specification", _rows(run.spec.model_dump(mode="json"))),
        ("Provenance", _rows(run.provenance)),
        ("Costs", _rows(run.result)),
    )
    pictures = [
        Picture("Training curves", f"curves-{run.path.name}", {"svg": render(line_figure(_panels(run)), "svg")})
    ]
    for why, words in (("best", "Best cases"), ("worst", "Worst cases")):
        examples = [
            PicturedCase(one.case, one.image, one.truth, (one.prediction,), (case_score(run, one.case),))
            for one in run.examples
            if why in one.why.split(",")
        ]
        if examples:
            content = render(example_figure([run.result["predictor"]], examples), "png")
            title = f"{words} by {case_metric_title(run)}"
            pictures.append(Picture(title, f"{why}-{run.path.name}", {"png": content}))
    return RunPage(run.path.name, run.spec.label, facts, tuple(pictures), tables)


def _networks(run: Run, measurement: Measurement) -> Table:
    """Scores of every network of a run in one measurement."""
    titles = [measurement.heading(metric) for metric in measurement.metrics]
    rows: list[list[str | Cell]] = []
    for network in run.scores[measurement.key].summary:
        scored = " (scored)" if network == run.result["predictor"] else ""
        cells = [_score(run, metric, measurement, network) for metric in measurement.metrics]
        rows.append([f"{network}{scored}", *cells])
    how = measurement.settings if len(run.scores) > 1 else {}
    heading = ", ".join(["Scores of every network", *(f"{key} = {value}" for key, value in how.items())])
    return Table(heading, ["Network", *titles], rows, frozenset(titles))


def _score(run: Run, metric: MetricName, measurement: Measurement, network: str) -> Cell:
    scores = cell_scores([run], metric, measurement, network)
    return Cell(mean_and_deviation(scores), None if scores is None else scores.mean)


def _panels(run: Run) -> list[Panel]:
    """Losses, disagreement and entropy of a run's training, and its test scores on the way where there are any."""
    curves = run.curves
    names = [name for name in curves.columns if name not in ("iteration", "lambda", "disagreement", "entropy")]
    panels = [Panel("Losses", "iteration", "value", tuple(_line(curves, name) for name in names))]
    for name, label in (("disagreement", "Dice loss"), ("entropy", "entropy [nat]")):
        if name in curves:
            panels.append(Panel(name.capitalize(), "iteration", label, (_line(curves, name),)))
    if run.test_curve is not None:
        metrics = [name for name in run.test_curve.columns if name != "iteration"]
        lines = tuple(_line(run.test_curve, name) for name in metrics)
        panels.append(Panel("Test set (ORACLE)", "iteration", "score", lines))
    return panels


def _line(frame: Any, name: str) -> Line:
    own = frame[["iteration", name]].dropna()
    return Line(name, own["iteration"].to_numpy(dtype=float), np.asarray([own[name].to_numpy(dtype=float)]))


def _rows(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Nested data as dotted keys and texts."""
    return tuple(
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in dotted(data).items()
    )

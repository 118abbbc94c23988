"""Commands that show what was trained: `report` and `status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_bench.cli.common import (
    RESULTS,
    AllOption,
    FigureOption,
    FingerprintOption,
    IterationsOption,
    MethodsDirOption,
    OtherDatasetOption,
    ResultsOption,
    SetOption,
    SharesOption,
    TableOption,
    app,
    asked_target,
    chosen_grids,
    make_console,
    same_place,
    say,
    warn,
)
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    pass


@app.command()
def report(
    table: TableOption = None,
    figure: FigureOption = None,
    all_of_them: AllOption = False,
    dataset: OtherDatasetOption = None,
    labeled: SharesOption = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Whose runs to show; default: the data set's.")
    ] = None,
    settings: SetOption = None,
    iterations: IterationsOption = None,
    data: FingerprintOption = None,
    all_networks: Annotated[bool, typer.Option("--all-networks", help="Show the students' scores too.")] = False,
    costs: Annotated[bool, typer.Option("--costs", help="Show parameters, updates, hours and peak memory.")] = False,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Print intervals, tests and verdicts below the table.")
    ] = False,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="How a table is printed: terminal, markdown, latex, csv, html or svg.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write files of every format into this folder.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="DIR", help="Write a site with a page per table, figure and run.")
    ] = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Regenerate the paper's tables and figures from the results, published beside measured."""
    from ssl_bench.method import load_methods
    from ssl_bench.report import publish
    from ssl_bench.report.figures import FigureReport, paper_figure
    from ssl_bench.report.layout import View
    from ssl_bench.report.paper import paper_table
    from ssl_bench.report.table import FORMATS
    from ssl_bench.store import Store

    if format != "terminal" and format not in FORMATS:
        raise UserError(f"--format: expected terminal, {', '.join(FORMATS)}; found '{format}'")
    grids, target = (
        chosen_grids(table, figure, all_of_them),
        asked_target(dataset, labeled, protocol, settings, iterations),
    )
    if output is None and html is None and any(grid.exhibit == "figure" for grid in grids):
        raise UserError("--output: figures are files; expected a folder for them (or --html DIR)")
    unreadable: list[str] = []
    runs, methods = Store(results_root).runs(unreadable), load_methods(*(methods_dir or []))
    warn(unreadable)
    view = View(all_networks, costs, data, tuple(same_place(results_root, methods_dir)))
    reports = [
        (paper_table if grid.exhibit == "table" else paper_figure)(grid, target, runs, methods, view) for grid in grids
    ]
    if output is not None:
        for one in reports:
            typer.echo(f"{one.grid.name}: {', '.join(map(str, publish.write_files(one, output)))}")
    if html is not None:
        typer.echo(f"{publish.write_html(reports, html)} pages: {html / 'index.html'}")
    if output is not None or html is not None:
        return
    for one in reports:
        assert not isinstance(one, FigureReport)
        tables = [*one.tables, one.statistics] if statistics else one.tables
        if format == "terminal":
            for shown in tables:
                shown.print(make_console())
        else:
            typer.echo(FORMATS[format](tables), nl=False)
            if format == "csv":  # which has no place for notes
                say("\n".join(note for shown in tables for note in shown.notes))


@app.command()
def status(
    every: Annotated[bool, typer.Option("--every", help="List every run, however many.")] = False,
    results_root: ResultsOption = RESULTS,
) -> None:
    """List runs: finished, running, interrupted, queued on a cluster, failed and why."""
    from ssl_bench.launch.slurm import queue
    from ssl_bench.report.runs import status_table
    from ssl_bench.store import Store

    unreadable: list[str] = []
    entries = Store(results_root).entries(unreadable)
    queued = {submission.name: submission.state.lower() for submission in queue(results_root)}
    status_table(entries, queued, every=every).print(make_console())
    warn(unreadable)

"""Commands that show what was trained: `report` and `status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_bench.cli.common import (
    RESULTS,
    AllOption,
    DataOption,
    FigureOption,
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
    existing_store,
    listed,
    make_console,
    same_place,
    say,
    warn,
)
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    from ssl_bench.reporting.figures import FigureReport


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
    data: DataOption = None,
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
    from ssl_bench.grids.aim import shown as shown_runs
    from ssl_bench.grids.match import choose_data
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.gather import View
    from ssl_bench.reporting.table import FORMATS
    from ssl_bench.reporting.tables import TableReport, paper_table

    if format != "terminal" and format not in FORMATS:
        raise UserError(f"--format: expected terminal, {', '.join(FORMATS)}; found '{format}'")
    grids, target = (
        chosen_grids(table, figure, all_of_them),
        asked_target(dataset, labeled, protocol, settings, iterations),
    )
    if output is None and html is None and any(grid.exhibit == "figure" for grid in grids):
        raise UserError("--output: figures are files; expected a folder for them (or --html DIR)")
    unreadable: list[str] = []
    methods = load_methods(*(methods_dir or []))
    runs = existing_store(results_root).runs(unreadable, shown_runs(grids, target, methods))
    warn(unreadable)
    choice = choose_data(listed(data or ""), (run.spec for run in runs))
    runs = [run for run in runs if choice.includes(run.spec)]
    view = View(all_networks, costs, data, tuple(same_place(results_root, methods_dir)))
    reports: list[TableReport | FigureReport] = []
    for grid in grids:
        if grid.exhibit == "table":
            reports.append(paper_table(grid, target, runs, methods, view))
        else:
            from ssl_bench.reporting.figures import paper_figure  # and with it all that draws, seconds of import

            reports.append(paper_figure(grid, target, runs, methods, view))
    if output is not None or html is not None:
        from ssl_bench.reporting import publish

        if output is not None:
            for one in reports:
                typer.echo(f"{one.grid.name}: {', '.join(map(str, publish.write_files(one, output)))}")
        if html is not None:
            typer.echo(f"{publish.write_html(reports, html)} pages: {html / 'index.html'}")
        return
    for one in reports:
        assert isinstance(one, TableReport)
        tables = [*one.tables, one.statistics] if statistics and one.statistics.rows else one.tables
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
    """List runs: finished, running, interrupted, queued on a cluster, failed and why; what tells like ones apart."""
    from ssl_bench.launch.launcher import queued
    from ssl_bench.reporting.runs import status_table

    unreadable: list[str] = []
    entries = existing_store(results_root).entries(unreadable)
    status_table(entries, queued(results_root), every=every).print(make_console())
    warn(unreadable)

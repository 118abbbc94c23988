"""Commands that show runs: `report` and `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_bench.cli.common import (
    AllOption,
    ClaimsOption,
    DataOption,
    FigureOption,
    IterationsOption,
    LabelSeedsOption,
    MethodsDirOption,
    OtherDatasetOption,
    OwnMethodsOption,
    ResultsOption,
    RowsTunedOption,
    SetOption,
    SharesOption,
    TableOption,
    app,
    listed,
    listed_datasets,
    listed_shares,
    parsed_label_seeds,
    parsed_settings,
    say,
)
from ssl_bench.command import RESULTS, quantity
from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console

TURNED = {"method": "labeled", "labeled": "method"}  # the columns of a table by its rows


@app.command()
def report(
    table: TableOption = None,
    figure: FigureOption = None,
    claims: ClaimsOption = None,
    methods: OwnMethodsOption = None,
    all_of_them: AllOption = False,
    dataset: OtherDatasetOption = None,
    labeled: SharesOption = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Protocol whose runs are shown; default: the data set's.")
    ] = None,
    settings: SetOption = None,
    tuned: RowsTunedOption = "common",
    iterations: IterationsOption = None,
    label_seeds: LabelSeedsOption = None,
    data: DataOption = None,
    all_networks: Annotated[
        bool, typer.Option("--all-networks", help="Also show the scores of the runs' other networks.")
    ] = False,
    costs: Annotated[bool, typer.Option("--costs", help="Show parameters, updates, hours and peak memory.")] = False,
    rows: Annotated[
        str | None, typer.Option("--rows", help="Rows of a table: method (default), or labeled: data sets and shares.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Columns of a table: labeled (default), or method.")
    ] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Print intervals, tests and verdicts below the table.")
    ] = False,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="Format of the printed table: terminal, markdown, latex, csv, html or svg.")
    ] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Write the tables and figures into this folder, in every format."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="DIR", help="Write a website with a page for each table, figure and run."),
    ] = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Regenerate the paper's tables and figures from the stored results, published numbers beside measured.

    With `--dataset CARD.toml` they show your own data, as in `report --table 4 --dataset my_data.toml --protocol mini`:
    each table has the rows of its methods, Table 4 that of the supervised network, too. `run` ends with the command for
    its runs. `--methods a,b --dataset x,y` shows any methods on any data sets, and so does a card of your own
    (`--table my_table.toml`), which can also have settings for each row and column. `--claims` holds what the paper
    says against the runs.
    """
    from ssl_bench import api
    from ssl_bench.cards import chosen_exhibits
    from ssl_bench.reporting.report import Report
    from ssl_bench.reporting.table import FORMATS

    if format != "terminal" and format not in FORMATS:
        raise UserError(f"--format: expected terminal, {', '.join(FORMATS)}; found '{format}'")
    turned = _rows(rows, columns)
    named, datasets = None if methods is None else listed(methods), listed_datasets(dataset)
    exhibits = chosen_exhibits(table, figure, claims, named, datasets or (), everything=all_of_them)
    if output is None and html is None and any(one.exhibit == "figure" for one in exhibits):
        raise UserError("--output: expected a folder, since figures are written to files (or give --html DIR)")
    found = api.report(
        table=table, figure=figure, claims=claims, methods=named, everything=all_of_them, dataset=datasets,
        rows=turned, labeled=listed_shares(labeled), protocol=protocol,
        settings=parsed_settings(settings, iterations), tuned=tuned, label_seeds=parsed_label_seeds(label_seeds),
        data=listed(data or ""), all_networks=all_networks, costs=costs, results_root=results_root,
        methods_dir=methods_dir or (),
    )  # fmt: skip
    if output is not None:
        for exhibit in found.exhibits:
            typer.echo(f"{exhibit.name}: {', '.join(map(str, Report((exhibit,)).write(output)))}")
    if html is not None:
        typer.echo(f"{quantity(found.write_html(html), 'page')}: {html / 'index.html'}")
    if output is not None or html is not None:
        return
    tables = [*found.tables, *(found.statistics if statistics else [])]
    if format == "terminal":
        for shown in tables:
            shown.print(make_console())
    else:
        typer.echo(FORMATS[format](tables), nl=False)
        if format == "csv":  # CSV cannot hold notes
            say("\n".join(note for shown in tables for note in shown.notes))


def _rows(rows: str | None, columns: str | None) -> str:
    """What the rows of a table are, by either of the two options."""
    for option, given in (("--rows", rows), ("--columns", columns)):
        if given not in (None, *TURNED):
            raise UserError(f"{option}: expected {' or '.join(TURNED)}, found '{given}'")
    if rows is not None and rows == columns:
        raise UserError(f"--columns: expected {TURNED[rows]} with --rows {rows}, found '{columns}'")
    return rows or TURNED[columns or "labeled"]


@app.command()
def status(
    every: Annotated[bool, typer.Option("--every", help="List each finished run, even if there are many.")] = False,
    results_root: ResultsOption = RESULTS,
) -> None:
    """List all runs with their state, any error, and the settings in which similar runs differ."""
    from ssl_bench import api

    api.status(results_root, every=every).print(make_console())

"""Commands that show runs: `report`, `compare` and `status`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_bench.cli.common import (
    AllOption,
    CardOption,
    ClaimsOption,
    DataOption,
    DataRootOption,
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
    parsed_seeds,
    parsed_settings,
    say,
)
from ssl_bench.command import RESULTS, quantity
from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console

if TYPE_CHECKING:
    from ssl_bench.reporting.table import Table

FormatOption = Annotated[
    str, typer.Option("--format", help="Format of the printed tables: terminal, markdown, latex, csv, html or svg.")
]
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
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Show the runs of these seeds alone, separated by commas.")
    ] = None,
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
    format: FormatOption = "terminal",  # noqa: A002
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

    With `--dataset CARD.toml` they show your own data, as in
    `report --table 4 --dataset my_data.toml --protocol mini`: each table has
    the rows of its methods, Table 4 that of the supervised network, too.
    `run` ends with the command for its runs. `--methods a,b --dataset x,y`
    shows any methods on any data sets, and so does a card of your own
    (`--table my_table.toml`), which can also have settings for each row and
    column. `--claims` holds what the paper says against the runs.
    """
    from ssl_bench import api
    from ssl_bench.cards import chosen_exhibits
    from ssl_bench.reporting.report import Report

    _require_format(format)
    turned = _rows(rows, columns)
    named, datasets = None if methods is None else listed(methods), listed_datasets(dataset)
    exhibits = chosen_exhibits(table, figure, claims, named, datasets or (), everything=all_of_them)
    if output is None and html is None and any(one.exhibit == "figure" for one in exhibits):
        raise UserError("--output: expected a folder, since figures are written to files (or give --html DIR)")
    found = api.report(
        table=table, figure=figure, claims=claims, methods=named, everything=all_of_them, dataset=datasets,
        rows=turned, labeled=listed_shares(labeled), protocol=protocol,
        settings=parsed_settings(settings, iterations), tuned=tuned,
        seeds=None if seeds is None else parsed_seeds(seeds), label_seeds=parsed_label_seeds(label_seeds),
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
    _print([*found.tables, *(found.statistics if statistics else [])], format)


@app.command()
def compare(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A: a finished run's folder, id, or beginning of an id.")],
    other: Annotated[str, typer.Argument(metavar="RUN", help="B: the run that is compared with it.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="Metric by which cases are listed; default: the runs' first.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of cases listed in each direction.")] = 5,
    format: FormatOption = "terminal",  # noqa: A002
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Write the tables, and pictures of the cases, into this folder."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison in DIR.")] = False,
    dataset: CardOption = None,
    device: Annotated[
        str, typer.Option("--device", help="Where cases are predicted for pictures: auto, cpu, cuda or cuda:N.")
    ] = "auto",
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Compare two finished runs: settings that differ, scores on common test cases, and the cases that differ most.

    Two runs say nothing about two methods; `report` compares methods over several seeds.
    """
    from ssl_bench import api
    from ssl_bench.reporting.run_comparison import require_writable

    _require_format(format)
    if output is not None:
        require_writable(output, overwrite=overwrite)
    found = api.compare(
        run, other, metric=metric, top=top, pictures=output is not None, dataset=dataset, device=device,
        data_root=data_root, results_root=results_root, methods_dir=methods_dir or (), progress=output is not None,
    )  # fmt: skip
    if output is None:
        _print(found.tables, format)
    else:
        typer.echo(f"{quantity(len(found.write(output, overwrite=overwrite)), 'file')} in {output}")


def _rows(rows: str | None, columns: str | None) -> str:
    """What the rows of a table are, by either of the two options."""
    if columns is None:
        return rows or "method"
    if columns not in TURNED:
        raise UserError(f"--columns: expected {' or '.join(TURNED)}, found '{columns}'")
    if rows == columns:
        raise UserError(f"--columns: expected {TURNED[columns]} with --rows {rows}, found '{columns}'")
    return rows or TURNED[columns]


@app.command()
def status(
    every: Annotated[bool, typer.Option("--every", help="List each finished run, even if there are many.")] = False,
    results_root: ResultsOption = RESULTS,
) -> None:
    """List all runs with their state, any error, and the settings in which similar runs differ."""
    from ssl_bench import api

    api.status(results_root, every=every).print(make_console())


def _require_format(format_name: str) -> None:
    from ssl_bench.reporting.table import FORMATS

    if format_name != "terminal" and format_name not in FORMATS:
        raise UserError(f"--format: expected terminal, {', '.join(FORMATS)}; found '{format_name}'")


def _print(tables: Sequence[Table], format_name: str) -> None:
    """Print tables in a format; what CSV cannot hold goes to stderr."""
    from ssl_bench.reporting.table import FORMATS

    if format_name == "terminal":
        for shown in tables:
            shown.print(make_console())
        return
    typer.echo(FORMATS[format_name](tables), nl=False)
    if format_name == "csv":
        say("\n".join(note for shown in tables for note in shown.notes))

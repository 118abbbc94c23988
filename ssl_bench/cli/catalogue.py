"""Commands on methods and protocols: `methods` and `benchmarks`."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_bench.cli.common import (
    MethodsDirOption,
    ProtocolOption,
    SetOption,
    app,
    listed,
    parsed_settings,
)
from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console


@app.command()
def methods(
    costs: Annotated[
        bool, typer.Option("--costs", help="List what an iteration of each method needs instead: memory, operations.")
    ] = False,
    only: Annotated[
        str | None, typer.Option("--methods", help="These methods in full, or with --costs, separated by commas.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all methods in full, as Markdown.")] = False,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="With --costs: a data set's name, or a .toml card; default: isic.")
    ] = None,
    protocol: ProtocolOption = None,
    settings: SetOption = None,
    methods_dir: MethodsDirOption = None,
) -> None:
    """List the methods by group, some of them in full, or with what an iteration of them needs."""
    if markdown and (costs or only is not None):
        raise UserError(
            f"--markdown: lists all methods, so it is expected without {'--costs' if costs else '--methods'}"
        )
    if costs:
        from ssl_bench import api

        table = api.method_costs(
            listed(only or ""), dataset=dataset or "isic", protocol=protocol, settings=parsed_settings(settings, None),
            methods_dir=methods_dir or (),
        )  # fmt: skip
        table.print(make_console())
        return
    given = {"--dataset": dataset, "--protocol": protocol, "--set": settings}
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option}: needs --costs")

    from ssl_bench.method import find_method, load_methods
    from ssl_bench.reporting.catalogue import description, methods_in_full, methods_markdown, methods_tables

    registry = load_methods(*(methods_dir or []))
    if markdown:
        typer.echo(methods_markdown(registry), nl=False)
        return
    if only is None:
        for table in methods_tables(registry):
            table.print(make_console())
        return
    for method in map(find_method, listed(only)):
        (table,) = methods_in_full([method])
        table.print(make_console())
        typer.echo(f"{description(method)}\n")


@app.command()
def benchmarks(
    card: Annotated[str | None, typer.Argument(help="Print this protocol's or data set's card in full.")] = None,
) -> None:
    """List the data sets and protocols, or print one card in full."""
    from ssl_bench.reporting.catalogue import card_text, datasets_table, protocols_table

    if card is not None:
        typer.echo(card_text(card))
        return
    datasets_table().print(make_console())
    protocols_table().print(make_console())

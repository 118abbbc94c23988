"""Commands that show runs while they are trained: `watch` and `serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_bench.cli.common import MethodsDirOption, ResultsOption, SetOption, app, parsed_settings
from ssl_bench.command import RESULTS

EveryOption = Annotated[float, typer.Option("--every", metavar="SECONDS", help="Seconds between two refreshes.")]


@app.command()
def watch(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Show the runs of this data set only.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Show the runs of this method only.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the state of now and exit, as without a terminal.")
    ] = False,
    every: EveryOption = 2.0,
    results_root: ResultsOption = RESULTS,
) -> None:
    """Show all runs of a store in this terminal while they are trained. Ctrl-C ends it; nothing is written."""
    from ssl_bench import api

    api.watch(results_root, dataset=dataset, method=method, every=every, once=once)


@app.command()
def serve(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: one that is free.")
    ] = 8000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than 127.0.0.1 open it.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="A further name that browsers may call it by; may be repeated."
        ),
    ] = None,
    every: EveryOption = 3.0,
    card: Annotated[
        list[str] | None,
        typer.Option(
            "--card",
            metavar="FILE",
            help="A .toml card of your own data or protocol, for the reports; may be repeated.",
        ),
    ] = None,
    settings: SetOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Show a store as web pages on this machine: live runs, comparisons and reports. Needs the extra `serve`."""
    from ssl_bench import api

    api.serve(
        results_root, port=port, host=host, allow_host=allow_host or (), every=every, cards=card or (),
        settings=parsed_settings(settings, None), methods_dir=methods_dir or (),
    )  # fmt: skip

"""Commands that carry results from one machine to another: `results export` and `results import`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_bench.cli.common import ResultsOption, listed, results_app, say
from ssl_bench.command import RESULTS, quantity
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    from ssl_bench.store import Run


@results_app.command("export")
def export_results(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .zip file to write.")],
    datasets: Annotated[
        str | None, typer.Option("--dataset", help="Only runs on these data sets, separated by commas.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", help="Only runs of these methods, separated by commas.")
    ] = None,
    protocols: Annotated[
        str | None, typer.Option("--protocol", help="Only runs under these protocols, separated by commas.")
    ] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Also export the networks' weights.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also export the pictures; they show images of the data set.")
    ] = False,
    results_root: ResultsOption = RESULTS,
) -> None:
    """Write finished runs (specifications, scores, curves, provenance) into one file."""
    from ssl_bench.api import load_store
    from ssl_bench.store import export_runs

    runs = load_store(results_root).readable()
    runs = _named("--dataset", datasets, runs, lambda run: run.spec.benchmark)
    runs = _named("--methods", methods, runs, lambda run: run.spec.method)
    runs = _named("--protocol", protocols, runs, lambda run: run.spec.protocol.name)
    count = export_runs(runs, file, weights=weights, pictures=pictures)
    typer.echo(f"{quantity(count, 'run')} written to {file} ({file.stat().st_size / 1e6:.1f} MB)")
    if count < len(runs):
        say(f"not exported: {quantity(len(runs) - count, 'unfinished run')}")


@results_app.command("import")
def import_results(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `results export` wrote.")],
    results_root: ResultsOption = RESULTS,
) -> None:
    """Add the runs of a file to the results store. No finished run is overwritten; conflicts are listed."""
    from ssl_bench.store import Store, import_runs

    imported = import_runs(file, Store(results_root))
    typer.echo(
        f"{quantity(imported.added, 'run')} added, {imported.already} already present, "
        f"{quantity(len(imported.conflicts), 'conflict')}"
    )
    if imported.conflicts:
        say("\n".join(f"conflict: {conflict}" for conflict in imported.conflicts))
        raise typer.Exit(1)


@results_app.command("convert")
def convert_results(results_root: ResultsOption = RESULTS) -> None:
    """Convert runs of earlier versions to the current format. Nothing is trained or scored again."""
    from ssl_bench import api
    from ssl_bench.store import convert_store

    found = convert_store(api.load_store(results_root).root)
    typer.echo(f"{quantity(found.converted, 'run')} converted, {found.current} already in the current format")
    if found.left:
        say("\n".join(f"not converted: {reason}" for reason in found.left))
        raise typer.Exit(1)


def _named(option: str, text: str | None, runs: list[Run], name_of: Callable[[Run], str]) -> list[Run]:
    """Keep the runs that an option names, or all runs if it is not given."""
    if text is None:
        return runs
    known, wanted = sorted({name_of(run) for run in runs}), listed(text)
    for word in wanted:
        if word not in known:
            if not known:
                raise UserError(f"{option} {word}: there are no runs to choose from yet")
            raise UserError(f"{option}: expected one of {', '.join(known)}; found '{word}'")
    return [run for run in runs if name_of(run) in wanted]

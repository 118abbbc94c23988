"""Commands on data sets: `data check`, `data prepare`, `data init`."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ssl_bench.cli.common import (
    DataRootOption,
    DatasetArgument,
    PartialOption,
    ProtocolOption,
    SetOption,
    data_app,
    parsed_settings,
)
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console


@data_app.command("check")
def data_check(dataset: DatasetArgument, data_root: DataRootOption = None) -> None:
    """Check a data set: list its cases, and files that are missing, unreadable, mismatched, empty or doubled."""
    from ssl_bench.cards import load_benchmark
    from ssl_bench.data.check import check
    from ssl_bench.launch.progress import counted
    from ssl_bench.reporting.catalogue import times

    benchmark = load_benchmark(dataset)
    console = make_console()
    if benchmark.generator is not None:
        console.print(f"{benchmark.title}: {benchmark.cases} cases, drawn by the package; there are no files to check.")
        return
    with counted(console, f"reading {benchmark.title}") as advance:
        found = check(benchmark, data_root, advance)
    sides = list(zip(*found.sizes, strict=True))
    sizes = f", {times(map(min, sides))} to {times(map(max, sides))}" if sides else ""
    console.print(f"{benchmark.title}: {found.cases} cases in {found.folder}{sizes}", highlight=False, soft_wrap=True)
    for finding in found.findings:
        console.print(f"{finding.level}: {finding.kind}: {finding.text}", highlight=False, markup=False, soft_wrap=True)
    counts = ((found.errors, "error"), (len(found.findings) - found.errors, "warning"))
    kinds = Counter(finding.kind for finding in found.findings)
    console.print(
        ", ".join(quantity(count, word) for count, word in counts)
        + (f" ({', '.join(f'{kind}: {count}' for kind, count in kinds.items())})" if kinds else ""),
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if found.errors:
        raise typer.Exit(2)


@data_app.command("prepare")
def data_prepare(
    dataset: DatasetArgument,
    protocol: ProtocolOption = None,
    settings: SetOption = None,
    data_root: DataRootOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Decode and resize a data set into the cache, as `run` does by itself when needed."""
    from ssl_bench.cards import load_benchmark, load_protocol
    from ssl_bench.data.cache import prepare
    from ssl_bench.launch.progress import counted

    benchmark = load_benchmark(dataset)
    card = load_protocol(
        protocol or benchmark.protocol, parsed_settings(settings, None), dimensions=benchmark.dimensions
    )
    with counted(make_console(), f"preparing {benchmark.title}") as advance:
        done = prepare(benchmark, data_root, card.stored_size, allow_partial=allow_partial, advance=advance)
    at = "" if card.stored_size is None else f" at {card.stored_size}x{card.stored_size}"
    typer.echo(f"{len(done.ids)} cases{at}, data {done.fingerprint}: {done.path}")


@data_app.command("init")
def data_init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of your data set.")],
    output: Annotated[Path | None, typer.Option("--output", help="The card; default: NAME.toml, here.")] = None,
) -> None:
    """Write the card of your own data set by looking at its folder: 2D images or 3D volumes, and masks."""
    from ssl_bench.atomic import write_bytes, writing
    from ssl_bench.data.describe.card import card_name, describe

    path = output or Path(f"{card_name(folder.resolve().name)}.toml")
    if path.suffix != ".toml" or path.exists():
        raise UserError(f"--output: expected a new file that ends in .toml, found '{path}'")
    from ssl_bench.launch.progress import counted  # here, since it takes seconds to import

    with counted(make_console(), f"reading {folder}") as advance:
        card = describe(folder, path.stem, advance)
    with writing("--output", path.parent):
        write_bytes(path, card.encode())
    for line in card.partition("\n\n")[0].splitlines():
        typer.echo(line.removeprefix("# "))
    where = shlex.join([str(path), "--data-root", str(folder)])
    typer.echo(f"{path} is written. Next:\n  ssl-bench data check {where}")
    typer.echo(f"  ssl-bench run --methods supervised,mt --dataset {where} --protocol mini")

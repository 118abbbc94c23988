"""Commands on methods and protocols: `methods`, `benchmarks`; and `predict`, which uses a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_bench.cli.common import (
    MethodsDirOption,
    ProtocolOption,
    ResultsOption,
    SetOption,
    app,
    listed,
    parsed_settings,
)
from ssl_bench.command import RESULTS, quantity
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


@app.command()
def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A finished run: its folder, its id, or the beginning of its id.")
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="2D images or 3D volumes, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the masks.")],
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            help="Network to use instead of the method's predictor; of several, separated by commas, the mean.",
        ),
    ] = None,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(
            "--ensemble",
            metavar="RUN",
            help="Another finished run, whose probabilities are averaged with those of RUN; may be repeated.",
        ),
    ] = None,
    tta: Annotated[str | None, typer.Option("--tta", help="flips: also average over flips of the image.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write a probability map of each foreground class.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also write the prediction's entropy (0 to 1).")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")] = False,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", help="Images in a folder, as on a card: '{id}', 'images/{id}', '{id}_{channel}'."),
    ] = None,
    array_axes: Annotated[
        str | None,
        typer.Option(
            "--array-axes",
            metavar="AXES",
            help="How arrays lie whose files do not say it (HDF5), in training or here: as-stored, or such as LPS.",
        ),
    ] = None,
    exif_orientation: Annotated[
        str | None,
        typer.Option(
            "--exif-orientation", help="Of 2D images: apply, ignore or refuse one; default: as the run's card says."
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Predict masks for new images (PNG) or volumes (NIfTI) with a finished run, at their original sizes."""
    from ssl_bench import api

    masks = api.predict(
        run, images, output, network=None if network is None else listed(network), ensemble=ensemble or (), tta=tta,
        probabilities=probabilities, uncertainty=uncertainty, overwrite=overwrite, exif_orientation=exif_orientation,
        pattern=pattern, array_axes=array_axes, device=device, results_root=results_root,
        methods_dir=methods_dir or (), progress=True,
    )  # fmt: skip
    several = len(masks.members) > 1
    by = f"the mean of {len(masks.members)} networks: " if several else "network "
    typer.echo(f"{quantity(len(masks.paths), 'mask')} in {output}, by {by}{'; '.join(masks.members)}")

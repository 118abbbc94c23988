"""Commands on methods and protocols: `methods`, `benchmarks`; and `predict`, which uses a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_bench.cli.common import RESULTS, DeviceOption, MethodsDirOption, ResultsOption, app, make_console, times
from ssl_bench.errors import UserError


@app.command()
def methods(methods_dir: MethodsDirOption = None) -> None:
    """List the methods with their papers and hyperparameters."""
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.table import Table

    rows = []
    for name, method in sorted(load_methods(*(methods_dir or [])).items()):
        fields = method.hyperparameters.model_fields.items()
        hyper = "; ".join(f"{key} = {field.default} ({field.description})" for key, field in fields)
        rows.append(
            [
                name,
                " ".join(f"{d}D" for d in method.dimensions),
                " ".join(sorted(method.components)),
                str(method.updates_per_iteration),
                hyper,
                method.reference,
            ]
        )
    header = ["Method", "Data", "Components", "Updates per iteration", "Hyperparameters", "Paper"]
    Table(f"{len(rows)} methods", header, rows).print(make_console())


@app.command()
def benchmarks(
    card: Annotated[str | None, typer.Argument(help="Print this protocol's or data set's card in full.")] = None,
) -> None:
    """List the data sets and protocols, or print one card with everything that it decides."""
    from ssl_bench.cards import card_kinds, card_names, load_benchmark, load_protocol
    from ssl_bench.reporting.table import Table

    if card is not None:
        kinds = card_kinds(card)
        if not kinds:
            known = ", ".join([*card_names("datasets"), *card_names("protocols")])
            raise UserError(f"benchmarks: expected one of {known}, or a .toml file; found '{card}'")
        found = [load_benchmark(card)] if "datasets" in kinds else []
        forms = [load_protocol(card, dimensions=d) for d in (2, 3)] if "protocols" in kinds else []
        for heading, one in [*(("data set", b) for b in found), *((f"protocol, {p.dimensions}D", p) for p in forms)]:
            typer.echo(f"# {heading}")
            for key, value in one.model_dump().items():
                typer.echo(f"{key} = {value!r}")
        return
    sets = [load_benchmark(name) for name in card_names("datasets")]
    rows = [
        [
            b.name, b.title, f"{b.dimensions}D", str(b.cases), ", ".join(b.splits), ", ".join(b.labeled), b.protocol,
            b.license,
        ]
        for b in sets
    ]  # fmt: skip
    header = ["Data set", "Title", "Data", "Cases", "Splits", "Labelled", "Default protocol", "Licence"]
    Table("Data sets", header, rows).print(make_console())
    rows = []
    for name in card_names("protocols"):
        images, volumes = load_protocol(name, dimensions=2), load_protocol(name, dimensions=3)
        rows.append([
            name, images.title, f"{images.network}, {images.encoder}; {volumes.network}",
            f"{times(images.sides)}; {times(volumes.sides)}", images.note,
        ])  # fmt: skip
    Table("Protocols", ["Protocol", "Title", "Network, 2D; 3D", "Images; patches", "Note"], rows).print(make_console())


@app.command()
def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A finished run: its folder, or its hash or the beginning of it.")
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="2D images or 3D volumes, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the masks.")],
    network: Annotated[
        str | None, typer.Option("--network", help="Another network of the run than the method's predictor.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write each foreground class's probability map too.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Write the prediction's entropy (0 to 1) too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")] = False,
    device: DeviceOption = "auto",
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Write a finished run's masks for new images (PNG) and volumes (NIfTI), at their own sizes."""
    from ssl_bench import prediction as library
    from ssl_bench.launch.progress import counted
    from ssl_bench.method import load_methods
    from ssl_bench.store import find_run
    from ssl_bench.training.device import choose_device

    folder, registry = find_run(run, results_root), load_methods(*(methods_dir or []))
    predictor = library.load_predictor(folder, registry, choose_device(device), network)
    found = library.list_images(images, predictor.spec.protocol.dimensions)
    with counted(make_console(), "predicting") as advance:
        library.predict(
            predictor, found, output, probabilities=probabilities, uncertainty=uncertainty, overwrite=overwrite,
            advance=advance,
        )  # fmt: skip
    typer.echo(f"{len(found)} masks in {output}, by network {predictor.name} of {predictor.spec.label} ({folder})")

"""Commands on the networks of finished runs: `predict` and `export-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_bench.cli.common import MethodsDirOption, ResultsOption, app, listed
from ssl_bench.command import RESULTS, quantity

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A finished run: its folder, its id, or the beginning of its id.")
]


@app.command()
def predict(
    run: RunArgument,
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


@app.command("export-model")
def export_model(
    run: RunArgument,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="onnx, torchscript, or safetensors (the weights alone).")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="The file; default: METHOD-NETWORK-RUN in the current folder."),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", help="Network of the run to use instead of the method's predictor.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Write a finished run's network to one file for other programs, and check what the file computes."""
    from ssl_bench import api

    found = api.export_model(
        run, format=format, output=output, network=network, overwrite=overwrite, results_root=results_root,
        methods_dir=methods_dir or (),
    )  # fmt: skip
    checked = (
        "" if found.difference is None else f"; largest difference from the network's logits: {found.difference:.1e}"
    )
    typer.echo(f"wrote {found.path} ({found.path.stat().st_size / 1e6:.1f} MB), input {found.shape}{checked}")

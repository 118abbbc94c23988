"""A finished run's network, and how the run's images were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ssl_bench.cards import (
    Benchmark,
    Files,
    ImageAxes,
    RunSpec,
    Volumes,
    card_names,
    load_benchmark,
    members_of,
)
from ssl_bench.data.volume_files import NIFTI
from ssl_bench.errors import UserError
from ssl_bench.method import SSLMethod
from ssl_bench.store import RunFolder, spec_of
from ssl_bench.training.job import method_of, trained_method


@dataclass(frozen=True)
class Reading:
    """How a run's images were read.

    Attributes:
        layout: of the training files; None for a drawn data set, or if it is not known.
        channel_names: where each channel of an image has a file of its own.
        axes: of the volumes that networks saw; "unknown" in 2D, too.
    """

    layout: Files | Volumes | None
    channel_names: tuple[str, ...]
    axes: ImageAxes


@dataclass(frozen=True)
class Predictor:
    """A network of a finished run with its trained weights, on a device."""

    run: Path
    spec: RunSpec
    name: str
    network: nn.Module
    device: torch.device
    reading: Reading


def load_predictor(
    folder: Path, methods: dict[str, type[SSLMethod]], device: torch.device, network: str | None = None
) -> Predictor:
    """Load one network of a finished run as `load_predictors` does; `network` None takes the method's predictor."""
    return load_predictors(folder, methods, device, () if network is None else (network,))[0]


def load_predictors(
    folder: Path, methods: dict[str, type[SSLMethod]], device: torch.device, networks: Sequence[str] = ()
) -> list[Predictor]:
    """Build a finished run's networks and load their weights; without `networks` only the method's predictor is given.

    Raises:
        UserError: the run is not finished, its weights do not fit, its method does not exist in the run's version, or
            the run has no network of a name.
    """
    data = RunFolder(folder).read()
    if data is None or data["status"] != "finished":
        raise UserError(f"{folder}: expected a finished run; `ssl-bench run` with its options continues it")
    spec = spec_of(folder, data)
    method_class, hyper = method_of(folder, spec, methods)
    method = trained_method(RunFolder(folder), spec, method_class, hyper, device)
    reading, found = reading_of(spec), []
    for name in networks or (method.predictor_name,):
        if name not in method.networks:
            raise UserError(f"--network: expected one of {', '.join(method.networks)}; found '{name}'")
        found.append(Predictor(folder, spec, name, method.networks[name], device, reading))
    return found


def reading_of(spec: RunSpec) -> Reading:
    """Return how a run's images were read: as it recorded, or as the only built-in layout says that the run fits.

    Runs of older versions recorded no layout. Their NRRD and MHA files may have been read on the axes of the files.
    """
    if spec.layout is not None or spec.image_axes is not None:
        return Reading(spec.layout, spec.channel_names or (), spec.image_axes or "unknown")
    card = load_benchmark(spec.benchmark) if spec.benchmark in card_names("datasets") else None
    if card is None or (card.classes, card.channel_count) != (spec.classes, spec.channel_count):
        return Reading(None, (), "unknown")
    layouts: list[Files | Volumes] = [one for one in (card.files, *card.volumes) if one is not None]
    fitting = [one for one in layouts if _could_be(one, card, spec)]
    nifti = bool(fitting) and all(one.images.lower().endswith(NIFTI) for one in fitting)
    return Reading(fitting[0] if len(fitting) == 1 else None, card.channel_names, "RAS" if nifti else "unknown")


def _could_be(layout: Files | Volumes, card: Benchmark, spec: RunSpec) -> bool:
    """Whether a run of an older version may have been trained on files in this layout of a card."""
    if isinstance(layout, Files):
        return True
    values = members_of(layout.mask_values or range(len(card.classes)))
    read = (
        "rgb" if card.slices else layout.intensity,
        layout.slice_window if card.slices else None,
        layout.axes,
        tuple(own[0] for own in values),
    )
    return read == (spec.intensity, spec.slice_window, spec.axes or "xyz", spec.label_values)

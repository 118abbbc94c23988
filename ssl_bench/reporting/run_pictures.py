"""Pictures of the cases on which two runs differ: kept by both, or drawn from their weights and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ssl_bench.cards import card_names, load_benchmark
from ssl_bench.errors import UserError
from ssl_bench.reporting.canvas import NO_PICTURE
from ssl_bench.reporting.draw import PicturedCase, example_figure
from ssl_bench.reporting.kept_files import examples_of
from ssl_bench.reporting.run_comparison import NAMES, Differing, RunComparison
from ssl_bench.store import Example, RunFolder
from ssl_bench.training.redrawn import redrawn
from ssl_bench.training.rescore import scoring_jobs

if TYPE_CHECKING:
    from ssl_bench.method import SSLMethod

Album = dict[str, Example]  # by case


def with_pictures(
    found: RunComparison,
    methods: Mapping[str, type[SSLMethod]],
    device: torch.device,
    dataset: str | None = None,
    data_root: Path | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> RunComparison:
    """Add a figure with a row for each case that the comparison lists: the image, both predictions, the truth.

    Pictures that both runs kept are taken. Of the other cases they are drawn, where the runs have weights and the data
    is there. A note says which cases have no picture, and why.

    Args:
        found: the comparison.
        methods: the registry.
        device: where cases are predicted.
        dataset: the card of the runs' data set; None: the built-in one with its name.
        data_root: folder of the data sets.
        advance: called with (done, total) while the data is read.
    """
    albums = [{one.case: one for one in examples_of(run)} for run in found.runs]
    lacking = [one.case for one in found.differing if not _match(albums, one.case)]
    reason = _fill(albums, lacking, found, methods, device, dataset, data_root, advance) if lacking else ""
    rows = [_row(one, albums) for one in found.differing if _match(albums, one.case)]
    without = [case for case in lacking if not _match(albums, case)]
    notes = [f"No picture of {', '.join(without)}: {reason}."] if without else []
    titles = [f"{name}: {run.spec.method}, {run.path.name[:8]}" for name, run in zip(NAMES, found.runs, strict=True)]
    cases = replace(found.cases, notes=[*found.cases.notes, *notes])
    return replace(found, cases=cases, figure=example_figure(titles, rows, NO_PICTURE))


def _match(albums: Sequence[Album], case: str) -> bool:
    """Whether both runs have a picture of a case, of the same slice and size."""
    if not all(case in album for album in albums):
        return False
    one, other = (album[case] for album in albums)
    return (one.place, one.prediction.shape) == (other.place, other.prediction.shape)


def _fill(
    albums: Sequence[Album], cases: Sequence[str], found: RunComparison, methods: Mapping[str, type[SSLMethod]],
    device: torch.device, dataset: str | None, data_root: Path | None, advance: Callable[[int, int], None] | None,
) -> str:  # fmt: skip
    """Draw cases from the weights into the albums; returns why that cannot be done, or an empty text."""
    lost = [run.path for run in found.runs if not RunFolder(run.path).weights.exists()]
    if lost:
        return f"not kept by both runs, and {lost[0]} has no weights"
    name = found.runs[0].spec.benchmark
    if dataset is None and name not in card_names("datasets"):
        return "not kept by both runs; --dataset names the data set's card, with which they can be drawn"
    if load_benchmark(dataset or name).generator is None and data_root is None:
        return "not kept by both runs; --data-root names the folder of the data, with which they can be drawn"
    try:
        jobs = scoring_jobs(found.runs, methods, {}, dataset, data_root, advance)
        for album, run, job in zip(albums, found.runs, jobs, strict=True):
            album.update({one.case: one for one in redrawn(run, job, found.measurement, cases, device)})
    except UserError as error:
        return f"not kept by both runs, and cannot be drawn: {error}"
    return ""


def _row(one: Differing, albums: Sequence[Album]) -> PicturedCase:
    first, second = (album[one.case] for album in albums)
    label = f"{one.better} better\n{one.case}"
    scores = tuple(f"{score:.1f}" for score in one.scores)
    return PicturedCase(label, first.image, first.truth, (first.prediction, second.prediction), scores)

"""The paper's figures from the runs of a store, with their captions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from matplotlib.figure import Figure

from ssl_bench.cards import METRICS, Grid, MetricName, seed_text, share
from ssl_bench.command import quantity
from ssl_bench.grids.aim import Target, aim
from ssl_bench.method import SSLMethod
from ssl_bench.reporting.draw import (
    Line,
    Panel,
    PicturedCase,
    PicturedMoments,
    example_figure,
    line_figure,
    render,
    uncertainty_figure,
)
from ssl_bench.reporting.gather import Body, Filled, Gathered, ShownOptions, gather
from ssl_bench.reporting.label_seeds import label_notes
from ssl_bench.reporting.notes import damage_notes, fill_commands, missing_notes, origin, protocol_notes
from ssl_bench.reporting.scores import cell_scores
from ssl_bench.reporting.unlike_runs import unlike_notes
from ssl_bench.store import Run

CASES = 2  # rows of Figure 4 per data set, the first of those that are drawn by their ids


@dataclass(frozen=True)
class FigureReport:
    """A figure of the paper, the lines below it, and the commands that train its missing runs."""

    grid: Grid
    figure: Figure
    notes: tuple[str, ...]
    runs: tuple[Run, ...] = field(repr=False)
    missing: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """The figure and its caption as a notebook shows them."""
        picture = base64.b64encode(render(self.figure, "png")).decode()
        name = escape(f"{self.grid.name}. {self.grid.title}")
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f'<img alt="{name}" src="data:image/png;base64,{picture}">\n<p>{name}</p>\n<ul>{notes}</ul>\n'


def paper_figure(
    grid: Grid, target: Target, runs: Sequence[Run], methods: Mapping[str, type[SSLMethod]], view: ShownOptions
) -> FigureReport:
    """Draw a figure of the paper from the available runs.

    Args:
        grid: the card.
        target: data set, shares, protocol and settings to show.
        runs: the store's runs.
        methods: the registry.
        view: options of the figure.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would stand in one figure.
    """
    found = gather(aim(grid, target, methods), target, runs, methods)
    drawn = {"curves": _curves, "shares": _shares, "examples": _examples, "moments": _moments}[grid.kind]
    figure, remarks = drawn(found)
    missing = tuple(fill_commands(found.rows, view, grid.metrics))
    notes = [*remarks, *damage_notes(found.damaged), *protocol_notes(target, found.body), *origin(found.runs)]
    notes += [*unlike_notes(found.rows, runs), *label_notes(found.body, runs)]
    notes += missing_notes(grid, target, found.rows, missing, view)
    return FigureReport(found.grid, figure, tuple(notes), found.runs, missing)


def _curves(found: Gathered) -> tuple[Figure, list[str]]:
    """Figure 1: disagreement and entropy of the first column's runs, then the scores of all columns."""
    column = found.grid.columns[0]
    where = f"{found.benchmarks[0].title}, {column.labeled}"
    panels = [
        Panel(f"{title}\n{where}", "iteration", label, _lines_of_curves(found.body, name))
        for title, label, name in (
            ("Disagreement", "Dice loss of the branches' labels", "disagreement"),
            ("Uncertainty", "entropy [nat]", "entropy"),
        )
    ]
    remark = (
        f"Disagreement and entropy of the two branches on training batches of {where}, each in the view that it sees, "
        "averaged since the previous point; bands are ± the sample standard deviation over seeds. Iterations are the "
        "method's own: a method with two updates per iteration has half as many."
    )
    return line_figure([*panels, *_share_panels(found)]), [remark]


def _lines_of_curves(body: Body, name: str) -> tuple[Line, ...]:
    lines = []
    for row in body:
        place = row[0].place
        frames = [run.curves for run in row[0].runs if name in run.curves]
        if place is None or not frames:
            continue
        table = [frame.set_index("iteration")[name].dropna() for frame in frames]
        x = np.unique(np.concatenate([curve.index.to_numpy() for curve in table]))
        y = np.stack([curve.reindex(x).to_numpy(dtype=float) for curve in table])
        lines.append(Line(place.row.title, x, y))
    return tuple(lines)


def _shares(found: Gathered) -> tuple[Figure, list[str]]:
    """Figure 3: a panel per data set."""
    return line_figure(_share_panels(found)), []


def _share_panels(found: Gathered) -> list[Panel]:
    """Scores against the labelled share, a panel per data set; runs with all labels are a horizontal line."""
    grid, metric = found.grid, found.grid.metrics[0]
    panels = []
    benchmarks = {column.dataset: card for column, card in zip(grid.columns, found.benchmarks, strict=True)}
    for dataset, benchmark in benchmarks.items():
        own = {column.labeled: c for c, column in enumerate(grid.columns) if column.dataset == dataset}
        shares = sorted(own, key=share)
        lines = []
        for row in found.body:
            at = {x: _by_draws(row[own[text]], metric) for x, text in enumerate(shares)}
            trainings = sorted({draws for scores in at.values() for draws in scores})
            place = next((one.place for one in row if one.place is not None), None)
            if place is not None and trainings:
                y = [[at[x].get(draws, np.nan) for x in range(len(shares))] for draws in trainings]
                lines.append(Line(place.row.title, np.arange(len(shares), dtype=float), np.array(y)))
        for upper in found.above:
            scores = _by_draws(upper[next(iter(own.values()))], metric)
            if scores and found.upper is not None:
                level = np.repeat([[score] for score in scores.values()], len(shares), axis=1)
                lines.append(Line(found.upper.rows[0].title, np.arange(len(shares), dtype=float), level))
        ticks = tuple((float(x), text) for x, text in enumerate(shares))
        panels.append(
            Panel(
                f"Performance\n{benchmark.title}",
                "labelled",
                benchmark.heading(metric),
                tuple(lines),
                ticks,
            )
        )
    return panels


def _by_draws(one: Filled, metric: MetricName) -> dict[tuple[int, int], float]:
    """The mean of each training that has one, by its seed and label draw."""
    if one.place is None:
        return {}
    scores = {run.spec.draws: cell_scores([run], metric, one.place.wanted.measurement) for run in one.runs}
    return {draws: own.mean for draws, own in scores.items() if own is not None and own.mean is not None}


def _examples(found: Gathered) -> tuple[Figure, list[str]]:
    """Figure 4: the first drawn cases of each data set, by every method's run of one seed."""
    examples, remarks = [], _without_pictures([run for run in found.runs if not run.examples])
    for c, (column, benchmark) in enumerate(zip(found.grid.columns, found.benchmarks, strict=True)):
        runs = [{run.spec.draws: run for run in row[c].runs if run.examples} for row in found.body]
        texts = {run.spec.draws: seed_text(run.spec.seed, run.spec.label_seed) for own in runs for run in own.values()}
        if not texts:
            continue
        first = min(texts, key=lambda draws: (-sum(draws in own for own in runs), draws))
        shown = [own.get(first) for own in runs]
        remarks.append(f"{benchmark.title}, {column.labeled} labelled: runs of seed {texts[first]}.")
        others = [row.title for row, own in zip(found.grid.rows, runs, strict=True) if own and first not in own]
        if others:
            remarks.append(f"Only runs of other seeds than {texts[first]}, which are not shown: {', '.join(others)}.")
        examples += _rows_of(benchmark.name, shown)
    drawn = [run for run in found.runs if run.examples]
    scored = dict.fromkeys(map(case_metric_title, drawn))
    remarks.append(
        f"The cases are selected by their ids, not by their scores. Numbers are the case's "
        f"{' or '.join(scored) or 'score'}; lines are the border of the ground truth. A volume is shown by the axial "
        "slice with the most ground truth; its number is that of the whole volume."
    )
    return example_figure([row.title for row in found.grid.rows], examples), remarks


def _without_pictures(runs: Sequence[Run]) -> list[str]:
    """Report runs whose pictures are missing."""
    if not runs:
        return []
    return [f"{quantity(len(runs), 'run')} without pictures: `results export` includes pictures only with --pictures."]


def _rows_of(data: str, runs: Sequence[Run | None]) -> list[PicturedCase]:
    albums = [{} if run is None else {one.case: one for one in run.examples} for run in runs]
    fullest = next(run for run in runs if run is not None)
    cases = [one.case for one in fullest.examples if "drawn" in one.why.split(",")][:CASES]
    rows = []
    for case in cases:
        one = next(album[case] for album in albums if case in album)
        rows.append(
            PicturedCase(
                label=f"{data}\n{case}",
                image=one.image,
                truth=one.truth,
                predictions=tuple(album[case].prediction if case in album else None for album in albums),
                scores=tuple(case_score(run, case) for run in runs),
            )
        )
    return rows


def case_metric_title(run: Run) -> str:
    """The first metric: shown beside a case's picture, and used to select the best and worst cases."""
    return run.headline.measurement.heading(_first_metric(run))


def _first_metric(run: Run) -> MetricName:
    return run.headline.measurement.metrics[0]


def case_score(run: Run | None, case: str) -> str:
    """A case's first metric by the predictor, mean over classes, as text; empty where it is undefined or not run."""
    if run is None:
        return ""
    metric, frame = _first_metric(run), run.headline.cases
    values = frame[(frame["network"] == run.result["predictor"]) & (frame["case"] == case)][metric].dropna()
    return f"{values.mean() * METRICS[metric].scale:.1f}" if len(values) else ""


def _moments(found: Gathered) -> tuple[Figure, list[str]]:
    """Figure 5: uncertainty of images and of their UMIX images, early and late."""
    every = [run for row in found.body for one in row for run in one.runs]
    rows, remarks = [], _without_pictures([run for run in every if not run.moments])
    for c, (column, benchmark) in enumerate(zip(found.grid.columns, found.benchmarks, strict=True)):
        for row in found.body:
            run = next((run for run in row[c].runs if run.moments), None)
            if run is None:
                continue
            remarks.append(
                f"{benchmark.title}, {column.labeled} labelled: seed "
                f"{seed_text(run.spec.seed, run.spec.label_seed)}, {run.iterations} iterations."
            )
            for case in dict.fromkeys(moment.case for moment in run.moments):
                own = [moment for moment in run.moments if moment.case == case]
                stages = tuple(
                    (
                        f"iteration {m.iteration}",
                        m.uncertainty.astype(float),
                        m.mixed,
                        m.uncertainty_mixed.astype(float),
                    )
                    for m in own
                )
                rows.append(PicturedMoments(f"{benchmark.name}\n{case}", own[0].image, stages))
    remarks.append(
        "Two unlabelled training images, drawn by their ids, without augmentation, networks in evaluation mode; a map "
        "is the mean of both students' uncertainty with the teacher (equation 8), divided by ln K."
    )
    return uncertainty_figure(rows), remarks

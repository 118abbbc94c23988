"""Figures of pictures: masks of test cases (Figure 4), and uncertainty maps of training images (Figure 5)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ssl_bench.cards import METRICS, MetricName, seed_text
from ssl_bench.command import quantity, run_words
from ssl_bench.reporting.canvas import NO_PICTURE, NO_RUN
from ssl_bench.reporting.draw import PicturedCase, PicturedMoments, example_figure, uncertainty_figure
from ssl_bench.reporting.drawn import Drawn
from ssl_bench.reporting.gather import Filled, Gathered
from ssl_bench.reporting.kept_files import examples_of, moments_of
from ssl_bench.store import Example, Run

CASES = 2  # rows of Figure 4 per data set, the first of those that are drawn by their ids
OTHER_SEED = "other seed"
ELSEWHERE = "with-pictures"  # a results root in the commands of a note


def draw_examples(found: Gathered) -> Drawn:
    """Draw Figure 4: the first drawn cases of each data set, by every method's run of one seed."""
    examples, remarks = list[PicturedCase](), list[str]()
    for c, (column, benchmark) in enumerate(zip(found.grid.columns, found.benchmarks, strict=True)):
        runs = [{run.spec.draws: run for run in row[c].runs if examples_of(run)} for row in found.body]
        texts = {run.spec.draws: seed_text(run.spec.seed, run.spec.label_seed) for own in runs for run in own.values()}
        if not texts:
            continue
        first = min(texts, key=lambda draws: (-sum(draws in own for own in runs), draws))
        remarks.append(f"{benchmark.title}, {column.labeled} labelled: runs of seed {texts[first]}.")
        others = [row.title for row, own in zip(found.grid.rows, runs, strict=True) if own and first not in own]
        if others:
            remarks.append(f"Only runs of other seeds than {texts[first]}, which are not shown: {', '.join(others)}.")
        shown = [
            own[first] if first in own else OTHER_SEED if own else NO_PICTURE if row[c].runs else NO_RUN
            for row, own in zip(found.body, runs, strict=True)
        ]
        examples += _rows_of(benchmark.name, shown)
    scored = dict.fromkeys(case_metric_title(run) for run in found.runs if examples_of(run))
    without, notes = _without(found, examples_of)
    if examples:
        remarks.append(
            f"The cases are selected by their ids, not by their scores. Numbers are the case's {' or '.join(scored)}; "
            "lines are the border of the ground truth. A volume is shown by the axial slice with the most ground "
            "truth; its number is that of the whole volume."
        )
    absent = NO_PICTURE if found.runs else NO_RUN
    figure = example_figure([row.title for row in found.grid.rows], examples, absent)
    return Drawn(figure, [*remarks, *notes], pictureless=without, is_empty=not examples)


def draw_moments(found: Gathered) -> Drawn:
    """Draw Figure 5: uncertainty of images and of their UMIX images, early and late."""
    rows, remarks = list[PicturedMoments](), list[str]()
    for c, (column, benchmark) in enumerate(zip(found.grid.columns, found.benchmarks, strict=True)):
        for row in found.body:
            run = next((run for run in row[c].runs if moments_of(run)), None)
            if run is not None:
                seed = seed_text(run.spec.seed, run.spec.label_seed)
                length = quantity(run.iterations, "iteration")
                remarks.append(f"{benchmark.title}, {column.labeled} labelled: seed {seed}, {length}.")
                rows += _maps_of(benchmark.name, run)
    without, notes = _without(found, moments_of)
    if rows:
        remarks.append(
            "Two unlabelled training images, drawn by their ids, without augmentation, networks in evaluation mode; a "
            "map is the mean of both students' uncertainty with the teacher (equation 8), divided by ln K."
        )
    figure = uncertainty_figure(rows, NO_PICTURE if found.runs else NO_RUN)
    return Drawn(figure, [*remarks, *notes], pictureless=without, is_empty=not rows)


def case_metric_title(run: Run) -> str:
    """The first metric: shown beside a case's picture, and used to select the best and worst cases."""
    return run.headline.measurement.heading(_first_metric(run))


def case_score(run: Run, case: str) -> str:
    """A case's first metric by the predictor, mean over classes, as text; empty where it is undefined."""
    metric, frame = _first_metric(run), run.headline.cases
    values = frame[(frame["network"] == run.result["predictor"]) & (frame["case"] == case)][metric].dropna()
    return f"{values.mean() * METRICS[metric].scale:.1f}" if len(values) else ""


def _first_metric(run: Run) -> MetricName:
    return run.headline.measurement.metrics[0]


def _rows_of(data: str, shown: Sequence[Run | str]) -> list[PicturedCase]:
    """The rows of a data set: each method's run, or why it has no picture."""
    runs = [run for run in shown if not isinstance(run, str)]
    albums = {run.path: {one.case: one for one in examples_of(run)} for run in runs}
    cases = [one.case for one in examples_of(runs[0]) if "drawn" in one.why.split(",")][:CASES]
    rows = []
    for case in cases:
        one = albums[runs[0].path][case]
        pictures = [run if isinstance(run, str) else _mask(albums[run.path].get(case)) for run in shown]
        scores = ["" if isinstance(run, str) else case_score(run, case) for run in shown]
        rows.append(PicturedCase(f"{data}\n{case}", one.image, one.truth, tuple(pictures), tuple(scores)))
    return rows


def _mask(one: Example | None) -> np.ndarray | str:
    return NO_PICTURE if one is None else one.prediction


def _maps_of(data: str, run: Run) -> list[PicturedMoments]:
    """A row per image of a run."""
    rows, moments = [], moments_of(run)
    for case in dict.fromkeys(moment.case for moment in moments):
        own = [moment for moment in moments if moment.case == case]
        stages = tuple(
            (f"iteration {m.iteration}", m.uncertainty.astype(float), m.mixed, m.uncertainty_mixed.astype(float))
            for m in own
        )
        rows.append(PicturedMoments(f"{data}\n{case}", own[0].image, stages))
    return rows


def _without(found: Gathered, pictures_of: Callable[[Run], Sequence[Any]]) -> tuple[tuple[Run, ...], list[str]]:
    """Runs of the cells in which no run has pictures, and how they get some.

    One seed of a cell is drawn, so a cell with pictures of one run lacks none.
    """
    lacking = [one for row in found.body for one in row if one.runs and not any(map(pictures_of, one.runs))]
    runs = tuple({run.path: run for one in lacking for run in one.runs}.values())
    if not runs:
        return (), []
    which = f"{quantity(len(runs), 'run')} on {', '.join(dict.fromkeys(run.spec.benchmark for run in runs))}"
    if pictures_of is moments_of and all(map(examples_of, runs)):
        methods = ", ".join(dict.fromkeys(run.spec.method for run in runs))
        note = (
            f"No uncertainty maps in {which}, which have other pictures: {methods} makes none (no `snapshot` in its "
            "updates), or the runs are of an earlier version."
        )
        return runs, [note]
    note = (
        f"No pictures in {which}: an export leaves them out. Where the runs were trained, `ssl-bench results export "
        "FILE.zip --pictures` writes them, and `ssl-bench results import FILE.zip` adds them to this store."
    )
    again = [
        f"Pictures are made by training. If no store has them: `{command}`, then export and import as above. An import "
        "refuses a run whose scores differ, as they can on another machine."
        for command in _commands(lacking)
    ]
    return runs, [note, *again]


def _commands(lacking: Sequence[Filled]) -> list[str]:
    """Commands that train one run of each of these cells into another store."""
    groups: dict[str, list[Filled]] = {}
    for one in lacking:
        place, seed = one.place, one.runs[0].spec.seed
        if place is not None:
            key = f"{place.column.dataset} {place.column.labeled} {place.protocol} {place.settings} {seed}"
            groups.setdefault(key, []).append(one)
    commands = []
    for own in groups.values():
        place, spec = own[0].place, own[0].runs[0].spec
        methods = list(dict.fromkeys(one.place.method for one in own if one.place is not None))
        if place is not None:
            labels = [] if spec.label_seed is None else [spec.label_seed]
            words = run_words(
                methods, place.benchmark.option, place.column.labeled, place.protocol, [spec.seed], place.settings,
                labels,
            )  # fmt: skip
            commands.append(shlex.join(["ssl-bench", *words, "--results-root", ELSEWHERE]))
    return commands

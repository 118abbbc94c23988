"""A run's page of the site: its scores, curves, best and worst cases, and every fact about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ssl_bench.cards import Measurement, MetricName, dotted
from ssl_bench.reporting.canvas import render
from ssl_bench.reporting.draw import PicturedCase, example_figure
from ssl_bench.reporting.draw_lines import Line, Panel, line_figure
from ssl_bench.reporting.kept_files import curves_of, examples_of, test_curve_of, unreadable_notes
from ssl_bench.reporting.picture_figures import case_metric_title, case_score
from ssl_bench.reporting.scores import cell_scores, mean_and_deviation
from ssl_bench.reporting.site import Picture, RunPage
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.store import Run


def run_page(run: Run) -> RunPage:
    """Lay out a run's page. A file of the run that cannot be read is named in a note."""
    tables = tuple(networks_table(run, scores.measurement) for scores in run.scores.values())
    facts = (
        ("Specification", fact_rows(run.spec.model_dump(mode="json"))),
        ("Provenance", fact_rows(run.provenance)),
        ("Costs", fact_rows(run.result)),
    )
    panels, pictures = _panels(run), []
    if panels:
        curves = render(line_figure(panels), "svg")
        pictures.append(Picture("Training curves", f"curves-{run.path.name}", {"svg": curves}))
    for why, words in (("best", "Best cases"), ("worst", "Worst cases")):
        examples = [
            PicturedCase(one.case, one.image, one.truth, (one.prediction,), (case_score(run, one.case),))
            for one in examples_of(run)
            if why in one.why.split(",")
        ]
        if examples:
            content = render(example_figure([run.result["predictor"]], examples), "png")
            title = f"{words} by {case_metric_title(run)}"
            pictures.append(Picture(title, f"{why}-{run.path.name}", {"png": content}))
    notes = tuple(unreadable_notes([run], "curves", "test_curve", "examples"))
    return RunPage(run.path.name, run.spec.label, facts, tuple(pictures), tables, notes)


def networks_table(run: Run, measurement: Measurement) -> Table:
    """Scores of every network of a run in one measurement."""
    titles = [measurement.heading(metric) for metric in measurement.metrics]
    rows: list[list[str | Cell]] = []
    for network in run.scores[measurement.key].summary:
        scored = " (scored)" if network == run.result["predictor"] else ""
        cells = [_score(run, metric, measurement, network) for metric in measurement.metrics]
        rows.append([f"{network}{scored}", *cells])
    how = measurement.settings if len(run.scores) > 1 else {}
    heading = ", ".join(["Scores of every network", *(f"{key} = {value}" for key, value in how.items())])
    return Table(heading, ["Network", *titles], rows, frozenset(titles))


def _score(run: Run, metric: MetricName, measurement: Measurement, network: str) -> Cell:
    scores = cell_scores([run], metric, measurement, network)
    return Cell(mean_and_deviation(scores), None if scores is None else scores.mean)


def _panels(run: Run) -> list[Panel]:
    """Losses, disagreement and entropy of a run's training, and its test scores on the way where there are any."""
    curves, tested = curves_of(run), test_curve_of(run)
    panels = []
    if curves is not None:
        names = [name for name in curves.columns if name not in ("iteration", "lambda", "disagreement", "entropy")]
        panels.append(Panel("Losses", "iteration", "value", tuple(_line(curves, name) for name in names)))
        for name, label in (("disagreement", "Dice loss"), ("entropy", "entropy [nat]")):
            if name in curves:
                panels.append(Panel(name.capitalize(), "iteration", label, (_line(curves, name),)))
    if tested is not None:
        lines = tuple(_line(tested, name) for name in tested.columns if name != "iteration")
        panels.append(Panel("Test set (ORACLE)", "iteration", "score", lines))
    return panels


def _line(frame: Any, name: str) -> Line:
    own = frame[["iteration", name]].dropna()
    return Line(name, own["iteration"].to_numpy(dtype=float), np.asarray([own[name].to_numpy(dtype=float)]))


def fact_rows(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Nested data as dotted keys and texts."""
    return tuple(
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in dotted(data).items()
    )

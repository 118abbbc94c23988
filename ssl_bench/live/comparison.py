"""Any chosen runs side by side: their curves, the settings in which they differ, and two of them case by case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

from ssl_bench.cards import METRICS, Measurement, MetricName, dotted
from ssl_bench.command import quantity
from ssl_bench.errors import UserError
from ssl_bench.live.charts import CasePoint, Chart, Curve, curve_chart, scatter_chart
from ssl_bench.live.curve_files import LOSS, Points, read_curves
from ssl_bench.reporting.scores import cell_scores
from ssl_bench.reporting.table import Table
from ssl_bench.store import Example, Run, RunFolder

MOST = 12  # runs that are compared
LETTERS = "ABCDEFGHIJKL"  # their names in charts and tables
METHOD = "method:"  # begins the name of a side that is all chosen runs of a method


@dataclass(frozen=True)
class Side:
    """One side of the comparison by cases: a run, or all chosen runs of a method. `name` is its value in an address."""

    name: str
    title: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ByCase:
    """Two sides case by case. `chart` is None where there is nothing to draw; `notes` say why."""

    metric: str
    chart: Chart | None = None
    points: tuple[CasePoint, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _CaseMean:
    """The mean of a case, and of how many values for each run; sides with other numbers of them are not compared."""

    mean: float
    values: Fraction


@dataclass
class RunCurves:
    """All curves of a run by the name of their file, and what cannot be read."""

    training: dict[str, Points] = field(default_factory=dict)
    validation: dict[str, Points] = field(default_factory=dict)
    test: dict[str, Points] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: RunFolder) -> RunCurves:
        """Read the curves in a run's folder."""
        found = cls()
        for name, path in (
            ("training", folder.curves), ("validation", folder.validation_curve), ("test", folder.test_curve),
        ):  # fmt: skip
            try:
                setattr(found, name, read_curves(path))
            except UserError as error:
                found.notes.append(str(error))
        return found


def run_charts(curves: RunCurves) -> list[Chart]:
    """Draw the curves of one run: losses together, every other quantity alone."""
    alone = ("disagreement", "entropy")
    losses = [(name, points) for name, points in curves.training.items() if name not in ("lambda", *alone)]
    charts = [curve_chart("Losses", [Curve(name, points, i) for i, (name, points) in enumerate(losses)])]
    for title, own in (("Validation", curves.validation), ("Test set (ORACLE)", curves.test)):
        for name, points in own.items():
            heading, scaled = _measured(name, points)
            charts.append(curve_chart(f"{title}: {heading}", [Curve(heading, scaled, 0)]))
    charts += [curve_chart(name.capitalize(), [Curve(name, curves.training.get(name, []), 0)]) for name in alone]
    return [chart for chart in charts if chart is not None]


def overlaid_charts(runs: Sequence[RunCurves], labels: Sequence[str]) -> list[Chart]:
    """Draw the same quantity of several runs in one chart: loss, validation and test scores, disagreement, entropy."""
    wanted = [("training", LOSS, "Loss")]
    for kind, title in (("validation", "Validation"), ("test", "Test set (ORACLE)")):
        names = dict.fromkeys(name for run in runs for name in getattr(run, kind))
        wanted += [(kind, name, f"{title}: {_measured(name, [])[0]}") for name in names]
    wanted += [("training", "disagreement", "Disagreement"), ("training", "entropy", "Entropy")]
    charts = []
    for kind, name, title in wanted:
        found = [getattr(run, kind).get(name, []) for run in runs]
        if kind != "training":
            found = [_measured(name, points)[1] for points in found]
        curves = [Curve(label, points, i) for i, (label, points) in enumerate(zip(labels, found, strict=True))]
        charts.append(curve_chart(title, curves))
    return [chart for chart in charts if chart is not None]


def differing_table(title: str, data: Mapping[str, Mapping[str, Any]]) -> Table:
    """List the keys in which nested data of several runs, by their letters, differ; without the key it is "—"."""
    flat = [dotted(dict(own)) for own in data.values()]
    keys = sorted({key for own in flat for key in own})
    texts = {key: [_text(own[key]) if key in own else "—" for own in flat] for key in keys}
    rows = [[key, *own] for key, own in texts.items() if len(set(own)) > 1]
    return Table(title, ["Key", *data], rows, notes=[] if rows else ["No difference."])


def sides_of(runs: Mapping[str, Run]) -> list[Side]:
    """Return what can be compared by cases of runs by their letters: each finished one, and methods with several."""
    scored = {letter: run for letter, run in runs.items() if run.scores}
    found = [Side(run.path.name, f"{letter}: {run.spec.label}", (run,)) for letter, run in scored.items()]
    for method in dict.fromkeys(run.spec.method for run in scored.values()):
        own = tuple(run for run in scored.values() if run.spec.method == method)
        if len(own) > 1:
            found.append(Side(f"{METHOD}{method}", f"{method}: mean of {quantity(len(own), 'run')}", own))
    return found


def metrics_of(sides: Sequence[Side]) -> list[MetricName]:
    """Return the metrics by which the runs of some sides are scored."""
    measured = [scores.measurement for side in sides for run in side.runs for scores in run.scores.values()]
    return list(dict.fromkeys(metric for one in measured for metric in one.metrics))


def by_case(x: Side, y: Side, metric: MetricName, pictured: set[str], chosen: Sequence[str]) -> ByCase:
    """Compare two sides case by case: a point is the mean over a side's runs and the classes.

    Args:
        x: drawn to the right.
        y: drawn upwards.
        metric: of the cases.
        pictured: the cases with a kept picture.
        chosen: the runs of the comparison, for the addresses of the cases.
    """
    measurement = _measurement(x, metric)
    if measurement is None:
        return ByCase(metric, notes=(f"{x.title} has no {metric}.",))
    heading, notes = measurement.heading(metric), list[str]()
    try:
        first, second = _case_means(x, metric, measurement), _case_means(y, metric, measurement)
    except UserError as error:
        return ByCase(heading, notes=(str(error),))
    if not second:
        return ByCase(heading, notes=(f"{y.title} has no {metric} that was measured in the same way.",))
    common = sorted(case for case in first.keys() & second.keys() if first[case].values == second[case].values)
    alone = len(first.keys() | second.keys()) - len(common)
    if alone:
        notes.append(f"{quantity(alone, 'case')} without a value for each run and class on both sides: not shown.")
    if len({run.spec.data_fingerprint for run in (*x.runs, *y.runs)}) > 1:
        notes.append("The runs have other data: cases of the same name may be other images.")
    if not common:
        return ByCase(heading, notes=(*notes, "The two sides have no case in common."))
    runs = [("run", name) for name in chosen]
    points = tuple(
        CasePoint(
            case, first[case].mean, second[case].mean, f"/case?{urlencode([*runs, ('case', case)])}", case in pictured
        )
        for case in common
    )
    mean = sum(point.y - point.x for point in points) / len(points)
    higher = sum(point.y > point.x for point in points)
    lower = sum(point.y < point.x for point in points)
    counted = quantity(len(points), "case")
    notes.append(f"{counted}: up minus right is {mean:+.2f} on average, above 0 on {higher}, below on {lower}.")
    labels = [f"{side.title.partition(':')[0]}, {heading}" for side in (x, y)]
    chart = scatter_chart(f"{heading} by case", points, *labels)
    return ByCase(heading, chart, points, tuple(notes))


def case_pictures(runs: Sequence[Run], examples: Mapping[str, Sequence[Example]], case: str) -> list[tuple[Run, int]]:
    """Return the runs that kept a picture of a case, and its number among the run's pictures."""
    return [
        (run, number)
        for run in runs
        for number, example in enumerate(examples[run.path.name])
        if str(example.case) == case
    ]


def _measured(name: str, points: Points) -> tuple[str, Points]:
    """A metric's title and its values as tables print them: shares in per cent."""
    if name not in METRICS:
        return name, points
    metric = METRICS[name]
    return f"{metric.title} [%]" if metric.kind == "share" else metric.title, [(x, y * metric.scale) for x, y in points]


def _measurement(side: Side, metric: MetricName) -> Measurement | None:
    measured = [scores.measurement for run in side.runs for scores in run.scores.values()]
    return next((one for one in measured if metric in one.metrics), None)


def _case_means(side: Side, metric: MetricName, measurement: Measurement) -> dict[str, _CaseMean]:
    """Each case's mean over runs and classes; without those that have no defined value."""
    scores = cell_scores(side.runs, metric, measurement)
    if scores is None:
        return {}
    sums, counts = scores.sums.sum(axis=0), scores.counts.sum(axis=0)
    return {
        str(case): _CaseMean(float(total / count), Fraction(int(count), len(scores.seeds)))
        for case, total, count in zip(scores.cases, sums, counts, strict=True)
        if count
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

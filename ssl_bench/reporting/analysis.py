"""Statistics of a table: each cell's mean and uncertainty, the comparisons of a column, the published number's verdict.

A record per row, column and metric, as `statistics.csv` has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from ssl_bench.cards import METRICS, Benchmark, Grid, Measurement, MetricName
from ssl_bench.data.groups import groups_of
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Place
from ssl_bench.reporting.gather import Body, Gathered
from ssl_bench.reporting.notes import CASES
from ssl_bench.reporting.paired import NO_PAIR, Paired, Span, comparison_of, corrected, smallest, with_name
from ssl_bench.reporting.published import Published, differences, is_tested_alike, published
from ssl_bench.reporting.scores import cell_scores, scored_runs
from ssl_bench.statistics.cell import CellScores, Interval
from ssl_bench.statistics.column import Column
from ssl_bench.store import Run


@dataclass(frozen=True)
class Record:
    """One cell of a table with its statistics; numbers in the metric's printed unit.

    Attributes:
        place: its place in the grid.
        metric: the metric.
        runs: the runs that are scored by it.
        published: the paper's number.
        scores: per seed and case.
        interval: 95 % interval of the mean.
        prediction: 95 % interval of the mean of one more training; None with fewer than 2 seeds.
        tested_alike: whether the prediction is for the same test cases, those of the paper's number.
        best: comparison with the column's best method.
        baseline: comparison with the grid's baseline.
        verdict: where the published number lies.
        unscored: number of runs without scores by the metric, or whose seed lacks them for some labelled draw.
        reasons: why published and measured numbers cannot be compared, in full.
        is_upper: whether it is of the upper line, which does not compete.
        ungrouped: why its cases have no groups although the card has a rule.

    """

    place: Place
    metric: MetricName
    runs: Sequence[Run]
    published: Published | None
    scores: CellScores | None = field(repr=False)
    interval: Interval | None = None
    prediction: Interval | None = None
    tested_alike: bool = False
    best: Paired = NO_PAIR
    baseline: Paired = NO_PAIR
    verdict: str = ""
    unscored: int = 0
    reasons: tuple[str, ...] = ()
    is_upper: bool = False
    ungrouped: str = ""

    @property
    def mean(self) -> float | None:
        """Mean over seeds of the mean over cases."""
        return None if self.scores is None else self.scores.mean

    @property
    def measurement(self) -> Measurement:
        """How its runs are scored."""
        return self.place.wanted.measurement

    @property
    def data(self) -> str:
        """The column's title, data set and share."""
        return self.place.data


class Spot(NamedTuple):
    """Position of a record: row number, column number and metric."""

    row: int
    column: int
    metric: MetricName


Records = dict[Spot, Record]  # row by row; without the spots where a row has no method for the data


@dataclass(frozen=True)
class Family:
    """The methods of a column by one metric, which are compared with each other.

    Rows that show the same scores count once, as the first of them or as the baseline.

    Attributes:
        data: the column's title, data set and share.
        heading: the metric's title with its unit.
        best: title of the row with the best mean, the first one of several.
        baseline: title of the baseline's row; empty where it is not measured.
        pooled: titles of the rows whose error term is pooled.
        alone: titles of the measured rows outside it.
        seeds: the seeds of the error term.
        smallest_from_baseline: smallest true difference from the baseline that the first comparison would find with
            80 % power, the least and the most of the rows'; None where none could be marked.
        smallest_from_best: the same from the best, of the comparisons between any two methods.
        smallest: the same between any two methods.
        pairs: every comparison of two rows (a, b), a's title before b's in the table, Holm-corrected over all pairs.
        same: titles of rows that show the same scores of the same trainings.

    """

    data: str
    heading: str
    best: str
    baseline: str
    pooled: tuple[str, ...]
    alone: tuple[str, ...]
    seeds: tuple[int, ...]
    smallest_from_baseline: Span | None
    smallest_from_best: Span | None
    smallest: Span | None
    pairs: Mapping[tuple[str, str], Paired]
    same: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Analysis:
    """The records of a table, and the families of comparisons by column number and metric."""

    records: Records
    families: Mapping[tuple[int, MetricName], Family]


def analyse(found: Gathered) -> Analysis:
    """Return the statistics of a table.

    Within a column and metric, every method is compared with the best one and with the grid's baseline, each family of
    comparisons Holm-corrected. The upper line is compared with both, outside these families.
    """
    grid, above = found.grid, len(found.above)
    head = {} if found.upper is None else _records(found.upper, found.above, 0, is_upper=True)
    body = _records(grid, found.body, above)
    families: dict[tuple[int, MetricName], Family] = {}
    for column in range(len(grid.columns)) if grid.comparisons else ():
        for metric in grid.metrics:
            compared = _compared(grid, family(body, column, metric), family(head, column, metric))
            if compared is not None:
                families[column, metric], changed = compared
                head |= {spot: one for spot, one in changed.items() if spot in head}
                body |= {spot: one for spot, one in changed.items() if spot in body}
    return Analysis(head | body, families)


def family(records: Records, column: int, metric: MetricName) -> Records:
    """Return the records that are compared with each other: one column's by one metric."""
    return {spot: one for spot, one in records.items() if (spot.column, spot.metric) == (column, metric)}


def distinct(records: Iterable[Record]) -> list[Record]:
    """Return the competing records, of those with the same scores the first."""
    found: dict[object, Record] = {}
    for number, one in enumerate(records):
        if not one.is_upper:
            found.setdefault(_runs(one) or number, one)
    return list(found.values())


def _records(grid: Grid, body: Body, first: int, *, is_upper: bool = False) -> Records:
    """The records of rows that are numbered from `first`, without comparisons."""
    return {
        Spot(r, c, metric): _record(grid, one.place, one.runs, metric, is_upper=is_upper)
        for r, row in enumerate(body, start=first)
        for c, one in enumerate(row)
        for metric in grid.metrics
        if one.place is not None
    }


def _record(grid: Grid, place: Place, runs: Sequence[Run], metric: MetricName, *, is_upper: bool) -> Record:
    given = published(grid, place.row, place.column, metric)
    measurement = place.wanted.measurement
    scored = scored_runs(runs, metric, measurement)
    scores, ungrouped = cell_scores(scored, metric, measurement), ""
    if scores is not None:
        scores, ungrouped = with_groups(scores, place.benchmark)
    record = Record(
        place, metric, scored, given, scores, unscored=len(runs) - len(scored), is_upper=is_upper, ungrouped=ungrouped
    )
    if scores is None:
        return replace(record, verdict="" if given is None else "not measured")
    alike = is_tested_alike(place, scored)
    prediction = _possible(scores.prediction(same_cases=alike), metric)
    record = replace(record, interval=printed_interval(scores, metric), prediction=prediction, tested_alike=alike)
    verdict, reasons = _verdict(record)
    return replace(record, verdict=verdict, reasons=reasons)


def with_groups(scores: CellScores, benchmark: Benchmark) -> tuple[CellScores, str]:
    """Add the groups of the cases, by the data set's card; none where each case stands for itself.

    Returns:
        The scores, and why the cases have no groups although the card has a rule.
    """
    try:
        groups = tuple(groups_of(benchmark, scores.cases))
    except UserError as error:
        return scores, str(error)
    return (scores if len(set(groups)) == len(groups) else replace(scores, groups=groups)), ""


def printed_interval(scores: CellScores, metric: MetricName) -> Interval | None:
    """The 95 % interval of a cell's mean, within the metric's possible values."""
    return _possible(scores.interval(), metric)


def _possible(interval: Interval | None, metric: MetricName) -> Interval | None:
    """The part of an interval that the metric's values can reach."""
    if interval is None:
        return None
    low, high = interval
    return max(low, 0.0), min(high, 100.0) if METRICS[metric].kind == "share" else high


def _verdict(one: Record) -> tuple[str, tuple[str, ...]]:
    """Where the published number lies, or why that cannot be said, with the reasons in full."""
    if one.published is None:
        return "", ()
    if one.mean is None:
        return "not measured", ()
    if one.published.is_copied:
        return "not comparable (copied)", ("the paper copied it from another paper, under another protocol",)
    reasons = differences(one.place, one.runs)
    if reasons:
        return f"not comparable ({', '.join(reasons)})", tuple(f"{kind} ({why})" for kind, why in reasons.items())
    if one.prediction is None:
        return "not judged (that needs two seeds and two test cases)", ()
    low, high = one.prediction
    where = "above" if one.published.value > high else "below" if one.published.value < low else "inside"
    whose = "the same" if one.tested_alike else "other"
    return f"{where} the prediction for one training on {whose} test {CASES[one.place.benchmark.dimensions]}", ()


def _compared(grid: Grid, rivals: Records, upper: Records) -> tuple[Family, Records] | None:
    """Compare the methods of a column; None where fewer than two are measured."""
    # the row that the legend names, measured or not: of a study's rows, several have the baseline's method
    named = next((spot for spot, one in rivals.items() if one.place.method == grid.baseline), None)
    alike = _alike(rivals, named)
    spots = list(alike)
    if len(spots) < 2:
        return None
    cells = [one.scores for one in (rivals[spot] for spot in spots) if one.scores is not None]
    column, titles = Column(cells), [rivals[spot].place.row.title for spot in spots]
    best = _first_best([rivals[spot] for spot in spots])
    baseline = spots.index(named) if named in spots else None
    compared = {
        (a, b): found for a, b in combinations(range(len(spots)), 2) if (found := column.compare(a, b)) is not None
    }
    every = len(spots) * (len(spots) - 1) // 2
    pairs = corrected(compared, every)
    with_baseline = corrected({pair: one for pair, one in compared.items() if baseline in pair}, len(spots) - 1)
    changed = {}
    for number, spot in enumerate(spots):
        changed[spot] = replace(
            rivals[spot],
            best=comparison_of(pairs, number, best, titles),
            baseline=NO_PAIR if baseline is None else comparison_of(with_baseline, number, baseline, titles),
        )
        for copy in alike[spot]:
            changed[copy] = replace(rivals[copy], best=changed[spot].best, baseline=changed[spot].baseline)
    for spot, one in upper.items():
        same = next((changed[own] for own in spots if _runs(rivals[own]) == _runs(one)), None)
        if same is not None:
            changed[spot] = replace(one, best=same.best, baseline=same.baseline)
        elif one.scores is not None:
            changed[spot] = _upper(one, cells, titles, best, baseline)
    first = rivals[spots[0]]
    return Family(
        data=first.data,
        heading=first.place.benchmark.heading(first.metric),
        best=titles[best],
        baseline="" if baseline is None else titles[baseline],
        pooled=tuple(titles[i] for i in column.pool),
        alone=tuple(title for i, title in enumerate(titles) if i not in column.pool),
        seeds=column.seeds,
        smallest_from_baseline=smallest(
            [one for pair, one in compared.items() if baseline in pair], column.error, len(spots) - 1
        ),
        smallest_from_best=smallest(
            [one for pair, one in compared.items() if best in pair], column.error, every
        ),
        smallest=smallest(compared.values(), column.error, every),
        pairs={(titles[a], titles[b]): with_name(one, titles[b]) for (a, b), one in pairs.items()},
        same=tuple(
            tuple(rivals[one].place.row.title for one in sorted([spot, *copies]))
            for spot, copies in alike.items() if copies
        ),
    ), changed  # fmt: skip


def _alike(rivals: Records, baseline: Spot | None) -> dict[Spot, list[Spot]]:
    """The measured rows in their order, each with those that are the same trainings: these count once.

    Of several, the baseline stands for the others, else the first.
    """
    found: dict[tuple[Path, ...], list[Spot]] = {}
    for spot, one in rivals.items():
        if one.mean is not None:
            found.setdefault(_runs(one), []).append(spot)
    first = {baseline if baseline in own else own[0]: own for own in found.values()}
    return {spot: [one for one in first[spot] if one != spot] for spot in sorted(first)}


def _runs(one: Record) -> tuple[Path, ...]:
    """The files of the scores that a record shows: the same trainings can be measured in several ways."""
    found = [run.scored(one.measurement, one.metric) for run in one.runs]
    return tuple(scores.path for scores in found if scores is not None)


def _upper(one: Record, cells: Sequence[CellScores], titles: Sequence[str], best: int, baseline: int | None) -> Record:
    """Compare the upper line with the best of the methods and with the baseline, each for itself."""
    assert one.scores is not None
    column, last = Column([*cells, one.scores]), len(cells)

    def against(other: int | None, tests: int) -> Paired:
        pair = None if other is None else column.compare(last, other)
        if pair is None or other is None:
            return NO_PAIR
        return with_name(corrected({(last, other): pair}, tests)[last, other], titles[other])

    return replace(one, best=against(best, len(cells)), baseline=against(baseline, 1))  # the best is one of all


def _first_best(rivals: Sequence[Record]) -> int:
    """The position of the best mean, the first one of several."""
    means = [one.mean or 0.0 for one in rivals]
    larger = METRICS[rivals[0].metric].larger_is_better
    return means.index(max(means) if larger else min(means))

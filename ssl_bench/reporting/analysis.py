"""Statistics of a table: each cell's mean, uncertainty and comparisons, and the published number's verdict.

A record per row, column and metric, as `statistics.csv` has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import NamedTuple

from ssl_bench.atomic import csv_text
from ssl_bench.cards import METRICS, Grid, Measurement, MetricName
from ssl_bench.grids.aim import Place
from ssl_bench.reporting.gather import Body
from ssl_bench.reporting.published import Published, differences, published
from ssl_bench.reporting.scores import cell_scores, undefined
from ssl_bench.reporting.statistics import CellScores, compare, holm
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.store import Run

SIGNIFICANT = 0.05  # of Holm-corrected p values over seeds and cases
FEW_SEEDS = 3  # fewer do not show the variation between trainings
ENOUGH_SEEDS = 10  # fewer have intervals that are too narrow
STATISTICS_NOTE = (
    "Mean over seeds of the mean over cases; SD over cases of their means over seeds; interval: percentile bootstrap "
    "over seeds and cases; difference to the best method of the column and to the baseline on the same cases and "
    "seeds; p over seeds and cases: analysis of variance with both random, as in studies of several readers (would "
    "other trainings differ on other cases?); p over cases: Wilcoxon's signed-rank test of each case's mean over seeds "
    "(would these networks differ on other cases?); both Holm-corrected over the column, against the best over all "
    "pairs, since the scores chose it; r: matched-pairs rank-biserial correlation over cases."
)


@dataclass(frozen=True)
class Paired:
    """A method against another one on the same cases and seeds; positive: it scores higher than the other."""

    other: str = ""
    seeds: int | None = None
    cases: int | None = None
    difference: float | None = None
    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    p_both: float | None = None
    p_both_holm: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the Holm-corrected p value over seeds and cases is below SIGNIFICANT, of FEW_SEEDS at least."""
        return self.p_both_holm is not None and self.p_both_holm < SIGNIFICANT and (self.seeds or 0) >= FEW_SEEDS


@dataclass(frozen=True)
class Record:
    """One cell of a table with its statistics; numbers in the metric's printed unit."""

    place: Place
    metric: MetricName
    runs: Sequence[Run]
    published: Published | None
    scores: CellScores | None = field(repr=False)
    interval: tuple[float, float] | None = None
    best: Paired = Paired()
    baseline: Paired = Paired()
    verdict: str = ""
    unscored: int = 0  # runs without scores by the metric
    reasons: tuple[str, ...] = ()  # why published and measured cannot be compared, in full

    @property
    def mean(self) -> float | None:
        """Mean over seeds of the mean over cases."""
        return None if self.scores is None else self.scores.mean

    @property
    def measurement(self) -> Measurement:
        """How its runs are scored."""
        return self.place.wanted.measurement


class Spot(NamedTuple):
    """Position of a record: row number, column number and metric."""

    row: int
    column: int
    metric: MetricName


Records = dict[Spot, Record]  # row by row; without the spots where a row has no method for the data


def analyse(grid: Grid, body: Body, first: int = 0) -> Records:
    """Return the records of a table.

    Within a column and metric, every method is compared with the best one and with the grid's baseline, each family of
    comparisons Holm-corrected.

    Args:
        grid: the aimed grid.
        body: its places with their runs.
        first: number of the first row.

    """
    spots = {
        Spot(r, c, metric): _record(grid, one.place, one.runs, metric)
        for r, row in enumerate(body, start=first)
        for c, one in enumerate(row)
        for metric in grid.metrics
        if one.place is not None
    }
    if grid.comparisons:
        for column in range(len(grid.columns)):
            for metric in grid.metrics:
                spots |= _compared(grid, family(spots, column, metric))
    return spots


def family(records: Records, column: int, metric: MetricName) -> Records:
    """Return the records that are compared with each other: one column's by one metric."""
    return {spot: one for spot, one in records.items() if (spot.column, spot.metric) == (column, metric)}


def statistics_csv(grid: Grid, records: Iterable[Record]) -> str:
    """Return all records as CSV, one per row; undefined values are left empty."""
    header = [
        "exhibit", "dataset", "labeled", "column", "row", "method", "metric", "published", "published_source",
        "verdict", "verdict_reasons", "seeds", "cases", "undefined", "mean", "sd_over_seeds", "sd_over_cases",
        "ci95_low", "ci95_high",
        *(f"vs_{which}_{f.name}" for which in ("best", "baseline") for f in fields(Paired)), "runs",
    ]  # fmt: skip
    return csv_text(header, (_line(grid, one) for one in records))


def statistics_table(grid: Grid, records: Iterable[Record]) -> Table:
    """Return the statistics of the measured cells, rounded for reading; `statistics_csv` has all of them in full."""
    rows: list[list[str | Cell]] = []
    for one in records:
        if one.scores is None or one.mean is None:
            continue
        place, scores, interval = one.place, one.scores, one.interval
        where = f"{place.column.title} {place.benchmark.name} {place.column.labeled}".strip()
        rows.append([
            place.row.title, where, place.benchmark.heading(one.metric), str(len(one.runs)),
            str(len(scores.cases)), Cell(f"{one.mean:.2f}", one.mean, runs=tuple(run.path.name for run in one.runs)),
            _number(scores.sd_over_seeds), _number(scores.sd_over_cases),
            "—" if interval is None else Cell(f"{interval[0]:.2f} to {interval[1]:.2f}", interval[0]),
            _paired(one.best), _paired(one.baseline), one.verdict or "—",
        ])  # fmt: skip
    header = [
        "Method", "Data", "Metric", "Seeds", "Cases", "Mean", "SD over\nseeds", "SD over\ncases", "95 %\ninterval",
        "Against the best\n(difference, p, r)", "Against the baseline\n(difference, p, r)", "Published number",
    ]  # fmt: skip
    return Table(f"{grid.name}: statistics", header, rows, frozenset(header[3:9]), [STATISTICS_NOTE] if rows else [])


def _number(value: float | None) -> str | Cell:
    return "—" if value is None else Cell(f"{value:.2f}", value)


def _paired(one: Paired) -> str | Cell:
    if one.p_holm is None or one.difference is None:
        return "—"
    both = "" if one.p_both_holm is None else f"p {_p(one.p_both_holm)} over seeds and cases, "
    text = f"{one.difference:+.2f}, {both}p {_p(one.p_holm)} over cases, r = {one.effect:+.2f}"
    return Cell(text, one.difference)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _line(grid: Grid, one: Record) -> list[object]:
    place, scores, given = one.place, one.scores, one.published
    low, high = one.interval or (None, None)
    values: list[object] = [
        grid.name, place.benchmark.name, place.column.labeled, place.column.title, place.row.title, place.method,
        place.benchmark.heading(one.metric), given and given.value, given and given.source,
        one.verdict, "; ".join(one.reasons), len(one.runs), scores and len(scores.cases),
        undefined(one.runs, one.metric, one.measurement), one.mean,
        scores and scores.sd_over_seeds, scores and scores.sd_over_cases, low, high,
        *asdict(one.best).values(), *asdict(one.baseline).values(), " ".join(run.path.name for run in one.runs),
    ]  # fmt: skip
    return [round(value, 6) if isinstance(value, float) else value for value in values]


def _record(grid: Grid, place: Place, runs: Sequence[Run], metric: MetricName) -> Record:
    given = published(grid, place.row, place.column, metric)
    measurement = place.wanted.measurement
    scored = [run for run in runs if run.scored(measurement, metric) is not None]
    scores = cell_scores(scored, metric, measurement)
    interval = None if scores is None else scores.interval()
    record = Record(place, metric, scored, given, scores, interval, unscored=len(runs) - len(scored))
    verdict, reasons = _verdict(record)
    return replace(record, verdict=verdict, reasons=reasons)


def _verdict(one: Record) -> tuple[str, tuple[str, ...]]:
    """Where the published number lies, or why that cannot be said, with the reasons in full."""
    if one.published is None:
        return "", ()
    if one.mean is None or one.interval is None:
        return "not measured", ()
    if one.published.is_copied:
        return "not comparable (copied)", ("the paper copied it from another paper, under another protocol",)
    reasons = differences(one.place, one.runs)
    if reasons:
        return f"not comparable ({', '.join(reasons)})", tuple(f"{kind} ({why})" for kind, why in reasons.items())
    low, high = one.interval
    where = "above" if one.published.value > high else "below" if one.published.value < low else "inside"
    few = "" if len(one.runs) >= FEW_SEEDS else f" ({len(one.runs)} of {FEW_SEEDS} seeds)"
    return f"{where} the measured interval{few}", ()


def _compared(grid: Grid, rivals: Records) -> Records:
    """Add to each measured record its comparison with the best of its column and with the baseline."""
    means = {spot: one.mean for spot, one in rivals.items() if one.mean is not None}
    if len(means) < 2:
        return {}
    best = _first_best(means)
    # the row that the legend names, measured or not: of a study's rows, several have the baseline's method
    baseline = next((spot for spot, one in rivals.items() if one.place.method == grid.baseline), None)
    pairs = len(means) * (len(means) - 1) // 2
    measured = {spot: rivals[spot] for spot in means}
    with_best = _against(measured, best, pairs)  # the best was chosen by the same scores
    with_baseline = {} if baseline is None else _against(measured, baseline)
    return {
        spot: replace(one, best=with_best.get(spot, Paired()), baseline=with_baseline.get(spot, Paired()))
        for spot, one in measured.items()
    }


def _first_best(means: Mapping[Spot, float]) -> Spot:
    """The spot with the best mean, the first one of several."""
    larger = METRICS[next(iter(means)).metric].larger_is_better
    return max(means, key=lambda spot: means[spot] if larger else -means[spot])


def _against(measured: Records, reference: Spot, tests: int | None = None) -> dict[Spot, Paired]:
    """Compare every other record with one of them; Holm's correction is over these comparisons, or `tests`."""
    other = measured.get(reference)
    if other is None or other.scores is None:
        return {}
    found = {}
    for spot, one in measured.items():
        paired = None if spot == reference or one.scores is None else compare(one.scores, other.scores)
        if paired is not None:
            found[spot] = Paired(
                other.place.row.title, paired.seeds, paired.cases, paired.difference, paired.p, None, paired.effect,
                paired.p_both,
            )  # fmt: skip
    over_cases = _adjusted({spot: paired.p for spot, paired in found.items()}, tests)
    both = _adjusted({spot: paired.p_both for spot, paired in found.items()}, tests)
    return {
        spot: replace(paired, p_holm=over_cases.get(spot), p_both_holm=both.get(spot)) for spot, paired in found.items()
    }


def _adjusted(p_values: Mapping[Spot, float | None], tests: int | None) -> dict[Spot, float]:
    """Holm's correction of the p values that are not None."""
    given = {spot: p for spot, p in p_values.items() if p is not None}
    return dict(zip(given, holm(list(given.values()), tests), strict=True))

"""Statistics of a table for reading, and in full as CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import product

from ssl_bench.atomic import csv_text
from ssl_bench.cards import METRICS, Grid, MetricName
from ssl_bench.reporting.analysis import Analysis, Record, family
from ssl_bench.reporting.paired import Paired
from ssl_bench.reporting.scores import undefined
from ssl_bench.reporting.table import Cell, Table

CELLS_NOTE = (
    "Mean over seeds of the mean over cases; SD over cases of their means over seeds; interval: 95 % t interval "
    "of the mean for other seeds and other cases, both random (analysis of variance; where values are undefined, "
    "its width is that of the complete cases; of one seed, for other cases alone). A group of cases, such as a "
    "patient or a video, is drawn whole. Seeds' share: of the variance of the mean; the rest is of the cases."
)
COMPARISONS_NOTE = (
    "Difference of the means on common seeds and cases, its 95 % interval and p over seeds and cases: analysis of "
    "variance with both random, as in studies of several readers (Dorfman, Berbaum and Metz 1992, Hillis 2007). Error"
    " term: of all methods of the column, or of this pair. One for all supposes that the differences of any two "
    "methods vary equally over seeds and cases. Pair alone: p (Holm) with the pair's own error term, which does not, "
    "and has few degrees of freedom. p (Holm) is corrected over the comparisons with the baseline, and against the "
    "best over all pairs, since the scores chose it. Degrees of freedom are Satterthwaite's; the seeds' variance is "
    "never taken as smaller than chance alone makes it. Shown: p (Holm) below 0.05 from at least three common seeds; "
    "'not shown' does not mean that the methods are equal. Intervals are not corrected. Over cases: Wilcoxon's "
    "signed-rank test of each case's or group's mean over seeds (would these trained networks differ on other "
    "cases?), Holm-corrected in the same way, and the matched-pairs rank-biserial correlation r."
)


def statistics_csv(grid: Grid, records: Iterable[Record]) -> str:
    """Return all records as CSV, one per row; undefined values are left empty."""
    header = [
        "exhibit", "dataset", "labeled", "column", "row", "method", "metric", "published", "published_source",
        "verdict", "verdict_reasons", "seeds", "cases", "groups", "undefined", "mean", "sd_over_seeds", "sd_over_cases",
        "ci95_low", "ci95_high", "prediction_low", "prediction_high", "share_of_seeds",
        *(f"vs_{which}_{f.name}" for which in ("best", "baseline") for f in fields(Paired)), "runs",
    ]  # fmt: skip
    return csv_text(header, (_line(grid, one) for one in records))


def statistics_table(grid: Grid, records: Iterable[Record]) -> Table:
    """Return the statistics of the measured cells, rounded for reading; `statistics_csv` has all of them in full."""
    rows: list[list[str | Cell]] = []
    for one in _different(records):
        scores, runs = one.scores, tuple(run.path.name for run in one.runs)
        if scores is None or one.mean is None:
            continue
        rows.append([
            one.place.row.title, one.data, one.place.benchmark.heading(one.metric), str(len(one.runs)),
            str(len(scores.cases)), "" if scores.groups is None else str(len(scores.units)),
            Cell(f"{one.mean:.2f}", one.mean, runs=runs), _number(scores.sd_over_seeds), _number(scores.sd_over_cases),
            interval_cell(one.interval), _share(scores.share_of_seeds), one.verdict or "—",
        ])  # fmt: skip
    header = [
        "Method", "Data", "Metric", "Seeds", "Cases", "Groups", "Mean", "SD over\nseeds", "SD over\ncases",
        "95 %\ninterval", "Seeds'\nshare", "Published number",
    ]  # fmt: skip
    if not any(row[5] for row in rows):
        header, rows = [*header[:5], *header[6:]], [[*row[:5], *row[6:]] for row in rows]
    return Table(f"{grid.name}: statistics", header, rows, frozenset(header[3:-1]), [CELLS_NOTE] if rows else [])


def comparisons_table(grid: Grid, analysis: Analysis) -> Table:
    """Return the comparisons of the measured cells with the baseline and with the best, a row for each.

    The rows of a column and metric stand together. The upper line's data are those of the column.
    """
    rows: list[list[str | Cell]] = []
    for which, ((column, metric), own) in product(("baseline", "best"), analysis.families.items()):
        for one in family(analysis.records, column, metric).values():
            pair: Paired = getattr(one, which)
            if pair.difference is None:
                continue
            rows.append([
                one.place.row.title, f"{pair.other} ({which})", own.data, own.heading,
                Cell(f"{pair.difference:+.2f}", pair.difference), interval_cell(interval_of(pair), sign="+"),
                p_cell(pair.p), p_cell(pair.p_holm), "" if pair.pooled is None else "all" if pair.pooled else "pair",
                p_cell(pair.p_pair_holm), shown(pair, metric), p_cell(pair.p_cases_holm), f"{pair.effect:+.2f}",
            ])  # fmt: skip
    header = [
        "Method", "Against", "Data", "Metric", "Difference", "95 %\ninterval", "p", "p\n(Holm)", "Error\nterm",
        "Pair alone:\np (Holm)", "Shown", "Over cases:\np (Holm)", "r",
    ]  # fmt: skip
    numeric = frozenset({*header[4:8], header[9], *header[11:]})
    return Table(f"{grid.name}: comparisons", header, rows, numeric, [COMPARISONS_NOTE] if rows else [], "comparisons")


def shown(pair: Paired, metric: MetricName) -> str:
    """Whether a difference is shown, and in which direction."""
    if pair.p is None:
        return "no test (one seed)" if pair.seeds == 1 else "no test"
    if not pair.is_significant or pair.difference is None:
        return "not shown"
    return "better" if (pair.difference > 0) == METRICS[metric].larger_is_better else "worse"


def interval_of(pair: Paired) -> tuple[float, float] | None:
    """The interval of a comparison's difference."""
    return None if pair.ci95_low is None or pair.ci95_high is None else (pair.ci95_low, pair.ci95_high)


def interval_cell(interval: tuple[float, float] | None, sign: str = "") -> str | Cell:
    """An interval as it is printed: with one decimal, or two where it is narrower than 1."""
    if interval is None:
        return "—"
    low, high = interval
    decimals = 1 if high - low >= 1 else 2
    return Cell(f"{low:{sign}.{decimals}f} to {high:{sign}.{decimals}f}", low)


def _different(records: Iterable[Record]) -> list[Record]:
    """The records without those that repeat another column's: of the same row, runs and measurement."""
    found: dict[object, Record] = {}
    for number, one in enumerate(records):
        runs = tuple(run.path for run in one.runs)
        found.setdefault((one.place.row.title, one.metric, one.measurement.key, runs) if runs else number, one)
    return list(found.values())


def _number(value: float | None) -> str | Cell:
    return "—" if value is None else Cell(f"{value:.2f}", value)


def _share(value: float | None) -> str | Cell:
    return "—" if value is None else Cell(f"{100 * value:.0f} %", value)


def p_cell(value: float | None) -> str | Cell:
    """A p value as it is printed."""
    return "—" if value is None else Cell("< 0.001" if value < 0.001 else f"{value:.3f}", value)


def _line(grid: Grid, one: Record) -> list[object]:
    place, scores, given = one.place, one.scores, one.published
    values: list[object] = [
        grid.name, place.benchmark.name, place.column.labeled, place.column.title, place.row.title, place.method,
        place.benchmark.heading(one.metric), given and given.value, given and given.source,
        one.verdict, "; ".join(one.reasons), len(one.runs), scores and len(scores.cases),
        None if scores is None or scores.groups is None else len(scores.units),
        undefined(one.runs, one.metric, one.measurement), one.mean,
        scores and scores.sd_over_seeds, scores and scores.sd_over_cases, *(one.interval or (None, None)),
        *(one.prediction or (None, None)), scores and scores.share_of_seeds,
        *asdict(one.best).values(), *asdict(one.baseline).values(), " ".join(run.path.name for run in one.runs),
    ]  # fmt: skip
    return [round(value, 6) if isinstance(value, float) else value for value in values]

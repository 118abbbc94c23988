"""The pictures of a table: forest plots, maps of pairs, rankings and performance profiles of its first metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ssl_bench.cards import METRICS, MetricName
from ssl_bench.reporting.analysis import Analysis, Family, Record, family
from ssl_bench.reporting.canvas import rendered
from ssl_bench.reporting.draw_comparisons import Comparisons, Pair, significance_figure
from ssl_bench.reporting.draw_forest import Estimate, Forest, ForestRow, forest_figure
from ssl_bench.reporting.draw_ranking import Profile, ProfileLine, profile_figure, ranking_caption, ranking_figure
from ssl_bench.reporting.drawn import NARROW
from ssl_bench.reporting.findings import JUDGED
from ssl_bench.reporting.ranking import Rivals
from ssl_bench.reporting.statistics_tables import interval_of
from ssl_bench.statistics.ranking import performance_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLDS = 101  # points of a performance profile


@dataclass(frozen=True)
class TableFigure:
    """A picture of a table.

    Attributes:
        kind: forest, pairs, ranking or profile.
        name: of a-z, 0-9 and -, different for each picture of the table.
        title: what it shows, with data set and share.
        figure: drawn.
        caption: a text below; may be empty.

    """

    kind: str
    name: str
    title: str
    figure: Figure
    caption: str = ""

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The picture as PNG, SVG and PDF, by suffix."""
        return rendered(self.figure)


def forest_figures(analysis: Analysis) -> list[TableFigure]:
    """Draw each column's means, and differences to the baseline, with their intervals; none where nothing is measured.

    Of several metrics, the first is drawn.
    """
    found = []
    for column, metric in _columns(analysis):
        forest = _forest(analysis, column, metric)
        if any(row.mean is not None for row in forest.rows):
            title = f"Means and differences: {forest.title}"
            found.append(TableFigure("forest", _name("forest", column, forest.title), title, forest_figure(forest)))
    return found


def forest_thumbnail(analysis: Analysis) -> Figure | None:
    """Draw the means of the first measured column, NARROW wide; None where nothing is measured."""
    forests = (_forest(analysis, column, metric) for column, metric in _columns(analysis))
    first = next((forest for forest in forests if any(row.mean is not None for row in forest.rows)), None)
    if first is None:
        return None
    rows = tuple(replace(row, difference=None, significant=None) for row in first.rows)
    return forest_figure(replace(first, rows=rows), NARROW)


def ranking_figures(analysis: Analysis, found: Mapping[tuple[int, MetricName], Rivals]) -> list[TableFigure]:
    """Draw each column's pairs, ranks and performance profiles, by the first metric."""
    first = set(_columns(analysis))
    return [
        figure
        for (column, metric), one in found.items()
        if (column, metric) in first
        for figure in _of_column(analysis.families[column, metric], column, metric, one)
    ]


def _of_column(own: Family, column: int, metric: MetricName, found: Rivals) -> Iterator[TableFigure]:
    larger, titles = METRICS[metric].larger_is_better, found.titles
    means = tuple((one.place.row.title, one.mean) for one in found.records)
    pairs = tuple(
        Pair(a, b, one.difference, interval_of(one), one.is_significant)
        for (a, b), one in own.pairs.items()
        if one.difference is not None and {a, b} <= set(titles)
    )
    comparisons = Comparisons(own.data, own.heading, means, pairs, larger)
    yield TableFigure(
        "pairs", _name("pairs", column, own.data), f"All pairs: {own.data}", significance_figure(comparisons)
    )
    yield TableFigure(
        "ranking", _name("ranking", column, own.data), f"Ranks in resamples: {own.data}",
        ranking_figure(own.data, titles, found.ranking), ranking_caption(titles, found.ranking),
    )  # fmt: skip
    top = 100.0 if METRICS[metric].kind == "share" else float(found.cases.max())
    thresholds = np.linspace(0.0, top, THRESHOLDS)
    shares = performance_profile(found.cases, thresholds)
    lines = tuple(
        ProfileLine(one.place.row.title, own_shares, style_key=one.place.method)
        for one, own_shares in zip(found.records, shares, strict=True)
    )
    caption = "Share of the test cases with a score above each threshold, mean over seeds."
    yield TableFigure("profile", _name("profile", column, own.data), f"Performance profiles: {own.data}",
                      profile_figure(Profile(own.data, own.heading, thresholds, lines)), caption)  # fmt: skip


def _columns(analysis: Analysis) -> list[tuple[int, MetricName]]:
    """Each column with the table's first metric."""
    first = next((spot.metric for spot in analysis.records), None)
    return list(dict.fromkeys((spot.column, spot.metric) for spot in analysis.records if spot.metric == first))


def _forest(analysis: Analysis, column: int, metric: MetricName) -> Forest:
    own = list(family(analysis.records, column, metric).values())
    upper = next((one for one in own if one.is_upper and one.mean is not None), None)
    rows = [one for one in own if not one.is_upper]
    baseline = analysis.families[column, metric].baseline if (column, metric) in analysis.families else ""
    return Forest(
        title=rows[0].data if rows else "",
        heading=own[0].place.benchmark.heading(metric),
        rows=tuple(_row(one) for one in rows),
        baseline=baseline,
        upper=None if upper is None else _mean(upper),
        upper_label="upper line" if upper is None else upper.place.row.title,
        larger_is_better=METRICS[metric].larger_is_better,
    )


def _row(one: Record) -> ForestRow:
    pair = one.baseline
    difference = None if pair.difference is None else Estimate(pair.difference, interval_of(pair))
    is_comparable = one.verdict.startswith(JUDGED)
    return ForestRow(
        label=one.place.row.title,
        style_key=one.place.method,
        mean=_mean(one),
        published=one.published.value if is_comparable and one.published is not None else None,
        difference=difference,
        significant=None if pair.p is None else pair.is_significant,
    )


def _mean(one: Record) -> Estimate | None:
    return None if one.mean is None else Estimate(one.mean, one.interval)


def _name(kind: str, column: int, data: str) -> str:
    """A name of a-z, 0-9 and -, with the column's number since data may stand in several columns."""
    return f"{kind}-{column + 1}-{re.sub(r'[^a-z0-9]+', '-', data.lower()).strip('-')}"

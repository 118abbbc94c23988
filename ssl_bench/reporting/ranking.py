"""How stable the order of a table's methods is: a table, and the values behind its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ssl_bench.cards import METRICS, Grid, MetricName
from ssl_bench.reporting.analysis import Analysis, Record, family
from ssl_bench.reporting.statistics_tables import interval_cell
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.statistics.column import common
from ssl_bench.statistics.ranking import RankStability, rank_stability

RANKING_NOTE = (
    "Ranks of the methods that share the error term, on their common seeds and cases, in resamples of these "
    "(groups of cases are drawn whole), the same ones for all methods: share of resamples in which a method is "
    "first, and its mean rank. Kendall's tau compares the order of a resample with the observed one: 1 is the "
    "same order, 0 an unrelated one, and its interval holds 95 of 100 resamples in which not all methods tie "
    "(Wiesenfarth et al., Scientific Reports 11, 2021). Resampling a few trainings repeats some of them, and "
    "takes them as independent, so these orders look more stable than those of new trainings would be."
)


@dataclass(frozen=True)
class Rivals:
    """The methods of a column by one metric, on the seeds and cases that all have.

    Attributes:
        records: a record per method.
        cases: (I, S, C) float64, each case's mean over its values.
        ranking: of the methods.

    """

    records: tuple[Record, ...]
    cases: np.ndarray
    ranking: RankStability

    @property
    def titles(self) -> list[str]:
        """The rows' titles."""
        return [one.place.row.title for one in self.records]


def rivals(analysis: Analysis) -> Mapping[tuple[int, MetricName], Rivals]:
    """Return what can be ranked of a table's columns and metrics: at least two methods with two seeds and two cases."""
    found = {}
    for column, metric in analysis.families:
        pooled = analysis.families[column, metric].pooled
        own = [one for one in family(analysis.records, column, metric).values() if one.place.row.title in pooled]
        measured = [(one, one.scores) for one in own if one.scores is not None and not one.is_upper]
        shared = common([scores for _, scores in measured]) if len(measured) > 1 else None
        if shared is None or min(shared[0].values.shape) < 2:
            continue
        values, sizes = np.stack([one.unit_means for one in shared]), shared[0].unit_sizes
        ranking = rank_stability(values, METRICS[metric].larger_is_better, sizes)
        cases = np.stack([one.sums / one.counts for one in shared])
        found[column, metric] = Rivals(tuple(one for one, _ in measured), cases, ranking)
    return found


def ranking_table(grid: Grid, found: Mapping[tuple[int, MetricName], Rivals]) -> Table:
    """Return the share of first places and the mean rank of each method, and Kendall's tau of each column."""
    rows: list[list[str | Cell]] = []
    for one in found.values():
        ranking = one.ranking
        tau: str | Cell = "—" if ranking.tau is None else Cell(f"{ranking.tau:.2f}", ranking.tau)
        for i in np.argsort(ranking.observed, kind="stable"):
            first, record = float(ranking.first[i]), one.records[i]
            mean = float(ranking.distribution[i] @ np.arange(1, len(one.records) + 1))
            rows.append([
                record.place.row.title, record.data, record.place.benchmark.heading(record.metric),
                f"{ranking.observed[i]:g}", Cell(f"{100 * first:.0f} %", first), Cell(f"{mean:.1f}", mean), tau,
                interval_cell(ranking.tau_interval),
            ])  # fmt: skip
    header = ["Method", "Data", "Metric", "Rank", "First\nplaces", "Mean\nrank", "Kendall's\ntau", "95 %\nof tau"]
    notes = [RANKING_NOTE] if rows else []
    return Table(f"{grid.name}: ranking", header, rows, frozenset(header[3:]), notes, "ranking")

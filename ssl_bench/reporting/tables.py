"""The paper's tables, published beside measured, from the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ssl_bench.cards import HEADLINE, Grid
from ssl_bench.grids.aim import Target, aim, column_benchmarks
from ssl_bench.method import SSLMethod
from ssl_bench.reporting.analysis import analyse, statistics_csv, statistics_table
from ssl_bench.reporting.gather import ShownOptions, gather
from ssl_bench.reporting.label_seeds import label_notes
from ssl_bench.reporting.layout import Layout
from ssl_bench.reporting.legend import COSTS_NOTE, comparability_notes, legend, metric_notes, seed_notes
from ssl_bench.reporting.notes import damage_notes, fill_commands, missing_notes, origin, protocol_notes
from ssl_bench.reporting.oracle import oracle_table
from ssl_bench.reporting.spread import is_crossed, spread_table
from ssl_bench.reporting.table import Table
from ssl_bench.reporting.unlike_runs import unlike_notes
from ssl_bench.store import Run


@dataclass(frozen=True)
class TableReport:
    """A table of the paper as printed, its statistics, and the commands that train its missing runs."""

    grid: Grid
    tables: tuple[Table, ...]
    statistics: Table
    statistics_csv: str
    runs: tuple[Run, ...] = field(repr=False)
    missing: tuple[str, ...] = ()
    spread: Table | None = None  # where the spread comes from, of trainings with label seeds

    @property
    def statistics_tables(self) -> list[Table]:
        """The tables that stand below the table as its statistics: those with rows."""
        return [table for table in (self.statistics, self.spread) if table is not None and table.rows]

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return "\n".join(table.html() for table in self.tables)


def paper_table(
    grid: Grid, target: Target, runs: Sequence[Run], methods: Mapping[str, type[SSLMethod]], shown: ShownOptions
) -> TableReport:
    """Lay out a table of the paper: a row per method, the published number beside the measured one in every column.

    A grid with several metrics becomes a table per column. Above the rows stands the supervised network with all
    labels, where it was run. Where runs scored the test set on the way (`score_every`), a table of what choosing
    there would have claimed follows.

    Args:
        grid: the card.
        target: data set, shares, protocol and settings to show.
        runs: the store's runs.
        methods: the registry.
        shown: options of the table.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would stand in one table.
    """
    found = gather(_shown_metrics(aim(grid, target, methods)), target, runs, methods)
    grid, above = found.grid, len(found.above)
    records = {} if found.upper is None else analyse(found.upper, found.above)
    records |= analyse(grid, found.body, first=above)
    layout = Layout(found, records, methods, shown)
    missing = tuple(fill_commands(found.rows, shown, grid.metrics))
    competing = [one for spot, one in records.items() if spot.row >= above]
    groups = [[column] for column in range(len(grid.columns))] if len(grid.metrics) > 1 else [range(len(grid.columns))]
    tables = [layout.table(group, is_alone=len(groups) == 1) for group in groups]
    tables[-1].notes.extend([
        *legend(grid, competing, has_best=layout.has_best),
        *comparability_notes(competing),
        *([COSTS_NOTE] if shown.costs else []),
        *metric_notes(competing),
        *damage_notes(found.damaged),
        *protocol_notes(target, found.body),
        *origin(found.runs),
        *seed_notes(found),
        *unlike_notes(found.rows, runs),
        *label_notes(found.body, runs),
        *missing_notes(grid, target, found.rows, missing, shown),
    ])  # fmt: skip
    oracle = oracle_table(grid, found.body)
    tables += [oracle] if oracle is not None else []
    return TableReport(
        grid,
        tuple(tables),
        statistics_table(grid, records.values()),
        statistics_csv(grid, records.values()),
        found.runs,
        missing,
        spread_table(grid, records.values()) if is_crossed(records.values()) else None,
    )


def _shown_metrics(grid: Grid) -> Grid:
    """Return the grid with those of its metrics by which all of its data sets are scored."""
    scored = [benchmark.metrics for benchmark in column_benchmarks(grid)]
    metrics = tuple(metric for metric in grid.metrics if all(metric in own for own in scored))
    return grid.model_copy(update={"metrics": metrics or (HEADLINE,)})

"""The paper's tables, published beside measured, from the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ssl_bench.cards import Grid, MetricName
from ssl_bench.declarations import Declarations
from ssl_bench.grids.aim import Target, aim
from ssl_bench.reporting.analysis import Analysis, analyse
from ssl_bench.reporting.findings import finding
from ssl_bench.reporting.gather import ShownOptions, gather
from ssl_bench.reporting.kept_files import unreadable_notes
from ssl_bench.reporting.label_seeds import label_notes
from ssl_bench.reporting.layout import Layout
from ssl_bench.reporting.legend import (
    COSTS_NOTE,
    comparability_notes,
    error_notes,
    group_notes,
    legend,
    metric_notes,
    seed_notes,
)
from ssl_bench.reporting.notes import damage_notes, fill_commands, missing_notes, origin, protocol_notes, row_notes
from ssl_bench.reporting.oracle import oracle_table
from ssl_bench.reporting.processors import processor_notes
from ssl_bench.reporting.ranking import Rivals, ranking_table, rivals
from ssl_bench.reporting.shown_metrics import with_shown_metrics
from ssl_bench.reporting.spread import is_crossed, spread_table
from ssl_bench.reporting.statistics_tables import comparisons_table, statistics_csv, statistics_table
from ssl_bench.reporting.table import Table
from ssl_bench.reporting.unlike_runs import unlike_notes
from ssl_bench.store import Run

if TYPE_CHECKING:
    from ssl_bench.reporting.table_figures import TableFigure


@dataclass(frozen=True)
class TableReport:
    """A table of the paper as printed, its statistics, and the commands that train its missing runs.

    Attributes:
        grid: the aimed grid.
        tables: as printed.
        statistics: mean, spread, interval and verdict of each cell.
        comparisons: of each cell with the baseline and the best of its column.
        statistics_csv: both in full.
        analysis: the records behind them.
        runs: the runs that are shown.
        missing: commands.

    """

    grid: Grid
    tables: tuple[Table, ...]
    statistics: Table
    comparisons: Table
    statistics_csv: str
    analysis: Analysis = field(repr=False)
    runs: tuple[Run, ...] = field(repr=False)
    missing: tuple[str, ...] = ()
    cells: tuple[int, int] = (0, 0)  # with runs, and all of the grid
    spread: Table | None = None  # where the spread comes from, of trainings with label seeds

    @cached_property
    def rivals(self) -> Mapping[tuple[int, MetricName], Rivals]:
        """The methods of each column and metric that can be ranked."""
        return rivals(self.analysis)

    @property
    def statistics_tables(self) -> list[Table]:
        """The tables that stand below the table as its statistics: those with rows."""
        tables = (self.statistics, self.comparisons, ranking_table(self.grid, self.rivals), self.spread)
        return [table for table in tables if table is not None and table.rows]

    @cached_property
    def figures(self) -> list[TableFigure]:
        """Forest plots, maps of pairs, rankings and performance profiles of its first metric."""
        from ssl_bench.reporting.table_figures import forest_figures, ranking_figures  # with matplotlib

        return [*forest_figures(self.analysis), *ranking_figures(self.analysis, self.rivals)]

    @property
    def name(self) -> str:
        """The label, for example `Table 4`."""
        return self.grid.name

    @property
    def finding(self) -> str:
        """What the table shows, in a few sentences."""
        return finding(self.analysis)

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return "\n".join(table.html() for table in self.tables)


def paper_table(
    grid: Grid, target: Target, runs: Sequence[Run], methods: Declarations, shown: ShownOptions
) -> TableReport:
    """Lay out a table of the paper: a row per method, the published number beside the measured one in every column.

    A grid with several metrics becomes a table per column. One without a card has those that `metrics` among the
    settings names. With `rows` labeled it is turned: a table per metric, with a row per data set and share and without
    published numbers. Above the rows stands the supervised network with all labels, where it was run. Where runs scored
    the test set on the way (`score_every`), a table of what choosing there would have claimed follows.

    Args:
        grid: the card.
        target: data set, shares, protocol and settings to show.
        runs: the store's runs.
        methods: the registry.
        shown: options of the table.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would stand in one table.
    """
    gathered = gather(aim(grid, target, methods), target, runs, methods)
    if grid.has_no_card and "metrics" in target.settings:
        asked = gathered.grid.model_copy(update={"metrics": tuple(target.settings["metrics"])})
        gathered = replace(gathered, grid=asked)
    found, left_out = with_shown_metrics(gathered)
    grid, above = found.grid, len(found.above)
    analysis = analyse(found)
    records = analysis.records
    layout = Layout(found, records, methods, shown)
    missing = tuple(fill_commands(found.rows, target, shown, grid.metrics))
    competing = [one for spot, one in records.items() if spot.row >= above]
    if shown.rows == "labeled":
        tables = [layout.across(metric, is_alone=len(grid.metrics) == 1) for metric in grid.metrics]
    else:
        columns = range(len(grid.columns))
        groups = [[column] for column in columns] if len(grid.metrics) > 1 else [columns]
        tables = [layout.table(group, is_alone=len(groups) == 1) for group in groups]
    tables[-1].notes.extend([
        *legend(grid, list(records.values()), has_best=layout.has_best),
        *row_notes(found.rows),
        *comparability_notes(competing),
        *([COSTS_NOTE] if shown.costs else []),
        *metric_notes(competing),
        *left_out,
        *unreadable_notes(found.runs, "test_curve"),
        *damage_notes(found.damaged),
        *protocol_notes(target, found.body),
        *origin(found.runs),
        *processor_notes(found),
        *group_notes(competing),
        *error_notes(analysis),
        *seed_notes(found, competing),
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
        comparisons_table(grid, analysis),
        statistics_csv(grid, records.values()),
        analysis,
        found.runs,
        missing,
        found.cells,
        spread_table(grid, records.values()) if is_crossed(records.values()) else None,
    )

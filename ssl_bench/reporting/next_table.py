"""The command that shows new runs in one of the paper's tables, on any data set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ssl_bench.cards import Grid, Request, all_grids
from ssl_bench.command import label_words, setting_words


def showing_command(request: Request, place: Sequence[str], tuned: str = "common") -> str | None:
    """Return the `report` command of the table that shows most of the request's methods; None if none shows any.

    Args:
        request: of the runs.
        place: path options of the command.
        tuned: the settings of the runs, as `--tuned` says.
    """
    tables = [grid for grid in all_grids() if grid.exhibit == "table"]
    table = max(tables, key=lambda grid: _shown(grid, request), default=None)
    if table is None or not _shown(table, request):
        return None
    words = ["ssl-bench", "report", "--table", table.option, "--dataset", request.benchmark.option]
    words += ["--labeled", request.labeled, "--protocol", request.protocol]
    words += [] if tuned == "common" else ["--tuned", tuned]
    return shlex.join([*words, *label_words(request.label_seeds), *setting_words(request.settings), *place])


def _shown(grid: Grid, request: Request) -> int:
    """Number of the request's methods that have a row for its data, without settings of the row's own."""
    dimensions = request.benchmark.network_dimensions
    if any(column.settings for column in grid.columns):
        return 0
    rows = {row.method for row in grid.rows if not row.settings and dimensions in row.dimensions}
    return len(rows & set(request.methods))

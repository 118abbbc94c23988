"""The command that shows new runs in a table, on any data set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ssl_bench.cards import Grid, Request, all_grids
from ssl_bench.command import label_words, setting_words


def showing_command(request: Request, place: Sequence[str], tuned: str = "common") -> str:
    """Return the `report` command of the paper's table that shows all the request's methods on its data set.

    If there is none, it is that of a table of these methods.

    Args:
        request: of the runs.
        place: path options of the command.
        tuned: the settings of the runs, as `--tuned` says.
    """
    tables = [grid for grid in all_grids() if grid.exhibit == "table" and _shows_all(grid, request)]
    words = ["ssl-bench", "report", *(tables[0].words if tables else ["--methods", ",".join(request.methods)])]
    words += ["--dataset", request.benchmark.option, "--labeled", request.labeled, "--protocol", request.protocol]
    words += [] if tuned == "common" else ["--tuned", tuned]
    return shlex.join([*words, *label_words(request.label_seeds), *setting_words(request.settings), *place])


def _shows_all(grid: Grid, request: Request) -> bool:
    """Whether the data set has a column, and each of its methods a row without settings of the row's own."""
    dimensions = request.benchmark.network_dimensions
    if any(column.settings for column in grid.columns):
        return False
    if all(column.dataset != request.benchmark.option for column in grid.columns):
        return False
    rows = {row.method for row in grid.rows if not row.settings and dimensions in row.dimensions}
    return rows >= set(request.methods)

"""Exhibits: the tables, figures and claims that a command is about."""

from __future__ import annotations

from ssl_bench.cards.claims import Claims, load_claims
from ssl_bench.cards.grid import Grid, all_grids, load_grid
from ssl_bench.errors import UserError
from ssl_bench.folders import CLAIMS


def chosen_exhibits(
    table: str | None, figure: str | None, claims: str | None, *, everything: bool
) -> list[Grid | Claims]:
    """Return the one table, figure or card of claims that was named, or all of the paper's.

    Raises:
        UserError: none or several were named, or there is no such card.
    """
    if [table is not None, figure is not None, claims is not None, everything].count(True) != 1:
        raise UserError("expected exactly one of --table N, --figure N, --claims and --all")
    if everything:
        return [*all_grids(), load_claims(CLAIMS)]
    if claims is not None:
        return [load_claims(claims)]
    return [load_grid("table", table) if table is not None else load_grid("figure", figure or "")]

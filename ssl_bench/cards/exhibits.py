"""Exhibits: the tables, figures and claims that a command is about."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_bench.cards.claims import Claims, load_claims
from ssl_bench.cards.grid import Grid, all_grids, comparison, load_grid
from ssl_bench.cards.load import load_benchmark
from ssl_bench.errors import UserError
from ssl_bench.folders import CLAIMS


def chosen_exhibits(
    table: str | None,
    figure: str | None,
    claims: str | None,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    *,
    everything: bool,
) -> list[Grid | Claims]:
    """Return the one table, figure or card of claims that was named, a table of methods, or all of the paper's.

    `datasets` are those of a table of methods; the others have data sets of their own.

    Raises:
        UserError: none or several were named, there is no such card, or methods without a data set.
    """
    given = [table is not None, figure is not None, claims is not None, methods is not None, everything]
    if given.count(True) != 1:
        raise UserError("expected exactly one of --table N, --figure N, --claims, --methods and --all")
    if methods is not None:
        if not datasets:
            raise UserError("--methods: needs --dataset with one or more data sets, separated by commas")
        shares = [(name, share) for name in datasets for share in load_benchmark(name).labeled]
        return [comparison(methods, [{"dataset": name, "labeled": share} for name, share in shares])]
    if everything:
        return [*all_grids(), load_claims(CLAIMS)]
    if claims is not None:
        return [load_claims(claims)]
    return [load_grid("table", table) if table is not None else load_grid("figure", figure or "")]

"""Claims as grids, a grid for each claim, so that runs are found and trained for them as for tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ssl_bench.cards import AnyClaim, Claims, Grid, Part, Row, Side
from ssl_bench.declarations import Declarations
from ssl_bench.grids.signs import in_words


def claim_grids(card: Claims, methods: Declarations) -> list[Grid]:
    """Return a grid for each claim: its sides as rows, `rows` before `against`, and its columns."""
    named = {side.method for claim in card.claims for side in claim.sides} & methods.keys()
    fields = frozenset(field for name in named for field in methods[name].fields)
    return [_grid(card, claim, fields, methods) for claim in card.claims]


def grids_of(exhibits: Iterable[Grid | Claims], methods: Declarations) -> list[Grid]:
    """Return the grids of tables, figures and claims."""
    return [
        grid for one in exhibits for grid in (claim_grids(one, methods) if isinstance(one, Claims) else [one])
    ]  # fmt: skip


def _grid(card: Claims, claim: AnyClaim, fields: frozenset[str], methods: Declarations) -> Grid:
    titles = _titles(claim.sides, methods)
    rows = [
        Row.model_validate(
            {"title": title, "method": side.method, "settings": side.settings, "dimensions": side.dimensions}
        )
        for title, side in zip(titles, claim.sides, strict=True)
    ]
    grid = Grid.model_validate({
        "kind": "table", "title": claim.says, "metrics": (card.metric,), "protocol": card.protocol,
        "columns": claim.columns, "rows": rows,
    })  # fmt: skip
    return grid.as_part(Part(card.name, f"--claims {card.option}: claim '{claim.name}'", fields))


def _titles(sides: Sequence[Side], methods: Declarations) -> list[str]:
    """The sides' titles; one that several have is followed by the side's number."""
    titles = [_title(side, methods) for side in sides]
    return [
        title if titles.count(title) == 1 else f"{title} ({number})" for number, title in enumerate(titles, start=1)
    ]


def _title(side: Side, methods: Declarations) -> str:
    if side.title:
        return side.title
    name = methods[side.method].title if side.method in methods else side.method
    own = [part for part in (in_words(side.settings), side.network) if part]
    return f"{name} ({'; '.join(own)})" if own else name

"""The cells of claims: each claim's runs, the scores of each cell, and the methods that share an error term."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ssl_bench.cards import AnyClaim, Claims, Column, Grid, MetricName, Side, share
from ssl_bench.declarations import Declarations
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Place, Target, aim, places
from ssl_bench.grids.claims import claim_grids
from ssl_bench.reporting.analysis import Record, with_groups
from ssl_bench.reporting.gather import Body, Filled, fill
from ssl_bench.reporting.scores import cell_scores, scored_runs
from ssl_bench.statistics.cell import CellScores
from ssl_bench.store import Run

ColumnKey = tuple[str, str, str]  # data set, settings and share


@dataclass(frozen=True)
class FilledClaim:
    """A claim with its aimed grid and the runs of its places."""

    claim: AnyClaim
    grid: Grid
    body: Body

    @property
    def side_rows(self) -> Iterator[tuple[Side, list[Filled]]]:
        """Each side with its row."""
        return zip(self.claim.sides, self.body, strict=True)


@dataclass(frozen=True)
class ClaimCells:
    """All claims of a card with their runs, and the scores of their cells, each read once.

    Attributes:
        metric: the card's.
        claims: in the card's order.
        damaged: messages about the runs that are left out.

    """

    metric: MetricName
    claims: tuple[FilledClaim, ...]
    damaged: tuple[str, ...] = ()
    _records: dict[tuple[str, str | None], Record] = field(default_factory=dict, repr=False)

    @property
    def body(self) -> Body:
        """The rows of all claims."""
        return [row for one in self.claims for row in one.body]

    @property
    def filled(self) -> list[Filled]:
        """Every place of every claim."""
        return [one for row in self.body for one in row]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, each once."""
        return tuple({run.path: run for one in self.filled for run in one.runs}.values())

    @property
    def records(self) -> list[Record]:
        """A record for each cell whose scores were read."""
        return list(self._records.values())

    def scores(self, claim: FilledClaim, row: int, column: int) -> CellScores | None:
        """Return the scores of a claim's cell; None without a defined one.

        Raises:
            UserError: its runs have no network of the name on the card.
        """
        side, one = claim.claim.sides[row], claim.body[row][column]
        if one.place is None:
            return None
        if side.network is not None and one.runs:
            known = list(one.runs[0].headline.summary)
            if side.network not in known:
                raise UserError(
                    f"{claim.grid.where}: network: expected one of {', '.join(known)}, found '{side.network}'"
                )
        scores = self._record(one.place, one.runs, side.network).scores
        return None if scores is None or scores.mean is None else scores

    def _record(self, place: Place, runs: Sequence[Run], network: str | None) -> Record:
        key = place.wanted.identity, network
        if key not in self._records:
            measurement = place.wanted.measurement
            own = scored_runs(runs, self.metric, measurement)
            scores, ungrouped = cell_scores(own, self.metric, measurement, network), ""
            if scores is not None:
                scores, ungrouped = with_groups(scores, place.benchmark)
            self._records[key] = Record(place, self.metric, runs, None, scores, ungrouped=ungrouped)
        return self._records[key]

    def common_rows(self, column: Column) -> dict[str, CellScores]:
        """Return the scores of all methods of a column that have no settings of their own, by the row's identity.

        They share the error term of the column. Networks other than the predictor are left out, since those of one run
        are not independent.
        """
        found: dict[str, CellScores] = {}
        key = column_key(column)
        for claim in self.claims:
            for number, own in enumerate(claim.grid.columns):
                if column_key(own) != key:
                    continue
                for row, (side, cells) in enumerate(claim.side_rows):
                    place = cells[number].place
                    if place is None or side.settings or side.network is not None:
                        continue
                    scores = self.scores(claim, row, number)
                    found |= {} if scores is None else {f"{place.method} {place.row.tuned}": scores}
        return found


def column_key(column: Column) -> ColumnKey:
    """What is equal for two columns of the same data set, share and settings."""
    return *column.key, str(share(column.labeled))


def fill_claims(card: Claims, target: Target, runs: Sequence[Run], methods: Declarations) -> ClaimCells:
    """Find the runs of a card's claims.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would be compared.
    """
    grids = [aim(grid, target, methods) for grid in claim_grids(card, methods)]
    rows = [places(grid, target, methods) for grid in grids]
    filled, damaged = fill([row for own in rows for row in own], runs)
    left = iter(filled)
    claims = [
        FilledClaim(claim, grid, [next(left) for _ in own])
        for claim, grid, own in zip(card.claims, grids, rows, strict=True)
    ]
    return ClaimCells(card.metric, tuple(claims), damaged)

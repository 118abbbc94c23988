"""Return types of the Python interface."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_bench.grids.missing import Lack, Unfit
    from ssl_bench.launch.task import Outcome
    from ssl_bench.reporting.table import Table
    from ssl_bench.store import Run


@dataclass(frozen=True)
class RunResult:
    """How the runs of `run` ended, the finished ones, and the table that compares them (None if no run is finished).

    Of a dry run nothing is trained, and the table has the costs of each method.

    `outcome.failures` names the runs that failed; each is logged as an error too.
    """

    outcome: Outcome
    runs: list[Run]
    table: Table | None

    def _repr_html_(self) -> str:
        """The table and the failures as a notebook shows them."""
        return _shown(self.table, self.outcome)


@dataclass(frozen=True)
class ReproduceResult:
    """The runs that `reproduce` found missing, and how they ended; `outcome` is None if nothing was trained.

    `unfit` are missing runs that the settings of their row do not let train under the protocol; `lacks` lacks them.
    """

    missing: Table
    lacks: list[Lack]
    outcome: Outcome | None
    unfit: tuple[Unfit, ...] = ()

    def _repr_html_(self) -> str:
        """The table of missing runs and the failures as a notebook shows them."""
        return _shown(self.missing, self.outcome)


@dataclass(frozen=True)
class Masks:
    """The files that `predict` wrote, in the order of the images, and the network and the run that made them.

    `members` describes each network of the mean, of which the named one is the first.
    """

    paths: list[Path]
    network: str
    run: Path
    label: str
    members: tuple[str, ...]


def _shown(table: Table | None, outcome: Outcome | None) -> str:
    """A table and the failures of its runs as HTML."""
    failures = [] if outcome is None else [f"<p>failed: {escape(one)}</p>" for one in outcome.failures]
    return "\n".join(["" if table is None else table.html(), *failures])

"""The claims of a paper against measured runs: verdicts, tests and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ssl_bench.cards import Claims, CurveClaim, DifferenceClaim, EquivalenceClaim
from ssl_bench.command import quantity
from ssl_bench.declarations import Declarations
from ssl_bench.grids.aim import Target
from ssl_bench.reporting.claim_cells import ClaimCells, fill_claims
from ssl_bench.reporting.claim_tables import tests_csv, tests_table, verdicts_table
from ssl_bench.reporting.claim_tests import tested_claims
from ssl_bench.reporting.claim_verdicts import JOINT, ClaimTest, joint_verdict
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.kept_files import unreadable_notes
from ssl_bench.reporting.label_seeds import label_notes
from ssl_bench.reporting.legend import group_notes, metric_notes
from ssl_bench.reporting.notes import damage_notes, fill_commands, missing_notes, origin, protocol_notes, row_notes
from ssl_bench.reporting.paired import FEW_SEEDS
from ssl_bench.reporting.processors import claim_processor_notes
from ssl_bench.reporting.table import Table
from ssl_bench.reporting.unlike_runs import unlike_notes
from ssl_bench.store import Run

if TYPE_CHECKING:
    from ssl_bench.reporting.table_figures import TableFigure

VERDICT_NOTE = (
    f"Supported, contradicted: the difference, its p Holm-corrected and below 0.05, from at least {FEW_SEEDS} common "
    "seeds, has the direction of the claim, or the opposite one. Not shown: neither; it does not mean that there is no "
    "difference. A claim with several tests is contradicted if one of them contradicts it, and supported if every "
    "measured one supports it; if only some do, and none contradicts it, in part."
)
TEST_NOTE = (
    "Difference, interval and p are for other trainings and other cases, both random (analysis of variance, as in the"
    " tables). Error term: all, of all methods of the column that have no settings of their own and of the two sides;"
    " own, of the two sides or of an equivalence's settings. One for all supposes that the differences of any two "
    "methods vary equally; pair alone is p (Holm) with the sides' own error term, which does not. p (Holm) is corrected"
    " over the measured tests of a claim, not over the claims: of 20 claims whose sides are equal, up to one is "
    "expected to be called wrongly. Intervals are not corrected. Could find: the smallest true difference that the "
    "test would have shown with 80 % power; with a tolerance, counted from minus the tolerance on."
)
EQUIVALENCE_NOTE = (
    "Equivalence: the largest difference between two settings, with the interval of its size. Intervals are "
    "simultaneous for all pairs of settings (Bonferroni). Supported: every interval lies within the margin, which is "
    "two one-sided tests (Schuirmann 1987), and p, the largest one-sided one, is below 0.025 after Holm's correction. "
    "Contradicted: an interval lies outside the margin entirely, after Holm's correction too. Could find: the smallest "
    "margin that would be shown with 80 % power if the settings were equal."
)
CURVE_NOTE = (
    "Curves: mean over a part of training, up to the last iteration (or update) that both sides have, paired by seed; "
    "the interval is Student's t over seeds. By iteration, a method with two updates an iteration has had twice the "
    "training."
)
PUBLISHED_NOTE = (
    "Published: the difference of two numbers of one of the paper's tables. It says nothing about the measured one "
    "where network, protocol or data differ."
)
COPIED_NOTE = "†: the paper copied one of the two numbers from another paper, under another protocol."


@dataclass(frozen=True)
class ClaimsReport:
    """The claims of a paper: verdicts, tests, and the commands that train the missing runs.

    Attributes:
        card: the claims.
        tests: of all claims.
        tables: a row for each claim, then a row for each test.
        csv: the tests in full.
        runs: the runs of all tests.
        missing: commands.
        cells: how many cells have runs, and how many there are.

    """

    card: Claims
    tests: tuple[ClaimTest, ...] = field(repr=False)
    tables: tuple[Table, ...]
    csv: str = field(repr=False)
    runs: tuple[Run, ...] = field(repr=False)
    missing: tuple[str, ...] = ()
    cells: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The label, for example `Claims ucmt`."""
        return self.card.name

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each claim that has a test for the data, by the claim's name."""
        own = {claim.name: [test for test in self.tests if test.claim is claim] for claim in self.card.claims}
        return {name: joint_verdict(tests) for name, tests in own.items() if tests}

    @property
    def finding(self) -> str:
        """How many claims have which verdict, and the names of those that are supported or contradicted."""
        verdicts = self.verdicts
        counts = Counter(text.partition(" (")[0] for text in verdicts.values())
        if counts["not measured"] == len(verdicts):
            return ""
        counted = ", ".join(f"{counts[verdict]} {verdict}" for verdict in JOINT if counts[verdict])
        sentences = [f"Of {quantity(len(verdicts), 'claim')}: {counted}."]
        for verdict in JOINT[:3]:
            names = [name for name, text in verdicts.items() if text.partition(" (")[0] == verdict]
            sentences += [f"{verdict.capitalize()}: {', '.join(names)}."] if names else []
        return " ".join(sentences)

    @cached_property
    def figures(self) -> list[TableFigure]:
        """A picture of the measured differences in the metric; none without one. Curves have other units."""
        from ssl_bench.reporting.claim_figures import claim_figures  # with matplotlib

        return claim_figures(self.card, self.tests)

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return "\n".join(table.html() for table in self.tables)


def paper_claims(
    card: Claims, target: Target, runs: Sequence[Run], methods: Declarations, view: ShownOptions
) -> ClaimsReport:
    """Hold the claims of a paper against the available runs.

    Args:
        card: the claims.
        target: data set, shares, protocol and settings of the runs.
        runs: the store's runs.
        methods: the registry.
        view: options of the report.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would be compared.
    """
    cells = fill_claims(card, target, runs, methods)
    tests = tested_claims(cells, card.unit)
    body = cells.body
    missing = tuple(fill_commands(body, target, view, [card.metric]))
    notes = [
        *_method_notes(tests),
        *row_notes(body),
        *metric_notes(cells.records),
        *(unreadable_notes(cells.runs, "curves") if any(isinstance(one.claim, CurveClaim) for one in tests) else []),
        *damage_notes(cells.damaged),
        *protocol_notes(target, body),
        *origin(cells.runs, has_deviation=False),
        *claim_processor_notes(cells),
        *group_notes(cells.records),
        *unlike_notes(body, runs),
        *label_notes(body, runs),
        *missing_notes(card, target, body, missing, view),
    ]
    tables = verdicts_table(card, tests), tests_table(card, tests, notes)
    return ClaimsReport(card, tuple(tests), tables, tests_csv(card, tests), cells.runs, missing, _count(cells))


def _method_notes(tests: Sequence[ClaimTest]) -> list[str]:
    """Explain verdicts and tests."""
    tolerated = {
        test.claim.name: test.claim.tolerance
        for test in tests
        if isinstance(test.claim, DifferenceClaim) and test.claim.tolerance
    }
    each = "; ".join(f"{name}: {tolerance:g}" for name, tolerance in tolerated.items())
    margins = {test.claim.name: test.claim.margin for test in tests if isinstance(test.claim, EquivalenceClaim)}
    kinds = {type(test.claim) for test in tests}
    notes = [VERDICT_NOTE, TEST_NOTE]
    if tolerated:
        notes.append(f"Scores no lower, up to a tolerance (p is of a loss as large as this): {each}.")
    if margins:
        notes.append(f"{EQUIVALENCE_NOTE} Margins: {', '.join(f'{name} {one:g}' for name, one in margins.items())}.")
    notes += [CURVE_NOTE] if CurveClaim in kinds else []
    notes += [PUBLISHED_NOTE] if any(test.published is not None for test in tests) else []
    return [*notes, COPIED_NOTE] if any(test.is_copied for test in tests) else notes


def _count(cells: ClaimCells) -> tuple[int, int]:
    """How many different cells have runs, and how many there are."""
    own = {one.place.wanted.identity: bool(one.runs) for one in cells.filled if one.place is not None}
    return sum(own.values()), len(own)

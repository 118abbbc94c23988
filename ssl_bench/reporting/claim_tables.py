"""The tables of claims: a verdict on each claim, its tests, and the tests in full as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_bench.atomic import csv_text
from ssl_bench.cards import Claims, EquivalenceClaim
from ssl_bench.reporting.claim_verdicts import ClaimTest, counted_verdicts, joint_verdict
from ssl_bench.reporting.statistics_tables import interval_cell, p_cell
from ssl_bench.reporting.table import Cell, Table

NONE = "—"


def verdicts_table(card: Claims, tests: Sequence[ClaimTest]) -> Table:
    """Return a row for each claim: what the paper says, where, and the verdict."""
    rows: list[list[str | Cell]] = []
    for claim in card.claims:
        own = [test for test in tests if test.claim is claim]
        if own:
            rows.append([claim.name, claim.says, claim.source, joint_verdict(own), counted_verdicts(own)])
    return Table(f"{card.name}: {card.title}", ["Claim", "Statement", "Where", "Verdict", "Its tests"], rows)


def tests_table(card: Claims, tests: Sequence[ClaimTest], notes: list[str]) -> Table:
    """Return a row for each test, rounded for reading; `tests_csv` has all of them in full."""
    header = [
        "Claim", "Sides", "Data", "Published", "Difference", "95 %\ninterval", "p", "p\n(Holm)", "Could\nfind", "Seeds",
        "Error\nterm", "Pair alone:\np (Holm)", "Verdict",
    ]  # fmt: skip
    rows = [_row(test) for test in tests]
    return Table(f"{card.name}: tests", header, rows, frozenset({*header[3:9], header[11]}), notes, "tests")


def _row(test: ClaimTest) -> list[str | Cell]:
    decimals, smallest = test.decimals, test.smallest
    difference = NONE if test.difference is None else Cell(
        f"{_signed(test, test.difference, decimals)}", test.difference, runs=tuple(run.path.name for run in test.runs)
    )  # fmt: skip
    published = NONE if test.published is None else Cell(
        f"{_signed(test, test.published, 2)}{'†' if test.is_copied else ''}", test.published
    )  # fmt: skip
    found = NONE if smallest is None else Cell(f"{smallest:.{decimals}f}", smallest)
    return [
        test.claim.name, test.who, test.data, published, difference, _interval(test), p_cell(test.p),
        p_cell(test.p_holm), found, seeds_text(test), _error_term(test),
        p_cell(test.p_pair_holm), test.text,
    ]  # fmt: skip


def _signed(test: ClaimTest, value: float, decimals: int) -> str:
    """A difference with its sign; the size of the largest difference between settings has none."""
    if isinstance(test.claim, EquivalenceClaim):
        return f"{abs(value):.{decimals}f}"
    return f"{value:+.{decimals}f}"


def _interval(test: ClaimTest) -> str | Cell:
    if test.interval is None or test.decimals == 2:
        return interval_cell(_turned(test), sign="+")
    low, high = test.interval
    return Cell(f"{low:+.{test.decimals}f} to {high:+.{test.decimals}f}", low)


def _turned(test: ClaimTest) -> tuple[float, float] | None:
    """The interval; of the largest difference between settings, that of its size."""
    if test.interval is None or not isinstance(test.claim, EquivalenceClaim) or (test.difference or 0.0) >= 0:
        return test.interval
    low, high = test.interval
    return -high, -low


def seeds_text(test: ClaimTest) -> str:
    """The common seeds; where labelled draws are crossed with seeds, the number of trainings."""
    if any(seed < 0 for seed in test.seeds):
        return f"{len(test.seeds)} trainings"
    return ", ".join(map(str, test.seeds)) or NONE


def _error_term(test: ClaimTest) -> str:
    return NONE if test.estimate is None else "all" if test.is_pooled else "own"


def tests_csv(card: Claims, tests: Sequence[ClaimTest]) -> str:
    """Return all tests as CSV, one per row; undefined values are left empty."""
    header = [
        "exhibit", "claim", "kind", "says", "source", "sides", "data", "unit", "published", "published_is_copied",
        "difference", "ci95_low", "ci95_high", "p", "p_holm", "p_pair", "p_pair_holm", "p_against", "p_against_holm",
        "tests", "smallest", "seeds", "levels", "error_term", "verdict", "why_not", "runs",
    ]  # fmt: skip
    return csv_text(header, [_line(card, test) for test in tests])


def _line(card: Claims, test: ClaimTest) -> list[object]:
    low, high = test.interval or (None, None)
    error = "" if test.estimate is None else "all" if test.is_pooled else "own"
    values: list[object] = [
        card.name, test.claim.name, test.claim.kind, test.claim.says, test.claim.source, test.who, test.data,
        test.unit, test.published, test.is_copied, test.difference, low, high, test.p, test.p_holm,
        test.p_pair, test.p_pair_holm, test.p_against, test.p_against_holm,
        None if test.p is None else test.tests, test.smallest, " ".join(map(str, test.seeds)), test.levels, error,
        test.verdict, test.why_not, " ".join(run.path.name for run in test.runs),
    ]  # fmt: skip
    return [round(value, 6) if isinstance(value, float) else value for value in values]

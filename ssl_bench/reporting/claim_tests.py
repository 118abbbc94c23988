"""Tests of claims: each side against each other one, in each column, by the statistics of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from ssl_bench.cards import (
    METRICS,
    CurveClaim,
    DifferenceClaim,
    EquivalenceClaim,
    InteractionClaim,
    by_share,
    columns_alike,
)
from ssl_bench.command import listed, toml_value
from ssl_bench.reporting.claim_cells import ClaimCells, FilledClaim
from ssl_bench.reporting.claim_verdicts import ClaimTest
from ssl_bench.reporting.kept_files import AXES, Axis, curve_against
from ssl_bench.reporting.published import Published, published_numbers
from ssl_bench.reporting.scores import complete_crossing, label_and_seed, training_number
from ssl_bench.statistics.anova import Estimate, mean_of_trainings
from ssl_bench.statistics.cell import CellScores, crossed_trainings, levels
from ssl_bench.statistics.column import Column, common
from ssl_bench.statistics.equivalence import p_beyond, p_outside, simultaneous_interval, smallest_margin
from ssl_bench.statistics.gains import compare_gains
from ssl_bench.statistics.holm import holm

MOST = 4  # sides without a run that are named
CURVE_UNITS = {"disagreement": "of Dice loss", "entropy": "nat"}


def tested_claims(cells: ClaimCells, unit: str) -> list[ClaimTest]:
    """Test all claims of a card; `unit` is that of the metric's differences.

    p values are Holm-corrected over the measured tests of each claim, and not over the claims.
    """
    return [test for claim in cells.claims for test in _corrected(list(_tests(cells, claim, unit)))]


def _corrected(tests: list[ClaimTest]) -> list[ClaimTest]:
    """The tests of one claim, those with a p corrected for their number."""
    count = sum(test.p is not None for test in tests)
    by_all, by_pair, against = (
        iter(holm([p for p in own if p is not None], count))
        for own in ([test.p for test in tests], [test.p_pair for test in tests], [test.p_against for test in tests])
    )
    return [
        test if test.p is None else replace(
            test, p_holm=next(by_all), p_pair_holm=None if test.p_pair is None else next(by_pair),
            p_against_holm=None if test.p_against is None else next(against), tests=count,
        ) for test in tests
    ]  # fmt: skip


def _tests(cells: ClaimCells, filled: FilledClaim, unit: str) -> Iterator[ClaimTest]:
    claim, columns = filled.claim, range(len(filled.grid.columns))
    first = range(len(claim.rows))
    pairs = list(product(first, range(len(claim.rows), len(claim.sides))))
    if isinstance(claim, EquivalenceClaim):
        yield from (_equivalence(cells, filled, claim, c, unit) for c in columns if _places(filled, first, [c]))
    elif isinstance(claim, InteractionClaim):
        for conditions, pair in product(_conditions(filled), pairs):
            if _places(filled, pair, conditions):
                yield _interaction(cells, filled, pair, conditions, unit)
    elif isinstance(claim, CurveClaim):
        for c, pair, axis in product(columns, pairs, AXES):
            if _places(filled, pair, [c]):
                yield _curve(filled, claim, pair, c, axis)
    elif isinstance(claim, DifferenceClaim):
        for c, pair in product(columns, pairs):
            if _places(filled, pair, [c]):
                yield _difference(cells, filled, claim, pair, c, unit)


def _places(filled: FilledClaim, rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether all these cells have a method for the data."""
    return all(filled.body[row][c].place is not None for row in rows for c in columns)


def _start(filled: FilledClaim, rows: Sequence[int], columns: Sequence[int], data: str, unit: str) -> ClaimTest:
    """A test with its sides and runs."""
    titles = [filled.grid.rows[row].title for row in rows]
    who = f"{titles[0]} against {titles[1]}" if len(titles) == 2 else f"{titles[0]} to {titles[-1]}"
    missing = [
        f"{filled.grid.rows[row].title} {filled.grid.columns[c].labeled}"
        for row, c in product(rows, columns)
        if not filled.body[row][c].runs
    ]
    runs = {run.path: run for row, c in product(rows, columns) for run in filled.body[row][c].runs}
    why_not = f"no run of {listed(list(dict.fromkeys(missing)), MOST)}" if missing else ""
    return ClaimTest(filled.claim, who, data, unit, tuple(runs.values()), why_not=why_not)


def _unscored(test: ClaimTest) -> ClaimTest:
    """A test that lacks scores, with the reason."""
    return test if test.why_not else replace(test, why_not="runs are not scored by the metric")


def _data(filled: FilledClaim, row: int, column: int, labeled: str = "") -> str:
    """Title, data set and share of a column, or `labeled`; without a title its settings, too."""
    place, own = filled.body[row][column].place, filled.grid.columns[column]
    settings = [f"{key}={toml_value(value)}" for key, value in own.settings.items() if not own.title]
    return "" if place is None else " ".join([
        *own.title.split(), place.benchmark.name, labeled or own.labeled, *settings
    ])  # fmt: skip


def _size(filled: FilledClaim, weights: dict[tuple[int, int], int]) -> tuple[float | None, bool]:
    """The weighted sum of the paper's numbers for cells (row, column), and whether one of them is copied.

    All numbers are of one table. None where the paper has no such numbers.
    """
    numbers = [_published(filled, row, column) for row, column in weights]
    tables = [table for table in numbers[0] if all(table in own for own in numbers)]
    if not tables:
        return None, False
    chosen = [own[tables[0]] for own in numbers]
    size = sum(weight * one.value for weight, one in zip(weights.values(), chosen, strict=True))
    return round(size, 2), any(one.is_copied for one in chosen)


def _published(filled: FilledClaim, row: int, column: int) -> dict[int, Published]:
    side = filled.claim.sides[row]
    if side.network is not None:
        return {}
    return published_numbers(side.method, side.settings, filled.grid.columns[column], filled.grid.metrics[0])


def _sign(filled: FilledClaim) -> int:
    """1 where larger values of the metric are better, else -1."""
    return 1 if METRICS[filled.grid.metrics[0]].larger_is_better else -1


def _judged(
    test: ClaimTest,
    value: float,
    estimate: Estimate | None,
    sign: int,
    tolerance: float = 0.0,
    alone: Estimate | None = None,
) -> ClaimTest:
    """A test with its difference, interval and p; `sign` is the direction of the claim, `alone` the pair's estimate."""
    shifted = sign * value + tolerance
    favours = (shifted > 0) - (shifted < 0)
    if estimate is None:
        return replace(test, difference=value, favours=favours, why_not="no test, since it needs two common seeds")
    p, p_pair = (None if one is None else Estimate(shifted, one.variance, one.freedom).p for one in (estimate, alone))
    return replace(
        test, difference=value, estimate=estimate, interval=estimate.interval(), favours=favours, p=p, p_pair=p_pair,
        why_not="",
    )  # fmt: skip


def _difference(
    cells: ClaimCells, filled: FilledClaim, claim: DifferenceClaim, pair: tuple[int, int], c: int, unit: str
) -> ClaimTest:
    a, b = pair
    test = _start(filled, pair, [c], _data(filled, a, c), unit)
    published, is_copied = _size(filled, {(a, c): 1, (b, c): -1})
    test = replace(test, published=published, is_copied=is_copied)
    own = [cells.scores(filled, row, c) for row in pair]
    first, second = own
    if first is None or second is None:
        return _unscored(test)
    has_network = any(claim.sides[row].network is not None for row in pair)
    column = _column(cells, filled, c, [first, second], alone=has_network)
    found = column.compare(0, 1)
    if found is None:
        return replace(test, why_not="no seed or no case in common")
    test = replace(
        test, seeds=_seeds([first, second]), levels=found.seeds, is_pooled=found.pooled and len(column.pool) > 2
    )
    return _judged(test, found.difference, found.estimate, _sign(filled), claim.tolerance, found.alone)


def _column(cells: ClaimCells, filled: FilledClaim, c: int, own: list[CellScores], *, alone: bool) -> Column:
    """A claim's cells first, then those others of the column that have their common seeds, all on these seeds.

    So how many seeds the others have decides nothing.
    """
    others = [] if alone else cells.common_rows(filled.grid.columns[c]).values()
    seeds = _seeds(own)
    kept = [one for one in others if set(seeds) <= set(one.seeds) and not any(one is cell for cell in own)]
    return Column([one.of_seeds(seeds) if seeds else one for one in (*own, *kept)])


def _interaction(
    cells: ClaimCells, filled: FilledClaim, pair: tuple[int, int], conditions: Sequence[int], unit: str
) -> ClaimTest:
    (a, b), (few, many) = pair, (conditions[0], conditions[-1])
    shares = [filled.grid.columns[c].labeled for c in (few, many)]
    data = _data(filled, a, few, " against ".join(shares))
    if few == many:
        test = _start(filled, pair, [few], _data(filled, a, few), unit)
        return replace(test, why_not="it needs two labelled shares")
    test = _start(filled, pair, [few, many], data, unit)
    published, is_copied = _size(filled, {(a, few): 1, (b, few): -1, (a, many): -1, (b, many): 1})
    test = replace(test, published=published, is_copied=is_copied)
    found = {(row, c): cells.scores(filled, row, c) for row, c in product(pair, (few, many))}
    own = {key: one for key, one in found.items() if one is not None}
    if len(own) < 4:
        return _unscored(test)
    both = [cells.common_rows(filled.grid.columns[c]) for c in (few, many)]
    more = [(both[0][key], both[1][key]) for key in both[0] if key in both[1]]
    sides = [(own[row, few], own[row, many]) for row in pair]
    more = [one for one in more if not any(one[0] is side[0] for side in sides)]
    gains = compare_gains(sides[0], sides[1], more)
    if gains is None:
        return replace(test, why_not="no seed or no case in common")
    test = replace(test, seeds=_seeds(list(own.values())), levels=gains.seeds, is_pooled=gains.pooled)
    return _judged(test, gains.difference, gains.estimate, _sign(filled), alone=gains.alone)


def _conditions(filled: FilledClaim) -> list[list[int]]:
    """The columns of each data set with the same settings, the fewest labelled images first."""
    columns = filled.grid.columns
    return [
        [own[i] for i in by_share([columns[c].labeled for c in own], _training_units(filled, own))]
        for own in columns_alike(columns)
    ]


def _training_units(filled: FilledClaim, columns: Sequence[int]) -> int | None:
    """How many training images or volumes columns have; None without a run."""
    runs = [run for row, c in product(filled.body, columns) for run in row[c].runs]
    return runs[0].spec.train_units if runs else None


def _equivalence(cells: ClaimCells, filled: FilledClaim, claim: EquivalenceClaim, c: int, unit: str) -> ClaimTest:
    rows = range(len(claim.rows))
    test = _start(filled, rows, [c], _data(filled, 0, c), unit)
    numbers = [_size(filled, {(row, c): 1})[0] for row in rows]
    given = [one for one in numbers if one is not None]
    test = replace(test, published=round(max(given) - min(given), 2) if len(given) == len(numbers) else None)
    own = [scores for row in rows if (scores := cells.scores(filled, row, c)) is not None]
    if len(own) < len(rows):
        return _unscored(test)
    column = Column(own)
    found = {pair: column.compare(*pair) for pair in combinations(rows, 2)}
    compared = {pair: one for pair, one in found.items() if one is not None}
    if len(compared) < len(found):
        return replace(test, why_not="no seed or no case in common")
    (a, b), largest = max(compared.items(), key=lambda item: abs(item[1].difference))
    who = f"{filled.grid.rows[a].title} against {filled.grid.rows[b].title}, of {len(rows)} settings"
    test = replace(
        test, who=who, seeds=_seeds(own), levels=min(one.seeds for one in compared.values()),
        difference=largest.difference, why_not="",
    )  # fmt: skip
    estimates = [one.estimate for one in compared.values() if one.estimate is not None]
    if largest.estimate is None or len(estimates) < len(compared):
        return replace(test, why_not="no test, since it needs two common seeds")
    intervals = [simultaneous_interval(one, len(estimates)) for one in estimates]
    within = all(-claim.margin < low and high < claim.margin for low, high in intervals)
    return replace(
        test, estimate=largest.estimate, interval=simultaneous_interval(largest.estimate, len(estimates)),
        favours=int(within), p=max(p_outside(one, claim.margin) for one in estimates),
        p_against=min(1.0, len(estimates) * min(p_beyond(one, claim.margin) for one in estimates)),
        smallest_margin=max(smallest_margin(one, len(estimates)) for one in estimates),
    )  # fmt: skip


def _curve(filled: FilledClaim, claim: CurveClaim, pair: tuple[int, int], c: int, axis: Axis) -> ClaimTest:
    test = _start(filled, pair, [c], f"{_data(filled, pair[0], c)}, by {axis}", CURVE_UNITS[claim.curve])
    curves = [
        [(run, curve) for run in filled.body[row][c].runs
         if (curve := curve_against(run, claim.curve, axis)) is not None and len(curve)]
        for row in pair
    ]  # fmt: skip
    if not all(curves):
        return test if test.why_not else replace(test, why_not="no curve")
    end = min(float(curve.index.max()) for own in curves for _, curve in own)
    first, last = (end * part for part in claim.part)
    means, draws = list[dict[int, float]](), dict[int, tuple[int, int]]()
    for own in curves:
        parts = [(run, curve[(curve.index > first) & (curve.index <= last)]) for run, curve in own]
        there = {training_number(run): float(points.mean()) for run, points in parts if len(points)}
        kept = complete_crossing([run for run, points in parts if len(points)])
        draws |= {training_number(run): label_and_seed(run) for run in kept}
        means.append({number: there[number] for number in map(training_number, kept)})
    shared = sorted(means[0].keys() & means[1].keys())
    if not shared:
        return replace(test, why_not="no seed with a point in this part in common")
    values = np.array([means[0][number] - means[1][number] for number in shared])
    own_draws = [draws[number] for number in shared]
    test = replace(test, seeds=tuple(shared), levels=levels(own_draws))
    estimate = mean_of_trainings(values, crossed_trainings(own_draws))
    return _judged(test, float(values.mean()), estimate, 1 if claim.lies == "above" else -1)


def _seeds(cells: Sequence[CellScores]) -> tuple[int, ...]:
    """The seeds that all cells have."""
    shared = common(cells)
    return () if shared is None else shared[0].seeds

"""The lines below a table that explain its marks and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssl_bench.cards import METRICS, Grid
from ssl_bench.command import quantity
from ssl_bench.reporting.analysis import Analysis, Family, Record, distinct, family
from ssl_bench.reporting.gather import Gathered
from ssl_bench.reporting.paired import FEW_SEEDS, Span
from ssl_bench.reporting.published import published
from ssl_bench.reporting.scores import undefined
from ssl_bench.statistics.cell import levels

VERDICTS = {"above": "▲", "below": "▼", "inside": "="}
ENOUGH_GROUPS = 20  # of test cases; with fewer, an interval rests on the normal distribution of the groups' means
UNEQUAL = 0.1  # p of Bartlett's test, which has little power with three seeds, below which variances count as different


SIGNIFICANT_NOTE = (
    "Significant: p < 0.05, Holm-corrected, in an analysis of variance with random seeds and cases, from at least "
    "three common seeds."
)


COSTS_NOTE = (
    "Costs: parameters of all networks of a run, including teachers and auxiliary decoders. Peak memory (GPU only) is "
    "the largest of the row's runs; the other numbers are means. Hours are wall-clock time and include other load on "
    "the machine."
)


FEW = (
    "intervals describe these trained networks on other cases, not another training, and no test is over seeds. That "
    "needs at least two common seeds, and a mark three."
)


TWO = "their differences are never marked, since two trainings say little about a third."


def legend(grid: Grid, records: Sequence[Record], *, has_best: bool) -> list[str]:
    """Explain the marks that a table has.

    Args:
        grid: the aimed grid.
        records: of the rows that compete.
        has_best: whether a number is emphasised as the best.

    """
    baseline = next((row.title for row in grid.rows if row.method == grid.baseline), "")
    says = {
        "Bold, underlined: the best and the second best measured mean.": has_best,
        "†: copied by the paper from another paper, under another protocol.": _has_copied(grid),
        _prediction_words(records): any(one.verdict.startswith(tuple(VERDICTS)) for one in records),
        "*: differs significantly from the best.": any(one.best.is_significant for one in records),
        f"+, -: significantly better, worse than {baseline}.": any(one.baseline.is_significant for one in records),
    }
    said = [text for text, is_there in says.items() if is_there]
    if any(one.best.is_significant or one.baseline.is_significant for one in records):
        said.append(SIGNIFICANT_NOTE)
    return [" ".join(said)] if said else []


def _prediction_words(records: Sequence[Record]) -> str:
    """What ▲, ▼ and = say, and on whose test images."""
    judged = [one for one in records if one.verdict.startswith(tuple(VERDICTS))]
    alike = {one.tested_alike for one in judged}
    where = "on as many other test cases, since the paper's are not published"
    if alike == {True}:
        where = "on the same test cases, which the literature shares"
    elif alike == {True, False}:
        same = ", ".join(dict.fromkeys(one.place.benchmark.title for one in judged if one.tested_alike))
        where += f" ({same}: on the same)"
    return f"▲ above, ▼ below, = inside the 95 % prediction interval of one more training {where}."


def comparability_notes(records: Sequence[Record]) -> list[str]:
    """Say why published numbers and measured ones cannot be compared."""
    reasons: dict[str, list[Record]] = {}
    for one in records:
        if one.reasons and one.published and not one.published.is_copied:
            reasons.setdefault("; ".join(one.reasons), []).append(one)
    notes = []
    for reason, own in reasons.items():
        titles, data = dict.fromkeys(one.place.row.title for one in own), dict.fromkeys(one.data for one in own)
        which = f" ({', '.join(data)}{'' if len(reasons) == 1 else ': ' + ', '.join(titles)})"
        notes.append(f"Published and measured numbers are not comparable{which}: {reason}.")
    return notes


def metric_notes(records: Sequence[Record]) -> list[str]:
    """Name the parameters of the metrics, count the undefined values, and name rows without any score above 0."""
    remarks: dict[str, None] = {}
    lost: dict[str, list[str]] = {}
    nothing: dict[str, list[str]] = {}
    for one in records:
        if one.scores is None:
            continue
        remarks |= dict.fromkeys(one.measurement.remarks(one.metric))
        if METRICS[one.metric].larger_is_better and one.scores.counts.any() and not one.scores.sums.any():
            nothing.setdefault(one.place.benchmark.heading(one.metric), []).append(one.place.row.title)
        count = undefined(one.runs, one.metric, one.measurement)
        if count:
            whole = count + int(one.scores.counts.sum())
            lost.setdefault(one.place.benchmark.heading(one.metric), []).append(
                f"{one.place.row.title} {count} of {whole}"
            )
    return [
        *remarks,
        *(f"Undefined values of {title}, which are not in the means: {', '.join(rows)}. "
          "A row without its hardest cases looks better than it is." for title, rows in lost.items()),
        *(f"Every {title} is 0, so nothing was found in any test case: {', '.join(dict.fromkeys(rows))}."
          for title, rows in nothing.items()),
    ]  # fmt: skip


def seed_notes(found: Gathered, records: Sequence[Record]) -> list[str]:
    """Say what the cell with the fewest seeds cannot show, and how much of the means' variance is of the seeds."""
    each = [[run.spec.draws for run in one.runs] for row in found.rows for one in row if one.runs]
    counts = [levels(draws) for draws in each]
    notes = []
    if counts and min(counts) < FEW_SEEDS:
        fewest = each[counts.index(min(counts))]
        noun = "label draws" if len({label for _, label in fewest}) < len({seed for seed, _ in fewest}) else "seeds"
        count = ("One seed", f"Two {noun}")[min(counts) - 1] + (" in some cells" if max(counts) > min(counts) else "")
        notes.append(f"{count}: {FEW if min(counts) == 1 else TWO}")
    shares = [own for one in records if one.scores is not None and (own := one.scores.share_of_seeds) is not None]
    if shares:
        low, high = (f"{100 * own:.0f}" for own in (min(shares), max(shares)))
        share = f"{low} %" if low == high else f"{low} to {high} %"
        notes.append(f"Of the variance of the means, seeds have an estimated {share}; the rest is of the test cases.")
    return notes


def group_notes(records: Sequence[Record]) -> list[str]:
    """Say in how many groups the test cases come, and where they are few."""
    found: dict[tuple[int, int], dict[str, None]] = {}
    ungrouped = dict.fromkeys(f"{one.data}: {one.ungrouped}" for one in records if one.ungrouped)
    for one in records:
        if one.scores is not None and (one.scores.groups is not None or len(one.scores.cases) < ENOUGH_GROUPS):
            groups = 0 if one.scores.groups is None else len(one.scores.units)
            found.setdefault((len(one.scores.cases), groups), {})[one.data] = None
    notes = [f"{text}. Cases count as independent here, so intervals and p may be too small." for text in ungrouped]
    for (cases, groups), data in found.items():
        if not groups:
            notes.append(
                f"{', '.join(data)}: {quantity(cases, 'test case')}. With fewer than {ENOUGH_GROUPS}, intervals and p "
                "assume that cases vary normally."
            )
            continue
        few = "" if groups >= ENOUGH_GROUPS else (
            f" With fewer than {ENOUGH_GROUPS} groups, intervals and p assume that groups vary normally."
        )  # fmt: skip
        notes.append(
            f"{', '.join(data)}: {quantity(cases, 'test case')} in {quantity(groups, 'group')}, which intervals and "
            f"tests draw whole.{few}"
        )
    return notes


def error_notes(analysis: Analysis) -> list[str]:
    """Name the error term of each column's comparisons, and the smallest difference that it could have found."""
    terms: dict[str, dict[str, None]] = {}
    found: dict[str, list[str]] = {}
    same: dict[str, dict[str, None]] = {}
    unequal, sure = [], []
    for (column, metric), one in analysis.families.items():
        terms.setdefault(_error_term(one), {})[one.data] = None
        for titles in one.same:
            same.setdefault(f"{', '.join(titles)} are the same trainings and count once", {})[one.data] = None
        if one.smallest is None:
            continue
        to = f"{_range(one.smallest_from_baseline)} from {one.baseline}, " if one.smallest_from_baseline else ""
        found.setdefault(one.heading, []).append(f"{to}{_range(one.smallest)} between any two ({one.data})")
        methods = distinct(family(analysis.records, column, metric).values())
        shown = [own.baseline for own in methods if own.baseline.is_significant and own.baseline.pooled]
        if shown and len(one.pooled) > 2:
            also = sum(pair.is_significant_alone for pair in shown)
            sure.append(f"{also} of {len(shown)} ({one.data}, {one.heading})")
        p = _unequal_seeds(methods)
        if p is not None and p < UNEQUAL:
            unequal.append(f"{one.data}, {one.heading}: p = {p:.3f}")
    each = [f"{term} ({', '.join(data)})" if len(terms) > 1 else term for term, data in terms.items()]
    notes = [f"Error term of the comparisons: {'; '.join(each)}."] if each else []
    notes += [f"{text} ({', '.join(data)})." for text, data in same.items()]
    for heading, texts in found.items():
        notes.append(f"Smallest true difference that would be shown with 80 % power, {heading}: {'; '.join(texts)}.")
    if sure:
        notes.append(
            "Differences from the baseline that are shown, and are so by their pair's own error term, too, which does "
            f"not suppose that the differences of any two methods vary equally: {'; '.join(sure)}."
        )
    if unequal:
        notes.append(
            f"The methods' variances over seeds differ (Bartlett's test; {'; '.join(unequal)}). One error term for all "
            "then shows a difference between equal methods in 7 to 13 of 100 tables instead of 5, mostly with the "
            "method that varies most."
        )
    return notes


def _error_term(one: Family) -> str:
    """The error term of a column's comparisons, in words."""
    if not any(pair.p is not None for pair in one.pairs.values()):
        return "none, since no two methods have two common seeds: no difference is tested"
    if not one.pooled:
        return "each pair's own (other seeds or cases, or scores that do not vary)"
    crossed = any(seed < 0 for seed in one.seeds)  # numbers of trainings, where labelled draws are crossed with seeds
    seeds = quantity(len(one.seeds), "training") if crossed else f"seeds {', '.join(map(str, one.seeds))}"
    if not one.alone:
        return f"that of the two methods, {seeds}" if len(one.pooled) == 2 else f"one for all methods, {seeds}"
    return (
        f"one for {', '.join(one.pooled)}, {seeds}; comparisons with {', '.join(one.alone)} have their own (other "
        "seeds or cases, or scores that do not vary)"
    )


def _range(span: Span) -> str:
    low, high = (f"{own:.1f}" for own in span)
    return low if low == high else f"{low} to {high}"


def _unequal_seeds(records: Sequence[Record]) -> float | None:
    """P of Bartlett's test of equal variances of the seeds' means; None where fewer than two methods have three."""
    from scipy import stats

    means = [one.scores.seed_means for one in records if one.scores is not None and len(one.scores.seeds) >= FEW_SEEDS]
    if any(one.scores is not None and one.scores.crossed is not None for one in records):
        return None  # trainings that share labels or a seed are not independent
    varying = [own for own in means if np.isfinite(own).all() and np.ptp(own) > 0]
    return float(stats.bartlett(*varying).pvalue) if len(varying) > 1 else None


def _has_copied(grid: Grid) -> bool:
    """Whether the paper copied a number of the grid from another paper."""
    given = [
        published(grid, row, column, metric) for row in grid.rows for column in grid.columns for metric in grid.metrics
    ]
    return any(one is not None and one.is_copied for one in given)

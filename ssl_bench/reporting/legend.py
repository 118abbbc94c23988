"""The lines below a table that explain its marks and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_bench.cards import Grid
from ssl_bench.reporting.analysis import ENOUGH_SEEDS, FEW_SEEDS, Record
from ssl_bench.reporting.gather import Gathered
from ssl_bench.reporting.published import published
from ssl_bench.reporting.scores import undefined

VERDICTS = {"above": "▲", "below": "▼", "inside": "="}


SIGNIFICANT_NOTE = (
    "Significant: p < 0.05, Holm-corrected, in an analysis of variance with random seeds and cases, from at least "
    "three common seeds."
)


COSTS_NOTE = (
    "Costs: parameters of all networks of a run, including teachers and auxiliary decoders. Peak memory (GPU only) is "
    "the largest of the row's runs; the other numbers are means. Hours are wall-clock time and include other load on "
    "the machine."
)


NARROW = (
    "Intervals from so few seeds are too narrow: those of three seeds held the true mean in 78 to 93 of 100 "
    "simulations."
)


FEW = (
    "intervals and tests describe these trained networks on other cases, not another training. That needs at least "
    "three seeds, and even their intervals are too narrow."
)


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
        "▲ above, ▼ below, = inside the measured 95 % interval.": any(
            one.verdict.startswith(tuple(VERDICTS)) for one in records
        ),
        "*: differs significantly from the best.": any(one.best.is_significant for one in records),
        f"+, -: significantly better, worse than {baseline}.": any(one.baseline.is_significant for one in records),
    }
    said = [text for text, is_there in says.items() if is_there]
    if any(one.best.is_significant or one.baseline.is_significant for one in records):
        said.append(SIGNIFICANT_NOTE)
    return [" ".join(said)] if said else []


def comparability_notes(records: Sequence[Record]) -> list[str]:
    """Say why published numbers and measured ones cannot be compared."""
    reasons: dict[str, list[str]] = {}
    for one in records:
        if one.reasons and one.published and not one.published.is_copied:
            reasons.setdefault("; ".join(one.reasons), []).append(one.place.row.title)
    notes = []
    for reason, titles in reasons.items():
        which = "" if len(reasons) == 1 else f" ({', '.join(dict.fromkeys(titles))})"
        notes.append(f"Published and measured numbers are not comparable{which}: {reason}.")
    return notes


def metric_notes(records: Sequence[Record]) -> list[str]:
    """Name the parameters of the metrics, and count the undefined values."""
    remarks: dict[str, None] = {}
    lost: dict[str, list[str]] = {}
    for one in records:
        if one.scores is None:
            continue
        remarks |= dict.fromkeys(one.measurement.remarks(one.metric))
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
    ]  # fmt: skip


def seed_notes(found: Gathered) -> list[str]:
    """Say what the cell with the fewest seeds cannot show."""
    counts = [len({run.spec.seed for run in one.runs}) for row in found.rows for one in row if one.runs]
    if not counts or min(counts) >= ENOUGH_SEEDS:
        return []
    if min(counts) >= FEW_SEEDS:
        return [NARROW]
    count = ("One seed", "Two seeds")[min(counts) - 1] + (" in some cells" if max(counts) > min(counts) else "")
    return [f"{count}: {FEW}"]


def _has_copied(grid: Grid) -> bool:
    """Whether the paper copied a number of the grid from another paper."""
    given = [
        published(grid, row, column, metric) for row in grid.rows for column in grid.columns for metric in grid.metrics
    ]
    return any(one is not None and one.is_copied for one in given)

"""What a table shows, in one sentence, from its comparisons and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ssl_bench.cards import METRICS, MetricName
from ssl_bench.command import quantity
from ssl_bench.reporting.analysis import Analysis, Family, Record, family
from ssl_bench.reporting.paired import FEW_SEEDS

JUDGED = ("inside", "above", "below")
VERDICTS = (*JUDGED, "not judged", "not comparable")


def finding(analysis: Analysis) -> str:
    """Say what a table's comparisons show by its first metric, and where the published numbers lie; "" for no run."""
    metric = next((spot.metric for spot in analysis.records), None)
    if metric is None or not any(one.mean is not None for one in analysis.records.values()):
        return ""
    sentences = [
        f"{one.data}: {_shown(one, _rivals(analysis, column, metric))}."
        for (column, own), one in analysis.families.items()
        if own == metric
    ]
    return " ".join([*sentences, *_verdicts(list(analysis.records.values()))])


def _rivals(analysis: Analysis, column: int, metric: MetricName) -> list[Record]:
    own = family(analysis.records, column, metric).values()
    return [one for one in own if not one.is_upper and one.mean is not None]


def _shown(one: Family, rivals: Sequence[Record]) -> str:
    """The differences that are shown, or the smallest one that would have been."""
    word = "highest" if METRICS[rivals[0].metric].larger_is_better else "lowest"
    mean = next(rival.mean for rival in rivals if rival.place.row.title == one.best)
    leader = f"{one.best} has the {word} mean ({mean:.2f})"
    if not any(pair.p is not None for pair in one.pairs.values()):
        return f"{leader}; no difference is tested, since no two methods have two common seeds"
    pairs = [rival.baseline if one.baseline else rival.best for rival in rivals]
    against = one.baseline or one.best
    texts = [
        f"{rival.place.row.title} {pair.difference:+.2f} (95 % interval {pair.ci95_low:+.1f} to {pair.ci95_high:+.1f})"
        for rival, pair in zip(rivals, pairs, strict=True)
        if pair.is_significant
    ]
    if texts:
        return f"{leader}; shown to differ from {against}: {', '.join(texts)}"
    nothing = f"{leader}; no method is shown to differ from {against}"
    size = one.smallest_from_baseline if one.baseline else one.smallest_from_best
    if size is None:
        draws = " and label draws" if any(rival.scores and rival.scores.draws for rival in rivals) else ""
        return f"{nothing}: no comparison with it has {FEW_SEEDS} common seeds{draws}"
    low, high = (f"{own:.1f}" for own in size)
    which = f"of {low}" if low == high else f"of {low} to {high}, depending on the method,"
    return f"{nothing}, where a true difference {which} would be shown with 80 % power"


def _verdicts(records: Sequence[Record]) -> list[str]:
    """How many published numbers lie where, of the measured ones."""
    words = [_where(one.verdict) for one in records if one.published is not None and one.mean is not None]
    if not words:
        return []
    counts = Counter(words)
    parts = [f"{counts[word]} {word}" for word in VERDICTS if counts[word]]
    if set(counts) == {"not judged"}:
        return [f"{quantity(len(words), 'published number')} not judged: that needs two seeds."]
    if set(counts) == {"not comparable"}:
        return ["No published number can be compared with a measured one."]
    return [f"Of {quantity(len(words), 'published number')}: {', '.join(parts)} (the prediction interval)."]


def _where(verdict: str) -> str:
    """A verdict without its reasons: one of VERDICTS."""
    return next(word for word in VERDICTS if verdict.startswith(word))

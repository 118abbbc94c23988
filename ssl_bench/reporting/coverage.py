"""How much of a table or figure is measured: its state in short, and a sentence."""

from __future__ import annotations

from ssl_bench.command import quantity
from ssl_bench.reporting.claims import ClaimsReport
from ssl_bench.reporting.figures import FigureReport
from ssl_bench.reporting.tables import TableReport


def is_measured(report: TableReport | FigureReport | ClaimsReport) -> bool:
    """Whether an exhibit shows anything measured. A figure of runs without pictures shows nothing."""
    return bool(report.runs) and not (isinstance(report, FigureReport) and report.is_empty)


def state(report: TableReport | FigureReport | ClaimsReport) -> str:
    """What an exhibit lacks, in short."""
    if not report.runs:
        return "no run"
    lacks = [name for name, count in (("runs", len(report.missing)), ("pictures", _pictureless(report))) if count]
    return f"{' and '.join(lacks)} are missing" if lacks else "complete"


def sentence(report: TableReport | FigureReport | ClaimsReport) -> str:
    """What was found, and how much of an exhibit is measured, for the index."""
    return " ".join(text for text in (report.finding, coverage(report)) if text)


def coverage(report: TableReport | FigureReport | ClaimsReport) -> str:
    """How much of an exhibit is measured, by what, and what is missing."""
    filled, cells = report.cells
    if not report.runs:
        return f"No run: 0 of {quantity(cells, 'cell')} measured."
    data_sets = ", ".join(sorted({run.spec.benchmark for run in report.runs}))
    seeds = sorted({run.spec.seed for run in report.runs})
    named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    by = f"{quantity(len(report.runs), 'run')} on {data_sets} ({named})"
    parts = [f"{filled} of {quantity(cells, 'cell')} measured, by {by}"]
    if report.missing and filled == cells:
        parts.append("not every cell has every seed")
    if count := _pictureless(report):
        parts.append(f"{quantity(count, 'run')} without pictures")
    return f"{'; '.join(parts)}."


def _pictureless(report: TableReport | FigureReport | ClaimsReport) -> int:
    return len(report.pictureless) if isinstance(report, FigureReport) else 0

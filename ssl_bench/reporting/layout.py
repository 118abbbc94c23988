"""The cells of a table of the paper, from its records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ssl_bench.cards import METRICS, MetricName
from ssl_bench.declarations import Declarations
from ssl_bench.reporting.analysis import Record, Records, Spot, family
from ssl_bench.reporting.gather import Gathered, ShownOptions
from ssl_bench.reporting.legend import VERDICTS
from ssl_bench.reporting.published import published
from ssl_bench.reporting.scores import cell_scores, mean_and_deviation
from ssl_bench.reporting.statistics_tables import interval_cell
from ssl_bench.reporting.table import Cell, Emphasis, Table
from ssl_bench.store import Run

NO_RUN, NOT_SCORED, NONE = "no run", "not scored", "—"


class Detail(NamedTuple):
    """A row below a method's: the scores of another network than the predictor, or of one class alone."""

    name: str
    network: str | None = None
    label: int | None = None


class Layout:
    """Lays records out as tables. The rows of the upper line stand first, and outside the competition."""

    def __init__(self, found: Gathered, records: Records, methods: Declarations, shown: ShownOptions) -> None:
        self.found, self.records, self.methods, self.shown = found, records, methods, shown
        self.grid, self.above = found.grid, len(found.above)
        self.rows = [*([] if found.upper is None else found.upper.rows), *found.grid.rows]
        self.has_published = any(one.published for one in records.values())
        self.says_data = len({(column.dataset, column.labeled) for column in found.grid.columns}) > 1

    @property
    def has_best(self) -> bool:
        """Whether a number is emphasised as the best."""
        return any(self._emphasis(spot) == "best" for spot in self.records)

    @property
    def _counted(self) -> str:
        """Heading of the number of runs of a cell."""
        places = [one.place for row in self.found.body for one in row if one.place is not None]
        return "Trainings" if any(place.wanted.label_seeds for place in places) else "Seeds"

    def table(self, columns: Sequence[int], *, is_alone: bool) -> Table:
        """Return the table of some of the grid's columns; `is_alone` says that there is no other."""
        header, numeric = ["Method", *self.grid.components], list[str]()
        for c in columns:
            for metric in self.grid.metrics:
                name = self._heading(c, metric, alone=len(columns) == 1)
                numeric += [f"{name}\npublished", f"{name}\nmeasured"] if self.has_published else [name]
        if self._is_single(columns):
            numeric.append("95 % interval")
        numeric.append(self._counted)
        if self.shown.costs:
            numeric += ["Parameters [M]", "Updates", "Training [h]", "Peak memory [GiB]"]
        rows = [line for r in range(len(self.rows)) for line in self._lines(r, columns)]
        labeled = self.grid.columns[columns[0]].labeled.rstrip("%")
        name = "" if is_alone else f"{self.found.benchmarks[columns[0]].name}-{labeled}"
        return Table(self._title(columns), header + numeric, rows, frozenset(numeric), name=name)

    def across(self, metric: MetricName, *, is_alone: bool) -> Table:
        """Return the table of one metric with a row for each of the grid's columns, and a column for each method."""
        titles = [row.title for row in self.rows]
        rows: list[list[str | Cell]] = []
        for c, column in enumerate(self.grid.columns):
            seeds = _joined([len(self._runs(r, c)) for r in range(len(self.rows))])
            cells = [self._measured(Spot(r, c, metric)) for r in range(len(self.rows))]
            data = " ".join(word for word in (column.title, self.found.benchmarks[c].title) if word)
            rows.append([data, column.labeled, *cells, seeds])
        heading = " and ".join(dict.fromkeys(benchmark.heading(metric) for benchmark in self.found.benchmarks))
        return Table(
            f"{self.grid.name}. {self.grid.title}, {heading}", ["Data", "Labelled", *titles, self._counted], rows,
            frozenset(["Labelled", *titles, self._counted]), name="" if is_alone else metric,
        )  # fmt: skip

    def _title(self, columns: Sequence[int]) -> str:
        text = f"{self.grid.name}. {self.grid.title}"
        shown = [self.grid.columns[c] for c in columns]
        if len({(column.dataset, column.labeled) for column in shown}) > 1:
            return text
        return f"{text} ({self.found.benchmarks[columns[0]].title}, {shown[0].labeled} labelled)"

    def _heading(self, c: int, metric: MetricName, *, alone: bool) -> str:
        column, benchmark = self.grid.columns[c], self.found.benchmarks[c]
        words = [column.title] if column.title else []
        if self.says_data and not (alone and not column.title):
            words.append(f"{benchmark.title} {column.labeled}")
        return "\n".join([*words, benchmark.heading(metric)])

    def _is_single(self, columns: Sequence[int]) -> bool:
        """Whether the table has one number per method, which leaves room for an interval."""
        return len(columns) * len(self.grid.metrics) == 1

    def _lines(self, r: int, columns: Sequence[int]) -> list[list[str | Cell]]:
        """A method's row, and those of its classes and other networks below it."""
        row, spots = self.rows[r], [Spot(r, c, metric) for c in columns for metric in self.grid.metrics]
        method = None if row.method is None or r < self.above else self.methods[row.method]
        marks = ["✓" if method and component in method.components else "" for component in self.grid.components]
        cells: list[str | Cell] = []
        for spot in spots:
            cells += [self._published(spot)] * self.has_published + [self._measured(spot)]
        if self._is_single(columns):
            one = self.records.get(spots[0])
            interval = None if one is None else one.interval
            cells.append("" if interval is None else interval_cell(interval))
        own = [self._runs(r, c) for c in columns]
        seeds = NONE if row.method is None else _joined([len(runs) for runs in own])
        runs = [run for some in own for run in some]
        costs = _costs(runs) if self.shown.costs else []
        lines: list[list[str | Cell]] = [[row.title, *marks, *cells, seeds, *costs]]
        for detail in self._details(runs):
            values = [self._detail(spot, detail) for spot in spots]
            beside = [text for value in values for text in ([""] * self.has_published + [value])]
            rest = len(lines[0]) - 1 - len(marks) - len(beside)
            lines.append([f"  {detail.name}", *([""] * len(marks)), *beside, *([""] * rest)])
        return lines

    def _runs(self, r: int, c: int) -> Sequence[Run]:
        """The runs of a cell that are scored by the first metric."""
        one = self.records.get(Spot(r, c, self.grid.metrics[0]))
        return [] if one is None else one.runs

    def _details(self, runs: Sequence[Run]) -> list[Detail]:
        """Rows below a method's: each foreground class of several, and, when asked for, each other network."""
        if not runs:
            return []
        classes, details = runs[0].spec.classes[1:], list[Detail]()
        if len(classes) > 1:
            details += [Detail(name, label=number) for number, name in enumerate(classes, start=1)]
        if self.shown.all_networks:
            others = [name for name in runs[0].headline.summary if name != runs[0].result["predictor"]]
            details += [Detail(f"its {name}", network=name) for name in others]
        return details

    def _detail(self, spot: Spot, detail: Detail) -> str:
        one = self.records.get(spot)
        if one is None or not one.runs:
            return ""
        return mean_and_deviation(cell_scores(one.runs, one.metric, one.measurement, detail.network, detail.label))

    def _published(self, spot: Spot) -> str | Cell:
        one, r = self.records.get(spot), spot.row
        if r < self.above:
            return NONE
        given = published(self.grid, self.rows[r], self.grid.columns[spot.column], spot.metric)
        if given is None:
            return NONE
        verdict = VERDICTS.get(one.verdict.partition(" ")[0], "") if one is not None else ""
        text = f"{given.value:.2f}{'†' if given.is_copied else ''}{' ' + verdict if verdict else ''}"
        return Cell(text, given.value)

    def _measured(self, spot: Spot) -> str | Cell:
        one = self.records.get(spot)
        if one is None:
            return NONE
        if not one.runs:
            return NOT_SCORED if one.unscored else NO_RUN
        marks = ("*" if one.best.is_significant else "") + _against_baseline(one)
        text = f"{mean_and_deviation(one.scores)}{' ' + marks if marks else ''}"
        return Cell(text, one.mean, self._emphasis(spot), tuple(run.path.name for run in one.runs))

    def _emphasis(self, spot: Spot) -> Emphasis:
        """Best and second best of a column; equal printed means share the place."""
        own = self.records[spot].mean
        if spot.row < self.above or not self.grid.comparisons or own is None:
            return ""
        rivals = family(self.records, spot.column, spot.metric)
        means = {round(one.mean, 2) for r, one in rivals.items() if r.row >= self.above and one.mean is not None}
        ranked = sorted(means, reverse=METRICS[spot.metric].larger_is_better)
        if len(ranked) < 2:
            return ""
        place = ranked.index(round(own, 2))
        return "best" if place == 0 else "second" if place == 1 else ""


def _joined(counts: Sequence[int]) -> str:
    """Numbers of runs, or the one number that all cells have."""
    return "/".join(map(str, counts if len(set(counts)) > 1 else counts[:1]))


def _against_baseline(one: Record) -> str:
    if not one.baseline.is_significant or one.baseline.difference is None:
        return ""
    is_better = (one.baseline.difference > 0) == METRICS[one.metric].larger_is_better
    return "+" if is_better else "-"


def _costs(runs: Sequence[Run]) -> list[str]:
    """Parameters of all networks, updates and hours, the mean over the row's runs; the largest peak device memory."""
    if not runs:
        return [""] * 4
    every = [[*run.result["parameters"].values(), run.result.get("auxiliary_parameters", 0)] for run in runs]
    parameters = statistics.fmean(map(sum, every)) / 1e6
    updates = statistics.fmean(run.result["updates"] for run in runs)
    hours = statistics.fmean(run.result["train_seconds"] for run in runs) / 3600
    memory = [run.result["peak_memory_mib"] for run in runs if run.result.get("peak_memory_mib") is not None]
    peak = f"{max(memory) / 1024:.2f}" if memory else NONE
    return [f"{parameters:.2f}", f"{updates:.0f}", f"{hours:.3f}", peak]

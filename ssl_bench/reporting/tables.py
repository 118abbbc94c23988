"""The paper's tables, published beside measured, from the runs of a store."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ssl_bench.cards import HEADLINE, METRICS, Column, Grid, MetricName, Row, load_benchmark
from ssl_bench.grids.aim import Target, aim
from ssl_bench.method import SSLMethod
from ssl_bench.reporting.analysis import ENOUGH_SEEDS, FEW_SEEDS, Record, analyse, statistics_csv, statistics_table
from ssl_bench.reporting.gather import Gathered, ShownOptions, gather
from ssl_bench.reporting.notes import damage_notes, fill_commands, missing_notes, origin, protocol_notes
from ssl_bench.reporting.oracle import oracle_table
from ssl_bench.reporting.published import published
from ssl_bench.reporting.scores import mean_and_deviation, seed_scores, undefined
from ssl_bench.reporting.table import Cell, Emphasis, Table
from ssl_bench.store import Run

NO_RUN, NOT_SCORED, NONE = "no run", "not scored", "—"


VERDICTS = {"above": "▲", "below": "▼", "inside": "="}


SIGNIFICANT_NOTE = (
    "Significant: p < 0.05, Holm-corrected, where other seeds and other cases could have been drawn (analysis of "
    "variance with both random), of at least three seeds in common."
)


COSTS_NOTE = (
    "Costs: parameters of all networks of a run, teachers and auxiliary decoders too; peak memory is the largest of "
    "the row's runs (GPUs alone have one), the rest their mean; hours are those on the clock, whatever else the "
    "machine did."
)


NARROW = (
    "Intervals from so few seeds are too narrow: those of three seeds held the true mean in 78 to 93 of 100 "
    "simulations."
)


FEW = (
    "intervals and tests speak of these trained networks on other cases. Whether another training would come out alike "
    "they cannot say; three seeds are the least for that, and their intervals are still too narrow."
)


@dataclass(frozen=True)
class TableReport:
    """A table of the paper as it is printed, its statistics, and the commands that train what it lacks."""

    grid: Grid
    tables: tuple[Table, ...]
    statistics: Table
    statistics_csv: str
    runs: tuple[Run, ...] = field(repr=False)
    missing: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return "\n".join(table.html() for table in self.tables)


def paper_table(
    grid: Grid, target: Target, runs: Sequence[Run], methods: Mapping[str, type[SSLMethod]], view: ShownOptions
) -> TableReport:
    """Lay out a table of the paper: a row per method, the published number beside the measured one in every column.

    A grid with several metrics becomes a table per column. Above the rows stands the supervised network with all
    labels, where it was run. Where runs scored the test set on the way (`score_every`), a table of what choosing
    there would have claimed follows.

    Args:
        grid: the card.
        target: data set, shares, protocol and settings to show.
        runs: the store's runs.
        methods: the registry.
        view: what is shown besides.

    Raises:
        UserError: the target is wrong, or runs of different data or precision would stand in one table.
    """
    grid = _shown_metrics(aim(grid, target, methods))
    found = gather(grid, target, runs, methods)
    records = analyse(grid, found.body)
    above = [] if found.upper is None else analyse(found.upper, found.above)
    rows = [*([] if found.upper is None else found.upper.rows), *grid.rows]
    layout = _Layout(grid, rows, methods, view, above + records, len(above))
    missing = tuple(fill_commands([*found.above, *found.body], view, grid.metrics))
    notes = [*layout.notes(), *damage_notes(found.damaged), *protocol_notes(target, found.body), *origin(found.runs)]
    notes += _few_seeds(found)
    notes += missing_notes(grid, target, [*found.above, *found.body], missing, view)
    groups = [[column] for column in range(len(grid.columns))] if len(grid.metrics) > 1 else [range(len(grid.columns))]
    tables = [layout.table(group, is_alone=len(groups) == 1) for group in groups]
    tables[-1].notes.extend(notes)
    oracle = oracle_table(grid, found.body)
    tables += [oracle] if oracle is not None else []
    return TableReport(
        grid,
        tuple(tables),
        statistics_table(grid, above + records),
        statistics_csv(grid, above + records),
        found.runs,
        missing,
    )


def _shown_metrics(grid: Grid) -> Grid:
    """The grid with those of its metrics that its data sets are scored by."""
    scored = [load_benchmark(column.dataset).metrics for column in grid.columns]
    metrics = tuple(metric for metric in grid.metrics if all(metric in own for own in scored))
    return grid.model_copy(update={"metrics": metrics or (HEADLINE,)})


class _Layout:
    """A table's cells, from its records; the first `above` rows stand outside the competition."""

    def __init__(
        self, grid: Grid, rows: Sequence[Row], methods: Mapping[str, type[SSLMethod]], view: ShownOptions,
        records: Sequence[Sequence[Sequence[Record | None]]], above: int,
    ) -> None:  # fmt: skip
        self.grid, self.rows, self.methods, self.view, self.records, self.above = (
            grid, rows, methods, view, records, above,
        )  # fmt: skip
        self.has_published = any(one and one.published for row in records for cell in row for one in cell)
        pairs = {(column.dataset, column.labeled) for column in grid.columns}
        self.says_data = len(pairs) > 1

    def table(self, columns: Sequence[int], *, is_alone: bool) -> Table:
        """The table of some of the grid's columns; `is_alone` says that there is no other."""
        header, numeric = ["Method", *self.grid.components], list[str]()
        for c in columns:
            for metric in self.grid.metrics:
                name = self._heading(self.grid.columns[c], metric, alone=len(columns) == 1)
                numeric += [f"{name}\npublished", f"{name}\nmeasured"] if self.has_published else [name]
        if self._is_single(columns):
            numeric.append("95 % interval")
        numeric.append("Seeds")
        if self.view.costs:
            numeric += ["Parameters [M]", "Updates", "Training [h]", "Peak memory [GiB]"]
        rows = [line for r in range(len(self.rows)) for line in self._lines(r, columns)]
        first = self.grid.columns[columns[0]]
        name = "" if is_alone else f"{load_benchmark(first.dataset).name}-{first.labeled.rstrip('%')}"
        return Table(self._title(columns), header + numeric, rows, frozenset(numeric), name=name)

    def notes(self) -> list[str]:
        """What the marks mean, and what stands between the published numbers and the measured ones."""
        notes = self._legend()
        reasons: dict[str, list[str]] = {}
        lost: dict[str, list[str]] = {}
        remarks: dict[str, None] = {}
        for row in self.records[self.above :]:
            for cell in row:
                for one in filter(None, cell):
                    if one.scores is not None:
                        remarks |= dict.fromkeys(one.place.wanted.measurement.remarks(one.metric))
                    if one.reasons and one.published and not one.published.is_copied:
                        reasons.setdefault("; ".join(one.reasons), []).append(one.place.row.title)
                    count = undefined(one.runs, one.metric, one.place.wanted.measurement)
                    if count and one.scores is not None:
                        title = one.place.benchmark.heading(one.metric)
                        whole = count + int(one.scores.counts.sum())
                        lost.setdefault(title, []).append(f"{one.place.row.title} {count} of {whole}")
        for reason, titles in reasons.items():
            which = "" if len(reasons) == 1 else f" ({', '.join(dict.fromkeys(titles))})"
            notes.append(f"Published and measured numbers are not comparable{which}: {reason}.")
        if self.view.costs:
            notes.append(COSTS_NOTE)
        return (
            notes
            + list(remarks)
            + [
                f"Undefined values of {title}, which are not in the means: {', '.join(rows)}. "
                "A row without its hardest cases looks better than it is."
                for title, rows in lost.items()
            ]
        )

    def _legend(self) -> list[str]:
        """What the marks mean that this table has."""
        every = [one for row in self.records[self.above :] for cell in row for one in cell if one is not None]
        baseline = next((row.title for row in self.grid.rows if row.method == self.grid.baseline), "")
        copied = any(
            given is not None and given.is_copied
            for row in self.grid.rows
            for column in self.grid.columns
            for metric in self.grid.metrics
            if (given := published(self.grid, row, column, metric)) is not None
        )
        says = {
            "Bold, underlined: the best and the second best measured mean.": any(
                self._emphasis(r, c, m) == "best"
                for r, row in enumerate(self.records)
                for c, cell in enumerate(row)
                for m in range(len(cell))
            ),
            "†: copied by the paper from another paper, under another protocol.": copied,
            "▲ above, ▼ below, = inside the measured 95 % interval.": any(
                one.verdict.startswith(tuple(VERDICTS)) for one in every
            ),
            "*: differs significantly from the best.": any(one.best.is_significant for one in every),
            f"+, -: significantly better, worse than {baseline}.": any(one.baseline.is_significant for one in every),
        }
        said = [text for text, is_there in says.items() if is_there]
        if any(one.best.is_significant or one.baseline.is_significant for one in every):
            said.append(SIGNIFICANT_NOTE)
        return [" ".join(said)] if said else []

    def _title(self, columns: Sequence[int]) -> str:
        shown = [self.grid.columns[c] for c in columns]
        pairs = list(dict.fromkeys((c.dataset, c.labeled) for c in shown))
        text = f"{self.grid.name}. {self.grid.title}"
        if len(pairs) > 1:
            return text
        return f"{text} ({load_benchmark(pairs[0][0]).title}, {pairs[0][1]} labelled)"

    def _heading(self, column: Column, metric: MetricName, *, alone: bool) -> str:
        benchmark = load_benchmark(column.dataset)
        words = [column.title] if column.title else []
        if self.says_data and not (alone and not column.title):
            words.append(f"{benchmark.title} {column.labeled}")
        return "\n".join([*words, benchmark.heading(metric)])

    def _is_single(self, columns: Sequence[int]) -> bool:
        """Whether the table has one number a method, and so a place for its interval."""
        return len(columns) * len(self.grid.metrics) == 1

    def _lines(self, r: int, columns: Sequence[int]) -> list[list[str | Cell]]:
        """A method's row, and those of its classes and other networks below it."""
        row, records = self.rows[r], self.records[r]
        method = None if row.method is None else self.methods[row.method]
        marks = ["✓" if method and component in method.components else "" for component in self.grid.components]
        if r < self.above:
            marks = [""] * len(self.grid.components)
        cells: list[str | Cell] = []
        for c in columns:
            for m, metric in enumerate(self.grid.metrics):
                one = records[c][m]
                cells += [self._published(r, c, metric, one)] * self.has_published + [self._measured(r, c, m, one)]
        if self._is_single(columns):
            interval = one.interval if (one := records[columns[0]][0]) is not None else None
            cells.append("" if interval is None else Cell(f"{interval[0]:.2f} to {interval[1]:.2f}", interval[0]))
        runs = [run for c in columns for one in records[c][:1] if one for run in one.runs]
        counts = [len(one.runs) if (one := records[c][0]) else 0 for c in columns]
        seeds = NONE if row.method is None else "/".join(map(str, counts if len(set(counts)) > 1 else counts[:1]))
        costs = _costs(runs) if self.view.costs else []
        lines: list[list[str | Cell]] = [[row.title, *marks, *cells, seeds, *costs]]
        for name, network, label in self._details(records, columns):
            values = [
                self._detail(records[c][m], network, label) for c in columns for m in range(len(self.grid.metrics))
            ]
            beside = [v for value in values for v in ([""] * self.has_published + [value])]
            lines.append(
                [f"  {name}", *([""] * len(marks)), *beside, *([""] * (len(lines[0]) - 1 - len(marks) - len(beside)))]
            )
        return lines

    def _details(
        self, records: Sequence[Sequence[Record | None]], columns: Sequence[int]
    ) -> list[tuple[str, str | None, int | None]]:
        """Rows below a method's: each foreground class of several, and, when asked for, each other network."""
        runs = [run for c in columns for one in records[c][:1] if one for run in one.runs]
        if not runs:
            return []
        classes = runs[0].spec.classes[1:]
        rows: list[tuple[str, str | None, int | None]] = []
        if len(classes) > 1:
            rows += [(label, None, number) for number, label in enumerate(classes, start=1)]
        if self.view.all_networks:
            rows += [
                (f"its {name}", name, None) for name in runs[0].headline.summary if name != runs[0].result["predictor"]
            ]
        return rows

    def _detail(self, one: Record | None, network: str | None, label: int | None) -> str:
        if one is None or not one.runs:
            return ""
        return mean_and_deviation(seed_scores(one.runs, one.metric, one.place.wanted.measurement, network, label))

    def _published(self, r: int, c: int, metric: MetricName, one: Record | None) -> str | Cell:
        given = published(self.grid, self.rows[r], self.grid.columns[c], metric) if r >= self.above else None
        if given is None:
            return NONE
        verdict = VERDICTS.get(one.verdict.partition(" ")[0], "") if one is not None else ""
        text = f"{given.value:.2f}{'†' if given.is_copied else ''}{' ' + verdict if verdict else ''}"
        return Cell(text, given.value)

    def _measured(self, r: int, c: int, m: int, one: Record | None) -> str | Cell:
        if one is None:
            return NONE
        if not one.runs:
            return NOT_SCORED if one.unscored else NO_RUN
        values = seed_scores(one.runs, one.metric, one.place.wanted.measurement)
        marks = ("*" if one.best.is_significant else "") + _against_baseline(one)
        text = f"{mean_and_deviation(values)}{' ' + marks if marks else ''}"
        return Cell(text, one.mean, self._emphasis(r, c, m), tuple(run.path.name for run in one.runs))

    def _emphasis(self, r: int, c: int, m: int) -> Emphasis:
        """Best and second best of a column; equal printed means share the place."""
        own = self.records[r][c][m]
        rivals = [one for row in self.records[self.above :] if (one := row[c][m]) is not None and one.mean is not None]
        if r < self.above or not self.grid.comparisons or own is None or own.mean is None:
            return ""
        larger = METRICS[own.metric].larger_is_better
        ranked = sorted({round(one.mean, 2) for one in rivals if one.mean is not None}, reverse=larger)
        if len(ranked) < 2:
            return ""
        place = ranked.index(round(own.mean, 2))
        return "best" if place == 0 else "second" if place == 1 else ""


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


def _few_seeds(found: Gathered) -> list[str]:
    """What the cell with the fewest seeds cannot say."""
    counts = [len({run.spec.seed for run in own}) for row in (*found.above, *found.body) for _, own in row if own]
    if not counts or min(counts) >= ENOUGH_SEEDS:
        return []
    if min(counts) >= FEW_SEEDS:
        return [NARROW]
    count = ("One seed", "Two seeds")[min(counts) - 1] + (" in some cells" if max(counts) > min(counts) else "")
    return [f"{count}: {FEW}"]

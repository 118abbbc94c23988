"""The pages of the server as HTML, from a store that is read only."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup

from ssl_bench.cards import HEADLINE, METRICS
from ssl_bench.errors import UserError, first_line
from ssl_bench.live.charts import brief_chart, series_class
from ssl_bench.live.comparison import (
    LETTERS,
    MOST,
    ByCase,
    RunCurves,
    by_case,
    case_pictures,
    differing_table,
    metrics_of,
    overlaid_charts,
    run_charts,
    sides_of,
)
from ssl_bench.live.pictures import case_png
from ssl_bench.live.report_sites import Choice
from ssl_bench.live.snapshot import STATES, LiveRun, Snapshot, StoreReader, last_lines, said
from ssl_bench.live.watch import seconds_text, speed_text
from ssl_bench.reporting.kept_files import examples_of, unreadable_notes
from ssl_bench.reporting.picture_figures import case_metric_title, case_score
from ssl_bench.reporting.run_pages import fact_rows, networks_table
from ssl_bench.reporting.site import make_environment
from ssl_bench.reporting.table import Table
from ssl_bench.store import Example, Run, RunFolder, load_run, reading_only

TEMPLATES = Path(__file__).with_name("templates")
ADDRESSES = {"Runs": "index.html", "Compare": "compare", "Reports": "report"}
SHOWN = 200  # runs on the first page, unless all are asked for
LOG_LINES = 40
BROKEN = (UserError, OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)
Value = TypeVar("Value")


class MissingError(UserError):
    """There is no such run, case or page."""


@dataclass(frozen=True)
class Chosen:
    """A run of a comparison: its letter, and the colour of its curves."""

    letter: str
    live: LiveRun
    series: int

    @property
    def classes(self) -> str:
        """Of the style sheet."""
        return series_class(self.series)


class Pages:
    """Renders pages of one store.

    Args:
        reader: of the store.
        every: seconds between two refreshes of a page.

    """

    def __init__(self, reader: StoreReader, every: float) -> None:
        self.reader, self._every = reader, every
        self._read_at, self._snapshot = float("-inf"), Snapshot(())
        self._lock = threading.Lock()  # requests that come together share one reading
        self._environment = make_environment(TEMPLATES)
        self._environment.filters |= {
            "speed": speed_text, "seconds": seconds_text, "said": said, "curve": self._brief, "score": _score_text,
            "series": series_class,
        }  # fmt: skip

    def snapshot(self) -> Snapshot:
        """The state of all runs, at most a second old."""
        with self._lock:
            if time.monotonic() - self._read_at > min(self._every, 1.0):
                self._snapshot, self._read_at = self.reader.snapshot(), time.monotonic()
            return self._snapshot

    def index(self, state: str, dataset: str, method: str, *, every_run: bool) -> str:
        """All runs, or those of a state, data set and method; "" for any."""
        snapshot = self.snapshot()
        runs = [
            run
            for run in snapshot.runs
            if state in ("", run.state) and dataset in ("", run.benchmark) and method in ("", run.method)
        ]
        shown = runs if every_run else runs[:SHOWN]
        counts = Counter(run.state for run in snapshot.runs)
        kept = {key: value for key, value in (("dataset", dataset), ("method", method)) if value}
        links = [("all", len(snapshot.runs), f"/?{urlencode(kept)}", state == "")]
        links += [
            (one, counts[one], f"/?{urlencode(kept | {'state': one})}", state == one) for one in STATES if counts[one]
        ]
        return self._render(
            "live_index", "index.html", runs=shown, links=links, state=state, dataset=dataset, method=method,
            datasets=sorted({run.benchmark for run in snapshot.runs if run.benchmark}),
            methods=sorted({run.method for run in snapshot.runs if run.method}),
            left_out=len(runs) - len(shown), most=MOST,
            all_address=f"/?{urlencode(kept | ({'state': state} if state else {}) | {'all': '1'})}",
        )  # fmt: skip

    def run(self, name: str) -> str:
        """One run: where it stands, its curves, cases, scores, settings and log."""
        live = self._find(name)
        folder, notes = RunFolder(live.path), list[str]()
        curves = RunCurves.of(folder)
        run = None if live.state == "damaged" else self._load(live, notes)
        tables, examples = list[Table](), list[tuple[int, Example, str]]()
        metric, facts = "", tuple[tuple[str, tuple[tuple[str, str], ...]], ...]()
        if run is not None:
            facts = _facts(run)
            for scores in run.scores.values():
                table = _tried(partial(networks_table, run, scores.measurement), notes)
                tables += [] if table is None else [table]
            notes += unreadable_notes([run], "examples")
            if run.scores:
                metric = _tried(partial(case_metric_title, run), notes) or ""
                examples = [
                    (number, one, _tried(partial(case_score, run, str(one.case)), []) or "")
                    for number, one in enumerate(examples_of(run))
                ]
        log = last_lines(folder.log, LOG_LINES)
        return self._render(
            "live_run", f"runs/{name}.html", live=live, charts=run_charts(curves), notes=[*curves.notes, *notes],
            tables=tables, examples=examples, metric=metric, facts=facts, log=log,
            trace=last_lines(folder.traceback, LOG_LINES),
        )  # fmt: skip

    def compare(self, names: Sequence[str], metric: str, x: str, y: str) -> str:
        """Chosen runs side by side; without any, how to choose."""
        chosen, notes = self._chosen(names)
        curves = [RunCurves.of(RunFolder(one.live.path)) for one in chosen]
        runs = {one.letter: run for one in chosen if (run := self._load(one.live, notes)) is not None}
        labels = [f"{one.letter} {one.live.method}".strip() for one in chosen]
        tables = []
        if len(runs) > 1:
            tables = [
                differing_table(
                    "Settings that differ", {k: run.spec.model_dump(mode="json") for k, run in runs.items()}
                ),
                differing_table("Origins that differ", {k: run.provenance for k, run in runs.items()}),
            ]
        sides = sides_of(runs)
        found, selected = self._by_case(sides, metric, x, y, [one.live.id for one in chosen], notes)
        return self._render(
            "compare", "compare", chosen=chosen, charts=overlaid_charts(curves, labels), tables=tables, sides=sides,
            metrics=metrics_of(sides), selected=selected, by_case=found,
            notes=[*(note for one in curves for note in one.notes), *notes], most=MOST,
        )  # fmt: skip

    def case(self, names: Sequence[str], case: str) -> str:
        """A test case: the pictures that the chosen runs kept of it, and its scores."""
        chosen, notes = self._chosen(names)
        runs = [run for one in chosen if (run := self._load(one.live, notes)) is not None and run.scores]
        letters = {one.live.id: one.letter for one in chosen}
        pictures = {run.path.name: number for run, number in case_pictures(runs, _albums(runs), case)}
        shown = [
            (
                letters[run.path.name], run.path.name, run.spec.label, pictures.get(run.path.name),
                _tried(partial(_case_text, run, case), notes) or "",
            )
            for run in runs
        ]  # fmt: skip
        back = f"/compare?{urlencode([('run', one.live.id) for one in chosen])}"
        return self._render("case", "case", case=case, shown=shown, back=back, notes=notes)

    def reports(self, choices: Sequence[Choice]) -> str:
        """The reports that can be opened."""
        return self._render("reports", "report", choices=choices, refreshes=False)

    def picture(self, name: str, number: int) -> bytes:
        """The PNG of a run's kept case."""
        live = self._find(name)
        run = self._load(live, [])
        examples = [] if run is None else examples_of(run)
        if not 0 <= number < len(examples):
            raise MissingError(f"{name}: no picture {number}")
        try:
            return case_png(examples[number])
        except BROKEN as error:
            raise MissingError(f"{name}: picture {number} cannot be drawn: {first_line(error)}") from None

    def message(self, title: str, text: str, *, waits: bool = False) -> str:
        """A page that says something; one that waits is loaded again by itself."""
        return self._render("message", "", title_text=title, text=text, waits=waits)

    def _render(self, name: str, path: str, **own: Any) -> str:
        shared = {
            "title": f"ssl-bench · {self.reader.root.resolve().name}", "addresses": ADDRESSES, "path": path,
            "root": "/", "every": self._every, "refreshes": True,
        }  # fmt: skip
        return self._environment.get_template(f"{name}.html.j2").render(shared | own)

    def _find(self, name: str) -> LiveRun:
        live = self.snapshot().find(name)
        if live is None:
            raise MissingError(f"There is no run {name} in this store.")
        return live

    def _load(self, live: LiveRun, notes: list[str]) -> Run | None:
        """The run with its files; None with a note where it cannot be read."""
        if live.state in ("waiting", "damaged") and live.path == self.reader.root:
            return None
        if live.state == "damaged":
            notes.append(f"{live.id}: {live.error}")
            return None
        with reading_only():
            return _tried(partial(load_run, live.path), notes)

    def _chosen(self, names: Sequence[str]) -> tuple[list[Chosen], list[str]]:
        different, notes = list(dict.fromkeys(names)), list[str]()
        if len(different) > MOST:
            notes.append(f"The first {MOST} of {len(different)} runs are compared.")
        found = [self._find(name) for name in different[:MOST]]
        return [Chosen(LETTERS[number], live, number) for number, live in enumerate(found)], notes

    def _by_case(
        self, sides: Sequence[Any], metric: str, x: str, y: str, chosen: Sequence[str], notes: list[str]
    ) -> tuple[ByCase | None, dict[str, str]]:
        """Compare two sides; those that are not named are the first two."""
        metrics = metrics_of(sides)
        if len(sides) < 2 or not metrics:
            return None, {}
        named = {side.name: side for side in sides}
        first = named.get(x, sides[0])
        second = named.get(y) or next(side for side in sides if side is not first)
        chosen_metric = metric if metric in metrics else metrics[0]
        runs = list({run.path: run for side in (first, second) for run in side.runs}.values())
        pictured = {str(one.case) for own in _albums(runs).values() for one in own}
        found = _tried(partial(by_case, first, second, chosen_metric, pictured, chosen), notes)
        return found, {"metric": chosen_metric, "x": first.name, "y": second.name}

    def _brief(self, live: LiveRun) -> Markup:
        return Markup("") if live.path == self.reader.root else brief_chart(*self.reader.curve(live))


def _facts(run: Run) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    groups = (
        ("Specification", run.spec.model_dump(mode="json")),
        ("Provenance", run.provenance),
        ("Costs", run.result),
    )
    return tuple((title, fact_rows(data)) for title, data in groups if data)


def _albums(runs: Sequence[Run]) -> dict[str, list[Example]]:
    return {run.path.name: examples_of(run) for run in runs}


def _case_text(run: Run, case: str) -> str:
    return f"{case_metric_title(run)} {case_score(run, case)}"


def _score_text(live: LiveRun) -> str:
    metric = METRICS[HEADLINE]
    return "" if live.headline is None else f"{metric.title} {live.headline * metric.scale:.2f}"


def _tried(made: Callable[[], Value], notes: list[str]) -> Value | None:
    """What can be made of a run's files; None with a note where they are damaged."""
    try:
        return made()
    except UserError as error:
        notes.append(first_line(error))
    except BROKEN as error:
        notes.append(f"damaged: {error!r}")
    return None

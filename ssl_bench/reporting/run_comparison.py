"""Two finished runs side by side: their settings, their scores over common cases, and where they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.atomic import require_folder, write_bytes, writing
from ssl_bench.cards import METRICS, Benchmark, Measurement, MetricName, dotted
from ssl_bench.command import quantity, toml_value
from ssl_bench.errors import UserError
from ssl_bench.reporting.analysis import with_groups
from ssl_bench.reporting.runs import identity_fields
from ssl_bench.reporting.scores import cell_scores
from ssl_bench.reporting.statistics_tables import interval_cell, p_cell
from ssl_bench.reporting.table import FORMATS, Cell, Table
from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.pairs import Pair, compare_two
from ssl_bench.store import Run, RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("A", "B")
NAME = "comparison"  # of files
SUFFIXES = {"markdown": "md", "latex": "tex", "html": "html"}
HONEST = (
    "These are two trained networks. One run of each says nothing about two methods or settings, since how much other "
    "seeds would change them is not known. Intervals and p are for other cases alone. `ssl-bench report` compares "
    "methods over several seeds."
)


@dataclass(frozen=True)
class Differing:
    """A case on which the two runs differ: the scores of both, in the metric's printed unit, and the better run."""

    case: str
    group: str | None
    scores: tuple[float, float]
    better: str

    @property
    def difference(self) -> float:
        """The second run's score less the first one's."""
        return self.scores[1] - self.scores[0]


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side; a notebook shows the tables.

    Attributes:
        runs: A and B.
        measurement: by which the cases are listed, and pictures are made.
        settings: the fields in which they differ.
        scores: each metric over the common cases.
        cases: where they differ most.
        differing: the rows of `cases`.
        figure: pictures of these; None: not asked for.

    """

    runs: tuple[Run, Run]
    measurement: Measurement
    settings: Table
    scores: Table
    cases: Table
    differing: tuple[Differing, ...]
    figure: Figure | None = None

    @property
    def tables(self) -> list[Table]:
        """Settings, scores and cases."""
        return [self.settings, self.scores, self.cases]

    def write(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the tables (Markdown, LaTeX, HTML, CSV) and pictures (PNG, SVG, PDF) into a folder; returns the files.

        Raises:
            UserError: a file exists and is not to be replaced, or the folder cannot be written.
        """
        folder = Path(folder)
        contents = {f"{NAME}.{suffix}": FORMATS[name](self.tables).encode() for name, suffix in SUFFIXES.items()}
        contents |= {f"{NAME}-{table.name}.csv": table.csv().encode() for table in self.tables}
        if self.figure is not None:
            from ssl_bench.reporting.canvas import rendered

            contents |= {f"{NAME}-pictures.{suffix}": one for suffix, one in rendered(self.figure).items()}
        require_writable(folder, overwrite=overwrite)
        paths = {folder / name: content for name, content in contents.items()}
        with writing("--output", folder):
            for path in _pictures(folder) - paths.keys():  # of an earlier comparison
                path.unlink(missing_ok=True)
            for path, content in paths.items():
                write_bytes(path, content)
        return list(paths)

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return "\n".join(table.html() for table in self.tables)


def require_writable(folder: Path, *, overwrite: bool) -> None:
    """Make the folder and check that it holds no earlier comparison, unless that is to be replaced.

    Raises:
        UserError: it holds one, or cannot be written.
    """
    require_folder("--output", folder)
    there = sorted(folder.glob(f"{NAME}*"))
    if there and not overwrite:
        raise UserError(f"--output: {there[0]} exists; --overwrite replaces it")


def compare_runs(
    runs: tuple[Run, Run], *, metric: str | None = None, top: int = 5, benchmark: Benchmark | None = None
) -> RunComparison:
    """Compare two finished runs, the second against the first, on the test cases that both have.

    Args:
        runs: A and B.
        metric: by which cases are listed; None: the first that both runs have.
        top: cases to list in each direction.
        benchmark: the data set's card, which names the groups of the cases where the runs did not record them.

    Raises:
        UserError: the runs are one, unfinished, or of different data, or have no common test case or metric; or an
            argument is wrong.
    """
    _require_comparable(runs)
    if top < 1:
        raise UserError(f"--top: expected at least 1, found {top}")
    measured = _measured(runs)
    if metric is not None and metric not in measured:
        raise UserError(f"--metric: expected one of {', '.join(measured)}, which both runs have; found '{metric}'")
    listed = metric or next(iter(measured))
    notes, pairs = list[str](), dict[tuple[MetricName, int | None], Pair | None]()
    spec = runs[0].spec
    labels = [None, *range(1, len(spec.classes))] if len(spec.classes) > 2 else [None]
    groups = _recorded_groups(runs, notes)
    for name, measurement in measured.items():
        for label in labels:
            cells = [_cell(run, name, measurement, label, groups, benchmark, notes) for run in runs]
            pairs[name, label] = compare_two(*cells)
    main = pairs[listed, None]
    if main is None:
        raise UserError(f"RUN: expected runs with common test cases, found none in {runs[0].path} and {runs[1].path}")
    differing = _differing(main, listed, top)
    scores = _scores_table(runs, measured, pairs, list(dict.fromkeys(notes)))
    cases = _cases_table(main, measured[listed], listed, differing, top)
    return RunComparison(runs, measured[listed], _settings_table(runs), scores, cases, differing)


def _pictures(folder: Path) -> set[Path]:
    """The files of pictures that a folder can hold."""
    return {folder / f"{NAME}-pictures.{suffix}" for suffix in ("png", "svg", "pdf")}


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return how the two runs are called where there is space."""
    return [f"{name}: {run.spec.label} ({run.path.name})" for name, run in zip(NAMES, runs, strict=True)]


def _require_comparable(runs: tuple[Run, Run]) -> None:
    for run in runs:
        if run.status != "finished":
            raise UserError(f"{run.path}: expected a finished run, found one that is {run.status}")
    a, b = (run.spec for run in runs)
    if runs[0].path.resolve() == runs[1].path.resolve():
        raise UserError(f"RUN: expected two different runs, found {runs[0].path} twice")
    for what, one, other in (
        ("data set", a.benchmark, b.benchmark),
        ("data", a.data_fingerprint, b.data_fingerprint),
        ("classes", ", ".join(a.classes), ", ".join(b.classes)),
    ):
        if one != other:
            raise UserError(f"{runs[1].path}: expected the {what} of {runs[0].path}, {one}; found {other}")


def _measured(runs: tuple[Run, Run]) -> dict[MetricName, Measurement]:
    """The metrics that both runs have, each with the first way in which both were measured.

    Raises:
        UserError: there is none.
    """
    found: dict[MetricName, Measurement] = {}
    for scores in runs[0].scores.values():
        for metric in scores.measurement.metrics:
            if metric not in found and runs[1].scored(scores.measurement, metric) is not None:
                found[metric] = scores.measurement
    if not found:
        raise UserError(
            f"{runs[1].path}: expected a metric that was measured as in {runs[0].path}, found none; `ssl-bench score` "
            "measures finished runs again"
        )
    return found


def _recorded_groups(runs: tuple[Run, Run], notes: list[str]) -> dict[str, str] | None:
    """The group of each case by the runs' records, one rule for both runs; None where neither has any.

    Where both recorded groups, A's are taken. `notes` takes that they differ.
    """
    both = [RunFolder(run.path).read_groups() for run in runs]
    a, b = both
    if a is None or b is None:
        return a or b
    if any(b.get(case, group) != group for case, group in a.items()):
        notes.append(f"The runs recorded different groups of cases: those of {NAMES[0]} are used.")
    return b | a


def _cell(
    run: Run, metric: MetricName, measurement: Measurement, label: int | None, groups: dict[str, str] | None,
    benchmark: Benchmark | None, notes: list[str],
) -> CellScores:  # fmt: skip
    """A run's scores with the groups of its cases, as they were recorded or as the data set's card names them."""
    scores = cell_scores([run], metric, measurement, label=label)
    assert scores is not None, "the run has this metric"
    if groups is not None:
        names = tuple(groups.get(case, case) for case in scores.cases)
        return scores if len(set(names)) == len(names) else replace(scores, groups=names)
    if benchmark is not None:
        scores, ungrouped = with_groups(scores, benchmark)
        notes += [f"Cases count one by one: {ungrouped}."] if ungrouped else []
    elif run.spec.group is not None:
        notes.append(f"Cases count one by one: {run.path} does not say which group each is of.")
    return scores


def _settings_table(runs: tuple[Run, Run]) -> Table:
    """The fields in which the runs differ: of their identity, and of where they were trained."""
    both = [_fields(run) for run in runs]
    if runs[0].spec.method != runs[1].spec.method:
        for own in both:
            own.pop("method_source_sha256", None)  # of course they differ
    keys = list(dict.fromkeys(key for own in both for key in own))
    differing = [key for key in keys if both[0].get(key) != both[1].get(key)]
    if "split" in differing:
        differing = [key for key in differing if not key.startswith("split.")]  # its name says it
    rows = [[key, *(_text(own.get(key)) for own in both)] for key in differing]
    return Table(
        "Settings in which the runs differ", ["Setting", *NAMES], rows, frozenset(), names_of(runs), "settings"
    )


def _fields(run: Run) -> dict[str, Any]:
    own = {"run": run.path.name, "network scored": run.result["predictor"], "protocol": run.spec.protocol.name}
    origin = {name: run.provenance.get(name) for name in ("ssl_bench", "device", "method_source_sha256", "packages")}
    return own | identity_fields(run.spec) | dotted(origin)


def _text(value: Any) -> str:
    return "unset" if value is None else str(value) if isinstance(value, str) else toml_value(value)


def _scores_table(
    runs: tuple[Run, Run],
    measured: dict[MetricName, Measurement],
    pairs: dict[tuple[MetricName, int | None], Pair | None],
    notes: list[str],
) -> Table:
    rows: list[list[str | Cell]] = []
    for (metric, label), pair in pairs.items():
        heading = measured[metric].heading(metric)
        title = heading if label is None else f"  {runs[0].spec.classes[label]}"
        rows.append([title, *_numbers(pair)])
    remarks = [remark for metric, own in measured.items() for remark in own.remarks(metric)]
    tested = [{case for scores in run.scores.values() for case in scores.cases["case"]} for run in runs]
    if tested[0] != tested[1]:
        shared = quantity(len(tested[0] & tested[1]), "test case")
        remarks.append(f"{shared} in common, of {len(tested[0])} of A and {len(tested[1])} of B.")
    header = [
        "Metric", *NAMES, "Difference\n(B - A)", "95 %\ninterval", "Cases", "Groups", "Over cases:\np", "r",
    ]  # fmt: skip
    if not any(row[6] for row in rows):
        header, rows = [*header[:6], *header[7:]], [[*row[:6], *row[7:]] for row in rows]
    about = (
        "Means of the cases that have values of as many classes in both runs; a group is one unit. Interval: of the "
        "mean difference, by Student's t. p: Wilcoxon's signed-rank test; r: matched-pairs rank-biserial correlation."
    )
    title = f"Scores on common test cases of {runs[0].spec.benchmark}"
    return Table(title, header, rows, frozenset(header[1:]), [HONEST, about, *remarks, *notes], "scores")


def _numbers(pair: Pair | None) -> list[str | Cell]:
    """The cells of a row of scores after its title; dashes where no case has a value in both runs."""
    if pair is None:
        return ["—", "—", "—", "—", "0", "", "—", "—"]
    a, b = pair.a.mean, pair.b.mean
    assert a is not None, "paired cases have values"
    assert b is not None, "paired cases have values"
    off = b - a
    groups = "" if pair.a.groups is None else str(len(pair.a.units))
    return [
        Cell(f"{a:.2f}", a), Cell(f"{b:.2f}", b), Cell(f"{off:+.2f}", off),
        interval_cell(None if pair.estimate is None else pair.estimate.interval(), sign="+"),
        str(len(pair.a.cases)), groups, p_cell(pair.p), Cell(f"{pair.effect:+.2f}", pair.effect),
    ]  # fmt: skip


def _differing(pair: Pair, metric: MetricName, top: int) -> tuple[Differing, ...]:
    """The cases with the largest differences, in which B is better and then in which A is."""
    sign = 1 if METRICS[metric].larger_is_better else -1
    values = [(own.sums / own.counts)[0].tolist() for own in (pair.a, pair.b)]
    groups: Sequence[str | None] = pair.a.groups or [None] * len(pair.a.cases)
    found = [
        Differing(case, group, (a, b), "B" if sign * (b - a) > 0 else "A")
        for case, group, a, b in zip(pair.a.cases, groups, *values, strict=True)
        if a != b
    ]
    found.sort(key=lambda one: (-abs(one.difference), one.case))
    return tuple(one for better in ("B", "A") for one in [one for one in found if one.better == better][:top])


def _cases_table(
    pair: Pair, measurement: Measurement, metric: MetricName, differing: Sequence[Differing], top: int
) -> Table:
    heading = measurement.heading(metric)
    rows: list[list[str | Cell]] = [
        [
            one.better, one.case, one.group or "", *(Cell(f"{score:.2f}", score) for score in one.scores),
            Cell(f"{one.difference:+.2f}", one.difference),
        ]
        for one in differing
    ]  # fmt: skip
    header = ["Better", "Case", "Group", *NAMES, "Difference\n(B - A)"]
    if pair.a.groups is None:
        header, rows = [*header[:2], *header[3:]], [[*row[:2], *row[3:]] for row in rows]
    values = [(own.sums / own.counts)[0] for own in (pair.a, pair.b)]
    equal = int((values[0] == values[1]).sum())
    note = f"Up to {top} in each direction, of {quantity(len(pair.a.cases), 'case')}; {equal} have equal scores."
    title = f"Largest differences, {heading}"
    return Table(title, header, rows, frozenset(header[-3:]), [note], "cases", frozenset({"Case"}))

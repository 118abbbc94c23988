"""Figures of lines: curves of training (Figure 1), and scores against the labelled share (Figures 1 and 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ssl_bench.cards import MetricName, by_share, columns_alike
from ssl_bench.command import toml_value
from ssl_bench.reporting.analysis import printed_interval, with_groups
from ssl_bench.reporting.canvas import NO_RUN
from ssl_bench.reporting.draw_lines import Line, Panel, line_figure
from ssl_bench.reporting.drawn import NARROW, Drawn
from ssl_bench.reporting.gather import Body, Filled, Gathered
from ssl_bench.reporting.kept_files import AXES, Axis, curve_against, curves_of
from ssl_bench.reporting.scores import cell_scores, complete_crossing, label_and_seed, scored_runs
from ssl_bench.statistics.anova import mean_of_trainings
from ssl_bench.statistics.cell import CellScores, crossed_trainings

CURVES = (  # title, y axis, column of curves.csv
    ("Disagreement", "Dice loss of the branches' labels", "disagreement"),
    ("Uncertainty", "entropy [nat]", "entropy"),
)
NO_CURVE, NOT_SCORED = "no curve", "not scored"


def draw_curves(found: Gathered) -> Drawn:
    """Draw Figure 1: the first column's curves against iterations and updates, then the scores of all columns."""
    where = f"{found.benchmarks[0].title}, {found.grid.columns[0].labeled}"
    panels, lowest = list[Panel](), list[str]()
    has_run = any(row[0].runs for row in found.body)
    for title, label, name in CURVES:
        each = {axis: _lines_of_curves(found.body, name, axis) for axis in AXES}
        absent = NO_CURVE if has_run else NO_RUN
        panels += [Panel(f"{title}\n{where}", axis, label, lines, absent=absent) for axis, lines in each.items()]
        said = {axis: _lowest(lines) for axis, lines in each.items()}
        if all(said.values()):
            said_of = "; ".join(f"at equal numbers of {axis}s, {text}" for axis, text in said.items())
            lowest.append(f"Lowest mean {title.lower()}: {said_of}.")
    how = (
        f"Disagreement and entropy of the two branches on training batches of {where}, each in the view that it sees, "
        "averaged since the previous point. Bands are 95 % intervals of the mean over seeds by Student's t, since "
        "curves of training have no test cases; a point of one seed has none. Iterations are the method's own: one "
        "with two updates per iteration has half as many. The panels against updates compare at equal training."
    )
    remarks = [how, *lowest, *_curveless(found.body)]
    shares = _share_panels(found)
    return replace(_drawn([*panels, *shares], [*remarks, *_share_remarks(shares)]), finding=" ".join(lowest))


def draw_shares(found: Gathered) -> Drawn:
    """Draw Figure 3: a panel per data set."""
    shares = _share_panels(found)
    return _drawn(shares, _share_remarks(shares))


def _drawn(panels: Sequence[Panel], remarks: list[str]) -> Drawn:
    filled = [panel for panel in panels if panel.lines]
    thumbnail = partial(line_figure, (filled or list(panels))[:1], NARROW)
    return Drawn(line_figure(panels), remarks, thumbnail, is_empty=not filled)


def _lines_of_curves(body: Body, name: str, axis: Axis) -> tuple[Line, ...]:
    """A line per row of the first column."""
    lines = []
    for row in body:
        place = row[0].place
        each = {run.path: curve for run in row[0].runs if (curve := curve_against(run, name, axis)) is not None}
        runs = complete_crossing([run for run in row[0].runs if run.path in each])
        curves = [each[run.path] for run in runs]
        if place is not None and curves:
            x = np.unique(np.concatenate([curve.index.to_numpy(dtype=float) for curve in curves]))
            y = np.stack([curve.reindex(x).to_numpy(dtype=float) for curve in curves])
            bounds = _crossed_bounds(y, [label_and_seed(run) for run in runs])
            lines.append(Line(place.row.title, x, y, place.row.method or "", bounds))
    return tuple(lines)


def _crossed_bounds(y: np.ndarray, draws: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """The ends (2, N) of each point's interval, of trainings (S, N) whose labelled draws are crossed with seeds.

    A point that some training lacks has none. None for trainings without such a crossing.
    """
    crossed = crossed_trainings(draws)
    if crossed is None:
        return None
    ends = np.full((2, y.shape[1]), np.nan)
    for x in np.flatnonzero(np.isfinite(y).all(axis=0)):
        estimate = mean_of_trainings(y[:, x], crossed)
        ends[:, x] = (np.nan, np.nan) if estimate is None else estimate.interval()
    return ends


def _lowest(lines: Sequence[Line]) -> str:
    """Which methods' means are the lowest at how many of the points that all have; empty if that says nothing."""
    means = [dict(zip(line.x, line.means, strict=True)) for line in lines]
    if len(means) < 2:
        return ""
    common = [x for x in means[0] if all(np.isfinite(own.get(x, np.nan)) for own in means)]
    counts = Counter(lines[int(np.argmin([own[x] for own in means]))].label for x in common)
    if not counts:
        return ""
    return f"{', '.join(f'{label} at {count}' for label, count in counts.most_common())} of {len(common)} points"


def _curveless(body: Body) -> list[str]:
    """Name the rows that have runs but no curves of two branches."""
    titles = []
    for row in body:
        frames = [frame for run in row[0].runs if (frame := curves_of(run)) is not None]
        if row[0].place is not None and frames and not any("disagreement" in frame for frame in frames):
            titles.append(row[0].place.row.title)
    return [f"No curves of two branches, since the method reports none: {', '.join(titles)}."] if titles else []


def _share_panels(found: Gathered) -> list[Panel]:
    """Scores against the labelled share, a panel per data set with its settings.

    Runs with all labels are one level with its band.
    """
    return [_share_panel(found, columns, found.grid.metrics[0]) for columns in columns_alike(found.grid.columns)]


def _share_panel(found: Gathered, columns: Sequence[int], metric: MetricName) -> Panel:
    benchmark, first = found.benchmarks[columns[0]], found.grid.columns[columns[0]]
    own = {found.grid.columns[c].labeled: c for c in columns}
    runs = [run for row in found.body for c in columns for run in row[c].runs]
    shares = [list(own)[i] for i in by_share(list(own), runs[0].spec.train_units if runs else None)]
    lines, has_run = [], False
    for row in found.body:
        cells = [row[own[text]] for text in shares]
        has_run |= any(one.runs for one in cells)
        place = next((one.place for one in cells if one.place is not None), None)
        scores = [_scores(one, metric) for one in cells]
        if place is not None and any(one is not None for one in scores):
            lines.append(_line(place.row.title, place.row.method or "", scores, metric))
    for upper in found.above:
        level = _scores(upper[next(iter(own.values()))], metric)
        if level is not None and found.upper is not None:
            top = found.upper.rows[0]
            lines.append(_line(top.title, top.method or "", [level] * len(shares), metric, is_level=True))
    ticks = tuple((float(x), text) for x, text in enumerate(shares))
    absent = NOT_SCORED if has_run else NO_RUN
    which = " ".join(f"{key}={toml_value(value)}" for key, value in first.settings.items())
    if first.title and {found.grid.columns[c].title for c in columns} == {first.title}:
        which = first.title
    title = f"Performance\n{benchmark.title} {which}".rstrip()
    return Panel(title, "labelled", benchmark.heading(metric), tuple(lines), ticks, absent)


def _scores(one: Filled, metric: MetricName) -> CellScores | None:
    """A cell's scores, with the groups of the cases; None without a defined one."""
    if one.place is None:
        return None
    measurement = one.place.wanted.measurement
    scores = cell_scores(scored_runs(one.runs, metric, measurement), metric, measurement)
    return None if scores is None or scores.mean is None else with_groups(scores, one.place.benchmark)[0]


def _line(
    label: str, style_key: str, cells: Sequence[CellScores | None], metric: MetricName, *, is_level: bool = False
) -> Line:
    """A point per cell: the means of its seeds, and the interval that tables print."""
    most = max(len(one.seeds) for one in cells if one is not None)
    y, bounds = np.full((most, len(cells)), np.nan), np.full((2, len(cells)), np.nan)
    for x, one in enumerate(cells):
        if one is not None:
            y[: len(one.seeds), x] = one.seed_means
            bounds[:, x] = printed_interval(one, metric) or (np.nan, np.nan)
    return Line(label, np.arange(len(cells), dtype=float), y, style_key, bounds, is_level)


def _share_remarks(panels: Sequence[Panel]) -> list[str]:
    lines = [line for panel in panels for line in panel.lines]
    if not lines:
        return []
    levels = dict.fromkeys(line.label for line in lines if line.is_level)
    band = f"; the band is that of {', '.join(levels)}" if levels else ""
    note = (
        f"Performance: bars are the 95 % intervals of the mean over seeds and test cases that tables print{band}. With "
        "one seed, an interval is of other cases alone."
    )
    return [note]

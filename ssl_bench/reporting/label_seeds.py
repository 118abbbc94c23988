"""The lines below a table or figure about label seeds: what is not shown, and how the others are analysed."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_bench.command import quantity
from ssl_bench.reporting.gather import Body, Filled
from ssl_bench.store import Run

CROSSED = (
    "Label seeds are crossed with seeds: intervals and tests take labelled draws and seeds as two random factors. With "
    "one label seed they hold for these labelled cases alone, with one seed for its initialisation alone. A mark needs "
    "three of each, or a single one of either. `report --statistics` lists the sources of the spread."
)


def label_notes(body: Body, runs: Sequence[Run]) -> list[str]:
    """Say which runs are not shown because of their label seeds, and how crossed trainings are analysed.

    Args:
        body: of an exhibit.
        runs: the store's.

    """
    others: dict[str, dict[str, Run]] = {}  # data set -> runs by name
    incomplete: dict[str, None] = {}
    with_label_seed = [run for run in runs if run.spec.label_seed is not None]
    for one in (one for row in body for one in row):
        if one.place is not None:
            hidden = _hidden(one, runs if one.place.wanted.label_seeds else with_label_seed)
            name = one.place.benchmark.name
            if one.place.wanted.label_seeds:
                seeds = ", ".join(map(str, sorted({run.spec.seed for run in hidden})))
                if hidden:
                    incomplete[f"{one.place.method} on {name} {one.place.column.labeled}: {seeds}"] = None
            else:
                others.setdefault(name, {}).update({run.path.name: run for run in hidden})
    lines = [_others(name, list(found.values())) for name, found in others.items() if found]
    if incomplete:
        lines.append(f"Not shown: seeds that lack a run of a label seed ({'; '.join(incomplete)}).")
    shown = [run for row in body for one in row for run in one.runs]
    return lines + [CROSSED] * any(run.spec.label_seed is not None for run in shown)


def _hidden(one: Filled, runs: Sequence[Run]) -> list[Run]:
    """Finished runs of a place that are not shown, of those that its label seeds draw; of all if it has none."""
    assert one.place is not None
    wanted, shown = one.place.wanted, {run.spec.draws for run in one.runs}
    return [
        run
        for run in runs
        if (run.spec.benchmark, run.spec.method) == (wanted.benchmark.name, wanted.method)
        and (not wanted.label_seeds or wanted.draws_labels_as(run))
        and run.spec.draws not in shown
        and wanted.matches_but_for_labels(run)
    ]


def _others(name: str, runs: Sequence[Run]) -> str:
    methods = ", ".join(sorted({run.spec.method for run in runs}))
    labels = ", ".join(map(str, sorted({run.spec.label_draw for run in runs})))
    return (
        f"Not shown: {quantity(len(runs), 'finished run')} of {methods} on {name} with label seeds ({labels}); "
        "--label-seeds chooses what is shown."
    )

"""Tables of runs as such: what `run` ends in, and what `status` lists."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_bench.report.select import CASES, mean_and_deviation, metric_title, origin, seed_scores, undefined
from ssl_bench.report.table import Table
from ssl_bench.store import Run


def comparison_table(runs: Sequence[Run], titles: dict[str, str]) -> Table:
    """Compare the methods of one request: a row per method, metrics as mean ± standard deviation over seeds.

    Where there are several foreground classes, a method's row is their mean, and theirs stand below it.

    Args:
        runs: finished runs that differ in method and seed alone.
        titles: how each method's name is printed.

    """
    spec = runs[0].spec
    metrics, dimensions = spec.protocol.metrics, spec.protocol.dimensions
    assert metrics != "auto"
    headings = [metric_title(metric, dimensions) for metric in metrics]
    rows, notes = [], []
    for method in dict.fromkeys(run.spec.method for run in runs):
        own = [run for run in runs if run.spec.method == method]
        scores = [mean_and_deviation(seed_scores(own, metric)) for metric in metrics]
        minutes = sum(run.result["train_seconds"] for run in own) / len(own) / 60
        rows.append([titles[method], own[0].result["predictor"], *scores, str(len(own)), f"{minutes:.1f}"])
        for number, label in enumerate(spec.classes[1:] if len(spec.classes) > 2 else (), start=1):
            of_class = [mean_and_deviation(seed_scores(own, metric, label=number)) for metric in metrics]
            rows.append([f"  {label}", "", *of_class, "", ""])
        for metric, heading in zip(metrics, headings, strict=True):
            count = undefined(own, metric)
            if count:
                notes.append(f"{titles[method]}: {count} values of {heading} were undefined and are not in the mean.")
    columns = [*headings, "Seeds", "Training [min]"]
    note = spec.protocol.note
    labeled = f"{spec.labeled} of {spec.train_count} {CASES[dimensions]} labelled"
    return Table(
        f"{spec.benchmark}, {labeled}, protocol {spec.protocol.name}",
        ["Method", "Network scored", *columns], rows, frozenset(columns),
        [*([f"Protocol {spec.protocol.name}: {note}"] if note else []), *origin(runs), *notes],
    )  # fmt: skip


def status_table(runs: Sequence[Run]) -> Table:
    """List runs with where they stand; a failed one says why."""
    rows, notes = [], []
    for run in runs:
        spec = run.spec
        dsc = ""
        if run.status == "finished" and "dsc" in run.result["scores"][run.result["predictor"]]:
            dsc = mean_and_deviation(seed_scores([run], "dsc"))
        rows.append([
            spec.benchmark, f"{spec.labeled}/{spec.train_count}", spec.protocol.name, spec.method, str(spec.seed),
            run.status, f"{run.iteration}/{run.iterations}", dsc, run.path.name,
        ])  # fmt: skip
        if run.error:
            notes.append(f"{run.path.name}: {run.error}")
    header = ["Data set", "Labelled", "Protocol", "Method", "Seed", "Status", "Iteration", "DSC [%]", "Run"]
    return Table(f"{len(runs)} runs", header, rows, frozenset({"Labelled", "Seed", "Iteration", "DSC [%]"}), notes)

"""A store's runs, cases and curves as DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssl_bench.cards import dotted

if TYPE_CHECKING:
    import pandas as pd

    from ssl_bench.store.run import Run

NOT_SETTINGS = {"name", "title", "note", "metrics"}  # keys of a protocol that name it or its metrics


def frame_of_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per run: identity and status, the predictor's mean of every metric, and the settings that differ.

    `label_seed` is the seed that drew the labelled cases: the run's own seed, unless it has a label seed.
    Means are fractions of 1, or distances, as in run.json; NaN where a run has none. Of a metric that was measured in
    several ways, the first counts.
    """
    import pandas as pd

    settings = [_settings(run) for run in runs]
    keys = sorted({key for own in settings for key in own})
    differing = [key for key in keys if any(own.get(key) != settings[0].get(key) for own in settings)]
    metrics = list(dict.fromkeys(metric for run in runs for metric in _means(run)))
    identity = ["benchmark", "method", "labeled", "train_count", "protocol", "seed", "hash", "status", "label_seed"]
    rows = [
        [
            run.spec.benchmark, run.spec.method, run.spec.labeled, run.spec.train_units, run.spec.protocol.name,
            run.spec.seed, run.path.name, run.status, run.spec.label_draw,
            *(_means(run).get(metric) for metric in metrics),
            *(own.get(key) for key in differing),
        ]
        for run, own in zip(runs, settings, strict=True)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*identity, *metrics, *differing])
    return frame.astype(dict.fromkeys(metrics, float))


def frame_of_cases(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per finished run, measurement, network, test case and class, with a column per metric (NaN: undefined).

    `measurement` is the key of a way of scoring: a run that was scored in two ways has two rows per case.
    """
    return _stacked([run for run in runs if run.status == "finished"], _cases)


def frame_of_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per run and logged iteration, with a column per loss term; NaN where a method has no such term."""
    return _stacked([run for run in runs if (run.path / "curves.csv").exists()], lambda run: run.curves)


def _stacked(runs: Sequence[Run], table_of: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    """The runs' tables one below the other, behind columns that name the run."""
    import pandas as pd

    names = ["hash", "benchmark", "method", "labeled", "seed", "label_seed"]
    tables = []
    for run in runs:
        spec, table = run.spec, table_of(run)
        values: list[Any] = [run.path.name, spec.benchmark, spec.method, spec.labeled, *spec.draws]
        tables.append(table.assign(**dict(zip(names, values, strict=True)))[[*names, *table.columns]])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=names)


def _means(run: Run) -> dict[str, Any]:
    if run.status != "finished":
        return {}
    means: dict[str, Any] = {}
    for scores in run.scores.values():
        for metric, summary in scores.summary[run.result["predictor"]].items():
            means.setdefault(metric, summary["mean"])
    return means


def _cases(run: Run) -> pd.DataFrame:
    import pandas as pd

    tables = [scores.cases.assign(measurement=key) for key, scores in run.scores.items()]
    together = pd.concat(tables, ignore_index=True)
    return together[["measurement", *(name for name in together.columns if name != "measurement")]]


def _settings(run: Run) -> dict[str, Any]:
    """Keys of a run's protocol and method, as `--set` takes them."""
    own = run.spec.protocol.model_dump(mode="json", exclude=NOT_SETTINGS) | dict(run.spec.hyperparameters)
    return dotted(own)

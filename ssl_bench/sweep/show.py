"""The results of a sweep: a table of trials, the importance of parameters, Optuna's plots."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ssl_bench.atomic import write_bytes, writing
from ssl_bench.cards import METRICS, Measurement, MetricName
from ssl_bench.errors import UserError
from ssl_bench.reporting.scores import cell_scores, mean_and_deviation
from ssl_bench.reporting.table import Table
from ssl_bench.store import Run
from ssl_bench.sweep.definition import ORACLE
from ssl_bench.sweep.study import is_retried, load_sweep, parameters_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATES = {
    TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    TrialState.RUNNING: "running or interrupted", TrialState.WAITING: "waiting",
}  # fmt: skip
OBJECTIVES = {"validation": "validation images", "test": "ORACLE: test set"}


def sweep_table(study: optuna.Study, runs: Mapping[str, Run]) -> Table:
    """List a sweep's trials, the best first.

    Args:
        study: made by `ssl-bench sweep`.
        runs: the store's runs, by hash.

    """
    sweep = load_sweep(study)
    objective, metric, names = sweep["objective"], sweep["metric"], [p["name"] for p in sweep["parameters"]]
    everything = study.get_trials(deepcopy=False)
    trials = [trial for trial in everything if not is_retried(trial, everything)]
    if objective != "none":
        sign = -1 if sweep["maximize"] else 1
        trials.sort(key=lambda t: (not _done(t), sign * (t.value or 0) if _done(t) else 0, t.number))
    begun = [runs[name] for trial in trials for name in trial.user_attrs.get("runs", []) if name in runs]
    scored = [run.headline.measurement for run in begun if run.scores]
    compared = scored[0].heading(metric) if scored else METRICS[metric].heading(2)
    columns = [f"{compared}, {OBJECTIVES[objective]}"] if objective != "none" else []
    columns += [f"{compared}, test set"] if objective == "none" else []
    rows = []
    for trial in trials:
        row = [str(trial.number), *(_short(parameters_of(trial).get(name, "")) for name in names), STATES[trial.state]]
        if objective != "none":
            row.append(_number(trial.value, metric) if _done(trial) else "")
        if objective == "none":
            row.append(_tested(trial, runs, metric))
        rows.append([*row, " ".join(trial.user_attrs.get("runs", []))])
    title = f"Sweep {study.study_name}: {sweep['method']} on {sweep['dataset']}, {sweep['labeled']} labelled"
    return Table(
        title, ["Trial", *names, "State", *columns, "Runs"], rows, frozenset({"Trial", *names, *columns}),
        [*_notes(sweep, trials, runs), *_importance(study, sweep, trials)],
    )  # fmt: skip


def plot(study: optuna.Study, folder: Path) -> list[Path]:
    """Write Optuna's plots of a sweep as PNG and SVG.

    Raises:
        UserError: the sweep has no objective, too few trials have finished, or the folder cannot be written.
    """
    import matplotlib as mpl
    from optuna.visualization import matplotlib as plots

    sweep = load_sweep(study)
    if sweep["objective"] == "none":
        raise UserError(f"sweep '{study.study_name}': plots need an objective; `ssl-bench sweep show` lists the trials")
    finished = [trial for trial in study.get_trials(deepcopy=False) if _done(trial)]
    if len(finished) < 2:
        raise UserError(f"sweep '{study.study_name}': plots need at least 2 finished trials, found {len(finished)}")
    names = [parameter["name"] for parameter in sweep["parameters"]]
    named: dict[str, Any] = {"target_name": f"{sweep['metric']}, {OBJECTIVES[sweep['objective']]}"}
    wanted: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study, **named),
        "slice": lambda: plots.plot_slice(study, **named),
        "parallel": lambda: plots.plot_parallel_coordinate(study, **named),
    }
    if len(names) > 1:
        wanted["contour"] = lambda: plots.plot_contour(study, **named)
    if len({trial.value for trial in finished}) > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        wanted["importance"] = lambda: plots.plot_param_importances(study, evaluator, **named)
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        wanted["curves"] = lambda: plots.plot_intermediate_values(study)
    paths = []
    mpl.use("agg")
    with (
        writing("--output", folder),
        mpl.rc_context({"svg.hashsalt": study.study_name, "figure.figsize": (8, 5)}),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for name, draw in wanted.items():
            figure = _figure(draw())
            figure.suptitle(ORACLE if sweep["objective"] == "test" else "", fontsize=8)
            for suffix in ("png", "svg"):
                content = BytesIO()
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(content, format=suffix, metadata=metadata, bbox_inches="tight", dpi=150)
                paths.append(folder / f"{name}.{suffix}")
                write_bytes(paths[-1], content.getvalue())
            mpl.pyplot.close(figure)
    return paths


def _figure(drawn: Any) -> Figure:
    """The figure of an axis, or of the first of several axes."""
    while not hasattr(drawn, "figure"):
        drawn = drawn[0]
    figure: Figure = drawn.figure
    return figure


def _notes(sweep: Mapping[str, Any], trials: Sequence[FrozenTrial], runs: Mapping[str, Run]) -> list[str]:
    """Explain the numbers and name the best trial, with its test score if validation chose it."""
    seeds = ", ".join(map(str, sweep["seeds"]))
    settings = "".join(f" {key}={value}" for key, value in sweep["settings"].items())
    notes = [f"Sampler {sweep['sampler']}; protocol {sweep['protocol']}{settings}; mean over seeds {seeds}."]
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    notes += [f"Trial {trial.number} failed: {trial.user_attrs.get('error', 'unknown')}" for trial in failed]
    if sweep["objective"] == "none":
        return [
            *notes,
            "The sweep has no objective: it lists all combinations with their test scores and names no best one.",
        ]
    if sweep["objective"] == "test":
        notes.append(ORACLE + ".")
    done = [trial for trial in trials if _done(trial)]
    if not done:
        return notes
    best = min(done, key=lambda t: (-(t.value or 0) if sweep["maximize"] else (t.value or 0), t.number))
    words = " ".join(f"--set {name}={value}" for name, value in parameters_of(best).items())
    notes.append(f"Best: trial {best.number}, {words}.")
    if sweep["objective"] == "validation":
        runs_of = [runs[name] for name in best.user_attrs.get("runs", []) if name in runs]
        cases = sorted({(run.headline.validation or {})["cases"] for run in runs_of if run.status == "finished"})
        images = " and ".join(map(str, cases))
        notes.append(
            f"Compared on {images} validation cases. Test score, shown for the best trial only: "
            f"{_tested(best, runs, sweep['metric'])}."
        )
    return notes


def _importance(study: optuna.Study, sweep: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> list[str]:
    """Each parameter's share of the objective's variance (fANOVA), if enough trials have finished."""
    values = [trial.value for trial in trials if _done(trial)]
    if sweep["objective"] == "none" or len(values) < 4 or len(set(values)) < 2 or len(sweep["parameters"]) < 2:
        return []
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return ["Importance (fANOVA): " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()) + "."]


def _tested(trial: FrozenTrial, runs: Mapping[str, Run], metric: MetricName) -> str:
    own = [runs[name] for name in trial.user_attrs.get("runs", []) if name in runs]
    finished = [run for run in own if run.status == "finished"]
    said = trial.user_attrs.get("measurement")  # not in studies of earlier versions
    measurement = None if said is None else Measurement.model_validate(said)
    return mean_and_deviation(cell_scores(finished, metric, measurement)) if finished else ""


def _done(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


def _number(value: float | None, metric: MetricName) -> str:
    assert value is not None
    return f"{METRICS[metric].scale * value:.2f}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

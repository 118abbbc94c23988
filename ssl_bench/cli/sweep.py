"""Commands on sweeps: `sweep`, `sweep show`, `sweep plot`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ssl_bench.cli.common import (
    DataRootOption,
    DeviceOption,
    IterationsOption,
    JobsOption,
    LabeledOption,
    LauncherOption,
    LogDirOption,
    LogOption,
    MethodsDirOption,
    PartialOption,
    ProtocolOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SlurmOption,
    TunedOption,
    exit_on_failures,
    parsed_seeds,
    parsed_settings,
    parsed_trackers,
    say,
    sweep_app,
)
from ssl_bench.command import RESULTS, place_words
from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console

if TYPE_CHECKING:
    import optuna

    from ssl_bench.store import Run

StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage", envvar="SSL_BENCH_STORAGE", help="An Optuna URL or journal:FILE; default: an SQLite file."
    ),
]
NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Name of the sweep; optional if there is only one.")
]


@sweep_app.callback(invoke_without_command=True)
def sweep(
    context: typer.Context,
    method: Annotated[str | None, typer.Option("--method", help="The method; see `ssl-bench methods`.")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name of a built-in data set, or a .toml card.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="NAME=VALUES",
            help="Such as k=1..5, r=4,8,16 or lambda_max=0.01..1:log; may be repeated.",
        ),
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="grid (every combination), tpe or random.")] = "grid",
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Number of trials of a search, over all workers.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective", help="Scores that trials are compared by: validation, test (marked ORACLE) or none."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Metric that trials are compared by; default: the first one scored.")
    ] = None,
    pruner: Annotated[
        str, typer.Option("--pruner", help="Stops poor trials by their validation curve: none, median or halving.")
    ] = "none",
    labeled: LabeledOption = None,
    protocol: ProtocolOption = None,
    seeds: SeedsOption = "1",
    iterations: IterationsOption = None,
    settings: SetOption = None,
    tuned: TunedOption = "common",
    name: Annotated[str | None, typer.Option("--name", help="Name of the sweep; default: METHOD-DATASET-HASH.")] = None,
    storage: StorageOption = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    launcher: LauncherOption = "local",
    slurm: SlurmOption = None,
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
    allow_partial: PartialOption = False,
    log: LogOption = None,
    log_dir: LogDirOption = None,
) -> None:
    """Search hyperparameters and protocol fields. A trial is one run per seed. The same command continues a sweep."""
    if context.invoked_subcommand is not None:
        return
    from ssl_bench.arguments import chosen_trackers
    from ssl_bench.cards import load_benchmark, share_under
    from ssl_bench.launch.contract import LaunchOptions
    from ssl_bench.launch.launcher import choose_launcher, log_failures
    from ssl_bench.launch.progress import PoolDisplay, counted
    from ssl_bench.method import load_methods
    from ssl_bench.store import Store
    from ssl_bench.sweep.definition import ORACLE
    from ssl_bench.sweep.planner import Planner, settle_sweep, worker_words
    from ssl_bench.sweep.study import Study, open_storage
    from ssl_bench.sweep.worker import work

    if method is None or dataset is None:
        raise UserError("sweep: expected --method and --dataset, or a subcommand (show, plot)")
    known_sampler = _one_of("--sampler", sampler)
    if (sampler == "grid") != (trials is None):
        raise UserError(
            f"--trials: expected a number with --sampler {sampler}, found none"
            if trials is None
            else "--trials: not allowed with --sampler grid, which tries every combination"
        )
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"--name: expected letters, digits, '_', '.' and '-', starting with a letter or digit; found '{name}'"
        )
    load_methods(*(methods_dir or []))
    benchmark = load_benchmark(dataset)
    console, store = make_console(), Store(results_root)
    chosen = choose_launcher(launcher, LaunchOptions(device, jobs, slurm=slurm, console=console))
    trackers = chosen_trackers(parsed_trackers(log), log_dir, results_root)
    logged = () if trackers is None else trackers.words
    place = place_words(data_root, results_root, methods_dir or [], allow_partial=allow_partial, log=logged)
    protocol, own = protocol or benchmark.protocol, parsed_settings(settings, iterations)
    labeled = labeled or share_under(benchmark.labeled[0], benchmark, protocol, own)
    with counted(console, f"preparing {benchmark.title}") as advance:
        planner = Planner(
            benchmark, method, labeled, protocol, parsed_seeds(seeds),
            chosen.device, data_root, allow_partial, tuple(place), store, advance,
        )  # fmt: skip
        defined = settle_sweep(
            planner, parameters or [], own, tuned, known_sampler,
            None if objective is None else _one_of("--objective", objective), metric, _one_of("--pruner", pruner),
        )  # fmt: skip
    store.make_ready([(benchmark.name, method)])
    study = Study(defined, name or defined.default_name, open_storage(storage, results_root), results_root)
    for line in planner.remarks:
        say(line)
    say(f"sweep {study.name}")
    if defined.objective == "test":
        say(ORACLE)
    if not chosen.slots:
        words = ["sweep", *worker_words(defined, study.name, trials), *place]
        words += [] if storage is None else ["--storage", storage]
        chosen.submit_workers(study.name, study.folder, words, results_root)
        return
    display = PoolDisplay(console, store)
    try:
        outcome = work(study, trials, planner.bound(defined), store, chosen.slots, display)
    finally:
        display.close()
    _show(study.study, store.readable()).print(console)
    log_failures(outcome)
    exit_on_failures(outcome)


@sweep_app.command()
def show(
    name: NameArgument = None,
    storage: StorageOption = None,
    results_root: ResultsOption = RESULTS,
) -> None:
    """Print a sweep's trials, the best first, and the importance of each parameter."""
    from ssl_bench.api import load_store

    _show(_load(name, storage, results_root), load_store(results_root).readable()).print(make_console())


@sweep_app.command()
def plot(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the plots.")],
    name: NameArgument = None,
    storage: StorageOption = None,
    results_root: ResultsOption = RESULTS,
) -> None:
    """Write Optuna's plots of a sweep as PNG and SVG."""
    from ssl_bench.sweep.show import plot as write_plots

    typer.echo("\n".join(map(str, write_plots(_load(name, storage, results_root), output))))


def _show(study: optuna.Study, runs: Sequence[Run]) -> Any:
    from ssl_bench.sweep.show import sweep_table

    return sweep_table(study, {run.path.name: run for run in runs})


def _load(name: str | None, storage: str | None, results_root: Path) -> optuna.Study:
    from ssl_bench.sweep.study import find_study

    return find_study(name, storage, results_root)


def _one_of(option: str, word: str) -> Any:
    from ssl_bench.sweep import definition

    known = get_args(
        {"--sampler": definition.Sampler, "--objective": definition.Objective, "--pruner": definition.Pruner}[option]
    )
    if word not in known:
        raise UserError(f"{option}: expected {', '.join(known)}; found '{word}'")
    return word

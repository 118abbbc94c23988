"""Commands that train: `run` and `reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_bench.cli.common import (
    RESULTS,
    AllOption,
    DataOption,
    DataRootOption,
    DatasetOption,
    DeviceOption,
    FigureOption,
    IterationsOption,
    JobsOption,
    LabeledOption,
    LauncherOption,
    MethodsDirOption,
    MinutesOption,
    OtherDatasetOption,
    PartialOption,
    ProtocolOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SharesOption,
    SlurmOption,
    TableOption,
    app,
    asked_target,
    chosen_grids,
    exit_on_failures,
    listed,
    make_console,
    parsed_seeds,
    parsed_settings,
    place_words,
    say,
    warn,
)

if TYPE_CHECKING:
    from ssl_bench.cards import Request
    from ssl_bench.launch.contract import Launcher
    from ssl_bench.launch.task import Outcome
    from ssl_bench.store import Store
    from ssl_bench.training.job import Job


@app.command()
def run(
    methods: Annotated[str, typer.Option("--methods", help="Methods, separated by commas; see `ssl-bench methods`.")],
    dataset: DatasetOption,
    labeled: LabeledOption = None,
    protocol: ProtocolOption = None,
    seeds: SeedsOption = "1",
    iterations: IterationsOption = None,
    settings: SetOption = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    minutes: MinutesOption = None,
    launcher: LauncherOption = "local",
    slurm: SlurmOption = None,
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Train and score methods; finished runs are kept, interrupted ones go on. Ends in a table."""
    from ssl_bench.cards import Request, load_benchmark
    from ssl_bench.launch.contract import LaunchOptions
    from ssl_bench.launch.launcher import choose_launcher
    from ssl_bench.launch.progress import counted
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.runs import comparison_table
    from ssl_bench.store import Store
    from ssl_bench.training.plan import plan_runs

    registry = load_methods(*(methods_dir or []))
    benchmark = load_benchmark(dataset)
    request = Request(
        benchmark=benchmark,
        methods=tuple(listed(methods)),
        labeled=labeled or benchmark.labeled[0],
        protocol=protocol or benchmark.protocol,
        settings=parsed_settings(settings, iterations),
        seeds=parsed_seeds(seeds),
    )
    console = make_console()
    chosen = choose_launcher(launcher, LaunchOptions(device, jobs, minutes, slurm, console))
    with counted(console, f"preparing {benchmark.title}") as advance:
        planned = plan_runs(request, chosen.device, data_root, allow_partial=allow_partial, advance=advance)
    store = Store(results_root)
    place = place_words(data_root, results_root, methods_dir, allow_partial)
    outcome = _train_all([(request, job) for job in planned], store, chosen, place)
    finished = [found for job in planned if (found := store.find(job.spec)) is not None and found.status == "finished"]
    if finished:
        titles = {name: method.title for name, method in registry.items()}
        comparison_table(finished, titles, planned[0].measurement).print(console)
    exit_on_failures(outcome)


@app.command()
def reproduce(
    table: TableOption = None,
    figure: FigureOption = None,
    all_of_them: AllOption = False,
    dataset: OtherDatasetOption = None,
    labeled: SharesOption = None,
    protocol: ProtocolOption = None,
    seeds: SeedsOption = "1,2,3",
    iterations: IterationsOption = None,
    settings: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what is missing and train nothing.")] = False,
    data: DataOption = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    minutes: MinutesOption = None,
    launcher: LauncherOption = "local",
    slurm: SlurmOption = None,
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Train what the paper's tables or figures still lack: the first seed of everything, then the second, ..."""
    from ssl_bench.grids.aim import shown as shown_runs
    from ssl_bench.grids.match import choose_data
    from ssl_bench.grids.missing import lacking, requests, require_chosen_data, require_one_precision, wanted_runs
    from ssl_bench.launch.contract import LaunchOptions
    from ssl_bench.launch.launcher import choose_launcher
    from ssl_bench.launch.progress import counted
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.missing_runs import lack_table
    from ssl_bench.store import Store
    from ssl_bench.training.plan import plan_runs

    grids, target = (
        chosen_grids(table, figure, all_of_them),
        asked_target(dataset, labeled, protocol, settings, iterations),
    )
    registry, store, unreadable = load_methods(*(methods_dir or [])), Store(results_root), list[str]()
    shown = shown_runs(grids, target, registry)
    runs, console = store.runs(unreadable, shown), make_console()
    warn(unreadable)
    choice = choose_data(listed(data or ""), (run.spec for run in runs), {name for name, _ in shown})
    chosen_runs = [run for run in runs if choice.includes(run.spec)]
    if choice.data_sets.difference(run.spec.benchmark for run in chosen_runs):
        say(f"note: --data: no run that belongs here is of data {data} yet")
    wanted = wanted_runs(grids, target, registry, chosen_runs)
    lacks = lacking(wanted, parsed_seeds(seeds), chosen_runs)
    lack_table(lacks, len(wanted) * len(parsed_seeds(seeds)), runs).print(console)
    if dry_run or not lacks:
        return
    chosen = choose_launcher(launcher, LaunchOptions(device, jobs, minutes, slurm, console))
    prepared = dict[Any, Any]()
    with counted(console, "preparing") as advance:
        planned = [
            (request, job)
            for request in requests(lacks)
            for job in plan_runs(
                request, chosen.device, data_root, allow_partial=allow_partial, advance=advance, prepared=prepared
            )
        ]
    require_chosen_data(choice, [job.spec for _, job in planned])
    require_one_precision(wanted, [job.spec for _, job in planned], chosen_runs)
    place = place_words(data_root, results_root, methods_dir, allow_partial)
    exit_on_failures(_train_all(planned, store, chosen, place))


def _train_all(
    planned: Sequence[tuple[Request, Job]], store: Store, launcher: Launcher, place: Sequence[str]
) -> Outcome:
    """Train what was planned, and say it where the time was up."""
    from ssl_bench.launch.contract import PlannedRun
    from ssl_bench.launch.task import run_task
    from ssl_bench.training.plan import short_ramps

    for remark in short_ramps([job for _, job in planned]):
        say(f"note: {remark}")
    outcome = launcher.run([PlannedRun(job, run_task(request, job, place, store)) for request, job in planned], store)
    if outcome.time_is_up:
        done = sum(store.folder(job.spec).is_finished for _, job in planned)
        say(
            f"--minutes: the time is up, {done} of {len(planned)} runs are finished; the same command goes on from here"
        )
    return outcome

"""Commands that train: `run` and `reproduce`."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_bench.cli.common import (
    AllOption,
    CardOption,
    ClaimsOption,
    DataOption,
    DataRootOption,
    DatasetOption,
    DeviceOption,
    FigureOption,
    IterationsOption,
    JobsOption,
    LabeledOption,
    LabelSeedsOption,
    LauncherOption,
    LogDirOption,
    LogOption,
    MethodsDirOption,
    MinutesOption,
    OtherDatasetOption,
    OwnMethodsOption,
    PartialOption,
    ProtocolOption,
    ResultsOption,
    RowsTunedOption,
    SeedsOption,
    SetOption,
    SharesOption,
    SlurmOption,
    TableOption,
    TunedOption,
    app,
    exit_on_failures,
    listed,
    listed_datasets,
    listed_shares,
    parsed_label_seeds,
    parsed_seeds,
    parsed_settings,
    parsed_trackers,
)
from ssl_bench.command import RESULTS


@app.command()
def run(
    methods: Annotated[str, typer.Option("--methods", help="Methods, separated by commas; all: every one that fits.")],
    dataset: DatasetOption,
    labeled: LabeledOption = None,
    protocol: ProtocolOption = None,
    seeds: SeedsOption = "1",
    label_seeds: LabelSeedsOption = None,
    iterations: IterationsOption = None,
    settings: SetOption = None,
    tuned: TunedOption = "common",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List which runs are finished and what an iteration needs; train nothing."),
    ] = False,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    minutes: MinutesOption = None,
    launcher: LauncherOption = "local",
    slurm: SlurmOption = None,
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
    allow_partial: PartialOption = False,
    log: LogOption = None,
    log_dir: LogDirOption = None,
) -> None:
    """Train and score methods, and print a table. Finished runs are kept; interrupted runs continue."""
    from ssl_bench import api

    result = api.run(
        listed(methods), dataset, labeled=labeled, protocol=protocol, seeds=parsed_seeds(seeds),
        label_seeds=parsed_label_seeds(label_seeds), settings=parsed_settings(settings, iterations), tuned=tuned,
        dry_run=dry_run, device=device, jobs=jobs, minutes=minutes, launcher=launcher, slurm=slurm,
        data_root=data_root, results_root=results_root, methods_dir=methods_dir or (), allow_partial=allow_partial,
        log=parsed_trackers(log), log_dir=log_dir, progress=True,
    )  # fmt: skip
    exit_on_failures(result.outcome)


@app.command()
def reproduce(
    table: TableOption = None,
    figure: FigureOption = None,
    claims: ClaimsOption = None,
    methods: OwnMethodsOption = None,
    all_of_them: AllOption = False,
    dataset: OtherDatasetOption = None,
    labeled: SharesOption = None,
    protocol: ProtocolOption = None,
    seeds: SeedsOption = "1,2,3",
    label_seeds: LabelSeedsOption = None,
    iterations: IterationsOption = None,
    settings: SetOption = None,
    tuned: RowsTunedOption = "common",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the missing runs and train nothing.")] = False,
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
    log: LogOption = None,
    log_dir: LogDirOption = None,
) -> None:
    """Train the runs that the paper's tables, figures or claims lack, the first seed of every cell first."""
    from ssl_bench import api

    result = api.reproduce(
        table=table, figure=figure, claims=claims, methods=None if methods is None else listed(methods),
        everything=all_of_them, dataset=listed_datasets(dataset), labeled=listed_shares(labeled), protocol=protocol,
        seeds=parsed_seeds(seeds), label_seeds=parsed_label_seeds(label_seeds),
        settings=parsed_settings(settings, iterations), tuned=tuned, dry_run=dry_run,
        data=listed(data or ""), device=device, jobs=jobs, minutes=minutes, launcher=launcher, slurm=slurm,
        data_root=data_root, results_root=results_root, methods_dir=methods_dir or (), allow_partial=allow_partial,
        log=parsed_trackers(log), log_dir=log_dir, progress=True,
    )  # fmt: skip
    exit_on_failures(result.outcome)


@app.command()
def score(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Finished runs: folders, ids, or the beginnings of ids."),
    ],
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Metrics, separated by commas; default: the data set's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a protocol field that only affects scoring (stride, score_size, ...).",
        ),
    ] = None,
    dataset: CardOption = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Score finished runs again, with other metrics or settings. Nothing is trained; earlier scores are kept."""
    from ssl_bench import api

    result = api.score(
        runs, metrics=None if metrics is None else listed(metrics), settings=parsed_settings(settings, None),
        dataset=dataset, device=device, jobs=jobs, data_root=data_root, results_root=results_root,
        methods_dir=methods_dir or (), progress=True,
    )  # fmt: skip
    exit_on_failures(result.outcome)

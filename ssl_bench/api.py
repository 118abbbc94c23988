"""The Python interface: functions that do the work of the commands and return runs, tables and figures.

Every function is quiet unless `progress` is true. Notes and warnings go to the logger "ssl_bench". A mistake in an
argument raises `UserError`, whose message names the argument as on the command line.

A finished run is never trained again, and an unfinished one continues from its checkpoint, whether it was started from
Python or from the command line.

Arguments that several functions share:
    dataset: name of a built-in data set, or a .toml card.
    labeled: labelled training images, as a share ("5%") or a number (90).
    protocol: name of a built-in protocol, or a .toml card. None: the data set's.
    label_seeds: seeds that draw the labelled cases, each with every seed. None: each run's seed draws them.
    settings: protocol and method fields to override, such as `{"iterations": 300, "k": 3}`.
    tuned: "common" (the protocol's settings for all methods), or "authors" (each method at the settings that its
        authors used, where it declares any). `settings` take precedence. `reproduce` and `report` also take "both": a
        row for each.
    device: "auto", "cpu", "cuda", "cuda:1"; several, separated by commas, train runs in parallel.
    jobs: number of runs at a time, each in its own process. None: one, in this process.
    minutes: stop after this many minutes. The same call continues from there.
    launcher: "local", "slurm", or a .py file with a launcher.
    slurm: options of the Slurm launcher, as `{"partition": "gpu", "gpus": 1, "time": "4h"}` or as a text.
    data_root: folder that holds the data sets. None: $SSL_BENCH_DATA.
    results_root: folder of the results store. None: $SSL_BENCH_RESULTS, or "results".
    methods_dir: folder, or folders, with your own methods, networks and metrics.
    log: trackers that follow each run, of "csv", "mlflow", "tensorboard", "wandb" and those of installed packages.
    log_dir: folder for the trackers' files. None: `logs` in the results root.
    allow_partial: accept more or fewer cases than the published data set has.
    progress: show progress bars and tables.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.arguments import (
    PathLike,
    chosen_trackers,
    data_folder,
    different_label_seeds,
    different_seeds,
    front_door,
    make_launcher,
    paths,
    recorded,
    results_folder,
    run_folder,
    several_runs,
    text,
    texts,
)
from ssl_bench.command import RESULTS, place_words, same_place
from ssl_bench.environment import before_torch
from ssl_bench.errors import UserError
from ssl_bench.launch.console import make_console
from ssl_bench.results import Masks, ReproduceResult, RunResult

if TYPE_CHECKING:
    from ssl_bench.prediction import LoadedModel
    from ssl_bench.prediction.export import Exported
    from ssl_bench.reporting.report import Report
    from ssl_bench.reporting.run_comparison import RunComparison
    from ssl_bench.reporting.table import Table
    from ssl_bench.store import Run, Store

before_torch()


@front_door
def run(
    methods: str | Sequence[str],
    dataset: PathLike,
    *,
    labeled: str | int | None = None,
    protocol: PathLike | None = None,
    seeds: Sequence[int] = (1,),
    label_seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    tuned: str = "common",
    dry_run: bool = False,
    device: str = "auto",
    jobs: int | None = None,
    minutes: float | None = None,
    launcher: str = "local",
    slurm: str | Mapping[str, Any] | None = None,
    data_root: PathLike | None = None,
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
    allow_partial: bool = False,
    log: str | Sequence[str] = (),
    log_dir: PathLike | None = None,
    progress: bool = False,
) -> RunResult:
    """Train and score methods. A finished run is not trained again; an unfinished one continues from its checkpoint.

    Args:
        methods: one method by name, or several; "all": every one that fits the data and the protocol.
        labeled: None: the first share of the data set's card.
        seeds: of the runs, one run per method, seed and label seed.
        dry_run: train nothing and write nothing to the store; the table says which runs are finished, and what an
            iteration of each method needs.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The outcome, the finished runs and their comparison.

    Raises:
        UserError: an argument, a card or the data is wrong; nothing was trained.
        InterruptedRunError: Ctrl-C or SIGTERM; every run has its checkpoint and the same call continues from there.

    """
    from ssl_bench.cards import Request, load_benchmark, share_under
    from ssl_bench.launch.launcher import log_failures, train
    from ssl_bench.launch.progress import counted
    from ssl_bench.launch.task import Outcome
    from ssl_bench.method import load_methods, source_hash
    from ssl_bench.reporting.next_table import showing_command
    from ssl_bench.reporting.runs import changed_notes, comparison_table, signed_titles
    from ssl_bench.store import Store
    from ssl_bench.training.tuned import every_method, plan_tuned, tuned_requests

    folders, console = paths(methods_dir), make_console(quiet=not progress)
    registry, benchmark = load_methods(*folders), load_benchmark(str(dataset))
    named, own = benchmark.protocol if protocol is None else str(protocol), dict(settings or {})
    request = Request(
        benchmark=benchmark,
        methods=(methods,) if isinstance(methods, str) else tuple(methods),
        labeled=share_under(benchmark.labeled[0], benchmark, named, own) if labeled is None else str(labeled),
        protocol=named,
        settings=own,
        seeds=different_seeds(seeds),
        label_seeds=different_label_seeds(label_seeds),
    )
    root, store = data_folder(data_root), Store(results_folder(results_root))
    trackers = chosen_trackers(log, log_dir, store.root)
    observe, words = (None, ()) if trackers is None else (trackers.observe, trackers.words)
    chosen = make_launcher(launcher, device, jobs, minutes, slurm, console, observe)
    request = every_method(request, chosen.device)
    asked = tuned_requests(request, tuned)
    with counted(console, f"preparing {benchmark.title}") as advance:
        pairs = plan_tuned(asked, chosen.device, root, allow_partial=allow_partial, advance=advance, store=store)
    planned = [job for _, job in pairs]
    place = place_words(root, store.root, folders, allow_partial=allow_partial, log=words)
    outcome = Outcome() if dry_run else train(pairs, store, chosen, place)
    runs = [found for job in planned if (found := store.find(job.spec)) is not None and found.status == "finished"]
    if dry_run:
        from ssl_bench.reporting.cost_tables import dry_run_table  # here, since its import takes a tenth of a second

        costs = dry_run_table(planned, store)
        costs.print(console)
        return RunResult(outcome, runs, costs)
    titles, signs = signed_titles(registry, {name: one.authors for name, one in asked.items()})
    signs += changed_notes(runs, {name: source_hash(registry[name]) for name in request.methods})
    table = comparison_table(runs, titles, planned[0].measurement, request.settings, signs) if runs else None
    if table is not None:
        table.print(console)
        shown = showing_command(request, same_place(store.root, folders), tuned)
        console.print(f"A table of these runs: {shown}", highlight=False, markup=False, soft_wrap=True)
    log_failures(outcome)
    return RunResult(outcome, runs, table)


@front_door
def score(
    runs: PathLike | Run | Sequence[PathLike | Run],
    *,
    metrics: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    dataset: PathLike | None = None,
    device: str = "auto",
    jobs: int | None = None,
    data_root: PathLike | None = None,
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
    progress: bool = False,
) -> RunResult:
    """Score finished runs again, with other metrics or settings. Nothing is trained, and earlier scores are kept.

    Args:
        runs: finished runs, their folders, or the beginnings of their ids; all from one results root.
        metrics: metrics to compute. None: those of the data set's card.
        settings: protocol fields that only affect scoring, such as `{"stride": [16, 16, 4]}`. Others stay as they are.
        dataset: the card of the runs' data set. None: the built-in card with the data set's name.

    Returns:
        The outcome, the runs and the predictors' means.

    Raises:
        UserError: an argument, a run or the data is wrong; nothing was scored.
        InterruptedRunError: Ctrl-C or SIGTERM; the same call continues from the last saved case.

    """
    from ssl_bench.launch.contract import PlannedRun
    from ssl_bench.launch.launcher import log_failures
    from ssl_bench.launch.progress import counted
    from ssl_bench.launch.task import score_task
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.runs import scores_table
    from ssl_bench.store import Store, load_run
    from ssl_bench.training.rescore import scoring_jobs

    folders, console = paths(methods_dir), make_console(quiet=not progress)
    methods = load_methods(*folders)
    found = [load_run(run_folder(one, results_root)) for one in several_runs(runs)]
    roots = {run.path.resolve().parents[3] for run in found}
    if len(roots) != 1:
        raise UserError(f"RUN: expected runs of one results root, found {', '.join(map(str, sorted(roots))) or 'none'}")
    store, root = Store(found[0].path.parents[3]), data_folder(data_root)
    wanted = dict(settings or {}) | ({} if metrics is None else {"metrics": texts(metrics)})
    chosen = make_launcher("local", device, jobs, None, None, console)
    with counted(console, "preparing") as advance:
        planned = scoring_jobs(found, methods, wanted, text(dataset), root, advance)
    place = place_words(root, store.root, folders, allow_partial=False)
    tasks = [score_task(job, wanted, text(dataset), place, store) for job in planned]
    outcome = chosen.run([PlannedRun(job, task) for job, task in zip(planned, tasks, strict=True)], store)
    scored = [(load_run(run.path), job.measurement) for run, job in zip(found, planned, strict=True)]
    table = scores_table([(run, measurement) for run, measurement in scored if run.is_scored(measurement)], methods)
    if table.rows:
        table.print(console)
    log_failures(outcome)
    return RunResult(outcome, [run for run, _ in scored], table)


@recorded
def reproduce(
    *,
    table: int | PathLike | None = None,
    figure: int | PathLike | None = None,
    claims: PathLike | None = None,
    methods: Sequence[str] | None = None,
    everything: bool = False,
    dataset: PathLike | Sequence[PathLike] | None = None,
    labeled: str | int | Sequence[str | int] | None = None,
    protocol: PathLike | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    label_seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    tuned: str = "common",
    dry_run: bool = False,
    data: str | Sequence[str] = (),
    device: str = "auto",
    jobs: int | None = None,
    minutes: float | None = None,
    launcher: str = "local",
    slurm: str | Mapping[str, Any] | None = None,
    data_root: PathLike | None = None,
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
    allow_partial: bool = False,
    log: str | Sequence[str] = (),
    log_dir: PathLike | None = None,
    progress: bool = False,
) -> ReproduceResult:
    """Train the runs that the paper's tables, figures or claims lack, the first seed of every cell first.

    Args:
        table: number of a table of the paper, or a .toml file with your own table.
        figure: number of a figure of the paper, or a .toml file with your own figure.
        claims: a card of claims: "ucmt", or a .toml file with your own.
        methods: names of methods, for a table of these on `dataset`.
        everything: every table and figure, and the claims. Exactly one of these five is given.
        dataset: use this data set only, or these, whether or not they are the paper's.
        labeled: labelled shares to use instead of the paper's.
        seeds: of every cell.
        dry_run: list the missing runs and train nothing.
        data: use only runs whose data fingerprint begins with one of these.
        progress: print the missing runs before they are trained, and show bars.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The missing runs, and how they ended; and those that are left out, since the settings of their row do not fit
        the protocol.

    Raises:
        UserError: an argument, a card or the data is wrong; nothing was trained.
        InterruptedRunError: Ctrl-C or SIGTERM; every run has its checkpoint and the same call continues from there.

    """
    from ssl_bench.cards import chosen_exhibits
    from ssl_bench.declarations import declared_methods
    from ssl_bench.grids.aim import make_target
    from ssl_bench.grids.aim import shown as shown_runs
    from ssl_bench.grids.claims import grids_of
    from ssl_bench.grids.match import choose_data
    from ssl_bench.grids.missing import (
        lacking,
        requests,
        require_chosen_data,
        require_one_precision,
        set_apart_unfit,
        wanted_runs,
    )
    from ssl_bench.reporting.missing_runs import fit_check, lack_table, predicted_operations
    from ssl_bench.store import Store

    folders, wanted_seeds, beginnings = paths(methods_dir), different_seeds(seeds), texts(data)
    datasets = [] if dataset is None else [str(one) for one in paths(dataset)]
    exhibits = chosen_exhibits(
        text(table), text(figure), text(claims), None if methods is None else texts(methods), datasets,
        everything=everything,
    )  # fmt: skip
    target = make_target(
        datasets, None if labeled is None else texts(labeled), text(protocol), settings or {},
        different_label_seeds(label_seeds), tuned,
    )  # fmt: skip
    store, console = Store(results_folder(results_root)), make_console(quiet=not progress)
    with declared_methods(*folders) as registry:
        grids = grids_of(exhibits, registry)
        shown = shown_runs(grids, target, registry)
        runs = store.readable(shown)
        choice = choose_data(beginnings, (run.spec for run in runs), {name for name, _ in shown})
        chosen_runs = [run for run in runs if choice.includes(run.spec)]
        if choice.data_sets.difference(run.spec.benchmark for run in chosen_runs):
            logging.getLogger("ssl_bench").info(
                "note: --data %s: no matching run has this data yet", ",".join(beginnings)
            )
        wanted = wanted_runs(grids, target, registry, chosen_runs)
        lacks = lacking(wanted, wanted_seeds, chosen_runs)
    with console.status("estimating"):
        lacks, unfit = set_apart_unfit(lacks, runs, fit_check(folders))
        count = sum(place.wanted.draws for place in wanted.values()) * len(wanted_seeds)
        count -= sum(len(one.lacks) for one in unfit)
        missing = lack_table(lacks, count, runs, predicted_operations(folders) if dry_run else None, unfit)
    missing.print(console)
    if dry_run or not lacks:
        return ReproduceResult(missing, lacks, None, tuple(unfit))

    from ssl_bench.launch.launcher import log_failures, train
    from ssl_bench.launch.progress import counted
    from ssl_bench.method import load_methods
    from ssl_bench.training.device import keeping_torch_state
    from ssl_bench.training.plan import plan_runs

    with keeping_torch_state():
        load_methods(*folders)
        trackers = chosen_trackers(log, log_dir, store.root)
        observe, words = (None, ()) if trackers is None else (trackers.observe, trackers.words)
        chosen = make_launcher(launcher, device, jobs, minutes, slurm, console, observe)
        root = data_folder(data_root)
        prepared = dict[Any, Any]()
        with counted(console, "preparing") as advance:
            planned = [
                (request, job)
                for request in requests(lacks)
                for job in plan_runs(
                    request, chosen.device, root, allow_partial=allow_partial, advance=advance, prepared=prepared,
                    store=store,
                )
            ]  # fmt: skip
        require_chosen_data(choice, [job.spec for _, job in planned])
        require_one_precision(wanted, [job.spec for _, job in planned], chosen_runs)
        place = place_words(root, store.root, folders, allow_partial=allow_partial, log=words)
        outcome = train(planned, store, chosen, place)
    log_failures(outcome)
    return ReproduceResult(missing, lacks, outcome, tuple(unfit))


def report(
    *,
    table: int | PathLike | None = None,
    figure: int | PathLike | None = None,
    claims: PathLike | None = None,
    methods: Sequence[str] | None = None,
    everything: bool = False,
    dataset: PathLike | Sequence[PathLike] | None = None,
    labeled: str | int | Sequence[str | int] | None = None,
    protocol: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    tuned: str = "common",
    seeds: Sequence[int] | None = None,
    label_seeds: Sequence[int] | None = None,
    data: str | Sequence[str] = (),
    all_networks: bool = False,
    costs: bool = False,
    rows: str = "method",
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
) -> Report:
    """Regenerate the paper's tables and figures from the stored results, published numbers beside measured ones.

    With `claims`, hold the paper's claims against the stored results.

    Args:
        table: number of a table of the paper, or a .toml file with your own table.
        figure: number of a figure of the paper, or a .toml file with your own figure.
        claims: a card of claims: "ucmt", or a .toml file with your own.
        methods: names of methods, for a table of these on `dataset`.
        everything: every table and figure, and the claims. Exactly one of these five is given.
        dataset: use this data set only, or these, whether or not they are the paper's.
        labeled: labelled shares to use instead of the paper's.
        protocol: protocol whose runs are shown. None: that of each data set.
        seeds: show the runs of these seeds alone. None: all.
        label_seeds: show the runs of these label seeds, of every seed that has them all. None: the runs whose labelled
            cases are drawn by their seed.
        data: use only runs whose data fingerprint begins with one of these.
        all_networks: also show the scores of the runs' other networks.
        costs: show parameters, updates, hours and peak memory.
        rows: what the rows of a table are: "method", or "labeled", its data sets and shares, with a column for each
            method.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The tables, figures and claims. `report(table=4).tables[0].to_frame()` is a DataFrame,
        `report(figure=1).figures[0]` a matplotlib figure.

    Raises:
        UserError: an argument or a card is wrong, or a table would mix runs that must not be compared.

    """
    from ssl_bench.cards import Claims, chosen_exhibits
    from ssl_bench.declarations import declared_methods
    from ssl_bench.grids.aim import make_target
    from ssl_bench.grids.aim import shown as shown_runs
    from ssl_bench.grids.claims import grids_of
    from ssl_bench.grids.match import choose_data
    from ssl_bench.reporting.claims import paper_claims
    from ssl_bench.reporting.gather import ShownOptions
    from ssl_bench.reporting.report import Report
    from ssl_bench.reporting.tables import paper_table
    from ssl_bench.store import reading_only

    folders, beginnings = paths(methods_dir), texts(data)
    datasets = [] if dataset is None else [str(one) for one in paths(dataset)]
    exhibits = chosen_exhibits(
        text(table), text(figure), text(claims), None if methods is None else texts(methods), datasets,
        everything=everything,
    )  # fmt: skip
    target = make_target(
        datasets, None if labeled is None else texts(labeled), text(protocol), settings or {},
        different_label_seeds(label_seeds), tuned, () if seeds is None else different_seeds(seeds),
    )  # fmt: skip
    store = load_store(results_root)
    found: list[Any] = []
    with declared_methods(*folders) as registry:
        with reading_only():  # of the states, "finished" alone counts
            runs = store.readable(shown_runs(grids_of(exhibits, registry), target, registry))
        choice = choose_data(beginnings, (run.spec for run in runs))
        runs = [
            run for run in runs if choice.includes(run.spec) and (not target.seeds or run.spec.seed in target.seeds)
        ]
        place = tuple(same_place(store.root, folders))
        view = ShownOptions(all_networks, costs, ",".join(beginnings) or None, place, rows)
        for card in exhibits:
            if isinstance(card, Claims):
                found.append(paper_claims(card, target, runs, registry, view))
            elif card.exhibit == "table":
                found.append(paper_table(card, target, runs, registry, view))
            else:
                from ssl_bench.reporting.figures import paper_figure  # here, since its import takes seconds

                found.append(paper_figure(card, target, runs, registry, view))
    return Report(tuple(found))


@front_door
def predict(
    run: PathLike | Run,
    images: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    network: str | Sequence[str] | None = None,
    ensemble: PathLike | Run | Sequence[PathLike | Run] = (),
    tta: str | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    overwrite: bool = False,
    exif_orientation: str | None = None,
    pattern: str | None = None,
    array_axes: str | None = None,
    device: str = "auto",
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
    progress: bool = False,
) -> Masks:
    """Write a finished run's masks for new images (PNG) and volumes (NIfTI), at their own sizes.

    Args:
        run: a finished run, its folder, or the beginning of its id.
        images: 2D images or 3D volumes, or folders of them.
        output: folder for the masks.
        network: another network than the method's predictor; of several, the probabilities are averaged.
        ensemble: further finished runs, whose probabilities are averaged with those of `run`.
        tta: "flips": average over flips of the image too.
        probabilities: write each foreground class's probability map too.
        uncertainty: also write the prediction's entropy (0 to 1).
        overwrite: replace existing output files.
        exif_orientation: of 2D images: "apply" turns them as viewers do, "ignore" reads them as stored, "refuse" is an
            error; None: as the run's card says.
        pattern: of the images in the folders, as on a card: `{id}` is the image's name, `{channel}` the channel's.
        array_axes: axes such as "LPS", or "as-stored", of arrays whose files name none: of the run's, if an image's
            file names axes, otherwise of the image's.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The masks that were written.

    Raises:
        UserError: a run, an image or the output is wrong, or the runs cannot be averaged.

    """
    from ssl_bench import prediction
    from ssl_bench.launch.progress import counted
    from ssl_bench.method import load_methods
    from ssl_bench.training.device import choose_device

    methods, chosen = load_methods(*paths(methods_dir)), choose_device(device)
    names = () if network is None else texts(network)
    if network is not None and not names:
        raise UserError("--network: expected a network's name, found none")
    folders = [run_folder(run, results_root)]
    folders += [run_folder(one, results_root, "--ensemble") for one in several_runs(ensemble)]
    predictors = [
        predictor for folder in folders for predictor in prediction.load_predictors(folder, methods, chosen, names)
    ]
    first = predictors[0]
    found = prediction.list_images(paths(images), first.reading, first.spec.dimensions, pattern)
    with counted(make_console(quiet=not progress), "predicting") as advance:
        written = prediction.predict(
            predictors, found, Path(output), tta=tta, probabilities=probabilities, uncertainty=uncertainty,
            overwrite=overwrite, exif_orientation=exif_orientation, array_axes=array_axes, advance=advance,
        )  # fmt: skip
    members = tuple(f"{one.name} of {one.spec.label} ({one.run})" for one in predictors)
    return Masks(written, first.name, first.run, first.spec.label, members)


@front_door
def load_model(
    run: PathLike | Run,
    *,
    network: str | None = None,
    device: str = "auto",
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
) -> LoadedModel:
    """Load a finished run's network with the preparation of its images, as a torch module in evaluation mode.

    Args:
        run: a finished run, its folder, or the beginning of its id.
        network: another network of the run than the method's predictor.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The model. `predict(image)` gives the mask of an image in memory, `probabilities(image)` each class's.

    Raises:
        UserError: the run is not finished, has no such network or no weights.

    """
    from ssl_bench.method import load_methods
    from ssl_bench.prediction import LoadedModel, load_predictor
    from ssl_bench.training.device import choose_device

    folder, methods = run_folder(run, results_root), load_methods(*paths(methods_dir))
    return LoadedModel(load_predictor(folder, methods, choose_device(device), network))


@front_door
def export_model(
    run: PathLike | Run,
    *,
    format: str,  # noqa: A002
    output: PathLike | None = None,
    network: str | None = None,
    overwrite: bool = False,
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
) -> Exported:
    """Write a finished run's network to one file for other programs, with what its input needs, and check the file.

    Args:
        run: a finished run, its folder, or the beginning of its id.
        format: "onnx", "torchscript", or "safetensors" (the weights alone).
        output: the file; None: named after the method, the network and the run, in the current folder.
        network: another network of the run than the method's predictor.
        overwrite: replace an existing file.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The file, the shape of its input, and by how much its logits differ from the network's.

    Raises:
        UserError: an argument or the run is wrong, a package is missing, or the network cannot be written in this
            format. Nothing is written then.

    """
    from ssl_bench.prediction.export import export, require_format, target_of

    require_format(format)
    model = load_model(run, network=network, device="cpu", results_root=results_root, methods_dir=methods_dir)
    default = f"{model.spec.method}-{model.name}-{model.spec.run_id}"
    path = target_of(None if output is None else Path(output), format, default, overwrite=overwrite)
    exported = export(model, format, path)
    if exported.difference is None:
        note = "note: %s: not compared with the network, since onnxruntime is not installed"
        logging.getLogger("ssl_bench").info(note, path)
    return exported


def compare(
    run: PathLike | Run,
    other: PathLike | Run,
    *,
    metric: str | None = None,
    top: int = 5,
    pictures: bool = False,
    dataset: PathLike | None = None,
    device: str = "auto",
    data_root: PathLike | None = None,
    results_root: PathLike | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
    progress: bool = False,
) -> RunComparison:
    """Compare two finished runs on one data set: their settings, their scores, and the cases on which they differ most.

    Two runs say nothing about two methods; `report` compares methods over several seeds.

    Args:
        run: a finished run, its folder, or the beginning of its id: A.
        other: the run that is compared with it: B.
        metric: by which cases are listed. None: the runs' first.
        top: cases to list in each direction.
        pictures: also show these cases: the pictures that the runs kept, or drawn from weights and data.
        dataset: the card of the runs' data set. None: the built-in card with the data set's name.
        device: where cases are predicted for pictures.

    The other arguments are described in `ssl_bench.api`.

    Returns:
        The tables and the figure; `write(folder)` writes them.

    Raises:
        UserError: a run is unfinished, or the runs are of different data or have no common metric or test case.

    """
    from ssl_bench.cards import card_names, load_benchmark
    from ssl_bench.reporting.run_comparison import compare_runs
    from ssl_bench.store import load_run

    a, b = (load_run(run_folder(one, results_root)) for one in (run, other))
    named = text(dataset) or (a.spec.benchmark if a.spec.benchmark in card_names("datasets") else None)
    benchmark = None if named is None else load_benchmark(named)
    if benchmark is not None and benchmark.name != a.spec.benchmark:
        raise UserError(f"--dataset: expected the card of '{a.spec.benchmark}', found that of '{benchmark.name}'")
    found = compare_runs((a, b), metric=metric, top=top, benchmark=benchmark)
    if not pictures:
        return found

    from ssl_bench.launch.progress import counted
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.run_pictures import with_pictures
    from ssl_bench.training.device import choose_device, keeping_torch_state, set_determinism

    with keeping_torch_state(), counted(make_console(quiet=not progress), "preparing") as advance:
        set_determinism()
        methods, root = load_methods(*paths(methods_dir)), data_folder(data_root)
        return with_pictures(found, methods, choose_device(device), text(dataset), root, advance)


def status(results_root: PathLike | None = None, *, every: bool = False) -> Table:
    """List all runs with their state, any error, and the settings in which similar runs differ.

    Args:
        every: list each finished run, even if there are many.

    The other arguments are described in `ssl_bench.api`.

    Raises:
        UserError: the folder does not exist.

    """
    from ssl_bench.launch.launcher import queued
    from ssl_bench.reporting.runs import status_table
    from ssl_bench.store import log_unreadable

    store, unreadable = load_store(results_root), list[str]()
    table = status_table(store.entries(unreadable), queued(store.root), every=every)
    log_unreadable(unreadable)
    return table


def watch(
    results_root: PathLike | None = None,
    *,
    dataset: str | None = None,
    method: str | None = None,
    every: float = 2.0,
    once: bool = False,
) -> None:
    """Show all runs of a store on the terminal while they are trained, until Ctrl-C. Only reads.

    Args:
        dataset: show the runs of this data set only.
        method: show the runs of this method only.
        every: seconds between two refreshes.
        once: print the state of now and return, as without a terminal.

    The other arguments are described in `ssl_bench.api`.

    Raises:
        UserError: the folder does not exist, or an argument is wrong.

    """
    from ssl_bench.live.snapshot import StoreReader
    from ssl_bench.live.watch import watch as show

    _require_seconds(every)
    show(StoreReader(load_store(results_root).root, dataset, method), make_console(), every, once=once)


def serve(
    results_root: PathLike | None = None,
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    allow_host: str | Sequence[str] = (),
    every: float = 3.0,
    cards: PathLike | Sequence[PathLike] = (),
    settings: Mapping[str, Any] | None = None,
    methods_dir: PathLike | Sequence[PathLike] = (),
) -> None:
    """Show a store as web pages on this machine, until Ctrl-C. Only reads. Needs the extra `serve`.

    Args:
        port: to listen on; 0: one that is free.
        host: address to listen on. Others than 127.0.0.1 open the store to whoever reaches this machine.
        allow_host: further names that browsers may call the server by.
        every: seconds between two refreshes of a page.
        cards: .toml cards of your own data sets and protocols, for the reports.
        settings: of the runs that the reports show, as of `report`.

    The other arguments are described in `ssl_bench.api`.

    Raises:
        UserError: the folder does not exist, the extra is not installed, or an argument is wrong.

    """
    from ssl_bench.live.report_sites import ReportSites
    from ssl_bench.live.server import serve as show

    _require_seconds(every)
    root, own, folders = load_store(results_root).root, [str(one) for one in paths(cards)], paths(methods_dir)
    show(root, host, port, texts(allow_host), every, lambda: ReportSites(root, own, settings, folders))


def _require_seconds(every: float) -> None:
    if not 0.1 <= every <= 86400:
        raise UserError(f"--every: expected 0.1 to 86400 seconds, found {every}")


def load_store(results_root: PathLike | None = None) -> Store:
    """Open the results store (see `ssl_bench.api`). Its `frame()`, `cases()` and `curves()` return DataFrames.

    Raises:
        UserError: the named folder does not exist.

    """
    from ssl_bench.store import Store

    root = results_folder(results_root)
    if root != RESULTS and not root.is_dir():
        raise UserError(f"--results-root: no folder at {root}")
    return Store(root)


@front_door
def method_costs(
    methods: str | Sequence[str] = (),
    *,
    dataset: PathLike = "isic",
    protocol: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    methods_dir: PathLike | Sequence[PathLike] = (),
) -> Table:
    """Predict what an iteration of each method needs: parameters, floating-point operations, memory. No data is read.

    Args:
        methods: by name. None given: all that fit the data.
        dataset: whose card gives the number of channels and classes.
        device: decides the precision where the protocol's is "auto".

    The other arguments are described in `ssl_bench.api`.

    Raises:
        UserError: an argument or a card is wrong, or a method cannot be used with the protocol.

    """
    from ssl_bench.cards import Request, load_benchmark
    from ssl_bench.method import load_methods
    from ssl_bench.reporting.cost_tables import methods_costs
    from ssl_bench.training.device import choose_device
    from ssl_bench.training.plan import plan_costs

    registry, benchmark, named = load_methods(*paths(methods_dir)), load_benchmark(str(dataset)), texts(methods)
    request = Request(
        benchmark=benchmark,
        methods=tuple(named or sorted(registry)),
        labeled=benchmark.labeled[0],
        protocol=benchmark.protocol if protocol is None else str(protocol),
        settings=dict(settings or {}),
        seeds=(1,),
    )
    fitting, resolved, left_out = plan_costs(request, choose_device(device), every=not named)
    return methods_costs(fitting, benchmark, resolved, left_out)


def list_methods(methods_dir: PathLike | Sequence[PathLike] = ()) -> list[str]:
    """Return the names of the methods: the built-in ones, those of installed packages and those of your folders."""
    from ssl_bench.method import load_methods

    return sorted(load_methods(*paths(methods_dir)))


def list_datasets() -> list[str]:
    """Return the names of the data sets that have a built-in card."""
    from ssl_bench.cards import card_names

    return card_names("datasets")

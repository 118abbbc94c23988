"""The command line: parse, call the library, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ssl_bench.errors import InterruptedRunError, UserError

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from ssl_bench.launch.inprocess import Outcome
    from ssl_bench.report.grid import Grid, Target
    from ssl_bench.store import Store
    from ssl_bench.train import Job

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="A reproducible benchmark of semi-supervised learning methods for medical image segmentation.",
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="Check and prepare data sets.")
app.add_typer(data_app, name="data")

DatasetOption = Annotated[str, typer.Option("--dataset", help="A data set's card by name, or a .toml file.")]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's card by name, or a .toml file.")]
ProtocolOption = Annotated[
    str | None, typer.Option("--protocol", help="A protocol's card by name, or a .toml file; default: the data set's.")
]
LabeledOption = Annotated[
    str | None, typer.Option("--labeled", help="Labelled share of the training images (5%) or their number (90).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a protocol or method field; may be repeated."),
]
DataRootOption = Annotated[
    Path | None, typer.Option("--data-root", envvar="SSL_BENCH_DATA", help="Folder that holds the data sets.")
]
ResultsOption = Annotated[
    Path, typer.Option("--results-root", envvar="SSL_BENCH_RESULTS", help="Folder of the results store.")
]
MethodsDirOption = Annotated[
    list[Path] | None, typer.Option("--methods-dir", help="A folder of your own method files; may be repeated.")
]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Go on with another number of cases than published.")
]
IterationsOption = Annotated[
    int | None,
    typer.Option("--iterations", min=1, help="Iterations of a one-update method, in place of the protocol's."),
]
RESULTS = Path("results")


@app.command()
def run(
    methods: Annotated[str, typer.Option("--methods", help="Methods, separated by commas; see `ssl-bench methods`.")],
    dataset: DatasetOption,
    labeled: LabeledOption = None,
    protocol: ProtocolOption = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds, separated by commas.")] = "1",
    iterations: IterationsOption = None,
    settings: SetOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Train and score methods; finished runs are kept, interrupted ones go on. Ends in a table."""
    from ssl_bench.display import counted
    from ssl_bench.method import load_methods
    from ssl_bench.plan import Request, plan_runs
    from ssl_bench.report.runs import comparison_table
    from ssl_bench.spec import load_benchmark
    from ssl_bench.store import Store
    from ssl_bench.train import choose_device

    registry = load_methods(*(methods_dir or []))
    benchmark = load_benchmark(dataset)
    request = Request(
        benchmark=benchmark,
        methods=tuple(_listed(methods)),
        labeled=labeled or benchmark.labeled[0],
        protocol=protocol or benchmark.protocol,
        settings=_settings(settings, iterations),
        seeds=_seeds(seeds),
    )
    console, torch_device = _console(), choose_device(device)
    with counted(console, f"preparing {benchmark.title}") as advance:
        jobs = plan_runs(request, torch_device, data_root, allow_partial=allow_partial, advance=advance)
    store = Store(results_root)
    outcome = _train(jobs, store, torch_device, console)
    finished = [found for job in jobs if (found := store.find(job.spec)) is not None and found.status == "finished"]
    if finished:
        comparison_table(finished, {name: method.title for name, method in registry.items()}).print(console)
    _exit_on_failures(outcome)


TableOption = Annotated[int | None, typer.Option("--table", help="Number of one of the paper's tables.")]
FigureOption = Annotated[int | None, typer.Option("--figure", help="Number of one of the paper's figures.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every table and figure.")]
OtherDatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Another data set than the paper's, by name or as a .toml file.")
]
SharesOption = Annotated[
    str | None, typer.Option("--labeled", help="Other labelled shares than the paper's, separated by commas.")
]
FingerprintOption = Annotated[str | None, typer.Option("--data", help="Data fingerprint, where the store has several.")]


@app.command()
def report(
    table: TableOption = None,
    figure: FigureOption = None,
    all_of_them: AllOption = False,
    dataset: OtherDatasetOption = None,
    labeled: SharesOption = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Whose runs to show; default: the data set's.")
    ] = None,
    settings: SetOption = None,
    iterations: IterationsOption = None,
    data: FingerprintOption = None,
    all_networks: Annotated[bool, typer.Option("--all-networks", help="Show the students' scores too.")] = False,
    costs: Annotated[bool, typer.Option("--costs", help="Show parameters, updates, hours and peak memory.")] = False,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Print intervals, tests and verdicts below the table.")
    ] = False,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="How a table is printed: terminal, markdown, latex, csv, html or svg.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write files of every format into this folder.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="DIR", help="Write a site with a page per table, figure and run.")
    ] = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Regenerate the paper's tables and figures from the results, published beside measured."""
    from ssl_bench.method import load_methods
    from ssl_bench.report import publish
    from ssl_bench.report.figures import FigureReport, paper_figure
    from ssl_bench.report.layout import View
    from ssl_bench.report.paper import paper_table
    from ssl_bench.report.table import FORMATS
    from ssl_bench.store import Store

    if format != "terminal" and format not in FORMATS:
        raise UserError(f"--format: expected terminal, {', '.join(FORMATS)}; found '{format}'")
    grids, target = _grids(table, figure, all_of_them), _target(dataset, labeled, protocol, settings, iterations)
    if output is None and html is None and any(grid.exhibit == "figure" for grid in grids):
        raise UserError("--output: figures are files; expected a folder for them (or --html DIR)")
    unreadable: list[str] = []
    runs, methods = Store(results_root).runs(unreadable), load_methods(*(methods_dir or []))
    _warn(unreadable)
    view = View(all_networks, costs, data, tuple(_options(results_root, methods_dir)))
    reports = [
        (paper_table if grid.exhibit == "table" else paper_figure)(grid, target, runs, methods, view) for grid in grids
    ]
    if output is not None:
        for one in reports:
            typer.echo(f"{one.grid.name}: {', '.join(map(str, publish.write_files(one, output)))}")
    if html is not None:
        typer.echo(f"{publish.write_html(reports, html)} pages: {html / 'index.html'}")
    if output is not None or html is not None:
        return
    for one in reports:
        assert not isinstance(one, FigureReport)
        tables = [*one.tables, one.statistics] if statistics else one.tables
        if format == "terminal":
            for shown in tables:
                shown.print(_console())
        else:
            typer.echo("\n".join(FORMATS[format](shown) for shown in tables), nl=False)
            if format == "csv":  # which has no place for notes
                _say("\n".join(note for shown in tables for note in shown.notes))


@app.command()
def reproduce(
    table: TableOption = None,
    figure: FigureOption = None,
    all_of_them: AllOption = False,
    dataset: OtherDatasetOption = None,
    labeled: SharesOption = None,
    protocol: ProtocolOption = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds, separated by commas.")] = "1,2,3",
    iterations: IterationsOption = None,
    settings: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what is missing and train nothing.")] = False,
    data: FingerprintOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_root: DataRootOption = None,
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Train what the paper's tables or figures still lack: the first seed of everything, then the second, ..."""
    from ssl_bench.display import counted
    from ssl_bench.method import load_methods
    from ssl_bench.plan import plan_runs
    from ssl_bench.reproduce import lack_table, lacking, requests, wanted_runs
    from ssl_bench.store import Store
    from ssl_bench.train import choose_device

    grids, target = _grids(table, figure, all_of_them), _target(dataset, labeled, protocol, settings, iterations)
    wanted = wanted_runs(grids, target, load_methods(*(methods_dir or [])))
    store, unreadable = Store(results_root), list[str]()
    runs, console = store.runs(unreadable), _console()
    _warn(unreadable)
    lacks = lacking(wanted, _seeds(seeds), runs, data)
    lack_table(lacks, len(wanted) * len(_seeds(seeds)), runs).print(console)
    if dry_run or not lacks:
        return
    torch_device, prepared = choose_device(device), dict[Any, Any]()
    with counted(console, "preparing") as advance:
        jobs = [
            job
            for request in requests(lacks)
            for job in plan_runs(
                request, torch_device, data_root, allow_partial=allow_partial, advance=advance, prepared=prepared
            )
        ]
    _exit_on_failures(_train(jobs, store, torch_device, console))


@app.command()
def status(results_root: ResultsOption = RESULTS) -> None:
    """List runs: finished, running, interrupted, failed and why."""
    from ssl_bench.report.runs import status_table
    from ssl_bench.store import Store

    unreadable: list[str] = []
    status_table(Store(results_root).runs(unreadable)).print(_console())
    _warn(unreadable)


@app.command()
def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A finished run: its folder, or its hash or the beginning of it.")
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="2D images or 3D volumes, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the masks.")],
    network: Annotated[
        str | None, typer.Option("--network", help="Another network of the run than the method's predictor.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write each foreground class's probability map too.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Write the prediction's entropy (0 to 1) too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    results_root: ResultsOption = RESULTS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Write a finished run's masks for new images (PNG) and volumes (NIfTI), at their own sizes."""
    from ssl_bench import predict as library
    from ssl_bench.display import counted
    from ssl_bench.method import load_methods
    from ssl_bench.train import choose_device

    folder, registry = library.find_run(run, results_root), load_methods(*(methods_dir or []))
    predictor = library.load_predictor(folder, registry, choose_device(device), network)
    found = library.list_images(images, predictor.spec.protocol.dimensions)
    with counted(_console(), "predicting") as advance:
        library.predict(
            predictor, found, output, probabilities=probabilities, uncertainty=uncertainty, overwrite=overwrite,
            advance=advance,
        )  # fmt: skip
    typer.echo(f"{len(found)} masks in {output}, by network {predictor.name} of {predictor.spec.label} ({folder})")


@app.command()
def methods(methods_dir: MethodsDirOption = None) -> None:
    """List the methods with their papers and hyperparameters."""
    from ssl_bench.method import load_methods
    from ssl_bench.report.table import Table

    rows = []
    for name, method in sorted(load_methods(*(methods_dir or [])).items()):
        fields = method.hyperparameters.model_fields.items()
        hyper = "; ".join(f"{key} = {field.default} ({field.description})" for key, field in fields)
        rows.append(
            [
                name,
                " ".join(f"{d}D" for d in method.dimensions),
                " ".join(sorted(method.components)),
                str(method.updates_per_iteration),
                hyper,
                method.reference,
            ]
        )
    header = ["Method", "Data", "Components", "Updates per iteration", "Hyperparameters", "Paper"]
    Table(f"{len(rows)} methods", header, rows).print(_console())


@app.command()
def benchmarks(
    card: Annotated[str | None, typer.Argument(help="Print this protocol's or data set's card in full.")] = None,
) -> None:
    """List the data sets and protocols, or print one card with everything that it decides."""
    from ssl_bench.report.table import Table
    from ssl_bench.spec import card_names, load_benchmark, load_protocol

    if card is not None:
        found = [load_benchmark(card)] if card in card_names("datasets") else []
        is_protocol = card in card_names("protocols") or not found
        forms = [load_protocol(card, dimensions=d) for d in (2, 3)] if is_protocol else []
        for heading, one in [*(("data set", b) for b in found), *((f"protocol, {p.dimensions}D", p) for p in forms)]:
            typer.echo(f"# {heading}")
            for key, value in one.model_dump().items():
                typer.echo(f"{key} = {value!r}")
        return
    sets = [load_benchmark(name) for name in card_names("datasets")]
    rows = [
        [
            b.name, b.title, f"{b.dimensions}D", str(b.cases), ", ".join(b.splits), ", ".join(b.labeled), b.protocol,
            b.license,
        ]
        for b in sets
    ]  # fmt: skip
    header = ["Data set", "Title", "Data", "Cases", "Splits", "Labelled", "Default protocol", "Licence"]
    Table("Data sets", header, rows).print(_console())
    rows = []
    for name in card_names("protocols"):
        images, volumes = load_protocol(name, dimensions=2), load_protocol(name, dimensions=3)
        rows.append([
            name, images.title, f"{images.network}, {images.encoder}; {volumes.network}",
            f"{_times(images.sides)}; {_times(volumes.sides)}", images.note,
        ])  # fmt: skip
    Table("Protocols", ["Protocol", "Title", "Network, 2D; 3D", "Images; patches", "Note"], rows).print(_console())


@data_app.command("check")
def data_check(dataset: DatasetArgument, data_root: DataRootOption = None) -> None:
    """Say what is there and what is wrong: missing, unreadable, mismatched, empty, doubled, too few or too many."""
    from ssl_bench.data.check import check
    from ssl_bench.display import counted
    from ssl_bench.spec import load_benchmark

    benchmark = load_benchmark(dataset)
    console = _console()
    if benchmark.generator is not None:
        console.print(f"{benchmark.title}: {benchmark.cases} cases, drawn by the package; there are no files to check.")
        return
    with counted(console, f"reading {benchmark.title}") as advance:
        found = check(benchmark, data_root, advance)
    sides = list(zip(*found.sizes, strict=True))
    sizes = f", {_times(map(min, sides))} to {_times(map(max, sides))}" if sides else ""
    console.print(f"{benchmark.title}: {found.cases} cases in {found.folder}{sizes}", highlight=False, soft_wrap=True)
    for finding in found.findings:
        console.print(f"{finding.level}: {finding.kind}: {finding.text}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{found.errors} errors, {len(found.findings) - found.errors} warnings", highlight=False)
    if found.errors:
        raise typer.Exit(2)


@data_app.command("prepare")
def data_prepare(
    dataset: DatasetArgument,
    protocol: ProtocolOption = None,
    settings: SetOption = None,
    data_root: DataRootOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Decode and resize a data set into the cache, as `run` does by itself when needed."""
    from ssl_bench.data.cache import prepare
    from ssl_bench.display import counted
    from ssl_bench.spec import load_benchmark, load_protocol

    benchmark = load_benchmark(dataset)
    card = load_protocol(protocol or benchmark.protocol, _settings(settings, None), dimensions=benchmark.dimensions)
    with counted(_console(), f"preparing {benchmark.title}") as advance:
        done = prepare(benchmark, data_root, card.stored_size, allow_partial=allow_partial, advance=advance)
    at = "" if card.stored_size is None else f" at {card.stored_size}x{card.stored_size}"
    typer.echo(f"{len(done.ids)} cases{at}, data {done.fingerprint}: {done.path}")


@data_app.command("init")
def data_init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of your data set.")],
    output: Annotated[Path | None, typer.Option("--output", help="The card; default: NAME.toml, here.")] = None,
) -> None:
    """Write the card of your own data set by looking at its folder: 2D images or 3D volumes, and masks."""
    from ssl_bench.data.init import card_name, describe
    from ssl_bench.files import write_bytes

    path = output or Path(f"{card_name(folder.resolve().name)}.toml")
    if path.suffix != ".toml" or path.exists():
        raise UserError(f"--output: expected a new file that ends in .toml, found '{path}'")
    from ssl_bench.display import counted  # here, since it takes seconds to import

    with counted(_console(), f"reading {folder}") as advance:
        card = describe(folder, path.stem, advance)
    write_bytes(path, card.encode())
    for line in card.partition("\n\n")[0].splitlines():
        typer.echo(line.removeprefix("# "))
    where = shlex.join([str(path), "--data-root", str(folder)])
    typer.echo(f"{path} is written. Next:\n  ssl-bench data check {where}")
    typer.echo(f"  ssl-bench run --methods supervised,mt --dataset {where} --protocol mini")


def main() -> NoReturn:
    """Entry point: a user's mistake is one clear message and exit code 2."""
    # Threads that spin while they wait starve each other as soon as another process wants a core: 3 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in another order each time
    try:
        app()
    except UserError as error:
        _say("\n".join(f"error: {line}" for line in str(error).splitlines()))
        sys.exit(2)
    except InterruptedRunError as error:
        _say("interrupted: nothing is lost; the same command goes on from here")
        sys.exit(128 + error.signal_number)
    sys.exit(0)


def _train(jobs: Sequence[Job], store: Store, device: torch.device, console: Console) -> Outcome:
    from ssl_bench.display import RunDisplay
    from ssl_bench.launch.inprocess import run_all

    display = RunDisplay(console)
    try:
        return run_all(jobs, store, device, display)
    finally:
        display.close()


def _exit_on_failures(outcome: Outcome) -> None:
    if outcome.failures:
        _say("\n".join(f"failed: {failure}" for failure in outcome.failures))
        raise typer.Exit(2 if outcome.user_error else 1)


def _grids(table: int | None, figure: int | None, all_of_them: bool) -> list[Grid]:
    from ssl_bench.report.grid import all_grids, load_grid

    if [table is not None, figure is not None, all_of_them].count(True) != 1:
        raise UserError("expected exactly one of --table N, --figure N and --all")
    if all_of_them:
        return all_grids()
    return [load_grid("table", table) if table is not None else load_grid("figure", figure or 0)]


def _target(
    dataset: str | None, labeled: str | None, protocol: str | None, settings: list[str] | None, iterations: int | None
) -> Target:
    from ssl_bench.report.grid import Target, share

    shares = tuple(_listed(labeled or ""))
    for text in shares:
        share(text)
    if labeled is not None and not shares:
        raise UserError(f"--labeled: expected shares such as 5% separated by commas, found '{labeled}'")
    return Target(dataset, shares, protocol, _settings(settings, iterations))


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _times(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))


def _seeds(text: str) -> tuple[int, ...]:
    words = _listed(text)
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise UserError(f"--seeds: expected whole numbers separated by commas, found '{text}'")
    return tuple(dict.fromkeys(int(word) for word in words))


def _settings(texts: list[str] | None, iterations: int | None) -> dict[str, Any]:
    from ssl_bench.spec import parse_setting

    settings = dict(parse_setting(text) for text in texts or [])
    if iterations is not None:
        settings["iterations"] = iterations
    return settings


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def _options(results_root: Path, methods_dir: list[Path] | None) -> list[str]:
    """What a command for the same store and methods must say besides."""
    named = ["--results-root", str(results_root)] if results_root != RESULTS else []
    return named + [word for folder in methods_dir or [] for word in ("--methods-dir", str(folder))]


def _warn(unreadable: list[str]) -> None:
    for message in unreadable:
        _say(f"left out: {message}")


def _say(text: str) -> None:
    typer.echo(text, err=True)

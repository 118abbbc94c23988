"""What the commands share: the application, options, and how they are read and answered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_bench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from ssl_bench.cards import Grid
    from ssl_bench.grids.aim import Target
    from ssl_bench.launch.task import Outcome
    from ssl_bench.store import Store

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="A reproducible benchmark of semi-supervised learning methods for medical image segmentation.",
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="Check and prepare data sets.")
app.add_typer(data_app, name="data")
results_app = typer.Typer(no_args_is_help=True, help="Carry results from one machine to another.")
app.add_typer(results_app, name="results")

sweep_app = typer.Typer(help="Search hyperparameters with Optuna.")
app.add_typer(sweep_app, name="sweep")

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
TableOption = Annotated[
    str | None,
    typer.Option("--table", help="Number of one of the paper's tables, or a table of your own as a .toml file."),
]
FigureOption = Annotated[
    str | None, typer.Option("--figure", help="Number of one of the paper's figures, or your own as a .toml file.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Every table and figure.")]
OtherDatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Another data set than the paper's, by name or as a .toml file.")
]
SharesOption = Annotated[
    str | None, typer.Option("--labeled", help="Other labelled shares than the paper's, separated by commas.")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FINGERPRINT",
        help="The beginning of a data fingerprint, where runs of one data set are of several; of several data sets "
        "between commas.",
    ),
]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Seeds, separated by commas.")]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...; several between commas for several runs at a time."),
]
JobsOption = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Runs at a time, each in a process of its own; devices are dealt out in turn."),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=0.01,
        help="Stop after so many minutes; the same command goes on from there. On Slurm the limit is --slurm time=...",
    ),
]
LauncherOption = Annotated[
    str,
    typer.Option("--launcher", help="local; slurm: an array job of the missing runs; or a .py file with your own."),
]
SlurmOption = Annotated[
    str | None,
    typer.Option("--slurm", metavar="KEY=VALUE,...", help="With --launcher slurm: partition=...,gpus=1,time=4h."),
]


def chosen_grids(table: str | None, figure: str | None, all_of_them: bool) -> list[Grid]:
    """The one table or figure that was named, or all."""
    from ssl_bench.cards import all_grids, load_grid

    if [table is not None, figure is not None, all_of_them].count(True) != 1:
        raise UserError("expected exactly one of --table N, --figure N and --all")
    if all_of_them:
        return all_grids()
    return [load_grid("table", table) if table is not None else load_grid("figure", figure or "")]


def asked_target(
    dataset: str | None, labeled: str | None, protocol: str | None, settings: list[str] | None, iterations: int | None
) -> Target:
    """What the options of `report` and `reproduce` aim at."""
    from ssl_bench.cards import share
    from ssl_bench.grids.aim import Target

    different: dict[object, str] = {}  # 15% and 15.0% are one
    for text in listed(labeled or ""):
        different.setdefault(share(text), text)
    shares = tuple(different.values())
    if labeled is not None and not shares:
        raise UserError(f"--labeled: expected shares such as 5% separated by commas, found '{labeled}'")
    return Target(dataset, shares, protocol, parsed_settings(settings, iterations))


def listed(text: str) -> list[str]:
    """Words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def times(sides: Iterable[int]) -> str:
    """Sides as in 128x128."""
    return "x".join(map(str, sides))


def parsed_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    words = listed(text)
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise UserError(f"--seeds: expected whole numbers separated by commas, found '{text}'")
    return tuple(dict.fromkeys(int(word) for word in words))


def parsed_settings(texts: list[str] | None, iterations: int | None) -> dict[str, Any]:
    """`--set KEY=VALUE` and `--iterations` as one; what is said twice would be a wish that is not fulfilled."""
    from ssl_bench.cards import parse_setting

    pairs = [parse_setting(text) for text in texts or []]
    pairs += [] if iterations is None else [("iterations", iterations)]
    settings = dict(pairs)
    for key in settings:
        said = [value for name, value in pairs if name == key]
        if len(said) > 1:
            raise UserError(f"--set {key}: expected one value, found {' and '.join(map(str, said))}")
    return settings


def make_console() -> Console:
    """The terminal, or 160 columns where the output goes elsewhere."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def existing_store(results_root: Path) -> Store:
    """The store to read from; one that was named must be there.

    Raises:
        UserError: it is not.
    """
    from ssl_bench.store import Store

    if results_root != RESULTS and not results_root.is_dir():
        raise UserError(f"--results-root: no folder at {results_root}")
    return Store(results_root)


def same_place(results_root: Path, methods_dir: list[Path] | None) -> list[str]:
    """What a command for the same store and methods must say besides."""
    named = ["--results-root", str(results_root)] if results_root != RESULTS else []
    return named + [word for folder in methods_dir or [] for word in ("--methods-dir", str(folder))]


def place_words(
    data_root: Path | None, results_root: Path, methods_dir: list[Path] | None, allow_partial: bool
) -> list[str]:
    """What a process that trains a run for this one must be told besides."""
    words = [] if data_root is None else ["--data-root", str(data_root)]
    words += ["--allow-partial"] if allow_partial else []
    return [*words, "--results-root", str(results_root), *same_place(RESULTS, methods_dir)]


def warn(unreadable: list[str]) -> None:
    """Name the runs that cannot be read."""
    for message in unreadable:
        say(f"left out: {message}")


def exit_on_failures(outcome: Outcome) -> None:
    """Name what failed; exit code 2 where the user can mend it, else 1."""
    if outcome.failures:
        say("\n".join(f"failed: {failure}" for failure in outcome.failures))
        raise typer.Exit(2 if outcome.user_error else 1)


def say(text: str) -> None:
    """Print to stderr."""
    typer.echo(text, err=True)

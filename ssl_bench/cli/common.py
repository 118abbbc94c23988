"""Shared by all commands: the application, the options and their parsers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_bench.errors import UserError
from ssl_bench.folders import CLAIMS

if TYPE_CHECKING:
    from ssl_bench.launch.task import Outcome

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="A reproducible benchmark of semi-supervised learning methods for medical image segmentation.",
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="Check and prepare data sets, and describe your own.")
app.add_typer(data_app, name="data")
results_app = typer.Typer(no_args_is_help=True, help="Export, import and convert results.")
app.add_typer(results_app, name="results")

sweep_app = typer.Typer(help="Search hyperparameters with Optuna.")
app.add_typer(sweep_app, name="sweep")

DatasetOption = Annotated[str, typer.Option("--dataset", help="Name of a built-in data set, or a .toml card.")]
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="Name of a built-in data set, or a .toml card.")
]
ProtocolOption = Annotated[
    str | None,
    typer.Option("--protocol", help="Name of a built-in protocol, or a .toml card; default: the data set's."),
]
LabeledOption = Annotated[
    str | None, typer.Option("--labeled", help="Labelled training images, as a share (5%) or a number (90).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a protocol or method field; may be repeated."),
]
TunedOption = Annotated[
    str,
    typer.Option(
        "--tuned", help="Settings of each method: common (the protocol's) or authors (its authors', where it has any)."
    ),
]
RowsTunedOption = Annotated[
    str,
    typer.Option(
        "--tuned", help="Settings of each row: common (the protocol's), authors (its method's authors'), or both."
    ),
]
DataRootOption = Annotated[
    Path | None, typer.Option("--data-root", envvar="SSL_BENCH_DATA", help="Folder that holds the data sets.")
]
ResultsOption = Annotated[
    Path, typer.Option("--results-root", envvar="SSL_BENCH_RESULTS", help="Folder of the results store.")
]
MethodsDirOption = Annotated[
    list[Path] | None,
    typer.Option("--methods-dir", help="Folder with your own methods, networks and metrics; may be repeated."),
]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Accept more or fewer cases than the published data set has.")
]
IterationsOption = Annotated[
    int | None,
    typer.Option(
        "--iterations", min=1, help="Iterations of a method with one update per iteration; overrides the protocol."
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option("--table", help="Number of a table of the paper, or a .toml file with your own table."),
]
FigureOption = Annotated[
    str | None, typer.Option("--figure", help="Number of a figure of the paper, or a .toml file with your own figure.")
]
ClaimsOption = Annotated[
    str | None,
    typer.Option(
        "--claims",
        metavar="[CARD]",
        help=f"The claims of a paper: {CLAIMS} (the default), or a .toml file with your own.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every table and figure, and the claims.")]
OwnMethodsOption = Annotated[
    str | None,
    typer.Option("--methods", help="A table of these methods, separated by commas, on the data sets of --dataset."),
]
OtherDatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "--datasets",
        help="Use these data sets only, the paper's or not: names or .toml cards, separated by commas.",
    ),
]
SharesOption = Annotated[
    str | None, typer.Option("--labeled", help="Labelled shares to use instead of the paper's, separated by commas.")
]
CardOption = Annotated[str | None, typer.Option("--dataset", help="Card of the runs' data set, if it is not built in.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FINGERPRINT",
        help="Use only runs whose data fingerprint begins with this; needed if the runs of a data set have different "
        "fingerprints. Separate several by commas.",
    ),
]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Seeds, separated by commas.")]
LabelSeedsOption = Annotated[
    str | None,
    typer.Option(
        "--label-seeds",
        help="Seeds that draw the labelled cases, separated by commas, each with every seed; default: the seed draws.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda, cuda:1, ...; several, separated by commas, train runs in parallel."
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Number of runs at a time, each in its own process; devices are assigned in turn."
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=0.01,
        help="Stop after this many minutes; the same command continues. With --launcher slurm, use --slurm time=...",
    ),
]
LauncherOption = Annotated[
    str,
    typer.Option("--launcher", help="local, slurm (an array job of the missing runs), or a .py file with your own."),
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log", metavar="TRACKER,...", help="Trackers that follow each run: csv, mlflow, tensorboard, wandb."
    ),
]
LogDirOption = Annotated[
    Path | None,
    typer.Option("--log-dir", help="Folder for the trackers' files; default: logs in the results root."),
]
SlurmOption = Annotated[
    str | None,
    typer.Option(
        "--slurm", metavar="KEY=VALUE,...", help="Options of --launcher slurm, such as partition=...,gpus=1,time=4h."
    ),
]


def with_default_card(words: Sequence[str]) -> list[str]:
    """Return the words of a command with the default card after a `--claims` that has no value."""
    found = []
    for word, following in zip(words, [*words[1:], "-"], strict=False):
        found += [word, CLAIMS] if word == "--claims" and following.startswith("-") else [word]
    return found


def listed(text: str) -> list[str]:
    """Split a text at its commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def listed_datasets(text: str | None) -> list[str] | None:
    """Split data sets at commas. None if the option is not given."""
    if text is None:
        return None
    if not listed(text):
        raise UserError(f"--dataset: expected names of data sets or .toml cards separated by commas, found '{text}'")
    return listed(text)


def listed_shares(text: str | None) -> list[str] | None:
    """Split shares at commas. None if the option is not given."""
    if text is None:
        return None
    if not listed(text):
        raise UserError(f"--labeled: expected shares such as 5% separated by commas, found '{text}'")
    return listed(text)


def parsed_seeds(text: str, option: str = "--seeds") -> tuple[int, ...]:
    """Read whole numbers between commas."""
    words = listed(text)
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise UserError(f"{option}: expected whole numbers separated by commas, such as 1,2,3; found '{text}'")
    return tuple(dict.fromkeys(int(word) for word in words))


def parsed_label_seeds(text: str | None) -> tuple[int, ...] | None:
    """Read label seeds. None if the option is not given."""
    return None if text is None else parsed_seeds(text, "--label-seeds")


def parsed_trackers(text: str | None) -> list[str]:
    """Read names of trackers between commas. Empty if the option is not given."""
    if text is not None and not listed(text):
        raise UserError(f"--log: expected names of trackers separated by commas, found '{text}'")
    return listed(text or "")


def parsed_settings(texts: list[str] | None, iterations: int | None) -> dict[str, Any]:
    """Merge `--set KEY=VALUE` and `--iterations`. Setting a key twice is an error."""
    from ssl_bench.cards import parse_setting

    pairs = [parse_setting(text) for text in texts or []]
    pairs += [] if iterations is None else [("iterations", iterations)]
    settings = dict(pairs)
    for key in settings:
        said = [value for name, value in pairs if name == key]
        if len(said) > 1:
            raise UserError(f"--set {key}: expected one value, found {' and '.join(map(str, said))}")
    return settings


def exit_on_failures(outcome: Outcome | None) -> None:
    """Exit with code 2 if a run failed by a user's mistake, with 1 if a run failed otherwise."""
    if outcome is not None and outcome.failures:
        raise typer.Exit(2 if outcome.user_error else 1)


def say(text: str) -> None:
    """Print to stderr."""
    typer.echo(text, err=True)

"""Which runs of the store belong to a cell, and their scores over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.files import WEIGHT_FILES, file_fingerprint
from ssl_bench.spec import FRACTIONS, Benchmark, Metric, Protocol, RunSpec, Split, number_of, parse_share
from ssl_bench.store import Run
from ssl_bench.wording import quantity

METRIC_TITLES = {"dsc": "DSC [%]", "jaccard": "Jaccard [%]", "95hd": "95HD", "asd": "ASD"}
CASES = {2: "images", 3: "volumes"}


@dataclass(frozen=True)
class Cell:
    """What a cell asks for; `protocol` is as the card and `--set` say, not yet resolved."""

    benchmark: Benchmark
    labeled: str
    protocol: Protocol
    method: str
    method_version: int
    hyperparameters: Mapping[str, Any]
    _resolved: dict[tuple[int, str], tuple[str, dict[str, Any]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def matches(self, run: Run) -> bool:
        """Whether a finished run is this cell's, on whatever device it ran."""
        spec = run.spec
        return (
            run.status == "finished"
            and (spec.benchmark, spec.method, spec.method_version)
            == (self.benchmark.name, self.method, self.method_version)
            and spec.hyperparameters == dict(self.hyperparameters)
            and spec.labeled == _count(self.labeled, spec.train_count)
            and any(
                self.resolved(spec.train_count, device)[1] == plain_protocol(spec.protocol)
                for device in ("cpu", "cuda")
            )
            and self._is_split(spec.protocol.split, spec.split)
            and self._has_the_weights(spec.weights_fingerprint)
        )

    def _is_split(self, name: str, split: Split) -> bool:
        """Whether a run's split is the one asked for; of one in a file the content counts, not the name."""
        wanted, _ = self.resolved(1, "cpu")
        same_rule = split.model_dump(exclude={"file"}) == self.benchmark.splits[wanted].model_dump(exclude={"file"})
        return same_rule and (split.file is not None or name == wanted)

    def _has_the_weights(self, fingerprint: str | None) -> bool:
        """Whether a run's encoder weights are those of the file asked for, where that file is at hand."""
        named = str(getattr(self.protocol, "encoder_weights", "none"))
        path = Path(named)
        return not (named.endswith(WEIGHT_FILES) and path.is_file()) or fingerprint == _fingerprint(path)

    def resolved(self, train_count: int, device: str) -> tuple[str, dict[str, Any]]:
        """Name of the split and the deciding fields of the protocol, as a run on this data and device has them."""
        key = (train_count, device)
        if key not in self._resolved:
            protocol = self.protocol.resolved(self.benchmark, train_count, device)
            self._resolved[key] = (protocol.split, plain_protocol(protocol))
        return self._resolved[key]


@dataclass(frozen=True)
class DataChoice:
    """Beginnings of data fingerprints, and names of the data sets among whose data they choose."""

    beginnings: tuple[str, ...] = ()
    data_sets: frozenset[str] = frozenset()

    def includes(self, spec: RunSpec) -> bool:
        """Whether a run is of chosen data, or of a data set where nothing was chosen."""
        return spec.benchmark not in self.data_sets or spec.data_fingerprint.startswith(self.beginnings)


def choose_data(beginnings: Sequence[str], specs: Iterable[RunSpec], to_come: Collection[str] = ()) -> DataChoice:
    """Find the data sets that beginnings of data fingerprints are of.

    Args:
        beginnings: what `--data` says.
        specs: of the runs to choose among.
        to_come: names of the data sets that data of no such run may be of; which one can be told where there is one.

    Raises:
        UserError: no run has such data, and it cannot be told which data set's it will be.
    """
    there = sorted({(spec.data_fingerprint, spec.benchmark) for spec in specs})
    data_sets = set[str]()
    for beginning in beginnings:
        found = {name for fingerprint, name in there if fingerprint.startswith(beginning)}
        if not found and len(to_come) != 1:
            known = (
                ", ".join(f"{fingerprint} ({name})" for fingerprint, name in there)
                or "a run's, of which there are none"
            )
            raise UserError(f"--data: expected the beginning of {known}; found '{beginning}'")
        data_sets |= found or set(to_come)
    return DataChoice(tuple(beginnings), frozenset(data_sets))


def select(runs: Sequence[Run], cells: Sequence[Cell | None]) -> list[list[Run]]:
    """Return each cell's runs, one per seed, ordered by it; none for no cell.

    Of two runs that differ in `score_every` alone, which trained alike, the one that scored as often as the cell asks
    for is taken, else the one that scored more often.

    Raises:
        UserError: runs on one data set are of different data or precision, which must never stand in one table.
    """
    shelf: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        shelf.setdefault((run.spec.benchmark, run.spec.method), []).append(run)
    chosen = [
        [] if cell is None else [run for run in shelf.get((cell.benchmark.name, cell.method), []) if cell.matches(run)]
        for cell in cells
    ]
    together = [run for own in chosen for run in own]
    for name in {run.spec.benchmark for run in together}:
        of_data = [run for run in together if run.spec.benchmark == name]
        _require_one("data (--data FINGERPRINT chooses)", {run.spec.data_fingerprint for run in of_data})
        _require_one("encoder weights", {str(run.spec.weights_fingerprint) for run in of_data if _has_encoder(run)})
        _require_one("precision (--set precision=... chooses)", {run.spec.protocol.precision for run in of_data})
    asked = [None if cell is None else cell.protocol.score_every for cell in cells]
    return [_one_per_seed(own, every) for own, every in zip(chosen, asked, strict=True)]


def _has_encoder(run: Run) -> bool:
    return getattr(run.spec.protocol, "encoder", "none") != "none"


def _one_per_seed(runs: Sequence[Run], score_every: int | None) -> list[Run]:
    def rank(run: Run) -> tuple[bool, float, str]:
        own = run.spec.protocol.score_every
        return score_every is not None and own != score_every, own or math.inf, run.path.name

    by_seed: dict[int, Run] = {}
    for run in sorted(runs, key=rank):
        by_seed.setdefault(run.spec.seed, run)
    return [by_seed[seed] for seed in sorted(by_seed)]


def metric_title(metric: Metric, dimensions: int) -> str:
    """How a metric is printed, with its unit."""
    if metric in FRACTIONS:
        return METRIC_TITLES[metric]
    return f"{METRIC_TITLES[metric]} [{'px' if dimensions == 2 else 'voxel'}]"


def seed_scores(
    runs: Sequence[Run], metric: Metric, network: str | None = None, label: int | None = None
) -> list[float]:
    """Each run's mean over cases (and classes, unless the number of one is given), in per cent for DSC and Jaccard.

    Of the predictor, unless a network is named.
    """
    values = []
    for run in runs:
        scores = run.result["scores"][network or run.result["predictor"]][metric]
        mean = (scores if label is None else list(scores["classes"].values())[label - 1])["mean"]
        if mean is not None:
            values.append(100 * mean if metric in FRACTIONS else mean)
    return values


def undefined(runs: Sequence[Run], metric: Metric) -> int:
    """How many cases, over all runs, had no defined value of the predictor and were not averaged in."""
    return sum(run.result["scores"][run.result["predictor"]][metric]["undefined"] for run in runs)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation over seeds; the mean alone for one seed, a dash for none."""
    if not values:
        return "—"
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def origin(runs: Sequence[Run]) -> list[str]:
    """Where the numbers come from, for the lines below a table or figure."""
    if not runs:
        return []
    seeds = sorted({run.spec.seed for run in runs})
    origins = [origin for run in runs for origin in _origins(run)]
    software = {f"ssl-bench {one['ssl_bench']}, {_packages(one['packages'])}" for one in origins}
    dates = [str(run.provenance["finished"])[:10] for run in runs]
    days = " to ".join(sorted({min(dates), max(dates)}))
    devices = "; ".join(sorted({str(one["device"]) for one in origins}))
    data: dict[str, dict[str, None]] = {}
    for run in runs:
        spec = run.spec
        cases = CASES[spec.protocol.dimensions]
        share = f"{spec.labeled} of {spec.train_count} training {cases} labelled, {spec.test_count} tested"
        data.setdefault(f"{spec.benchmark} (data {spec.data_fingerprint})", {})[share] = None
    return [
        f"Measured: mean over test cases, ± sample standard deviation over seeds ({', '.join(map(str, seeds))}).",
        *(f"{name}: {'; '.join(shares)}." for name, shares in data.items()),
        (f"Runs of {days} on {devices}; {'; '.join(sorted(software))}."),
        *_weight_files(runs),
        *_commands(runs),
        *_unlike(runs),
        *_nondeterministic(runs),
    ]


def _origins(run: Run) -> list[Mapping[str, Any]]:
    """The provenance of every part of a run: one, unless it went on from a checkpoint under another."""
    return [*run.provenance.get("earlier", ()), run.provenance]


def _packages(versions: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _weight_files(runs: Sequence[Run]) -> list[str]:
    """The files that encoder weights came from, each by its content."""
    found = {
        f"Encoder weights: {Path(named).name} (SHA-256 {run.spec.weights_fingerprint}...)."
        for run in runs
        if (named := str(getattr(run.spec.protocol, "encoder_weights", "none"))).endswith(WEIGHT_FILES)
    }
    return sorted(found)


def _commands(runs: Sequence[Run], most: int = 3) -> list[str]:
    """The commands that trained the runs, as they were given."""
    commands = sorted({str(run.provenance["command"]) for run in runs if run.provenance.get("command")})
    lines = [f"Trained by `{command}`" for command in commands[:most]]
    more = len(commands) - most
    return lines + [f"and {quantity(more, 'other command')} (see the runs)."] * (more > 0)


def _unlike(runs: Sequence[Run]) -> list[str]:
    """What the rows of one table do not have in common and a reader must know."""
    notes = []
    seeds: dict[tuple[str, int, str], dict[tuple[str, str], set[int]]] = {}  # by column, then by row
    texts: dict[str, set[str]] = {}
    for run in runs:
        spec = run.spec
        column = seeds.setdefault((spec.benchmark, spec.labeled, spec.protocol.split), {})
        column.setdefault((spec.method, spec.model_copy(update={"seed": 0}).hash), set()).add(spec.seed)
        texts.setdefault(spec.method, set()).add(str(run.provenance.get("method_source_sha256")))
    for (name, labeled, split), column in seeds.items():
        if len({frozenset(own) for own in column.values()}) > 1:
            each = "; ".join(f"{method} {', '.join(map(str, sorted(own)))}" for (method, _), own in column.items())
            where = f" ({name}, {labeled} labelled, split {split})" if len(seeds) > 1 else ""
            notes.append(f"The rows differ in their seeds, and so in their labelled images{where}: {each}.")
    edited = [method for method, own in texts.items() if len(own) > 1]
    if edited:
        notes.append(f"The file of {', '.join(edited)} was edited between these runs, its version not raised.")
    moved = [run.path.name for run in runs if len({_machine(one) for one in _origins(run)}) > 1]
    if moved:
        notes.append(
            f"Trained in parts on unlike machines or software, so not to be repeated bit for bit: {', '.join(moved)}."
        )
    return notes


def _nondeterministic(runs: Sequence[Run]) -> list[str]:
    """Which methods' runs may not give the same bits again, where torch said so."""
    operations: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        used = run.result.get("nondeterministic", ())  # not in runs of earlier versions
        devices = ", ".join(dict.fromkeys(str(one["device"]) for one in _origins(run)))
        operations.setdefault((run.spec.method, devices), set()).update(used)
    return [
        f"{method} used operations that have no deterministic form on {device} ({', '.join(sorted(used))}): "
        "the same seed trained again may give other numbers."
        for (method, device), used in operations.items()
        if used
    ]


def _machine(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a provenance decides the rounding."""
    return origin["device"], origin["ssl_bench"], _packages(origin["packages"])


def dotted(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested data under keys with dots, as `--set` names them."""
    flat = {}
    for key, value in nested.items():
        flat.update(dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def plain_protocol(protocol: Protocol) -> dict[str, Any]:
    """A protocol's deciding fields; where a weight file lies does not decide, nor how no validation would go."""
    data = protocol.model_dump(mode="json", exclude={"name", "title", "note", "epochs", "split", "score_every"})
    if str(data.get("encoder_weights")).endswith(WEIGHT_FILES):
        data["encoder_weights"] = "file"
    if data["validation"] is None:
        del data["validation_share"], data["validate_every"]
    return data


@cache
def _fingerprint(path: Path) -> str:
    """A file's, read once however many runs are looked at."""
    return file_fingerprint(path)


@cache
def _count(share: str, train_count: int) -> int | None:
    """The number of labelled images that a share is; None where there are not as many, or none at all."""
    count = number_of(parse_share(share, "--labeled"), train_count)
    return count if 1 <= count <= train_count else None


def _require_one(what: str, found: set[str]) -> None:
    if len(found) > 1:
        raise UserError(f"report: the runs differ in {what}: {', '.join(sorted(found))}")

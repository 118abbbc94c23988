"""The lines below tables and figures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.atomic import WEIGHT_FILES
from ssl_bench.cards import Claims, Grid, MetricName, RunSpec, seed_text
from ssl_bench.command import label_words, quantity, run_words, setting_words
from ssl_bench.grids.signs import sign_notes
from ssl_bench.reporting.where_data_lies import data_options, partial_copies
from ssl_bench.store import Run

if TYPE_CHECKING:
    from ssl_bench.grids.aim import Place, Target
    from ssl_bench.reporting.gather import Body, ShownOptions

CASES = {2: "images", 3: "volumes"}


def labeled_of(spec: RunSpec, word: str = "") -> str:
    """Say how many images, volumes or groups of how many are labelled, such as "3 of 70 training groups"."""
    what = "groups" if spec.train_groups else CASES[spec.dimensions]
    return f"{spec.labeled} of {spec.train_units} {word}{what}"


def origin(runs: Sequence[Run], *, has_deviation: bool = True) -> list[str]:
    """Where the numbers come from, for the lines below a table or figure.

    Args:
        runs: finished runs.
        has_deviation: whether numbers stand with ± their deviation over seeds.

    """
    if not runs:
        return []
    origins = [origin for run in runs for origin in provenances(run)]
    software = {f"ssl-bench {one['ssl_bench']}, {_packages(one['packages'])}" for one in origins}
    dates = [str(run.provenance["finished"])[:10] for run in runs]
    days = " to ".join(sorted({min(dates), max(dates)}))
    devices = "; ".join(sorted({str(one["device"]) for one in origins}))
    data: dict[str, dict[str, None]] = {}
    for run in runs:
        spec = run.spec
        tested = quantity(spec.test_count, CASES[spec.dimensions].removesuffix("s"))
        share = f"{labeled_of(spec, 'training ')} labelled, {tested} tested"
        data.setdefault(f"{spec.benchmark} (data {spec.data_fingerprint})", {})[share] = None
    deviation = ", ± sample standard deviation over" if has_deviation else " and over"
    return [
        f"Measured: mean over test cases{deviation} {_trainings([run.spec for run in runs])}.",
        *(f"{name}: {'; '.join(shares)}." for name, shares in data.items()),
        *partial_copies(runs),
        (f"Runs of {days} on {devices}; {'; '.join(sorted(software))}."),
        *_weight_files(runs),
        *_commands(runs),
        *_unlike(runs),
        *_nondeterministic(runs),
    ]


def _trainings(specs: Sequence[RunSpec]) -> str:
    """Name the seeds, and the label seeds where they were set."""
    seeds = ", ".join(map(str, sorted({spec.seed for spec in specs})))
    if all(spec.label_seed is None for spec in specs):
        return f"seeds ({seeds})"
    labels = ", ".join(map(str, sorted({spec.label_draw for spec in specs if spec.labeled < spec.train_units})))
    return f"trainings (seeds {seeds}; label seeds {labels})"


def provenances(run: Run) -> list[Mapping[str, Any]]:
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
    """Differences between the rows of a table that a reader must know."""
    notes = []
    seeds: dict[tuple[str, int, str], dict[tuple[str, str], dict[tuple[int, int], str]]] = {}  # by column, then by row
    texts: dict[str, set[str]] = {}
    networks: dict[str, set[str]] = {}
    further: dict[str, set[str]] = {}
    for run in runs:
        spec = run.spec
        column = seeds.setdefault((spec.benchmark, spec.labeled, spec.protocol.split), {})
        row = column.setdefault((spec.method, spec.model_copy(update={"seed": 0, "label_seed": None}).hash), {})
        row[spec.draws] = seed_text(spec.seed, spec.label_seed)
        texts.setdefault(spec.method, set()).add(str(run.provenance.get("method_source_sha256")))
        networks.setdefault(spec.protocol.network, set()).add(str(run.provenance.get("network_source_sha256")))
        for what, source in run.provenance.get("further_sources_sha256", {}).items():
            further.setdefault(what, set()).add(source)
    for (name, labeled, split), column in seeds.items():
        if len({frozenset(own) for own in column.values()}) > 1:
            each = "; ".join(
                f"{method} {', '.join(own[one] for one in sorted(own))}" for (method, _), own in column.items()
            )
            where = f" ({name}, {labeled} labelled, split {split})" if len(seeds) > 1 else ""
            notes.append(f"The rows differ in their seeds, and so in their labelled images{where}: {each}.")
    edited = [method for method, own in texts.items() if len(own) > 1]
    if edited:
        notes.append(f"The file of {', '.join(edited)} was edited between these runs without raising its version.")
    rebuilt = [network for network, own in networks.items() if len(own) > 1]
    if rebuilt:
        notes.append(f"The file of the network {', '.join(rebuilt)} was edited between these runs.")
    notes += [f"The file of the {what} was edited between these runs." for what, own in further.items() if len(own) > 1]
    moved = [run.path.name for run in runs if len({_machine(one) for one in provenances(run)}) > 1]
    if moved:
        notes.append(
            f"Trained in parts on different machines or software, so not repeatable bit for bit: {', '.join(moved)}."
        )
    return notes


def _nondeterministic(runs: Sequence[Run]) -> list[str]:
    """Methods whose runs may not be bitwise reproducible, according to torch."""
    operations: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        used = run.result.get("nondeterministic", ())  # not in runs of earlier versions
        devices = ", ".join(dict.fromkeys(str(one["device"]) for one in provenances(run)))
        operations.setdefault((run.spec.method, devices), set()).update(used)
    return [
        f"{method} used operations that have no deterministic form on {device} ({', '.join(sorted(used))}): "
        "training the same seed again may give different numbers."
        for (method, device), used in operations.items()
        if used
    ]


def _machine(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of a provenance that affect rounding."""
    return origin["device"], origin["ssl_bench"], _packages(origin["packages"])


SEEDS = [1, 2, 3]  # of every command by default


def damage_notes(damaged: Sequence[str]) -> list[str]:
    """Name the runs that are left out: their scores changed after they were written, or are of other test cases."""
    return [f"Left out: {text}. If it is moved out of the store, the run is trained again." for text in damaged]


def missing_notes(
    card: Grid | Claims, target: Target, body: Body, commands: Sequence[str], view: ShownOptions
) -> list[str]:
    """Give the commands that train a body's missing runs: all at once, and by data set."""
    if not commands:
        return []
    seeds = _seeds(body, target)
    words = ["ssl-bench", "reproduce", *card.words]
    words += ["--dataset", ",".join(target.datasets)] if target.datasets else []
    words += ["--labeled", ",".join(target.labeled)] if target.labeled else []
    words += [] if target.protocol is None else ["--protocol", target.protocol]
    words += [] if seeds == SEEDS else ["--seeds", ",".join(map(str, seeds))]
    words += label_words(target.label_seeds)
    words += [] if target.tuned == "common" else ["--tuned", target.tuned]
    words += [] if view.data is None else ["--data", view.data]
    options = [*view.options, *data_options([run for row in body for one in row for run in one.runs])]
    everything = shlex.join([*words, *setting_words(target.settings), *options])
    return [f"missing runs: all of them by `{everything}`", *(f"missing runs: `{command}`" for command in commands)]


def row_notes(body: Body) -> list[str]:
    """Explain the signs at the titles of a body's rows."""
    found = [one.place for row in body for one in row if one.place is not None]
    authors: dict[str, dict[str, Any]] = {}
    for place in found:
        if place.row.tuned == "authors":
            authors.setdefault(place.row.title, {}).update(place.authors)
    return sign_notes(authors, list(dict.fromkeys(p.row.title for p in found if p.declaration.reconstructed)))


def protocol_notes(target: Target, body: Body) -> list[str]:
    """Say which seeds were chosen, and under which protocols; 2D and 3D forms may have notes of their own."""
    found = [one.place for row in body for one in row if one.place is not None]
    protocols = dict.fromkeys((place.protocol, place.wanted.protocol.note) for place in found)
    seeds = ", ".join(map(str, sorted(target.seeds)))
    chosen = [f"Only {'seed' if len(target.seeds) == 1 else 'seeds'} {seeds} (--seeds)."] * bool(target.seeds)
    return chosen + [line for name, note in protocols for line in protocol_note(name, note, target.settings)]


def protocol_note(name: str, note: str, settings: Mapping[str, Any]) -> list[str]:
    """Name a protocol with the settings that change it, and print its card's note, which describes it without them."""
    changed = " ".join(f"{key}={value}" for key, value in settings.items())
    if changed:
        of_card = f" The card of {name}, without these settings, says: {note}" if note else ""
        return [f"Protocol {name} with {changed}.{of_card}"]
    return [f"Protocol {name}: {note}"] if note else []


def _seeds(body: Body, target: Target) -> list[int]:
    """The target's seeds; else those of the runs, also of those that are left out, or the commands' default seeds."""
    found = {run.spec.seed for row in body for one in row for run in (*one.runs, *one.left_out)}
    return sorted(target.seeds or found) or SEEDS


def fill_commands(body: Body, target: Target, view: ShownOptions, metrics: Sequence[MetricName]) -> list[str]:
    """Commands that train what is missing: one for all methods of a data set, share and settings.

    A cell lacks a run where it has none of a seed that the target names, else that another cell has, scored by the
    metrics that are shown. With label seeds, it needs one for each of them.
    """
    seeds = _seeds(body, target)
    groups: dict[str, tuple[Place, list[str]]] = {}
    for row in body:
        for one in row:
            if (place := one.place) is not None and not _scored_draws(place, one.runs, metrics).issuperset(
                draws for seed in seeds for draws in place.wanted.draws_of(seed)
            ):
                key = f"{place.column.dataset} {place.column.labeled} {place.protocol} {sorted(place.settings.items())}"
                groups.setdefault(key, (place, []))[1].append(place.method)
    commands = [
        run_words(
            list(dict.fromkeys(names)), place.benchmark.option, place.column.labeled, place.protocol, seeds,
            place.settings, place.wanted.label_seeds,
        )
        for place, names in groups.values()
    ]  # fmt: skip
    runs = [run for row in body for one in row for run in one.runs]
    places = [
        data_options([run for run in runs if run.spec.benchmark == place.benchmark.name])
        for place, _ in groups.values()
    ]
    return [
        shlex.join(["ssl-bench", *words, *view.options, *where]) for words, where in zip(commands, places, strict=True)
    ]


def _scored_draws(place: Place, runs: Sequence[Run], metrics: Sequence[MetricName]) -> set[tuple[int, int]]:
    """Seeds and label draws of the runs that have scores by these metrics, of those that the data set is scored by."""
    measurement = place.wanted.measurement
    wanted = [metric for metric in metrics if metric in measurement.metrics]
    return {run.spec.draws for run in runs if all(run.scored(measurement, metric) for metric in wanted)}

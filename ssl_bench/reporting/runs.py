"""Tables of runs: the final table of `run`, and the list of `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssl_bench.cards import HEADLINE, METRICS, Measurement, RunSpec, dotted, seed_text
from ssl_bench.command import quantity, toml_value
from ssl_bench.errors import UserError
from ssl_bench.grids.signs import RECONSTRUCTED, sign_notes, signed
from ssl_bench.reporting.notes import damage_notes, labeled_of, origin, protocol_note
from ssl_bench.reporting.scores import cell_scores, mean_and_deviation, undefined
from ssl_bench.reporting.sound_runs import sound_runs
from ssl_bench.reporting.table import Table
from ssl_bench.store import Entry, Run, RunFolder, spec_of

if TYPE_CHECKING:
    from ssl_bench.method import SSLMethod

MOST = 60  # finished runs that `status` lists one by one


def comparison_table(
    runs: Sequence[Run],
    titles: Mapping[str, str],
    measurement: Measurement,
    settings: Mapping[str, Any] | None = None,
    signs: Sequence[str] = (),
) -> Table:
    """Compare the methods of one request: a row per method, metrics as mean ± standard deviation over seeds.

    Where there are several foreground classes, a method's row is their mean, and theirs stand below it.

    Args:
        runs: finished runs that differ in method, seed and label seed alone.
        titles: how each method's name is printed.
        measurement: how they are scored.
        settings: what changed the protocol or the hyperparameters.
        signs: lines that explain the signs at titles.

    """
    spec = runs[0].spec
    metrics = measurement.metrics
    headings = [measurement.heading(metric) for metric in metrics]
    rows, notes = [], []
    methods = list(dict.fromkeys(run.spec.method for run in runs))
    sound, reasons = sound_runs([[run for run in runs if run.spec.method == method] for method in methods])
    for method, own in zip(methods, sound, strict=True):
        if not own:
            continue
        scores = [mean_and_deviation(cell_scores(own, metric, measurement)) for metric in metrics]
        minutes = sum(run.result["train_seconds"] for run in own) / len(own) / 60
        rows.append([titles[method], own[0].result["predictor"], *scores, str(len(own)), f"{minutes:.1f}"])
        for number, label in enumerate(spec.classes[1:] if len(spec.classes) > 2 else (), start=1):
            of_class = [mean_and_deviation(cell_scores(own, metric, measurement, label=number)) for metric in metrics]
            rows.append([f"  {label}", "", *of_class, "", ""])
        for metric, title in zip(metrics, headings, strict=True):
            count = undefined(own, metric, measurement)
            if count:
                verb = "was" if count == 1 else "were"
                values = f"{quantity(count, 'value')} of {title} {verb} undefined"
                notes.append(f"{titles[method]}: {values}; the mean is of the others.")
    columns = [
        *headings,
        "Seeds" if all(run.spec.label_seed is None for run in runs) else "Trainings",
        "Training [min]",
    ]
    note = protocol_note(spec.protocol.name, spec.protocol.note, settings or {})
    remarks = [remark for metric in metrics for remark in measurement.remarks(metric)]
    labeled = f"{labeled_of(spec)} labelled"
    shown = [run for run in runs if run.path not in reasons]
    return Table(
        f"{spec.benchmark}, {labeled}, protocol {spec.protocol.name}",
        ["Method", "Network scored", *columns], rows, frozenset(columns),
        [*note, *signs, *remarks, *origin(shown), *damage_notes(tuple(reasons.values())), *notes],
    )  # fmt: skip


def signed_titles(
    methods: Mapping[str, type[SSLMethod]], authors: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, str], list[str]]:
    """Return the titles of methods by name, with their signs, and the lines that explain these.

    Args:
        methods: the registry.
        authors: by the name of each method to be shown, the settings of its authors that it was run at.

    """
    titles = {
        name: signed(methods[name].title, reconstructed=methods[name].reconstructed, tuned=bool(own))
        for name, own in authors.items()
    }
    tuned = {titles[name]: own for name, own in authors.items() if own}
    return titles, sign_notes(tuned, [titles[name] for name in authors if methods[name].reconstructed])


def changed_notes(runs: Sequence[Run], texts: Mapping[str, str]) -> list[str]:
    """Name the methods whose files have changed since runs of theirs were trained, which no command trains again.

    Args:
        runs: finished runs.
        texts: the SHA-256 of each method's file as it is now, by the method's name.

    """
    known = [(run.spec.method, run.provenance.get("method_source_sha256")) for run in runs]
    changed = dict.fromkeys(name for name, text in known if text is not None and text != texts.get(name, text))
    what = f"The file of {', '.join(changed)} has changed since these runs were trained."
    return [f"{what} They are trained again only if the method's `version` is raised."] if changed else []


def scores_table(
    scored: Sequence[tuple[Run, Measurement]], methods: Mapping[str, type[SSLMethod]] | None = None
) -> Table:
    """List runs with the means of their predictors, each by its measurement.

    Args:
        scored: finished runs.
        methods: the registry, which knows the reconstructed methods.

    """
    reconstructed = {name for name, one in (methods or {}).items() if one.reconstructed}
    headings = {metric: one.heading(metric) for _, one in scored for metric in one.metrics}
    metrics, titles = list(headings), list(headings.values())
    rows = []
    for run, measurement in scored:
        values = [
            mean_and_deviation(cell_scores([run], metric, measurement)) if metric in measurement.metrics else ""
            for metric in metrics
        ]
        name = run.spec.method
        label = f"{name}{RECONSTRUCTED * (name in reconstructed)}{run.spec.label.removeprefix(name)}"
        rows.append([run.path.name, label, run.result["predictor"], *values])
    header = ["Run", "Of", "Network scored", *titles]
    named = [f"{name}{RECONSTRUCTED}" for name in sorted(reconstructed & {run.spec.method for run, _ in scored})]
    return Table(f"{quantity(len(rows), 'run')} scored", header, rows, frozenset(titles), sign_notes({}, named))


def status_table(entries: Sequence[Entry], queued: Mapping[str, str], *, every: bool = False) -> Table:
    """List runs with where they stand; a failed one says why. Many finished ones are counted in groups.

    If rows of several runs would be equal, a last column names the settings in which the runs differ.

    Args:
        entries: the store's.
        queued: runs in a cluster's queue, by hash, with the queue's word for each.
        every: list every run, however many.

    """
    grouped = not every and sum(entry.status == "finished" for entry in entries) > MOST
    listed = {entry.hash for entry in entries if not (grouped and entry.status == "finished")}
    rows, notes, apart = [], [], _told_apart(entries, listed)
    groups: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        labeled = f"{entry.labeled}/{entry.train_count}"
        if entry.hash not in listed:
            groups.setdefault((entry.benchmark, labeled, entry.protocol, entry.method), []).append(entry)
            continue
        told = {entry.status: None} | ({queued[entry.hash]: None} if entry.hash in queued else {})  # each once
        rows.append([
            entry.benchmark, labeled, entry.protocol, entry.method, seed_text(entry.seed, entry.label_seed),
            ", ".join(told),
            f"{entry.iteration}/{entry.iterations}", _headline([entry]), entry.hash,
            apart.get(entry.hash, ""),
        ])  # fmt: skip
        if entry.error:
            notes.append(f"{entry.hash}: {entry.error}")
    for key, own in groups.items():
        seeds = quantity(len({entry.seed for entry in own}), "seed")
        labels = len({entry.label_seed for entry in own} - {None})
        seeds += f", {quantity(labels, 'label seed')}" if labels else ""
        rows.append([*key, seeds, "finished", "", _headline(own), quantity(len(own), "run"), ""])
    begun = {entry.hash for entry in entries}
    waiting = sum(name not in begun for name in queued)
    if waiting:
        notes.append(f"{quantity(waiting, 'more run')} in the cluster's queue.")
    if grouped:
        notes.append(
            "Finished runs are grouped; the runs of a group differ in seeds and settings. --every lists each run."
        )
    headline = METRICS[HEADLINE].heading(2)  # a share, whose unit is the same in 2D and 3D
    header = ["Data set", "Labelled", "Protocol", "Method", "Seed", "Status", "Iteration", headline, "Run"]
    if any(row[-1] for row in rows):
        header.append("Settings")
    else:
        rows = [row[:-1] for row in rows]
    return Table(
        quantity(len(entries), "run"), header, rows, frozenset({"Labelled", "Seed", "Iteration", headline}), notes,
        unbroken=frozenset({"Status", "Run"}),
    )  # fmt: skip


def _told_apart(entries: Sequence[Entry], listed: Collection[str]) -> dict[str, str]:
    """Say by hash, of listed runs with the same row, where each differs from most of them, or from any."""
    alike: dict[tuple[object, ...], list[Entry]] = {}
    for e in entries:
        alike.setdefault((e.benchmark, e.labeled, e.train_count, e.protocol, e.method, e.draws), []).append(e)
    told = {}
    for group in alike.values():
        if len(group) == 1 or not any(entry.hash in listed for entry in group):
            continue
        try:
            settings = [_settings(entry) for entry in group]
        except UserError:
            continue  # a run of another version, whose fields may have other meanings
        words: list[list[str]] = [[] for _ in group]
        by_key = {key: [own.get(key) for own in settings] for key in sorted({key for own in settings for key in own})}
        differing = {key: values for key, values in by_key.items() if any(value != values[0] for value in values)}
        for key, values in differing.items():
            if key.startswith("split.") and "split" in differing:
                continue  # its name says it
            texts = ["unset" if value is None else toml_value(value) for value in values]
            usual, count = Counter(texts).most_common(1)[0]
            for own, text in zip(words, texts, strict=True):
                if text != usual or 2 * count <= len(texts):
                    own.append(f"{key}={text}")
        told.update({entry.hash: ", ".join(own) for entry, own in zip(group, words, strict=True)})
    return told


def _settings(entry: Entry) -> dict[str, Any]:
    """Fields of a run's identity that its row does not show; protocol and method keys as in `--set`."""
    shown = ("benchmark", "labeled", "train_count", "method", "seed", "label_seed")
    own = identity_fields(spec_of(entry.path, RunFolder(entry.path).read() or {}))
    return {key: value for key, value in own.items() if key not in shown}


def identity_fields(spec: RunSpec) -> dict[str, Any]:
    """Return the fields of a run's identity by their names, protocol and method keys as in `--set`."""
    identity = spec.identity()
    own = identity.pop("protocol") | identity.pop("hyperparameters")
    return dotted(own) | dotted(identity)


def _headline(entries: Sequence[Entry]) -> str:
    """The mean of the metric HEADLINE of one run, or the range of several."""
    scale = METRICS[HEADLINE].scale
    values = [scale * entry.headline for entry in entries if entry.status == "finished" and entry.headline is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:.2f}" if len(values) == 1 else f"{low:.2f} to {high:.2f}"

"""Which protocol tells methods apart at the least cost, from runs that held out validation images.

For each setting: the gain of each method over the supervised network on the validation images, its standard error over
seeds, and their ratio per hour of one CPU thread for five seeds. No test score is read.

    python tools/merit.py results --methods mt,cps
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.store import Run, Store

SEEDS = 5  # of the table that the protocol is chosen for
APART = ("log_every", "score_every", "validate_every", "title", "note", "name")  # of a protocol: they change no weight
BASELINE = "supervised"


@dataclass(frozen=True)
class Merit:
    """A setting's figures.

    Attributes:
        setting: the fields in which settings differ, by name.
        seeds: seeds that all methods have.
        baseline: mean validation DSC of the supervised network, in percent.
        gains: mean gain over it in points and its standard deviation over seeds, by method.
        hours: of one thread, for one seed of the baseline and all methods.

    """

    setting: Mapping[str, Any]
    seeds: tuple[int, ...]
    baseline: float
    gains: Mapping[str, tuple[float, float]]
    hours: float

    @property
    def merit(self) -> float:
        """Mean over the methods of gain / (SD / sqrt(5)), per hour of five seeds; nan for one seed."""
        ratios = [gain / (spread / math.sqrt(SEEDS)) if spread else math.nan for gain, spread in self.gains.values()]
        return statistics.fmean(ratios) / (SEEDS * self.hours)


def validation_score(run: Run) -> float:
    """Validation DSC of a run's predictor, in percent.

    Raises:
        UserError: the run held out no images.
    """
    found = run.headline.validation
    if found is None:
        raise UserError(f"{run.path}: expected a run with validation = train or labeled, found one without")
    return 100 * float(found["scores"]["dsc"]["mean"])


def settings_of(run: Run) -> dict[str, Any]:
    """Return the data set, the labelled images and the protocol of a run, as flat plain data."""
    protocol = {key: value for key, value in run.spec.protocol.model_dump(mode="json").items() if key not in APART}
    return {"dataset": run.spec.benchmark, "labeled": run.spec.labeled, **protocol}


def merits(runs: Sequence[Run], methods: Sequence[str]) -> list[Merit]:
    """Return the figures of each setting for which the baseline and all methods have a common seed, best first."""
    groups: dict[str, dict[tuple[str, int], Run]] = defaultdict(dict)
    for run in runs:
        if run.status == "finished":
            groups[json.dumps(settings_of(run), sort_keys=True)][run.spec.method, run.spec.seed] = run
    settings = {key: json.loads(key) for key in groups}
    fields = {field for one in settings.values() for field in one}
    differing = [f for f in sorted(fields) if len({json.dumps(one.get(f)) for one in settings.values()}) > 1]
    found = []
    for key, own in groups.items():
        every = (BASELINE, *methods)
        seeds = sorted(seed for name, seed in own if name == BASELINE and all((one, seed) in own for one in every))
        if not seeds:
            continue
        score = {(name, seed): validation_score(own[name, seed]) for name in every for seed in seeds}
        gains = {name: [score[name, seed] - score[BASELINE, seed] for seed in seeds] for name in methods}
        found.append(
            Merit(
                {field: settings[key].get(field) for field in differing},
                tuple(seeds),
                statistics.fmean(score[BASELINE, seed] for seed in seeds),
                {n: (statistics.fmean(g), statistics.stdev(g) if len(g) > 1 else math.nan) for n, g in gains.items()},
                sum(own[name, seed].result["train_seconds"] for name in every for seed in seeds) / len(seeds) / 3600,
            )
        )
    return sorted(found, key=lambda one: -one.merit if math.isfinite(one.merit) else math.inf)


def markdown(found: Sequence[Merit]) -> str:
    """Return the figures as a Markdown table."""
    if not found:
        return "no setting has a seed that all methods have\n"
    fields, methods = list(found[0].setting), list(found[0].gains)
    header = [*fields, "Seeds", "Supervised", *(f"Gain of {name}" for name in methods), "Hours a seed", "Merit"]
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    for one in found:
        gains = [f"{gain:+.2f} ± {spread:.2f}" for gain, spread in one.gains.values()]
        cells = [*map(str, one.setting.values()), ", ".join(map(str, one.seeds)), f"{one.baseline:.2f}", *gains]
        lines.append(" | ".join([*cells, f"{one.hours:.2f}", f"{one.merit:.2f}"]))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the results store")
    parser.add_argument("--methods", default="mt,cps", help="methods that are compared with the supervised network")
    chosen = parser.parse_args()
    if not chosen.results.is_dir():
        raise UserError(f"{chosen.results}: expected a results store, found no such folder")
    print(markdown(merits(Store(chosen.results).runs(), chosen.methods.split(","))), end="")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

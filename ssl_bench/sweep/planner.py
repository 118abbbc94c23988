"""Plans a sweep: from options to its definition, and from a trial's parameters to its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ssl_bench.cards import METRICS, Benchmark, Request, authors_settings, divide, protocol_keys
from ssl_bench.cards.card import nearest
from ssl_bench.command import setting_words
from ssl_bench.data.cache import Advance
from ssl_bench.data.dataset import Dataset
from ssl_bench.errors import UserError
from ssl_bench.launch.task import Task, run_task
from ssl_bench.method import find_method
from ssl_bench.store import Store
from ssl_bench.sweep.definition import Objective, Pruner, Sampler, Sweep
from ssl_bench.sweep.space import Parameter, combinations, extremes, parse_parameters
from ssl_bench.sweep.worker import Plan
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.tuned import tuned_requests

POINTS = 10  # of a validation curve that a pruner needs and the protocol does not have


@dataclass
class Planner:
    """Plans a trial's runs. `remarks` are sentences for the user about values that the planner chose."""

    benchmark: Benchmark
    method: str
    labeled: str
    protocol: str
    seeds: tuple[int, ...]
    device: torch.device
    data_root: Path | None
    allow_partial: bool
    place: tuple[str, ...]
    store: Store
    advance: Advance | None
    remarks: list[str] = field(default_factory=list)
    _prepared: dict[tuple[str, int | None], Dataset] = field(default_factory=dict)

    def plan(self, settings: dict[str, Any]) -> tuple[Request, list[Job]]:
        """Return the runs with these settings, one per seed."""
        request = Request(self.benchmark, (self.method,), self.labeled, self.protocol, settings, self.seeds)
        jobs = plan_runs(
            request, self.device, self.data_root, allow_partial=self.allow_partial, advance=self.advance,
            prepared=self._prepared, store=self.store,
        )  # fmt: skip
        return request, jobs

    def tuned(self, settings: dict[str, Any], parameters: Sequence[Parameter], tuned: str) -> dict[str, Any]:
        """Return the settings with those of the method's authors below them; a searched one is left to the search."""
        request = Request(self.benchmark, (self.method,), self.labeled, self.protocol, settings, self.seeds)
        own, searched = tuned_requests(request, tuned)[self.method].authors, {one.name: None for one in parameters}
        return {**authors_settings(own, searched, self.benchmark.network_dimensions), **settings}

    def bound(self, sweep: Sweep) -> Plan:
        """Return the function that gives a sweep's worker the runs of a trial."""

        def tasks(parameters: dict[str, Any]) -> list[Task]:
            request, jobs = self.plan({**sweep.settings, **parameters})
            words = " ".join(f"{key}={value}" for key, value in parameters.items())
            tasks = [run_task(request, job, self.place, self.store) for job in jobs]
            return [replace(task, label=f"{task.label} · {words}") for task in tasks]

        return tasks


def settle_sweep(
    planner: Planner,
    texts: Sequence[str],
    settings: dict[str, Any],
    tuned: str,
    sampler: Sampler,
    objective: Objective | None,
    metric: str | None,
    pruner: Pruner,
) -> Sweep:
    """Define a sweep with defaults for missing options. A grid's trials or a search's extremes are planned as a check.

    Raises:
        UserError: the sweep cannot run or has no meaning. This is found before any training.
    """
    parameters = parse_parameters(texts)
    _require_known(planner.method, parameters, settings)
    settings = planner.tuned(settings, parameters, tuned)
    trials = combinations(parameters) if sampler == "grid" else extremes(parameters)
    (first, *_) = _planned(planner, settings, trials[:1])
    if objective is None:
        objective = "none" if sampler == "grid" and first.spec.protocol.validation is None else "validation"
    if objective == "none" and sampler != "grid":
        raise UserError(f"--objective: expected validation or test with --sampler {sampler}, found none")
    if pruner != "none" and objective != "validation":
        raise UserError("--pruner: needs --objective validation, since it compares validation curves")
    if objective == "validation" and first.spec.protocol.validation is None:
        settings = {**settings, "validation": "labeled"}
        planner.remarks.append(
            "a share of the labelled images is held out for validation (--set validation=labeled); "
            "--set validation=train holds out other images, --set validation_share=0.2 sets the share"
        )
    if pruner != "none" and first.spec.protocol.validate_every is None:
        every = max(1, first.iterations // POINTS)
        settings = {**settings, "validate_every": every}
        planner.remarks.append(
            f"validation images are scored every {every} iterations for the pruner (--set validate_every={every})"
        )
    first = _planned(planner, settings, trials)[0]
    known = first.spec.protocol.metrics
    if metric is not None and metric not in known:
        raise UserError(f"--metric: expected one of the scored metrics, {', '.join(known)}; found '{metric}'")
    chosen = metric or known[0]
    if pruner != "none" and not METRICS[chosen].always_defined:
        always = " or ".join(name for name, one in METRICS.items() if one.always_defined)
        raise UserError(f"--pruner: expected a --metric that is always defined ({always}), found '{chosen}'")
    return Sweep(
        planner.method, planner.benchmark.option, planner.labeled, planner.protocol, settings, planner.seeds,
        parameters, sampler, objective, chosen, METRICS[chosen].larger_is_better, pruner, first.spec.hash,
    )  # fmt: skip


def worker_words(sweep: Sweep, name: str, trials: int | None) -> list[str]:
    """The command-line words of a worker of a defined sweep, without its device and folders."""
    words = ["--method", sweep.method, "--dataset", sweep.dataset, "--labeled", sweep.labeled]
    words += ["--protocol", sweep.protocol, "--seeds", ",".join(map(str, sweep.seeds)), *setting_words(sweep.settings)]
    words += [word for parameter in sweep.parameters for word in ("--param", parameter.text)]
    words += ["--sampler", sweep.sampler, "--objective", sweep.objective, "--metric", sweep.metric]
    words += ["--pruner", sweep.pruner, "--name", name]
    return words + ([] if trials is None else ["--trials", str(trials)])


def _planned(planner: Planner, settings: dict[str, Any], trials: Sequence[dict[str, Any]]) -> list[Job]:
    """Plan every combination. An error names the combination."""
    jobs = []
    for parameters in trials:
        try:
            jobs += planner.plan({**settings, **parameters})[1]
        except UserError as error:
            words = " ".join(f"{key}={value}" for key, value in parameters.items())
            raise UserError(f"--param: with {words}: {error}") from None
    return jobs


def _require_known(method: str, parameters: Sequence[Parameter], settings: dict[str, Any]) -> None:
    fields = find_method(method).hyperparameters.model_fields
    unknown = divide({parameter.name: parameter for parameter in parameters}, fields).unknown
    for parameter in parameters:
        if parameter.name in settings:
            raise UserError(f"--param {parameter.name}: also given by --set; expected one of them")
        if parameter.name in unknown:
            near = nearest(parameter.name, [*sorted(protocol_keys()), *fields])
            raise UserError(
                f"--param {parameter.name}: expected a protocol field or a hyperparameter of {method} "
                f"({', '.join(sorted(fields)) or 'none'})" + (f"; did you mean {near}?" if near else "")
            )

"""Trains and scores one run, or records why it failed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch

from ssl_bench.atomic import write_json
from ssl_bench.cards import ImageProtocol, fields_that
from ssl_bench.command import written
from ssl_bench.data.reader import VARIABLE
from ssl_bench.errors import MethodError, RunFailedError, UserError, first_line
from ssl_bench.store import RunFolder
from ssl_bench.training.device import is_out_of_memory, noting_nondeterminism
from ssl_bench.training.finish import finish
from ssl_bench.training.job import Job
from ssl_bench.training.observer import Observe, observed
from ssl_bench.training.provenance import edited_files
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.trainer import Trainer
from ssl_bench.training.waiting import Display


def train(
    job: Job,
    folder: RunFolder,
    device: torch.device,
    stop: StopSignal,
    display: Display,
    provenance: dict[str, Any],
    observe: Observe | None = None,
) -> None:
    """Train and score one run, continuing from its last checkpoint (hold the run's claim).

    `observe` makes an observer, which is shown curves and scores.

    Raises:
        InterruptedRunError: `stop` was set; the checkpoint is written.
        RunFailedError: a loss is not finite, or memory ran out; recorded in the run's folder.
        MethodError: the method breaks its contract; recorded in the same way.
        UserError: the checkpoint is damaged or its curves are measured in another way, or the weights cannot be had.
    """
    try:
        checkpoint = folder.read_checkpoint()
        if checkpoint is not None:
            _require_same_source(folder, provenance)
            _require_same_measurement(folder, checkpoint, job)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        folder.begin(job.spec, job.measurement, job.iterations, provenance, goes_on=checkpoint is not None)
        with observed(observe, job, folder) as observer:
            trainer = Trainer(job, folder, device, observer)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            write_json(folder.splits, job.splits.as_dict())
            with noting_nondeterminism(trainer.nondeterministic):
                trainer.run(stop, display)
                finish(trainer, stop, display)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _failed(folder, f"out of memory: {first_line(error)}; {_lower(job)}") from error
    except MethodError as error:
        folder.fail(str(error))
        raise
    except RunFailedError as error:
        raise _failed(folder, str(error)) from error


def _require_same_source(folder: RunFolder, provenance: dict[str, Any]) -> None:
    """Refuse to continue a run with another version of its method's or network's file."""
    index = folder.checkpoint_index
    begun = (folder.read() or {}).get("provenance", {})
    for what in edited_files(begun, provenance):
        advice = ", and raise the method's `version` if the change alters results" if what == "method" else ""
        raise UserError(
            f"{folder.path}: the {what}'s file has changed since this run began; delete {index} to train it from its "
            f"beginning{advice}"
        )


def _require_same_measurement(folder: RunFolder, checkpoint: bytes, job: Job) -> None:
    """Refuse to continue curves of scores with scores of another measurement, but for rounding."""
    begun, wanted = _measurements(folder.read() or {}, job)
    names = sorted((begun.keys() | wanted.keys()) - {"window_batch"})
    changed = [name for name in names if begun.get(name) != wanted.get(name)]
    if changed and any(_watched(checkpoint).values()):
        expected, found = (", ".join(f"{name}={written(one.get(name))}" for name in changed) for one in (begun, wanted))
        raise UserError(
            f"{folder.path}: expected {expected}, by which its curves were scored so far; found {found}; give what it "
            f"began with (`ssl-bench score` scores the finished run in another way), or delete "
            f"{folder.checkpoint_index} to train it from its beginning"
        )


def _watched(checkpoint: bytes) -> dict[str, list[Any]]:
    """The rows of the curves of scores in a checkpoint, by the name of their file."""
    return dict(torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)["watched"])


def _measurements(data: Mapping[str, Any], job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a run was to be scored when it began, and how it is to be scored now.

    Of a run of an earlier version, the fields of its protocol alone are known.
    """
    if "measurement" in data:
        return data["measurement"], job.measurement.model_dump(mode="json", exclude_none=True)
    protocol, recorded = job.spec.protocol, data.get("spec", {}).get("protocol", {})
    wanted = protocol.model_dump(mode="json", include=fields_that("measures", type(protocol)))
    return {name: recorded.get(name, value) for name, value in wanted.items()}, wanted


def _failed(folder: RunFolder, reason: str) -> RunFailedError:
    folder.fail(reason)
    return RunFailedError(reason)


def _lower(job: Job) -> str:
    protocol = job.spec.protocol
    size = "image_size" if isinstance(protocol, ImageProtocol) else "patch_size"
    return (
        f"lower --set labeled_batch (now {protocol.labeled_batch}), unlabeled_batch ({protocol.unlabeled_batch}) or "
        f"{size} ({'x'.join(map(str, protocol.sides))}), use --set precision=bf16, or set {VARIABLE}=stream"
    )

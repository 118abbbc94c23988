"""The end of a training: score every network on the test set, write all files, then mark the run as finished."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from safetensors.torch import save as save_safetensors

from ssl_bench.atomic import write_bytes, write_csv
from ssl_bench.cards import METRICS, MetricName
from ssl_bench.scoring.scorer import ScoreRow
from ssl_bench.store import write_pictures
from ssl_bench.training.examples import Album
from ssl_bench.training.measure import score_all, validated, write_scores
from ssl_bench.training.observer import Finished
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.trainer import Trainer
from ssl_bench.training.waiting import Display


def finish(trainer: Trainer, stop: StopSignal, display: Display) -> None:
    """Score the selected weights and finish the run.

    If it is stopped between two cases, scoring starts again when the run continues from its last checkpoint.
    """
    job, folder, method, test = trainer.job, trainer.folder, trainer.method, trainer.test
    trainer.selection.apply(method)
    method.eval()
    networks, predictor, metrics = method.networks, method.predictor_name, job.measurement.metrics
    album, started = Album(predictor), time.monotonic()
    validation = validated(trainer.validation, method, stop, display)
    rows = score_all(test, networks, stop, display, album=album)
    entry = write_scores(folder, test, rows, time.monotonic() - started, validation)
    ranking = _ranking(rows, predictor, metrics[0])
    examples = album.examples(ranking, test.images)
    write_pictures(folder.examples, examples)
    for watch in trainer.watches:
        watch.write()
    trainer.curves.close()
    write_csv(folder.curves, *trainer.curves.table())
    trainer.show_curves()
    weights = {key: value.contiguous().cpu() for key, value in method.state_dict().items()}
    write_bytes(folder.weights, save_safetensors(weights))
    own = {p for network in networks.values() for p in network.parameters()}
    result = {
        "predictor": predictor,
        "parameters": {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()},
        "auxiliary_parameters": sum(p.numel() for p in method.parameters() if p not in own),
        "updates": job.iterations * method.updates_per_iteration,
        "selected_train_loss": trainer.selection.loss,
        "train_seconds": round(trainer.seconds, 2),
        "peak_memory_mib": trainer.peak_memory,
        "nondeterministic": sorted(trainer.nondeterministic),
        "test_sides": job.dataset.sides(test.ids),
    }
    # Before the run is finished: one that is killed here is scored and shown again.
    trainer.feed.observer.finish(Finished(result, entry, examples, ranking))
    folder.finish(result, {job.measurement.key: entry})


def _ranking(rows: Sequence[ScoreRow], network: str, metric: MetricName) -> dict[str, float | None]:
    """Return each case's mean over classes of the first metric, signed so that larger is better; None if undefined."""
    values: dict[str, list[float]] = {}
    for own, case, _, value, *_ in map(list[Any], rows):
        if own == network:
            values.setdefault(case, []).extend([] if value is None else [value])
    sign = 1 if METRICS[metric].larger_is_better else -1
    return {case: sign * sum(own) / len(own) if own else None for case, own in values.items()}

"""Pictures of test cases by a finished run's weights, of cases whose pictures the run did not keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssl_bench.cards import Measurement
from ssl_bench.scoring.scorer import Scorer
from ssl_bench.store import Example, Run, RunFolder
from ssl_bench.training.examples import example_of
from ssl_bench.training.job import Job, trained_method


def redrawn(run: Run, job: Job, measurement: Measurement, cases: Sequence[str], device: torch.device) -> list[Example]:
    """Predict some test cases by the run's predictor, and return their pictures.

    Args:
        run: finished.
        job: the run with its data, as `scoring_jobs` gives it.
        measurement: at what size and by which windows the cases are predicted.
        cases: of the run's data.
        device: where they are predicted.

    Raises:
        UserError: the weights are not there or do not fit.
    """
    method = trained_method(RunFolder(run.path), job.spec, job.method, job.hyper, device)
    scorer = Scorer(job.dataset, tuple(cases), job.spec, measurement, device)
    predictions = scorer.predictions({method.predictor_name: method.predictor})
    return [example_of(one, image) for one, image in zip(predictions, scorer.images(list(cases)), strict=True)]

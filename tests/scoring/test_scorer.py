"""The points from which an interrupted scoring can continue in the same bits."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from handwritten import ISIC, write_run

from ssl_bench.cards import load_protocol, measurement_of
from ssl_bench.scoring.inference import BATCH
from ssl_bench.scoring.scorer import Scorer
from ssl_bench.store import Store

CASES = 2 * BATCH + 8


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (0, 0),
        (BATCH - 1, 0),
        (BATCH, BATCH),
        (2 * BATCH + 7, 2 * BATCH),
        (CASES, CASES),  # the next network begins with a batch of its own
        (CASES + BATCH + 1, CASES + BATCH),
    ],
)
def test_a_scoring_continues_at_the_start_of_a_batch(done: int, expected: int, tmp_path: Path) -> None:
    spec = write_run(Store(tmp_path), "mt", 1, [0.5])
    ids, measurement = tuple(map(str, range(CASES))), measurement_of(load_protocol("mini"), ISIC)
    scorer = Scorer(cast("Any", None), ids, spec, measurement, torch.device("cpu"))
    assert scorer.repeatable(done) == expected

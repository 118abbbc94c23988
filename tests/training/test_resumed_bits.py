"""Every method of the registry: a run that goes on from a checkpoint has the bits of one that never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import FORMS, ONE_FORM_EACH, open_run
from torch.utils._pytree import tree_flatten

from ssl_bench.training.trainer import Trainer

CPU = torch.device("cpu")
ITERATIONS, STOPS = 8, (1, 4, 7)


def whole_state(trainer: Trainer) -> Any:
    """Weights, buffers, optimisers and curves."""
    trainer.curves.require_finite()
    return [trainer.method.state_dict(), trainer.optimizers.state(), trainer.curves.state()]


def assert_equal(found: Any, expected: Any) -> None:
    (found, structure), (expected, same) = tree_flatten(found), tree_flatten(expected)
    assert structure == same
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [form if form in ONE_FORM_EACH[::2] else pytest.param(*form, marks=pytest.mark.slow) for form in FORMS],
)
def test_a_run_that_was_stopped_has_the_bits_of_one_that_was_not(name: str, dimensions: int, tmp_path: Path) -> None:
    """Stopped in the first iterations, in the middle and near the end, where a method may change its phase."""

    def opened() -> Trainer:
        return open_run(tmp_path, name, dimensions, CPU, precision="fp32", iterations=ITERATIONS)

    straight = opened()
    last = straight.job.iterations
    stream = straight.open_stream()
    while straight.iteration < last:
        straight.iterate(stream)
    stopped = opened()
    for stop in (*(stop * last // ITERATIONS for stop in STOPS), last):
        stream = stopped.open_stream()
        while stopped.iteration < stop:
            stopped.iterate(stream)
        stopped.checkpoint()
        content = stopped.folder.read_checkpoint()
        assert content is not None
        stopped = opened()
        stopped.restore(content)
    assert stopped.iteration == last
    assert_equal(whole_state(stopped), whole_state(straight))

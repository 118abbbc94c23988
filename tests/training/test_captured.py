"""No iteration branches on values: captured as a graph on some values, it gives the trainer's bits on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from captured import batch_of, capture, function_of, losses_of, one_hot, reads_of, state_of
from small_runs import FORMS, open_run
from torch import Tensor, fx, nn
from torch._inductor.compile_fx import compile_fx
from torch.nn import functional
from torch.utils._pytree import tree_flatten

from ssl_bench.method import Progress, Update, load_methods
from ssl_bench.seeds import derive_seed
from ssl_bench.training.trainer import Trainer

CPU = torch.device("cpu")
FROM_THE_START = {"contrast_start": 0.0}  # what a loss trains that begins later has no moments after iteration 1


def begun(folder: Path, name: str, dimensions: int, **settings: Any) -> Trainer:
    """A run after its first iteration, in which values are checked, and which gives AdamW its moments."""
    fields = load_methods()[name].hyperparameters.model_fields
    early = {key: value for key, value in FROM_THE_START.items() if key in fields}
    trainer = open_run(folder, name, dimensions, CPU, **{"precision": "fp32", **early, **settings})
    trainer.iterate(trainer.open_stream())
    trainer.curves.require_finite()
    return trainer


def next_progress(trainer: Trainer) -> Progress:
    iteration, job = trainer.iteration + 1, trainer.job
    return Progress(iteration, job.iterations, trainer.protocol.lambda_max * job.ramp(iteration))


def graph_on_other_values(trainer: Trainer) -> fx.GraphModule:
    """The next iteration, captured on weights, images and random numbers that are not its own."""
    inputs = {**state_of(trainer), **batch_of(trainer.open_stream(), 7)}
    torch.manual_seed(99)
    for weight in inputs["weights"].values():
        if weight.requires_grad:
            weight.detach().add_(torch.randn_like(weight), alpha=0.3)
    return capture(function_of(trainer, next_progress(trainer)), inputs)


def assert_graph_is_the_iteration(trainer: Trainer) -> None:
    graph = graph_on_other_values(trainer)
    assert reads_of(graph) == set()
    stream = trainer.open_stream()
    inputs = {**state_of(trainer), **batch_of(stream, trainer.iteration)}
    torch.manual_seed(derive_seed(trainer.job.spec.seed, "step", trainer.iteration))
    with torch.no_grad():
        curves = graph(inputs)
    trainer.iterate(stream)
    expected = trainer.curves._on_device[-1].values
    assert curves.keys() == expected.keys()
    assert all(torch.equal(curves[name], expected[name]) for name in expected)
    for part, tensors in state_of(trainer).items():
        assert [name for name, one in tensors.items() if not torch.equal(one, inputs[part][name])] == []


SHORT = [("mt", 2), ("cct", 2), ("uamt", 3), ("ucmt", 2)]


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [*SHORT, *(pytest.param(*form, marks=pytest.mark.slow) for form in FORMS if form not in SHORT)],
)
def test_an_iteration_is_a_graph(name: str, dimensions: int, tmp_path: Path) -> None:
    assert_graph_is_the_iteration(begun(tmp_path, name, dimensions))


@pytest.mark.parametrize("name", ["supervised", "mt", "uamt", "cct", "cps-cutmix", "ucmt"])
@pytest.mark.slow
def test_an_iteration_in_bf16_is_a_graph(name: str, tmp_path: Path) -> None:
    assert_graph_is_the_iteration(begun(tmp_path, name, 2, precision="bf16"))


def test_the_one_hot_code_of_a_graph_is_torchs() -> None:
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    own, torchs = one_hot(labels, 3), functional.one_hot(labels, 3)
    assert (own.dtype, own.stride()) == (torchs.dtype, torchs.stride())
    assert torch.equal(own, torchs)


# ------------------------------------------------------------------------------------------------ what is not a graph


def changed_loss(trainer: Trainer, change: Callable[[Tensor], Tensor]) -> None:
    """Put a change of the loss into the run's method."""
    updates = trainer.method.updates

    def more(*arguments: Any) -> Iterator[Update]:
        for update in updates(*arguments):
            weight, value = update.terms["supervised"]
            yield Update({"supervised": (weight, change(value))})

    trainer.method.updates = more


def test_a_branch_on_a_value_is_refused(tmp_path: Path) -> None:
    trainer = begun(tmp_path, "supervised", 2)
    changed_loss(trainer, lambda loss: loss * 2 if loss > 0.5 else loss)
    with pytest.raises(RuntimeError, match="data-dependent"):
        graph_on_other_values(trainer)


@pytest.mark.parametrize(
    "change",
    [
        lambda loss: loss + loss.view(1)[loss.view(1) > 0.5].sum(),
        lambda loss: loss + (loss > 0.5).view(1).nonzero().numel(),
    ],
)
def test_a_shape_that_depends_on_values_is_found(change: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    trainer = begun(tmp_path, "supervised", 2)
    changed_loss(trainer, change)
    assert reads_of(graph_on_other_values(trainer))


def test_a_number_that_python_counts_is_fixed_in_a_graph(tmp_path: Path) -> None:
    trainer = begun(tmp_path, "supervised", 2)
    seen: list[int] = []

    def counted(loss: Tensor) -> Tensor:
        seen.append(1)
        return loss * len(seen)

    changed_loss(trainer, counted)
    with pytest.raises(AssertionError):
        assert_graph_is_the_iteration(trainer)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dimensions"), [("mt", 2), ("uamt", 2), ("cmtv3", 2), ("ucmt", 2), ("ucmt", 3)])
def test_losses_compiled_by_inductor_are_the_trainers(name: str, dimensions: int, tmp_path: Path) -> None:
    """Without dropout, whose random numbers Inductor draws otherwise. Other noise is drawn as without it."""
    trainer = begun(tmp_path, name, dimensions)
    for module in trainer.method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs = {**state_of(trainer), **batch_of(trainer.open_stream(), 1)}
    graph = capture(losses_of(trainer, next_progress(trainer)), inputs)
    flat, _ = tree_flatten((inputs,))
    with torch.no_grad(), patch("torch._inductor.config.fallback_random", True):
        torch.manual_seed(5)
        expected = graph(inputs)
        compiled = compile_fx(graph, flat)
        torch.manual_seed(5)
        found = compiled(*flat)
    assert expected.keys() == found.keys()
    for term, value in expected.items():
        assert abs(float(found[term] - value)) < 1e-5

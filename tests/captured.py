"""An iteration of a run as a graph of torch's operations (make_fx), which holds for all values of the tensors given.

What Python decides while the graph is taken is fixed in it. So where a branch, a shape or a number depended on the
values, the graph gives something else than the trainer on other values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._pytree import tree_map

from ssl_bench.data.batches import BatchStream
from ssl_bench.method import Batch, Images, Progress
from ssl_bench.training.trainer import Trainer

Tensors = dict[str, Tensor]
VIEWS = ("weak", "strong1", "strong2")
READS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


# All that an iteration reads and changes: `weights`, `moments` of AdamW, `labeled`, `unlabeled`, `labels`.
Inputs = dict[str, Tensors]


def copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def state_of(trainer: Trainer) -> Inputs:
    """Copies of a run's weights, buffers and moments; it has had an iteration."""
    method = trainer.method
    moments = {
        f"{name}/{key}": value
        for optimizer in trainer.optimizers.all
        for name, one in names_of(trainer, optimizer)
        for key, value in optimizer.state[one].items()
    }
    weights = {**dict(method.named_parameters()), **dict(method.named_buffers())}
    return tree_map(copied, {"weights": weights, "moments": moments})


def names_of(trainer: Trainer, optimizer: torch.optim.Optimizer) -> list[tuple[str, Tensor]]:
    """The parameters that an optimiser moves, with their names in the method, in the optimiser's order."""
    names = {id(one): name for name, one in trainer.method.named_parameters()}
    return [(names[id(one)], one) for one in optimizer.param_groups[0]["params"]]


def batch_of(stream: BatchStream, iteration: int) -> dict[str, Tensors]:
    """The views and labels of an iteration's batch."""
    batch = stream.batch(iteration)
    parts = {"labeled": batch.labeled, "unlabeled": batch.unlabeled}
    sizes = {name: len(stream.pools[name]) for name in parts}
    views = {part: {view: images._view(view) for view in VIEWS if sizes[part]} for part, images in parts.items()}
    return {**views, "labels": {"labels": batch.labels}}


def function_of(trainer: Trainer, progress: Progress) -> Callable[[Inputs], Tensors]:
    """The trainer's iteration on given tensors, which it changes as the trainer changes its own; gives the curves."""
    optimizers = trainer.optimizers.all
    own = [(names_of(trainer, one), one.state) for one in optimizers]

    def iteration(inputs: Inputs) -> Tensors:
        batch = batch_from(trainer, inputs)
        try:
            with _reparametrize_module(trainer.method, inputs["weights"]):
                for optimizer, (named, state) in zip(optimizers, own, strict=True):
                    optimizer.param_groups[0]["params"] = [inputs["weights"][name] for name, _ in named]
                    optimizer.state = {
                        inputs["weights"][name]: {key: inputs["moments"][f"{name}/{key}"] for key in state[one]}
                        for name, one in named
                    }
                list(trainer._updates(batch, progress))
            return dict(trainer.curves._on_device.pop().values)
        finally:
            for optimizer, (named, state) in zip(optimizers, own, strict=True):
                optimizer.param_groups[0]["params"], optimizer.state = [one for _, one in named], state

    return iteration


def losses_of(trainer: Trainer, progress: Progress) -> Callable[[Inputs], Tensors]:
    """The terms of an iteration's first update on given images, without their gradients."""

    def losses(inputs: Inputs) -> Tensors:
        with torch.no_grad():
            update = next(trainer.method.updates(batch_from(trainer, inputs), progress))
        return {name: value for name, (_, value) in update.terms.items()}

    return losses


def batch_from(trainer: Trainer, inputs: Inputs) -> Batch:
    """The views and labels among the inputs, as a method takes them."""
    views, labeled, unlabeled = trainer.protocol.views, inputs["labeled"], inputs["unlabeled"]
    return Batch(
        labeled=Images(
            labeled.__getitem__, views.labeled_student1, views.labeled_student2, views.labeled_teacher,
            views.labeled_mixed, views.labeled_student1,
        ),
        labels=inputs["labels"]["labels"],
        unlabeled=Images(
            unlabeled.__getitem__, views.student1, views.student2, views.teacher, views.mixed, views.labeled_student1,
        ),
    )  # fmt: skip


def capture(function: Callable[[Inputs], Tensors], inputs: Inputs) -> fx.GraphModule:
    """The graph of a call of the function, which changes `inputs`.

    Raises:
        RuntimeError: a value of a tensor is asked for.
    """
    with patch("ssl_bench.ops.loss.one_hot", one_hot):
        graph = make_fx(function)(inputs)
    for node in reversed(graph.graph.nodes):  # marks for a profiler, not part of the iteration
        if str(node.target).startswith("profiler."):
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """torch's one_hot, which reads the largest label on a CPU, and nothing on a GPU."""
    return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).long()


def reads_of(graph: fx.GraphModule) -> set[str]:
    """Operations whose result is a number or has a shape that depends on values."""
    return {str(node.target) for node in graph.graph.nodes if node.op == "call_function" and is_read(node)}


def is_read(node: fx.Node) -> bool:
    target: Any = node.target
    if target is torch.ops.aten.index.Tensor:  # its shape depends on values of masks alone
        return any(place is not None and place.meta["val"].dtype in (torch.bool, torch.uint8) for place in node.args[1])
    return any(tag in getattr(target, "tags", ()) for tag in READS)

"""A CUDA device without a driver: its tensors have shape, type and device, but no values (FakeTensorMode of torch).

Tensors on the CPU are real. An operation on tensors of both devices raises as on a GPU, and so does one that needs a
value from the device. Copies to the CPU raise too, unless reads are allowed: then numbers are 0 and Booleans true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CUDA = torch.device("cuda", 0)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class ValueReadError(RuntimeError):
    """A value on the device was asked for, for which a GPU would have to be waited for."""


class FakeGPU(TorchDispatchMode):
    """Runs operations on real CPU tensors as they are, all others on fake tensors.

    Args:
        fake: the mode below this one.
        reads_allowed: copies to the CPU and numbers are 0, Booleans true, and tensors that are compared equal.

    """

    def __init__(self, fake: FakeTensorMode, *, reads_allowed: bool) -> None:
        super().__init__()
        self.fake, self.reads_allowed = fake, reads_allowed
        self.operations = 0  # on the device
        self.half = False  # whether a result was bf16

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        is_fake = any(isinstance(leaf, FakeTensor) for leaf in leaves)
        if not is_fake and not any(isinstance(leaf, torch.device) and leaf.type in ("cuda", "meta") for leaf in leaves):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default):
            if not self.reads_allowed:
                raise ValueReadError("a value on the device is read")
            return True if func is torch.ops.aten.equal.default or args[0].dtype == torch.bool else 0
        if is_fake and (target := self.copied_to_cpu(func, args, kwargs)) is not None:
            return target
        self.operations += 1
        args, kwargs = tree_map_only(Tensor, self.faked, (args, kwargs))
        result = func(*args, **kwargs)
        self.half |= any(isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16 for leaf in tree_leaves(result))
        return result

    def faked(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def copied_to_cpu(self, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        """The result of a copy from the device to the CPU; None for any other operation."""
        to_cpu = func is COPIES[0] and torch.device(kwargs.get("device") or CUDA).type == "cpu"
        into_cpu = func is COPIES[1] and not isinstance(args[0], FakeTensor)
        if not (to_cpu or into_cpu):
            return None
        if not self.reads_allowed:
            raise ValueReadError(f"a tensor of {tuple(args[-1].shape)} is copied from the device")
        with unset_fake_temporarily():
            if into_cpu:
                return args[0].zero_()
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)


@contextmanager
def fake_gpu(*, reads_allowed: bool = False) -> Iterator[FakeGPU]:
    """Within `with`, torch has a device `cuda` that takes bf16, and backward passes run on it."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with (
        patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        patch("torch.cuda.is_bf16_supported", lambda *_: True),
        patch("torch.cuda.mem_get_info", lambda *_: (2**36, 2**36)),
        patch.object(Tensor, "pin_memory", pinned),
        patch.object(nn.Module, "_apply", converted),
        patch.object(Tensor, "backward", lambda total: backward(total)),
        patch.object(torch.autograd, "grad", gradients),
        whole_runs() if reads_allowed else nullcontext(),
        fake,
        FakeGPU(fake, reads_allowed=reads_allowed) as mode,
    ):
        yield mode


def pinned(tensor: Tensor) -> Tensor:
    """`Tensor.pin_memory`, which takes tensors on the CPU alone."""
    if tensor.device.type != "cpu":
        raise RuntimeError(f"cannot pin a tensor on {tensor.device.type}")
    return tensor


@contextmanager
def whole_runs() -> Iterator[None]:
    """Within `with`, the three things that a run asks the driver for are left out; checkpoints hold no values."""
    with (
        patch("torch.random.fork_rng", lambda *_, **__: nullcontext()),
        patch("torch.cuda.reset_peak_memory_stats", lambda _: None),
        patch("torch.cuda.max_memory_allocated", lambda _: 0),
        torch.serialization.skip_data(materialize_fake_tensors=True),
    ):
        yield


def converted(module: nn.Module, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """`nn.Module._apply`, which cannot put a fake tensor in a real one's place."""
    for child in module.modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:
                there = convert(parameter.detach())
                child._parameters[name] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = convert(buffer)
    return module


# ----------------------------------------------------------------- the backward pass, whose engine asks for a driver


def backward(total: Tensor) -> None:
    """`Tensor.backward`."""
    with torch.no_grad():
        for leaf, gradient in leaf_gradients(total).items():
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


def gradients(total: Tensor, inputs: Sequence[Tensor], **_: Any) -> tuple[Tensor, ...]:
    """`torch.autograd.grad` with materialize_grads."""
    with torch.no_grad():
        found = leaf_gradients(total)
        return tuple(found[one] if one in found else torch.zeros_like(one) for one in inputs)


def leaf_gradients(total: Tensor) -> dict[Tensor, Tensor]:
    """The gradient of each leaf: torch's own formula of every node, called in reverse order of the graph."""
    arrived: dict[Any, dict[int, Tensor]] = {total.grad_fn: {0: torch.ones_like(total)}}
    leaves: dict[Tensor, Tensor] = {}
    for node in reverse_order(total.grad_fn):
        inputs = arrived.pop(node, {})
        if not inputs:
            continue
        if hasattr(node, "variable"):
            leaves[node.variable] = inputs[0]
            continue
        results = node(*(inputs.get(place) for place in range(len(node._input_metadata))))
        results = results if isinstance(results, tuple) else (results,)
        for (following, place), gradient in zip(node.next_functions, results, strict=True):
            if following is not None and gradient is not None:
                one = fitted(gradient, following._input_metadata[place])
                others = arrived.setdefault(following, {})
                others[place] = others[place] + one if place in others else one
    return leaves


def reverse_order(root: Any) -> list[Any]:
    """Every node of a graph, each before the nodes that its gradient goes to."""
    waiting, order, seen = [(root, False)], [], set()
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting.extend((following, False) for following, _ in node.next_functions if following is not None)
    return order[::-1]


def fitted(gradient: Tensor, wanted: Any) -> Tensor:
    """A gradient as torch's engine brings it to the shape and type of the tensor that it belongs to."""
    if gradient.device != wanted.device:
        raise RuntimeError(f"a gradient is on {gradient.device}, its tensor on {wanted.device}")
    return gradient.sum_to_size(wanted.shape).to(wanted.dtype)

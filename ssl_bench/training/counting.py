"""Counts the bytes that live tensors hold, and floating-point operations, while other code runs."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ATEN = torch.ops.aten
ASKS_ONLY = torch.ops.prim.device.default  # gives no tensor; fake tensors call it for every operation


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts within `with`: `live` and `peak` are bytes of storages, `flops` multiplications and additions.

    Every operation of torch passes through here, those of the backward pass and of the optimiser too. A storage counts
    once, from the operation that gives it until it is freed. Works on real and on fake tensors.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = self.flops = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}  # by id, which may be used again after the end

    def restart(self) -> None:
        """Forget the peak and the operations so far."""
        self.peak, self.flops = self.live, 0

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count the storages of tensors that are not known yet."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if id(storage) not in self._known:
                self._add(storage)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()

        def free(_: weakref.ref[torch.UntypedStorage]) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, free)
        self.live += size
        self.peak = max(self.peak, self.live)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is ASKS_ONLY:
            return result
        self.hold(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        self.flops += flops_of(func, args, kwargs, result)
        return result


def flops_of(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Floating-point operations of one call; 0 for all but convolutions and matrix products, as in torch's counter."""
    packet = func._overloadpacket
    if packet in _CONVOLUTIONS:
        return _CONVOLUTIONS[packet](args, result)
    count: Any = flop_registry.get(packet)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


def _forward(args: Any, result: Tensor) -> int:
    images, weight, transposed = args[0], args[1], args[6]
    return _pass(weight, images if transposed else result)


def _backward(args: Any, result: Any) -> int:  # noqa: ARG001
    """The gradients of images and of weights each cost as much as the forward pass; torch's counter forgets groups."""
    gradient, images, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return _pass(weight, images if transposed else gradient) * sum(map(int, wanted[:2]))


def _pass(weight: Tensor, smaller: Tensor) -> int:
    """2 operations per weight and place: places of the output, or of the input of a transposed convolution."""
    return 2 * weight.numel() * smaller.shape[0] * math.prod(smaller.shape[2:])


_CONVOLUTIONS: dict[Any, Callable[[Any, Any], int]] = {
    ATEN.convolution: _forward,
    ATEN.convolution_backward: _backward,
}

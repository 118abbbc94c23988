"""A method and its batches as fake tensors: they have sizes, types and strides, but no values and no memory."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_bench.cards import ImageProtocol, Upsampling, VolumeProtocol
from ssl_bench.data.batches import BatchStream, ImageStream, VolumeStream
from ssl_bench.method import Hyperparameters, Setup, SSLMethod
from ssl_bench.networks import build_network
from ssl_bench.networks.depthwise import use_library_gradient
from ssl_bench.training.job import laid_out

CPU = torch.device("cpu")


def simulated_method(
    method_class: type[SSLMethod],
    hyper: Hyperparameters,
    protocol: ImageProtocol | VolumeProtocol,
    mode: FakeTensorMode,
    *,
    channels: int,
    classes: int,
    ignores: bool,
) -> SSLMethod:
    """Build a method of fake networks, in training mode.

    One network of each kind is built for real, and its copies are fake. Convolutions are the library's, as on a GPU.

    Args:
        method_class: the method.
        hyper: its hyperparameters.
        protocol: the resolved protocol.
        mode: of the fake tensors.
        channels: of an image.
        classes: of a mask.
        ignores: whether pixels of masks can be IGNORED.

    Raises:
        UserError: the network cannot be built.

    """
    built: dict[str, nn.Module] = {}

    def build(*, upsampling: Upsampling = "default", **changes: str) -> nn.Module:
        key = repr((upsampling, sorted(changes.items())))
        if key not in built:
            with _NoDraws():  # type: ignore[no-untyped-call]
                network = build_network(
                    protocol.changed(changes), channels=channels, classes=classes, pretrained=False,
                    upsampling=upsampling,
                )  # fmt: skip
            use_library_gradient(network)
            built[key] = laid_out(network, protocol)
            _make_fake(built[key], mode)
        return _copied(built[key], mode)

    method = method_class(Setup(protocol, build, classes, channels, ignores), hyper)
    _make_fake(method, mode)
    return method.train()


class _NoDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Skips random initial values, which take most of the time of building a network."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and func._schema.is_mutable:
            return args[0]
        return func(*args, **(kwargs or {}))


def _make_fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Put fake tensors in the place of a module's parameters and buffers, one in each place of a shared tensor."""
    made: dict[int, tuple[Tensor, Tensor]] = {}  # real, which is kept so that its id stays its own, and fake
    for child in module.modules():
        for tensors in (child._parameters, child._buffers):
            for name, real in tensors.items():
                if real is not None and not isinstance(real, FakeTensor):
                    if id(real) not in made:
                        made[id(real)] = real, _fake_of(real, mode)
                    tensors[name] = made[id(real)][1]  # type: ignore[assignment]


def _copied(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Copy a fake network; its tensors are new ones, since torch would copy their mode too."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): _fake_of(tensor, mode) for tensor in tensors})


def _fake_of(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    with mode:
        empty = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def simulated_stream(protocol: ImageProtocol | VolumeProtocol, *, channels: int, unlabeled: bool) -> BatchStream:
    """Return batches of fake views, of the sizes and types that a run draws; call and use it under FakeTensorMode.

    Args:
        protocol: the resolved protocol.
        channels: of an image.
        unlabeled: whether the method uses images without labels.

    """
    pool = [0] if unlabeled else []
    if isinstance(protocol, VolumeProtocol):
        image = torch.empty(channels, *protocol.patch_size)
        return _Volumes([image], [image[0].byte()], [0], pool, protocol, 0, CPU)
    sides = (protocol.augment_size, protocol.augment_size)
    images, masks = (torch.empty(0, *shape, dtype=torch.uint8) for shape in ((channels, *sides), sides))
    return _Images(images, masks, [0], pool, protocol, 0)


class _NoPixels(BatchStream):
    """Views without values: an empty tensor takes the place of each random draw."""

    def rows(self, part: str, iteration: int) -> Tensor:  # noqa: ARG002
        """As many rows as the part's batch has."""
        return torch.empty(self.batch_sizes[part] if len(self.pools[part]) else 0, dtype=torch.long)

    def strong(self, images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """A view of the same size and type."""
        return torch.empty_like(images)


class _Images(_NoPixels, ImageStream):
    def weak(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return tuple(one.new_empty((len(rows), *one.shape[1:])) for one in (self.images, self.masks))  # type: ignore[return-value]


class _Volumes(_NoPixels, VolumeStream):
    def weak(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return tuple(one[0].new_empty((len(rows), *one[0].shape)) for one in (self.images, self.masks))  # type: ignore[return-value]

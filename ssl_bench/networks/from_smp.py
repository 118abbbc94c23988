"""Networks of segmentation-models-pytorch: `deeplabv3plus`, `unet`, and `smp:NAME` for every other one."""

from __future__ import annotations

import inspect
from functools import partial
from types import MethodType
from typing import Any

from torch import Tensor, nn

from ssl_bench.cards import ImageProtocol
from ssl_bench.errors import UserError, first_line
from ssl_bench.networks.depthwise import use_fast_gradient
from ssl_bench.networks.registry import Build, Form, NetworkEntry, register_family, register_network

WITHOUT_PARTS = ("DPT",)  # its encoder gives prefix tokens too, which its decoder needs
# The modules of a decoder whose outputs are its maps, coarsest first; the last one's is the decoder's.
SCALES = {"Unet": [f"blocks.{number}" for number in range(5)], "DeepLabV3Plus": ["aspp", "block2"]}
INTERPOLATIONS = {"linear": "bilinear", "nearest": "nearest"}
WHOLE = 32  # stride of an encoder of five levels
UNBUILDABLE = (
    KeyError, ValueError, RuntimeError, NotImplementedError, AssertionError, AttributeError, TypeError
)  # fmt: skip


def _output_stride(protocol: Form) -> int:
    assert isinstance(protocol, ImageProtocol)
    return protocol.output_stride


@register_network(
    "deeplabv3plus",
    dimensions=(2,),
    divisor=_output_stride,
    parts=True,
    pyramid=True,
    takes_encoder=True,
)
def deeplabv3plus(wanted: Build) -> nn.Module:
    """DeepLabV3+ on the protocol's encoder and output stride."""
    return _built("DeepLabV3Plus", wanted)


@register_network("unet", dimensions=(2,), divisor=32, parts=True, pyramid=True, takes_encoder=True)
def unet(wanted: Build) -> nn.Module:
    """U-Net on the protocol's encoder."""
    return _built("Unet", wanted)


@register_family("smp")
def find(name: str, dimensions: int) -> NetworkEntry:
    """Return an architecture of the library by the name of its class.

    Raises:
        UserError: the library has none of this name.
    """
    known = _architectures()
    if name not in known or dimensions != 2:
        found = f"'smp:{name}'" + ("" if dimensions == 2 else f" for {dimensions}D data")
        raise UserError(f"network: expected smp:{', smp:'.join(known)} for 2D data; found {found}")

    def build(wanted: Build) -> nn.Module:
        return _built(name, wanted)

    divisor = partial(_stride, name) if known[name].requires_divisible_input_shape else 1
    return NetworkEntry(
        f"smp:{name}", build, (2,), divisor, parts=name not in WITHOUT_PARTS, pyramid=name in SCALES, takes_encoder=True
    )


def _architectures() -> dict[str, Any]:
    import segmentation_models_pytorch as smp  # here, since it takes two seconds to import

    return {one.__name__: one for one in smp.MODEL_ARCHITECTURES_MAPPING.values()}


def _stride(name: str, protocol: Form) -> int:
    """The divisor of sides: the encoder's stride, which the architecture's number of levels limits."""
    taken = inspect.signature(_architectures()[name].__init__).parameters
    stride = _output_stride(protocol) if "encoder_output_stride" in taken else WHOLE
    levels: int = taken["encoder_depth"].default
    return min(stride, 1 << levels)


def _built(name: str, wanted: Build) -> nn.Module:
    protocol, architecture = wanted.protocol, _architectures()[name]
    assert isinstance(protocol, ImageProtocol)
    settings: dict[str, Any] = {
        "encoder_output_stride": protocol.output_stride,
        "decoder_aspp_separable": protocol.aspp == "separable",
        "decoder_aspp_dropout": protocol.aspp_dropout,
    }
    if wanted.upsampling in INTERPOLATIONS:
        settings["decoder_interpolation"] = INTERPOLATIONS[wanted.upsampling]
    taken = inspect.signature(architecture.__init__).parameters
    try:
        network: Any = architecture(
            protocol.encoder, encoder_weights=None, in_channels=wanted.channels, classes=wanted.classes,
            **{key: value for key, value in settings.items() if key in taken},
        )  # fmt: skip
    except UNBUILDABLE as error:
        message = first_line(error).strip("'\"")
        raise UserError(f"encoder = '{protocol.encoder}' with network = '{protocol.network}': {message}") from None
    use_fast_gradient(network)
    if name not in WITHOUT_PARTS:
        head = next(module for module in network.segmentation_head.modules() if isinstance(module, nn.Conv2d))
        network.decoder.out_channels = head.in_channels
    if name in SCALES:
        decoder = network.decoder
        decoder.scales = SCALES[name]
        decoder.pyramid = MethodType(_pyramid, decoder)
        decoder.pyramid_channels = _pyramid_channels(decoder)
    built: nn.Module = network
    return built


def _pyramid(decoder: nn.Module, features: list[Tensor]) -> list[Tensor]:
    """The decoder's maps of all scales, finest first: what its `scales` give in a forward pass."""
    maps: list[Tensor] = []

    def note(module: nn.Module, given: Any, output: Tensor) -> None:  # noqa: ARG001
        maps.insert(0, output)

    scales: Any = decoder.scales
    hooks = [decoder.get_submodule(name).register_forward_hook(note) for name in scales]
    try:
        decoder(features)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def _pyramid_channels(decoder: nn.Module) -> tuple[int, ...]:
    """Channels of each map: those of the last batch norm of its module."""
    scales: Any = decoder.scales
    norms = [[m for m in decoder.get_submodule(name).modules() if isinstance(m, nn.BatchNorm2d)] for name in scales]
    return tuple(found[-1].num_features for found in reversed(norms))

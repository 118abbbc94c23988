"""Networks of MONAI, as `monai:NAME`; the package is imported when one is named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ssl_bench.cards import VolumeProtocol
from ssl_bench.errors import UserError, first_line
from ssl_bench.networks.registry import Build, Form, NetworkEntry, register_family

PACKAGES = ("monai", "einops")


@dataclass(frozen=True)
class Architecture:
    """The sides and filters that a class of MONAI takes, and its settings under a protocol.

    Attributes:
        divisor: every side must be divisible by it.
        smallest: smallest side; below it the coarsest map is one pixel, which instance normalisation rejects.
        filters: the protocol's `filters` must be divisible by it.
        settings: arguments of the constructor apart from dimensions and channels.

    """

    divisor: int
    smallest: int
    filters: int
    settings: Callable[[Form], dict[str, Any]]


def _seg_res_net(protocol: Form) -> dict[str, Any]:
    """Myronenko 2018 without the variational branch: four levels; dropout before the first."""
    return {"init_filters": protocol.filters, "dropout_prob": _dropout(protocol) or None}


def _unet(protocol: Form) -> dict[str, Any]:
    """Kerfoot et al. 2018: five levels of two residual units."""
    widths = [protocol.filters * 2**level for level in range(5)]
    return {"channels": widths, "strides": (2, 2, 2, 2), "num_res_units": 2, "dropout": _dropout(protocol)}


def _swin_unetr(protocol: Form) -> dict[str, Any]:
    """Hatamizadeh et al. 2022."""
    return {"feature_size": protocol.filters, "drop_rate": _dropout(protocol)}


def _dropout(protocol: Form) -> float:
    return protocol.dropout if isinstance(protocol, VolumeProtocol) else 0.0


ARCHITECTURES = {
    "SegResNet": Architecture(divisor=8, smallest=8, filters=8, settings=_seg_res_net),
    "UNet": Architecture(divisor=16, smallest=32, filters=1, settings=_unet),
    "SwinUNETR": Architecture(divisor=32, smallest=64, filters=12, settings=_swin_unetr),
}


@register_family("monai")
def find(name: str, dimensions: int) -> NetworkEntry:  # noqa: ARG001  (all are for 2D and 3D)
    """Return one of ARCHITECTURES.

    Raises:
        UserError: MONAI is not installed, or the name is not in ARCHITECTURES.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"network: expected monai:{', monai:'.join(ARCHITECTURES)}; found 'monai:{name}'")
    try:
        importlib.import_module("einops")  # SwinUNETR imports it only when it runs
        nets = importlib.import_module("monai.networks.nets")
    except ImportError as error:
        raise UserError(
            f"network = 'monai:{name}': needs MONAI: pip install 'ssl-bench[monai]' ({first_line(error)})"
        ) from None
    one = ARCHITECTURES[name]

    def build(wanted: Build) -> nn.Module:
        protocol = wanted.protocol
        if protocol.filters % one.filters:
            raise UserError(f"filters {protocol.filters} must be divisible by {one.filters} for monai:{name}")
        if min(protocol.sides) < one.smallest:
            raise UserError(f"network = 'monai:{name}': expected sides of at least {one.smallest}, found "
                            f"{'x'.join(map(str, protocol.sides))}")  # fmt: skip
        network: nn.Module = getattr(nets, name)(
            spatial_dims=protocol.dimensions, in_channels=wanted.channels, out_channels=wanted.classes,
            **one.settings(protocol),
        )  # fmt: skip
        return network

    return NetworkEntry(f"monai:{name}", build, (2, 3), one.divisor, packages=PACKAGES)

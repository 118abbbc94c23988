"""Networks of MONAI, as `monai:NAME`; the package is imported when one is named."""

from __future__ import annotations

from typing import Any

from torch import nn

from ssl_bench.errors import UserError, first_line
from ssl_bench.networks.registry import Build, NetworkEntry, register_family

DIVISORS = {"SegResNet": 8, "UNet": 16, "SwinUNETR": 32}  # of the networks that are known to work here


@register_family("monai")
def find(name: str, dimensions: int) -> NetworkEntry:
    """Return one of the networks in DIVISORS, for 2D and 3D data.

    Raises:
        UserError: MONAI is not installed, or the name is none of these.
    """
    if name not in DIVISORS:
        raise UserError(f"network: expected monai:{', monai:'.join(DIVISORS)}; found 'monai:{name}'")
    try:
        from monai.networks import nets
    except ImportError:
        raise UserError(f"network = 'monai:{name}': needs MONAI: pip install 'ssl-bench[monai]'") from None

    def build(wanted: Build) -> nn.Module:
        filters, ends = wanted.protocol.filters, {"in_channels": wanted.channels, "out_channels": wanted.classes}
        widths = [filters * 2**level for level in range(5)]
        settings: dict[str, dict[str, Any]] = {
            "SegResNet": {"init_filters": filters},
            "UNet": {"channels": widths, "strides": (2, 2, 2, 2), "num_res_units": 2},
            "SwinUNETR": {"feature_size": filters},
        }
        try:
            network: nn.Module = getattr(nets, name)(spatial_dims=dimensions, **ends, **settings[name])
        except ValueError as error:
            raise UserError(f"filters = {filters} with network = 'monai:{name}': {first_line(error)}") from None
        return network

    return NetworkEntry(f"monai:{name}", build, (2, 3), DIVISORS[name])

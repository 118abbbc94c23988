"""The registry of networks: built-in ones, those of libraries (`smp:`, `monai:`), and users' files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import nn

from ssl_bench.cards import ImageProtocol, Upsampling, VolumeProtocol
from ssl_bench.errors import UnfitError, UserError
from ssl_bench.plugins import keep_track, load_entry_points, module_hash, source_file

Form = ImageProtocol | VolumeProtocol
ENTRY_POINTS = "ssl_bench.networks"
PARTS = ("encoder", "decoder", "segmentation_head")
PYRAMID = ("pyramid", "pyramid_channels")


@dataclass(frozen=True)
class Build:
    """What a network is built from.

    Attributes:
        protocol: the resolved protocol.
        channels: C, of an image.
        classes: K, background included.
        upsampling: how the decoder doubles the sides of a map. A network without the choice ignores it.

    """

    protocol: Form
    channels: int
    classes: int
    upsampling: Upsampling = "default"


@dataclass(frozen=True)
class NetworkEntry:
    """A registered network.

    Attributes:
        name: as the protocol's `network`.
        build: gives a freshly drawn network: images (B, C, *sides) -> logits (B, K, *sides).
        dimensions: of the images it is for.
        divisor: what every side of an image must be divisible by; a function of the protocol where it depends on it.
        parts: whether it has the parts `encoder` (images -> list of feature maps, finest first, with `out_channels`),
            `decoder` (that list -> one map, with `out_channels`) and `segmentation_head` (map -> logits).
        pyramid: whether `decoder.pyramid` gives the decoder's map of every scale, finest first, from the encoder's maps
            (`pyramid_channels` are their sizes).
        upsampling: whether the decoder has all ways of doubling sides (`Build.upsampling`).
        takes_encoder: whether `encoder` is an encoder of segmentation-models-pytorch, into which the protocol's
            `encoder_weights` are loaded.
        packages: distributions whose versions decide its numbers, apart from those of every run.

    """

    name: str
    build: Callable[[Build], nn.Module]
    dimensions: tuple[int, ...]
    divisor: int | Callable[[Form], int] = 1
    parts: bool = False
    pyramid: bool = False
    upsampling: bool = False
    takes_encoder: bool = False
    packages: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """SHA-256 of the file that registered the network."""
        return module_hash(self.build.__module__)

    @property
    def is_built_in(self) -> bool:
        """Whether the network is built in."""
        return self.build.__module__.startswith("ssl_bench.networks.")


Families = dict[str, Callable[[str, int], NetworkEntry]]
_REGISTRY: dict[str, NetworkEntry] = {}
_FAMILIES: Families = {}
keep_track(lambda: _REGISTRY, lambda _, entry: entry.build.__module__)


def register_network(
    name: str,
    *,
    dimensions: tuple[int, ...],
    divisor: int | Callable[[Form], int] = 1,
    parts: bool = False,
    pyramid: bool = False,
    upsampling: bool = False,
    takes_encoder: bool = False,
) -> Callable[[Callable[[Build], nn.Module]], Callable[[Build], nn.Module]]:
    """Add a network under its name (decorator of the function that builds it); arguments as in `NetworkEntry`.

    Raises:
        UserError: there is a network of this name, or the name or the dimensions cannot be.
    """

    def register(build: Callable[[Build], nn.Module]) -> Callable[[Build], nn.Module]:
        known, where = _REGISTRY.get(name), f"{inspect.getsourcefile(build)}: network '{name}'"
        if known is not None:
            raise UserError(f"{where} is already defined in {source_file(known.build.__module__)}")
        if ":" in name:
            raise UserError(f"{where}: expected a name without a colon; colons mark the networks of libraries")
        if not dimensions or not set(dimensions) <= {2, 3}:
            raise UserError(f"{where}: dimensions: expected (2,), (3,) or (2, 3), found {dimensions}")
        _REGISTRY[name] = NetworkEntry(name, build, dimensions, divisor, parts, pyramid, upsampling, takes_encoder)
        return build

    return register


def register_family(prefix: str) -> Callable[[Callable[[str, int], NetworkEntry]], Callable[[str, int], NetworkEntry]]:
    """Add the networks of a library, named `prefix:NAME` (decorator of what finds one by NAME and dimensions)."""

    def register(find: Callable[[str, int], NetworkEntry]) -> Callable[[str, int], NetworkEntry]:
        _FAMILIES[prefix] = find
        return find

    return register


@cache
def _load_other_packages() -> None:
    load_entry_points(ENTRY_POINTS)


def find_network(name: str, dimensions: int) -> NetworkEntry:
    """Return the network called `name` for data of these dimensions.

    Raises:
        UserError: there is none.
    """
    _load_other_packages()
    prefix, colon, own = name.partition(":")
    if colon and prefix in _FAMILIES:
        return _FAMILIES[prefix](own, dimensions)
    entry = _REGISTRY.get(name)
    if entry is None or dimensions not in entry.dimensions:
        known = [one.name for one in _REGISTRY.values() if dimensions in one.dimensions]
        families = [f"{prefix}:NAME" for prefix in _FAMILIES]
        raise UserError(
            f"network: expected one of {', '.join([*known, *families])} for {dimensions}D data, or one of your own in "
            f"a --methods-dir; found '{name}'"
        )
    return entry


def require_sides(entry: NetworkEntry, protocol: Form) -> None:
    """Refuse images whose sides a network cannot take.

    Raises:
        UnfitError: a side is not divisible by what the network needs.
    """
    divisor = entry.divisor if isinstance(entry.divisor, int) else entry.divisor(protocol)
    if any(side % divisor for side in protocol.sides):
        asked = f"image_size {protocol.sides[0]}" if protocol.dimensions == 2 else f"patch_size {list(protocol.sides)}"
        raise UnfitError(f"{asked} must be divisible by {divisor} for {entry.name}")

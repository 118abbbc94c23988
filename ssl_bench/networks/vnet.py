"""V-Net: the 3D network of the left-atrium literature."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from ssl_bench.cards import Upsampling, VolumeProtocol
from ssl_bench.networks.registry import Build, register_network


@register_network("vnet", dimensions=(3,), divisor=16, parts=True, pyramid=True, upsampling=True)
def v_net(wanted: Build) -> nn.Module:
    """V-Net with the protocol's number of filters and dropout."""
    return _build(wanted, half=False)


@register_network("vnet-half", dimensions=(3,), divisor=32, parts=True, pyramid=True, upsampling=True)
def v_net_at_half_resolution(wanted: Build) -> nn.Module:
    """V-Net on voxels of twice the side: for CPUs, it sees eight times the volume at the same cost."""
    return _build(wanted, half=True)


def _build(wanted: Build, *, half: bool) -> nn.Module:
    protocol = wanted.protocol
    assert isinstance(protocol, VolumeProtocol)
    return VNet(
        in_channels=wanted.channels, classes=wanted.classes, filters=protocol.filters, dropout=protocol.dropout,
        upsampling=wanted.upsampling, half=half,
    )  # fmt: skip


class VNet(nn.Module):
    """V-Net (Milletari et al. 2016) as UA-MT uses it (Yu et al., MICCAI 2019): batch norm, and no residuals in a level.

    Five levels of 3x3x3 convolutions with f, 2f, 4f, 8f and 16f filters; skips are added. Weights start as torch's.
    `encoder(images)` gives one feature map a level, finest first; `segmentation_head(decoder(features))` the logits.

    Args:
        in_channels: channels of an image.
        classes: K, background included.
        filters: f; the literature's 16 makes 9.45 M parameters.
        dropout: rate at which whole channels are dropped, after the coarsest level and before the head; UA-MT's is 0.5.
        upsampling: see VNetDecoder.
        half: whether the encoder averages blocks of 2x2x2 voxels first. The head's transposed 2x2x2 convolution then
            gives logits of the images' size.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        filters: int = 16,
        dropout: float = 0.0,
        upsampling: Upsampling = "default",
        half: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = VNetEncoder(in_channels, filters, dropout, half=half)
        self.decoder = VNetDecoder(filters, dropout, upsampling)
        self.segmentation_head = (
            nn.ConvTranspose3d(filters, classes, 2, stride=2) if half else nn.Conv3d(filters, classes, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, X, Y, Z) -> logits (B, K, X, Y, Z).

        Raises:
            ValueError: a side is not divisible by 16, or by 32 with `half`.
        """
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


class VNetEncoder(nn.Module):
    """One convolution on the finest level, then 2, 3, 3 and 3, each level after a strided convolution.

    With `half`, the finest level has half of the images' sides.
    """

    def __init__(self, in_channels: int, filters: int, dropout: float, *, half: bool = False) -> None:
        super().__init__()
        self.factor = 2 if half else 1
        self.out_channels = tuple(filters * 2**level for level in range(5))
        self.levels = nn.ModuleList([_normalised(nn.Conv3d(in_channels, filters, 3, padding=1))])
        for level, count in enumerate((2, 3, 3, 3)):
            fine, coarse = filters * 2**level, filters * 2 ** (level + 1)
            down = _normalised(nn.Conv3d(fine, coarse, 2, stride=2))
            self.levels.append(nn.Sequential(down, _convolutions(coarse, count)))
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, X, Y, Z) -> feature maps (B, 2^l f, X / 2^l, Y / 2^l, Z / 2^l) for l = 0 to 4; `half`: 1 to 5.

        Raises:
            ValueError: a side is not divisible by 16, or by 32 with `half`.
        """
        sides, divisor = images.shape[2:], 16 * self.factor
        if any(side % divisor for side in sides):
            raise ValueError(f"V-Net: expected sides divisible by {divisor}, found {' x '.join(map(str, sides))}")
        features, maps = avg_pool3d(images, self.factor) if self.factor > 1 else images, []
        for level in self.levels:
            features = level(features)
            maps.append(features)
        return [*maps[:-1], self.dropout(features)]


class VNetDecoder(nn.Module):
    """Up, then 3, 3, 2 and 1 convolutions on the sums with the encoder's maps.

    Args:
        filters: of the finest level.
        dropout: rate at which channels of the finest map are dropped.
        upsampling: transposed 2x2x2 convolutions (`default`, `transposed`), or trilinear or nearest interpolation and a
            3x3x3 convolution: the three decoders of MC-Net+ (Wu et al. 2022).

    """

    def __init__(self, filters: int, dropout: float, upsampling: Upsampling = "default") -> None:
        super().__init__()
        self.out_channels = filters
        widths = [filters * 2**level for level in (4, 3, 2, 1, 0)]
        self.pyramid_channels = tuple(widths[:0:-1])
        self.ups = nn.ModuleList(_up(coarse, fine, upsampling) for coarse, fine in pairwise(widths))
        self.levels = nn.ModuleList(
            _convolutions(width, count) for width, count in zip(widths[1:], (3, 3, 2, 1), strict=True)
        )
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, features: list[Tensor]) -> Tensor:
        """The encoder's five maps -> (B, f, X, Y, Z)."""
        return self.pyramid(features)[0]

    def pyramid(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's five maps -> (B, 2^l f, X / 2^l, Y / 2^l, Z / 2^l) for l = 0 to 3."""
        *skips, decoded = features
        maps: list[Tensor] = []
        for up, level, skip in zip(self.ups, self.levels, reversed(skips), strict=True):
            decoded = level(up(decoded) + skip)
            maps.insert(0, decoded)
        return [self.dropout(maps[0]), *maps[1:]]


def _up(coarse: int, fine: int, upsampling: Upsampling) -> nn.Sequential:
    if upsampling in ("default", "transposed"):
        return _normalised(nn.ConvTranspose3d(coarse, fine, 2, stride=2))
    interpolate = (
        nn.Upsample(scale_factor=2, mode="nearest")
        if upsampling == "nearest"
        else nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
    )
    return nn.Sequential(interpolate, *_normalised(nn.Conv3d(coarse, fine, 3, padding=1)))


def _convolutions(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_normalised(nn.Conv3d(channels, channels, 3, padding=1)) for _ in range(count)))


def _normalised(convolution: nn.Conv3d | nn.ConvTranspose3d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm3d(convolution.out_channels), nn.ReLU(inplace=True))

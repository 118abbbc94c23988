"""The small 2D U-Net of the semi-supervised literature (ACDC's usual network)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssl_bench.cards import Upsampling
from ssl_bench.networks.registry import Build, register_network

Dropout = tuple[float, float, float, float, float]


@register_network("unet-small", dimensions=(2,), divisor=16, parts=True, pyramid=True, upsampling=True)
def unet_small(wanted: Build) -> nn.Module:
    """The small U-Net with the protocol's number of filters."""
    return SmallUNet(
        in_channels=wanted.channels, classes=wanted.classes, filters=wanted.protocol.filters,
        upsampling=wanted.upsampling,
    )  # fmt: skip


class SmallUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) in the size that SSL4MIS (Luo et al.) gave it: f, 2f, 4f, 8f and 16f filters.

    Two 3x3 convolutions a level; max pooling down; up by a 1x1 convolution and bilinear interpolation (a transposed
    convolution would make 1.94 M parameters); skips are concatenated. Weights start as torch's. `encoder(images)` gives
    one feature map a level, finest first; `segmentation_head(decoder(features))` the logits.

    Args:
        in_channels: channels of an image.
        classes: K, background included.
        filters: f; the literature's 16 makes 1.81 M parameters.
        dropout: rate at which values are dropped between the two convolutions of each level of the encoder.
        upsampling: see SmallUNetDecoder.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        classes: int = 2,
        filters: int = 16,
        dropout: Dropout = (0.05, 0.1, 0.2, 0.3, 0.5),
        upsampling: Upsampling = "default",
    ) -> None:
        super().__init__()
        self.encoder = SmallUNetEncoder(in_channels, filters, dropout)
        self.decoder = SmallUNetDecoder(filters, upsampling)
        self.segmentation_head = nn.Conv2d(filters, classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, K, H, W).

        Raises:
            ValueError: a side is not divisible by 16.
        """
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


class SmallUNetEncoder(nn.Module):
    """Five levels with dropout; max pooling halves the sides between levels."""

    def __init__(self, in_channels: int, filters: int, dropout: Dropout) -> None:
        super().__init__()
        self.out_channels = tuple(filters * 2**level for level in range(5))
        widths = [in_channels, *self.out_channels]
        self.levels = nn.ModuleList(
            _level(coming, width, rate) for (coming, width), rate in zip(pairwise(widths), dropout, strict=True)
        )
        self.down = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) -> feature maps (B, 2^l f, H / 2^l, W / 2^l) for l = 0 to 4.

        Raises:
            ValueError: a side is not divisible by 16.
        """
        sides = images.shape[2:]
        if any(side % 16 for side in sides):
            raise ValueError(f"U-Net: expected sides divisible by 16, found {' x '.join(map(str, sides))}")
        maps = [self.levels[0](images)]
        for level in self.levels[1:]:
            maps.append(level(self.down(maps[-1])))
        return maps


class SmallUNetDecoder(nn.Module):
    """Four levels without dropout; each takes the encoder's map and the upsampled coarser map, concatenated.

    Args:
        filters: of the finest level.
        upsampling: a 1x1 convolution and bilinear (`default`, `linear`) or nearest interpolation, or a transposed 2x2
            convolution: the three decoders of MC-Net+ (Wu et al. 2022).

    """

    def __init__(self, filters: int, upsampling: Upsampling = "default") -> None:
        super().__init__()
        self.out_channels = filters
        widths = [filters * 2**level for level in (4, 3, 2, 1, 0)]
        self.pyramid_channels = tuple(widths[:0:-1])
        self.narrow: nn.ModuleList
        self.up: nn.Module
        if upsampling == "transposed":
            self.narrow = nn.ModuleList(
                nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in pairwise(widths)
            )
            self.up = nn.Identity()
        else:
            self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in pairwise(widths))
            is_nearest = upsampling == "nearest"
            self.up = (
                nn.Upsample(scale_factor=2, mode="nearest")
                if is_nearest
                else nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            )
        self.levels = nn.ModuleList(_level(2 * width, width, 0.0) for width in widths[1:])

    def forward(self, features: list[Tensor]) -> Tensor:
        """The encoder's five maps -> (B, f, H, W)."""
        return self.pyramid(features)[0]

    def pyramid(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's five maps -> (B, 2^l f, H / 2^l, W / 2^l) for l = 0 to 3."""
        *skips, decoded = features
        maps: list[Tensor] = []
        for narrow, level, skip in zip(self.narrow, self.levels, reversed(skips), strict=True):
            decoded = level(torch.cat([skip, self.up(narrow(decoded))], dim=1))
            maps.insert(0, decoded)
        return maps


def _level(in_channels: int, channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(inplace=True),
    )

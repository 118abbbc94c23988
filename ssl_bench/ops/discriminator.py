"""Parts of discriminators, for methods with an adversary, in 2D and 3D."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad, softplus


class HalvingConvolution(nn.Module):
    """A convolution of kernel 4, stride 2 and padding 1, which halves every side of a map; a side of 1 stays 1."""

    def __init__(self, channels: int, width: int, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.convolution = convolution(channels, width, 4, stride=2, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, *sides) -> (B, width, *(sides / 2)), rounded down."""
        missing = [max(0, 2 - side) for side in maps.shape[2:]]
        if any(missing):
            maps = pad(maps, [margin for side in reversed(missing) for margin in (0, side)])
        halved: Tensor = self.convolution(maps)
        return halved


class OriginDiscriminator(nn.Module):
    """Tells whether a network's output map belongs to a labelled image (class 1) or an unlabelled one (class 0).

    The discriminator of DAN (Zhang et al. 2017) in the form of SSL4MIS, and of SASSNet (Li et al. 2020): four halving
    convolutions of f, 2f, 4f and 8f filters, LeakyReLU of slope 0.2, dropout of whole channels after the first
    three. The first is the sum of one over the map and one over the image. The last map is averaged and classified.

    Args:
        maps: channels of the output map.
        channels: C, of an image.
        dimensions: 2 or 3.
        filters: f; the authors' is 64.

    """

    def __init__(self, maps: int, channels: int, dimensions: int, filters: int = 64) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(4)]
        self.of_map = HalvingConvolution(maps, filters, dimensions)
        self.of_image = HalvingConvolution(channels, filters, dimensions)
        self.levels = nn.ModuleList(HalvingConvolution(coming, width, dimensions) for coming, width in pairwise(widths))
        self.dropout = nn.Dropout2d(0.5) if dimensions == 2 else nn.Dropout3d(0.5)
        self.classifier = nn.Linear(widths[-1], 2)

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """Logits (B, 2) of maps (B, M, *sides) and their images (B, C, *sides)."""
        features = self.dropout(leaky_relu(self.of_map(maps) + self.of_image(images), 0.2))
        for level in self.levels[:-1]:
            features = self.dropout(leaky_relu(level(features), 0.2))
        features = leaky_relu(self.levels[-1](features), 0.2)
        logits: Tensor = self.classifier(features.flatten(2).mean(2))
        return logits


def origin_loss(logits: Tensor, *, labeled: bool) -> Tensor:
    """Cross-entropy of each image's logits (B, 2) against its origin, in nats: (B,)."""
    log_shares = torch.log_softmax(logits.float(), 1)
    return -log_shares[:, 1 if labeled else 0]


class FullyConvolutionalDiscriminator(nn.Module):
    """Tells pixel by pixel whether a label map is true.

    The discriminator of AdvSemSeg (Hung et al. 2018): five halving convolutions of f, 2f, 4f, 8f filters and 1, with
    LeakyReLU of slope 0.2 between them. The last map is interpolated to the label map's sides.

    Args:
        classes: K, channels of the label map.
        dimensions: 2 or 3.
        filters: f; the authors' is 64.

    """

    def __init__(self, classes: int, dimensions: int, filters: int = 64) -> None:
        super().__init__()
        widths = (classes, *(filters * 2**level for level in range(4)))
        self.levels = nn.ModuleList(HalvingConvolution(coming, width, dimensions) for coming, width in pairwise(widths))
        self.last = HalvingConvolution(widths[-1], 1, dimensions)
        self.interpolation = "bilinear" if dimensions == 2 else "trilinear"

    def forward(self, maps: Tensor) -> Tensor:
        """Label maps (B, K, *sides) -> logits of being true (B, *sides), float32."""
        features = maps
        for level in self.levels:
            features = leaky_relu(level(features), 0.2)
        coarse = self.last(features).float()
        return interpolate(coarse, size=maps.shape[2:], mode=self.interpolation, align_corners=True).squeeze(1)


def truth_loss(logits: Tensor, *, true: bool) -> Tensor:
    """Binary cross-entropy of pixels' logits of being true against one answer, in nats: their mean, a scalar."""
    return softplus(-logits if true else logits).mean()

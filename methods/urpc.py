"""URPC: a decoder's predictions at several scales agree with their mean, less where they are far from it."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import feature_dropout, feature_noise

CHANNEL_DROPOUT = (0.1, 0.2, 0.3, 0.5)  # in 3D, finest map first


class URPCHyperparameters(Hyperparameters):
    """How many scales predict; the default is the authors'."""

    scales: int = Field(4, ge=1, description="the decoder's finest maps that predict; all, where it has fewer")


@register
class UncertaintyRectifiedPyramidConsistency(SSLMethod):
    """Luo et al. 2021 as SSL4MIS has it, with the protocol's supervised loss.

    Every map of the decoder has a head; predictions of coarser maps are brought to the size of the image, in 2D by
    nearest neighbour and in 3D by trilinear interpolation. The head of the finest map is the network's own, and its
    prediction is what is tested. In training maps are perturbed before their heads. In 2D, finest first: not at all,
    feature noise, feature dropout, dropout. In 3D each has channel dropout, with rates from 0.1 (finest) to 0.5
    (coarsest). There the authors' decoder goes on with the maps after their dropout; here it goes on with the maps as
    they are. Their 2D code draws one noise and one threshold for the whole batch; here each image has its own.

    The small U-Net and V-Net have the authors' four scales. U-Net on an encoder has five: the four finest
    predict. DeepLabV3+ has two, at 1/4 and at its output stride, and the finest one's prediction is interpolated too.

    As in the authors' code, the gradient flows through the mean prediction and through the weights exp(-D) too. Their
    supervised loss is the mean of cross-entropy and Dice. Their labelled and unlabelled images go through the network
    as one batch; here each part is a batch.
    """

    name = "urpc"
    title = "URPC"
    reference = (
        "Luo et al., Efficient Semi-supervised Gross Target Volume of Nasopharyngeal Carcinoma Segmentation via "
        "Uncertainty Rectified Pyramid Consistency, MICCAI 2021"
    )
    group = "consistency"
    year = 2021
    venue = "MICCAI"
    authors = {
        "lambda_max": 0.1, "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    needs_parts = True
    needs_pyramid = True
    hyperparameters = URPCHyperparameters
    hyper: URPCHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        network: Any = self.new_student()
        self.network = network
        coarser = network.decoder.pyramid_channels[1 : self.hyper.scales]
        is_2d = len(self.protocol.sides) == 2
        self.heads = nn.ModuleList(
            nn.Conv2d(width, self.classes, 3, padding=1) if is_2d else nn.Conv3d(width, self.classes, 1)
            for width in coarser
        )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = mean_s L_s(p_s) + lambda L_c, with the consistency of the scales s on unlabelled images."""
        on_labeled, on_unlabeled = self.logits(batch.labeled.student1), self.logits(batch.unlabeled.student1)
        losses = [self.segmentation_loss(z, batch.labels) for z in on_labeled]
        supervised, consistency = torch.stack(losses).mean(), self.consistency(on_unlabeled)
        yield Update({"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)})

    def logits(self, images: Tensor) -> list[Tensor]:
        """Logits (B, K, *spatial) of each scale, finest first, in the size of the images."""
        maps = self.network.decoder.pyramid(self.network.encoder(images))[: self.hyper.scales]
        finest, *coarser = [self.perturbed(one, level) for level, one in enumerate(maps)]
        mode = "nearest" if images.dim() == 4 else "trilinear"
        small = [head(one) for head, one in zip(self.heads, coarser, strict=True)]
        return [self.network.segmentation_head(finest), *(interpolate(z, images.shape[2:], mode=mode) for z in small)]

    def perturbed(self, features: Tensor, level: int) -> Tensor:
        """A map of the decoder for its head; level 0 is the finest, and there are no more kinds than four."""
        level = min(level, 3)
        if features.dim() == 5:
            return torch.feature_dropout(features, CHANNEL_DROPOUT[level], train=True)
        match level:
            case 0:
                return features
            case 1:
                return feature_noise(features, 0.3)
            case 2:
                return feature_dropout(features, 0.7, 0.9)
            case _:
                return dropout(features, 0.5)

    def consistency(self, scales: list[Tensor]) -> Tensor:
        """Mean over scales s of mean((p - p_s)^2 e^(-D_s)) / mean(e^(-D_s)) + mean(D_s).

        p is the mean of the scales' softmaxes p_s, and D_s = KL(p || p_s) in nats for each pixel. The first mean is
        over pixels and classes, the others over pixels.

        Args:
            scales: logits (B, K, *spatial) of each scale.

        """
        logarithms = torch.stack([z.float().log_softmax(1) for z in scales])
        log_mean = logarithms.logsumexp(0) - math.log(len(scales))
        mean = log_mean.exp()
        losses = []
        for log_p in logarithms.unbind():
            divergence = (mean * (log_mean - log_p)).sum(1, keepdim=True)
            weight = (-divergence).exp()
            distance = (mean - log_p.exp()).square()
            losses.append((distance * weight).mean() / (weight.mean() + 1e-8) + divergence.mean())
        return torch.stack(losses).mean()

    @property
    def predictor(self) -> nn.Module:
        """The network, whose prediction is that of the finest map."""
        return self.networks["network"]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone. The heads of coarser maps are not scored."""
        return {"network": self.network}

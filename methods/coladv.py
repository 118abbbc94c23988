"""ColAdv: a focused and a dispersive view of one network's features agree, and two discriminators judge the result."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu

from ssl_bench.method import AdversaryHyperparameters, Batch, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import (
    IGNORED,
    FullyConvolutionalDiscriminator,
    class_maps,
    cross_entropy_loss,
    hard_labels,
    truth_loss,
)

DILATIONS = (2, 4, 8)  # of the dispersive module


class ColAdvHyperparameters(AdversaryHyperparameters):
    """Weights within lambda's: those of AdvSemSeg, and 1 for the consistency."""

    consistency_weight: float = Field(1.0, ge=0, description="of the consistency of the two modules")
    adversarial_weight: float = Field(0.1, ge=0, description="of labelled images' adversarial loss, as in AdvSemSeg")
    auxiliary_weight: float = Field(0.01, ge=0, description="of unlabelled images' auxiliary adversarial loss")
    semi_weight: float = Field(1.0, ge=0, description="of L_semi, as in AdvSemSeg")
    semi_start: float = Field(0.25, ge=0, lt=1, description="share of the iterations before L_semi begins")
    semi_threshold: float = Field(0.2, ge=0, le=1, description="smallest confidence of a pixel in L_semi")


class FocusedAndDispersive(nn.Module):
    """A network with two modules on its decoder's last map, and a head for each; it predicts their mean.

    The focused module is a 3x3 convolution. The dispersive one is the sum of 3x3 convolutions of dilation 2, 4 and 8,
    which see places far apart. Each adds to the map what it finds.

    Args:
        network: a network with parts; its head becomes that of the focused module.
        head: the dispersive module's.
        dimensions: 2 or 3.

    """

    def __init__(self, network: Any, head: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.segmentation_head = network.encoder, network.decoder, network.segmentation_head
        self.dispersive_head = head
        width, convolution = network.decoder.out_channels, nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.focused = convolution(width, width, 3, padding=1)
        self.dispersive = nn.ModuleList(
            convolution(width, width, 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, *spatial) of the focused and of the dispersive module."""
        decoded = self.decoder(self.encoder(images))
        dispersed = torch.stack([convolution(decoded) for convolution in self.dispersive]).sum(0)
        focused: Tensor = self.segmentation_head(decoded + relu(self.focused(decoded)))
        return focused, self.dispersive_head(decoded + relu(dispersed))

    def forward(self, images: Tensor) -> Tensor:
        """Logits whose softmax is the mean of the two modules' softmaxes."""
        return joined(*self.both(images))


def joined(focused: Tensor, dispersive: Tensor) -> Tensor:
    """Logarithm of the mean of the softmaxes of two logits (B, K, *spatial), float32."""
    return torch.logaddexp(focused.float().log_softmax(1), dispersive.float().log_softmax(1)) - math.log(2)


@register
class ColAdv(SSLMethod):
    """Wu et al. 2021, reconstructed from its abstract, since no code was published.

    Known:

    - Focused and dispersive extraction modules deal with the varied places and shapes of polyps (abstract).
    - Confidence maps of a discriminator select what is learnt from unlabelled images (abstract), as in AdvSemSeg.
    - The outputs of the two modules are regularised to be consistent (abstract).
    - An auxiliary adversarial loss makes further use of unlabelled images (abstract).

    Chosen:

    - Both modules read the decoder's last map of one network of the protocol. The layers are those of
      `FocusedAndDispersive`, for which the abstract gives the names alone.
    - The prediction, which is tested too, is the mean of the two modules' softmaxes.
    - The consistency is the mean squared distance of the two softmaxes on unlabelled images; the gradient reaches both.
    - The discriminator is AdvSemSeg's. It learns label maps of labelled images as true and their predictions as false.
      The adversarial loss asks it to take predictions of labelled images for label maps.
    - L_semi is the cross-entropy of the prediction of unlabelled images to its own hard labels, mean over the pixels
      where the discriminator's confidence is at least `semi_threshold`.
    - The auxiliary adversary is a second discriminator of the same form. It learns predictions of labelled images as
      true and those of unlabelled images as false. The auxiliary loss asks it to take the latter for the former.
    - Weights, threshold and start of L_semi are AdvSemSeg's, relative to lambda; the consistency has weight 1.
    - All images are shown in the protocol's view of labelled ones, else the auxiliary discriminator could learn how the
      views differ.
    - Both discriminators have the optimiser of AdvSemSeg's, and one update after each of the network.
    - The supervised loss is the mean of the protocol's loss of both modules. Labelled and unlabelled images go through
      the network apart. Pixels without a known class are zero in maps of labelled images.
    """

    name = "coladv"
    title = "ColAdv"
    reference = (
        "Wu et al., Collaborative and Adversarial Learning of Focused and Dispersive Representations for "
        "Semi-supervised Polyp Segmentation, ICCV 2021"
    )
    group = "adversarial"
    year = 2021
    venue = "ICCV"
    reconstructed = True
    handles_ignored = True
    needs_parts = True
    hyperparameters = ColAdvHyperparameters
    hyper: ColAdvHyperparameters

    def __init__(self, setup: Setup, hyper: ColAdvHyperparameters) -> None:
        super().__init__(setup, hyper)
        network, dimensions = self.new_student(), len(self.protocol.sides)
        second: Any = self.new_student()
        self.network = FocusedAndDispersive(network, second.segmentation_head, dimensions)
        self.discriminator, self.auxiliary_discriminator = (
            FullyConvolutionalDiscriminator(self.classes, dimensions, hyper.adversary_filters) for _ in range(2)
        )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """The network: L_s + lambda (L_con, L_adv, L_aux and L_semi, weighted). Then both discriminators."""
        hyper = self.hyper
        on_labeled = self.network.both(batch.labeled.as_labeled)
        on_unlabeled = self.network.both(batch.unlabeled.as_labeled)
        losses = [self.segmentation_loss(z, batch.labels) for z in on_labeled]
        focused, dispersive = (z.float().softmax(1) for z in on_unlabeled)
        consistency = mse_loss(focused, dispersive)
        known = batch.labels != IGNORED if self.ignores else None
        of_labeled, prediction = _known(joined(*on_labeled).exp(), known), joined(*on_unlabeled)
        of_unlabeled = prediction.exp()
        adversarial = truth_loss(self.discriminator(of_labeled), true=True)
        auxiliary = truth_loss(self.auxiliary_discriminator(of_unlabeled), true=True)
        terms = {
            "supervised": (1.0, torch.stack(losses).mean()),
            "consistency": (progress.lambda_u, hyper.consistency_weight * consistency),
            "adversarial": (progress.lambda_u, hyper.adversarial_weight * adversarial),
            "auxiliary": (progress.lambda_u, hyper.auxiliary_weight * auxiliary),
        }
        if progress.iteration > hyper.semi_start * progress.iterations:
            with torch.no_grad():
                trusted = self.discriminator(of_unlabeled).sigmoid() >= hyper.semi_threshold
            semi = cross_entropy_loss(prediction, hard_labels(prediction), keep=trusted)
            terms["semi"] = (progress.lambda_u, hyper.semi_weight * semi)
        yield Update(terms, selectable="semi" in terms)

        labels = batch.labels if known is None else batch.labels.where(known, 0)
        truth = _known(class_maps(labels, self.classes, of_labeled.dtype), known)
        of_labeled, of_unlabeled = of_labeled.detach(), of_unlabeled.detach()
        terms = {
            "discriminator": (1.0, _told_apart(self.discriminator, truth, of_labeled)),
            "auxiliary_discriminator": (1.0, _told_apart(self.auxiliary_discriminator, of_labeled, of_unlabeled)),
        }
        yield Update(terms, trains="adversaries")

    @property
    def adversaries(self) -> dict[str, nn.Module]:
        """The discriminator of label maps and that of unlabelled images' predictions."""
        return {"discriminator": self.discriminator, "auxiliary_discriminator": self.auxiliary_discriminator}

    @property
    def predictor(self) -> nn.Module:
        """The network, with both modules."""
        return self.network


def _known(maps: Tensor, known: Tensor | None) -> Tensor:
    """Maps (B, K, *spatial), zero where `known` (B, *spatial) is false."""
    return maps if known is None else maps * known.unsqueeze(1)


def _told_apart(judge: nn.Module, true: Tensor, false: Tensor) -> Tensor:
    """Mean of a discriminator's losses on true and on false maps."""
    return (truth_loss(judge(true), true=True) + truth_loss(judge(false), true=False)) / 2

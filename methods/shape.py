"""Methods that also regress the signed distance map of each object: dual-task consistency, and SASSNet."""

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import (
    AdversaryHyperparameters,
    Batch,
    Hyperparameters,
    Progress,
    Setup,
    SSLMethod,
    Update,
    register,
)
from ssl_bench.ops import (
    IGNORED,
    OriginDiscriminator,
    evaluating,
    mean_of_parts,
    origin_loss,
    signed_distance,
)


class ShapeAware(SSLMethod):
    """One network with a second head, which regresses the signed distance map of every foreground class.

    The second head is that of another network: both read the decoder's last map, as in the authors' V-Net. Its
    background channel is not used.
    """

    needs_parts = True

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network: Any = self.new_student()
        self.distance_head: Any = self.new_student().segmentation_head

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, *spatial), and distances (B, K - 1, *spatial)."""
        decoded = self.network.decoder(self.network.encoder(images))
        return self.network.segmentation_head(decoded), self._distances(decoded)

    def distances(self, images: Tensor) -> Tensor:
        """Distances alone."""
        return self._distances(self.network.decoder(self.network.encoder(images)))

    def _distances(self, decoded: Tensor) -> Tensor:
        """Of the decoder's map: in [-1, 1], float32."""
        distances: Tensor = self.distance_head(decoded)[:, 1:].float().tanh()
        return distances

    def supervised_loss(self, logits: Tensor, distances: Tensor, labels: Tensor, weight: float) -> Tensor:
        """L_seg + weight L_sdf, the mean squared error of the distances; pixels without a known class do not count."""
        loss = self.segmentation_loss(logits, labels)
        errors = (distances - signed_distance(labels, self.classes)).square().mean(1)
        return loss + weight * _mean(errors, self.known(labels))

    def known(self, labels: Tensor) -> Tensor | None:
        """Pixels with a known class, (B, *spatial) bool; None if all have one."""
        return labels != IGNORED if self.ignores else None

    @property
    def predictor(self) -> nn.Module:
        """The network, with its segmentation head."""
        return self.networks["network"]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone. The second head is not scored."""
        return {"network": self.network}


def _mean(values: Tensor, known: Tensor | None) -> Tensor:
    """Mean of (B, *spatial) over the known pixels; 0 if there are none."""
    if known is None:
        return values.mean()
    return (values * known).sum() / known.sum().clamp(min=1)


class DTCHyperparameters(Hyperparameters):
    """Weights of the dual-task consistency; defaults are the authors'."""

    distance_weight: float = Field(0.3, ge=0, description="beta, weight of the distances' error on labelled images")
    steepness: float = Field(1500.0, gt=0, description="k, of the sigmoid that turns distances into a mask")


@register
class DualTaskConsistency(ShapeAware):
    """Luo et al. 2021: the mask of the predicted distances agrees with the segmentation, on all images.

    A steep sigmoid turns a distance map into a mask: T^-1(z) = 1 / (1 + exp(k z)), which is 1 inside of the object. It
    is computed in float32 in any precision. L = L_seg + beta L_sdf + lambda L_DTC, where L_DTC is the mean squared
    distance of the two masks over labelled and unlabelled pixels and the foreground classes; gradients reach both
    heads. The authors' code is for one foreground class, with a sigmoid; here the segmentation has a softmax over K
    classes. Its cross-entropy has no effect there and is left out. On labelled images the segmentation's loss is the
    protocol's supervised loss, background included. Labelled and unlabelled images go through the network apart.
    """

    name = "dtc"
    title = "DTC"
    reference = "Luo et al., Semi-supervised Medical Image Segmentation through Dual-task Consistency, AAAI 2021"
    group = "consistency"
    year = 2021
    venue = "AAAI"
    authors = {
        "lambda_max": 1.0, "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = DTCHyperparameters
    hyper: DTCHyperparameters

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_seg + beta L_sdf + lambda L_DTC."""
        on_labeled = self.outputs(batch.labeled.student1)
        on_unlabeled = self.outputs(batch.unlabeled.student1)
        supervised = self.supervised_loss(*on_labeled, batch.labels, self.hyper.distance_weight)
        consistency = mean_of_parts(
            self.disagreement(*on_labeled), self.disagreement(*on_unlabeled), self.known(batch.labels)
        )
        yield Update({"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)})

    def disagreement(self, logits: Tensor, distances: Tensor) -> Tensor:
        """Squared distance of the two masks, mean over the foreground classes: (B, *spatial)."""
        mask = torch.sigmoid(-self.hyper.steepness * distances)
        return (mask - logits.float().softmax(1)[:, 1:]).square().mean(1)


class SASSNetHyperparameters(AdversaryHyperparameters):
    """Weights of SASSNet. The second is relative to lambda: multiplied by lambda_max = 0.1 it is the authors'."""

    distance_weight: float = Field(0.3, ge=0, description="alpha, weight of the distances' error on labelled images")
    adversarial_weight: float = Field(
        0.1, ge=0, description="weight of the adversarial loss within lambda's; the authors' 0.01 is 0.1 x 0.1"
    )


@register
class SASSNet(ShapeAware):
    """Li et al. 2020: a discriminator makes the distance maps of unlabelled images look like those of labelled ones.

    The discriminator reads the distance map and the image, and tells labelled from unlabelled images. The network's
    loss is L_seg + alpha L_sdf + beta L_adv, where L_adv is the cross-entropy of unlabelled images taken for labelled
    ones. All images are shown in the protocol's view of labelled ones, else the discriminator would learn how the views
    differ. It is in evaluation mode in the network's loss, and the network in the discriminator's own update, as in the
    authors' code. There beta is 0.01 with 16 labelled volumes and 0.015 with 8. A cross-entropy that the code computes
    has no effect and is left out. On labelled images the segmentation's loss is the protocol's supervised loss.
    """

    name = "sassnet"
    title = "SASSNet"
    reference = "Li et al., Shape-aware Semi-supervised 3D Semantic Segmentation for Medical Images, MICCAI 2020"
    group = "adversarial"
    year = 2020
    venue = "MICCAI"
    authors = {
        "lambda_max": 0.01, "rampup_epochs": "run", "adversarial_weight": 1.0, "views.labeled_student1": "weak",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = SASSNetHyperparameters
    hyper: SASSNetHyperparameters

    def __init__(self, setup: Setup, hyper: SASSNetHyperparameters) -> None:
        super().__init__(setup, hyper)
        self.discriminator = OriginDiscriminator(
            self.classes - 1, self.channels, len(self.protocol.sides), hyper.adversary_filters
        )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """The network: L_seg + alpha L_sdf + lambda beta L_adv. Then the discriminator: cross-entropy on all images."""
        x, u = batch.labeled.as_labeled, batch.unlabeled.as_labeled  # alike, else their views would tell them apart
        supervised = self.supervised_loss(*self.outputs(x), batch.labels, self.hyper.distance_weight)
        distances = self.distances(u)
        with evaluating(self.discriminator):
            adversarial = origin_loss(self.discriminator(distances, u), labeled=True).mean()
        terms = {
            "supervised": (1.0, supervised),
            "adversarial": (progress.lambda_u, self.hyper.adversarial_weight * adversarial),
        }
        yield Update(terms)

        with torch.no_grad(), evaluating(self.network):
            of_labeled, of_unlabeled = self.distances(x), self.distances(u)
        losses = (
            origin_loss(self.discriminator(of_labeled, x), labeled=True),
            origin_loss(self.discriminator(of_unlabeled, u), labeled=False),
        )
        yield Update({"discriminator": (1.0, torch.cat(losses).mean())}, trains="adversaries")

    @property
    def adversaries(self) -> dict[str, nn.Module]:
        """The discriminator."""
        return {"discriminator": self.discriminator}

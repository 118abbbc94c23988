"""Adversarial learning for semi-supervised semantic segmentation: a discriminator judges every pixel of a label map."""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import nn

from ssl_bench.method import (
    AdversaryHyperparameters,
    Batch,
    Progress,
    Setup,
    SSLMethod,
    Update,
    register,
)
from ssl_bench.ops import (
    IGNORED,
    FullyConvolutionalDiscriminator,
    class_maps,
    cross_entropy_loss,
    hard_labels,
    truth_loss,
)


class AdvSemSegHyperparameters(AdversaryHyperparameters):
    """Weights relative to lambda. Multiplied by lambda_max = 0.1 they are the authors'."""

    labeled_adversarial: float = Field(0.1, ge=0, description="of labelled images' L_adv; the authors' 0.01")
    unlabeled_adversarial: float = Field(0.01, ge=0, description="of unlabelled images' L_adv; the authors' 0.001")
    semi_weight: float = Field(1.0, ge=0, description="of L_semi; the authors' 0.1")
    semi_start: float = Field(0.25, ge=0, lt=1, description="share of the iterations before L_semi begins")
    semi_threshold: float = Field(0.2, ge=0, le=1, description="T_semi, the smallest confidence of a pixel in L_semi")


@register
class AdvSemSeg(SSLMethod):
    """Hung et al. 2018 in 2D and 3D, with the protocol's supervised loss.

    L = L_seg + lambda_adv L_adv + lambda_semi L_semi (equation 2). L_adv asks the discriminator to take predictions for
    label maps; L_semi is the cross-entropy to the network's own hard labels where the discriminator's confidence is at
    least T_semi, mean over these pixels. The weights are relative to lambda, which ramps up; the authors' are constant.
    Label maps come from the same labelled images as the predictions; in the authors' code, from a second draw of them.
    As in that code, and other than in the paper, predictions of unlabelled images train the discriminator too. Its
    learning rate falls to 0 there and stays here. Pixels without a known class are zero in both kinds of maps.
    """

    name = "advsemseg"
    title = "AdvSemSeg"
    reference = "Hung et al., Adversarial Learning for Semi-Supervised Semantic Segmentation, BMVC 2018"
    group = "adversarial"
    year = 2018
    venue = "BMVC"
    authors = {"lambda_max": 0.1, "rampup_epochs": "none"}
    handles_ignored = True
    hyperparameters = AdvSemSegHyperparameters
    hyper: AdvSemSegHyperparameters

    def __init__(self, setup: Setup, hyper: AdvSemSegHyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()
        self.discriminator = FullyConvolutionalDiscriminator(
            self.classes, len(self.protocol.sides), hyper.adversary_filters
        )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """The network: equation 2. Then the discriminator: equation 1, with the mean of true and false maps."""
        hyper = self.hyper
        on_labeled, on_unlabeled = self.network(batch.labeled.student1), self.network(batch.unlabeled.student1)
        supervised = self.segmentation_loss(on_labeled, batch.labels)
        known = (batch.labels != IGNORED).unsqueeze(1) if self.ignores else None
        of_labeled, of_unlabeled = on_labeled.float().softmax(1), on_unlabeled.float().softmax(1)
        if known is not None:
            of_labeled = of_labeled * known
        judged = self.discriminator(of_unlabeled)
        adversarial = hyper.labeled_adversarial * truth_loss(self.discriminator(of_labeled), true=True)
        adversarial = adversarial + hyper.unlabeled_adversarial * truth_loss(judged, true=True)
        terms = {"supervised": (1.0, supervised), "adversarial": (progress.lambda_u, adversarial)}
        if progress.iteration > hyper.semi_start * progress.iterations:
            trusted = judged.detach().sigmoid() >= hyper.semi_threshold
            semi = cross_entropy_loss(on_unlabeled, hard_labels(on_unlabeled), keep=trusted)
            terms["semi"] = (progress.lambda_u, hyper.semi_weight * semi)
        yield Update(terms, selectable="semi" in terms)

        labels = batch.labels if known is None else batch.labels.where(known.squeeze(1), 0)
        true = class_maps(labels, self.classes, of_labeled.dtype)
        if known is not None:
            true = true * known
        false = torch.cat([of_labeled, of_unlabeled]).detach()
        loss = (truth_loss(self.discriminator(false), true=False) + truth_loss(self.discriminator(true), true=True)) / 2
        yield Update({"discriminator": (1.0, loss)}, trains="adversaries")

    @property
    def adversaries(self) -> dict[str, nn.Module]:
        """The discriminator."""
        return {"discriminator": self.discriminator}

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network

"""Cross pseudo supervision and cross teaching: two students learn from each other's hard pseudo labels."""

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import (
    Batch,
    CutMixHyperparameters,
    Hyperparameters,
    Images,
    Progress,
    Protocol,
    SecondNetworkHyperparameters,
    Setup,
    SSLMethod,
    Update,
    register,
    require_pairs,
)
from ssl_bench.ops import cutmix, dice_loss, hard_labels

CPS_PAPER = "Chen et al., Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision, CVPR 2021"
Pair = tuple[Tensor, Tensor]


@register
class CrossPseudoSupervision(SSLMethod):
    """Chen et al. 2021 with the UCMT paper's Dice loss (equation 5)."""

    name = "cps"
    title = "CPS"
    reference = CPS_PAPER
    group = "co-training"
    year = 2021
    venue = "CVPR"
    authors = {"lambda_max": 1.5, "rampup_epochs": "none"}  # on Pascal VOC
    components = frozenset({"SS", "L_cps"})
    handles_ignored = True

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student1, self.student2 = self.new_students()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (L_cps1 + L_cps2)."""
        smooth = self.protocol.dice_smooth
        supervised = self.supervised(
            self.segmentation_loss(self.student1(batch.labeled.student1), batch.labels),
            self.segmentation_loss(self.student2(batch.labeled.student2), batch.labels),
        )
        (y1, y2), (labels1, labels2) = self.on_unlabeled(batch.unlabeled)
        cps = self.unsupervised(dice_loss(y1, labels2, smooth), dice_loss(y2, labels1, smooth))
        yield Update({"supervised": (1.0, supervised), "cps": (progress.lambda_u, cps)}, branches=(y1, y2))

    def on_unlabeled(self, images: Images) -> tuple[Pair, Pair]:
        """The students' logits (B, K, *spatial), each on its own view, and their pseudo labels (B, *spatial)."""
        y1, y2 = self.student1(images.student1), self.student2(images.student2)
        return (y1, y2), (hard_labels(y1), hard_labels(y2))

    @property
    def predictor(self) -> nn.Module:
        """Student 1."""
        return self.student1


@register
class CrossPseudoSupervisionCutMix(CrossPseudoSupervision):
    """CPS whose students see mixed images, and learn the mix of the other's pseudo labels of the unmixed ones.

    Students stay in training mode for the pseudo labels, as in the authors' code.
    """

    name = "cps-cutmix"
    title = "CPS + CutMix"
    reference = f"{CPS_PAPER}; boxes of French et al., BMVC 2020"
    authors = {"lambda_max": 1.0, "rampup_epochs": "none"}  # on Pascal VOC
    hyperparameters = CutMixHyperparameters
    hyper: CutMixHyperparameters

    @classmethod
    def check(cls, hyper: Hyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError for batches of one image."""
        require_pairs(protocol, "unlabeled")

    def on_unlabeled(self, images: Images) -> tuple[Pair, Pair]:
        """The students' logits on their mixed views, and their pseudo labels of the views, mixed alike."""
        mix = cutmix(images.student1, boxes=self.hyper.boxes, low=self.hyper.low, high=self.hyper.high)
        with torch.no_grad():
            labels1 = mix(hard_labels(self.student1(images.student1)))
            labels2 = mix(hard_labels(self.student2(images.student2)))
        return (self.student1(mix(images.student1)), self.student2(mix(images.student2))), (labels1, labels2)


class CrossTeachingHyperparameters(SecondNetworkHyperparameters):
    """The transformer: by default a U-Net on the smallest Mix Transformer of SegFormer, from scratch."""

    second_network: str = Field("unet", description="network of student 2; same: the protocol's")
    second_encoder: str = Field("mit_b0", description="its encoder, where it takes one; same: the protocol's")
    second_weights: str = Field("none", description="weights its encoder starts from; same: the protocol's")


@register
class CrossTeaching(CrossPseudoSupervision):
    """Luo et al. 2022: CPS between a convolutional network, student 1, and a transformer, student 2.

    Student 1 is the protocol's network. Student 2 is by default the U-Net of segmentation-models-pytorch on the
    transformer encoder `mit_b0`; the authors' is Swin-UNet, whose decoder is a transformer too. It starts from random
    weights, where the authors start from ImageNet's, because no weights are downloaded that nobody asked for:
    `second_weights = "imagenet"` does so. Where student 2 is meant to be another transformer, `second_network` and
    `second_encoder` take any network and encoder that a protocol takes. The sides of an image must fit both networks.

    The pseudo labels' loss is the Dice loss, as in the authors' code. On labelled images theirs is the mean of Dice and
    cross-entropy, and they take Dice over the whole batch. Their labelled and unlabelled images go through a network
    as one batch; here each part is a batch. They score both networks and report the convolutional one. The method is
    for 2D images, as is the transformer; the networks with a transformer in 3D are an extra package's.
    """

    name = "ctct"
    title = "CTCT"
    reference = (
        "Luo et al., Semi-Supervised Medical Image Segmentation via Cross Teaching between CNN and Transformer, "
        "MIDL 2022"
    )
    year = 2022
    venue = "MIDL"
    dimensions = (2,)
    authors = {
        "lambda_max": 0.1, "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "views.labeled_student2": "weak", "views.student2": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    hyperparameters = CrossTeachingHyperparameters
    hyper: CrossTeachingHyperparameters

    def __init__(self, setup: Setup, hyper: CrossTeachingHyperparameters) -> None:
        SSLMethod.__init__(self, setup, hyper)
        self.student1, self.student2 = self.new_students(**hyper.second)

    @classmethod
    def architectures(cls, hyper: Any) -> list[dict[str, str]]:
        """The second network's, unless it is the first one's."""
        return [hyper.second] if hyper.second else []

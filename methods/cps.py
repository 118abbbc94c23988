"""Cross pseudo supervision: two students learn from each other's hard pseudo labels."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ssl_bench.method import (
    Batch,
    CutMixHyperparameters,
    Hyperparameters,
    Images,
    Progress,
    Setup,
    SSLMethod,
    Update,
    register,
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
            dice_loss(self.student1(batch.labeled.student1), batch.labels, smooth, ignores=self.ignores),
            dice_loss(self.student2(batch.labeled.student2), batch.labels, smooth, ignores=self.ignores),
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

    def on_unlabeled(self, images: Images) -> tuple[Pair, Pair]:
        """The students' logits on their mixed views, and their pseudo labels of the views, mixed alike."""
        mix = cutmix(images.student1, boxes=self.hyper.boxes, low=self.hyper.low, high=self.hyper.high)
        with torch.no_grad():
            labels1 = mix(hard_labels(self.student1(images.student1)))
            labels2 = mix(hard_labels(self.student2(images.student2)))
        return (self.student1(mix(images.student1)), self.student2(mix(images.student2))), (labels1, labels2)

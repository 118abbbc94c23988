"""The collaborative mean teacher family: CMTv1, CMTv2, CMTv3, and UCMT with its second, region-mixed step."""

from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import RegionMix, dice_loss, mean_prediction_entropy, umix
from ssl_bench.spec import Protocol

UCMT_PAPER = "Shen et al., Co-training with High-Confidence Pseudo Labels (UCMT), IJCAI 2023"


class Outputs(NamedTuple):
    """Logits (B, K, *spatial) of student 1, student 2 and the teacher on the same images."""

    y1: Tensor
    y2: Tensor
    y0: Tensor


class CollaborativeMeanTeacher(SSLMethod):
    """Two students and a teacher (STS); `losses` of {cps, mts}; `mix` none or umix."""

    losses: ClassVar[frozenset[str]]
    mix: ClassVar[Literal["none", "umix"]] = "none"
    reference = UCMT_PAPER

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.components = frozenset(
            {"STS"} | {f"L_{loss}" for loss in cls.losses} | ({"U"} if cls.mix == "umix" else set())
        )

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student1, self.student2 = self.new_students()
        self.teacher = self.new_teacher(self.student1, self.student2)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (L_cps + L_mts), equations 2 to 7."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        l1, l2 = self.student1(labeled.student1), self.student2(labeled.student2)
        u = Outputs(
            self.student1(unlabeled.student1), self.student2(unlabeled.student2), self.teacher(unlabeled.teacher)
        )
        yield self.loss(l1, l2, batch.labels, u.y1, u.y2, u.y0.argmax(1), progress, branches=(u.y1, u.y2))

    def loss(
        self,
        l1: Tensor,
        l2: Tensor,
        labels: Tensor,
        u1: Tensor,
        u2: Tensor,
        teacher_labels: Tensor,
        progress: Progress,
        branches: tuple[Tensor, Tensor] | None = None,
    ) -> Update:
        """One step's loss from the students' logits on labelled (l) and unlabelled (u) images."""
        smooth = self.protocol.dice_smooth
        supervised = self.supervised(dice_loss(l1, labels, smooth), dice_loss(l2, labels, smooth))
        terms = {"supervised": (1.0, supervised)}
        if "cps" in self.losses:
            cps = self.unsupervised(dice_loss(u1, u2.argmax(1), smooth), dice_loss(u2, u1.argmax(1), smooth))
            terms["cps"] = (progress.lambda_u, cps)
        if "mts" in self.losses:
            mts = self.unsupervised(dice_loss(u1, teacher_labels, smooth), dice_loss(u2, teacher_labels, smooth))
            terms["mts"] = (progress.lambda_u, mts)
        return Update(terms, branches)

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the students (equation 6)."""
        self.teacher.follow(self.student1, self.student2, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The teacher."""
        return self.teacher


@register
class CMTv1(CollaborativeMeanTeacher):
    """STS with mean-teacher supervision alone."""

    name = "cmtv1"
    title = "CMTv1"
    losses = frozenset({"mts"})


@register
class CMTv2(CollaborativeMeanTeacher):
    """STS with cross pseudo supervision alone; the teacher only follows, and is what is tested."""

    name = "cmtv2"
    title = "CMTv2"
    losses = frozenset({"cps"})


@register
class CMTv3(CollaborativeMeanTeacher):
    """STS with both losses; the paper's CMT in Tables 1 to 3."""

    name = "cmtv3"
    title = "CMTv3"
    losses = frozenset({"cps", "mts"})


class UMIXHyperparameters(Hyperparameters):
    """UMIX's two hyperparameters (Table 5)."""

    k: int = Field(2, ge=1, description="regions replaced per uncertainty map")
    r: int = Field(16, ge=1, description="regions along each side of the image")


@register
class UCMT(CollaborativeMeanTeacher):
    """Algorithm 1: a CMTv3 update, then a second one on images whose uncertain regions UMIX has replaced."""

    name = "ucmt"
    title = "UCMT"
    losses = frozenset({"cps", "mts"})
    mix = "umix"
    updates_per_iteration = 2
    hyperparameters = UMIXHyperparameters
    hyper: UMIXHyperparameters

    @classmethod
    def check(cls, hyper: UMIXHyperparameters, protocol: Protocol) -> None:
        """UMIX cuts the image into r regions a side, and needs 2k of them."""
        if protocol.image_size % hyper.r:
            raise UserError(f"r: image_size {protocol.image_size} must be divisible by r, found r = {hyper.r}")
        if 2 * hyper.k > hyper.r**2:
            raise UserError(f"k: UMIX needs 2k regions of {hyper.r}x{hyper.r}, found k = {hyper.k}")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """Step 1 on the images, step 2 on their UMIX."""
        labeled, unlabeled, labels = batch.labeled, batch.unlabeled, batch.labels
        l = self._predict(labeled.student1, labeled.student2, labeled.teacher)
        u = self._predict(unlabeled.student1, unlabeled.student2, unlabeled.teacher)
        pseudo_labels = u.y0.argmax(1)
        yield self.loss(l.y1, l.y2, labels, u.y1, u.y2, pseudo_labels, progress, branches=(u.y1, u.y2))

        with torch.no_grad():
            if self.protocol.uncertainty_from == "after-update":
                l = self._predict(labeled.student1, labeled.student2, labeled.teacher)
                u = self._predict(unlabeled.student1, unlabeled.student2, unlabeled.teacher)
            mix_labeled, mix_unlabeled = self._plan(l), self._plan(u)
        labeled_images = mix_labeled(labeled.mixed)
        unlabeled_images = mix_unlabeled(unlabeled.mixed)
        if self.protocol.step2_teacher == "mixed-labels":
            pseudo_labels = mix_unlabeled(pseudo_labels)
        else:
            pseudo_labels = self.teacher(unlabeled_images).argmax(1)
        yield self.loss(
            self.student1(labeled_images),
            self.student2(labeled_images),
            mix_labeled(labels),
            self.student1(unlabeled_images),
            self.student2(unlabeled_images),
            pseudo_labels,
            progress,
        )

    def _predict(self, images1: Tensor, images2: Tensor, images0: Tensor) -> Outputs:
        return Outputs(self.student1(images1), self.student2(images2), self.teacher(images0))

    def _plan(self, outputs: Outputs) -> RegionMix:
        uncertainty1 = mean_prediction_entropy(outputs.y1, outputs.y0)
        uncertainty2 = mean_prediction_entropy(outputs.y2, outputs.y0)
        return umix(uncertainty1, uncertainty2, k=self.hyper.k, r=self.hyper.r, order=self.protocol.umix_order)

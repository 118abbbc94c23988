"""The collaborative mean teacher family: CMTv1, CMTv2, CMTv3, and UCMT with its second step on mixed images."""

from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

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
    Setup,
    Snapshot,
    SSLMethod,
    Update,
    UserError,
    register,
    require_pairs,
)
from ssl_bench.ops import IGNORED, RegionMix, cutmix, dice_loss, hard_labels, mean_prediction_entropy, random_maps, umix

UCMT_PAPER = "Shen et al., Co-training with High-Confidence Pseudo Labels (UCMT), IJCAI 2023"


class Students(NamedTuple):
    """The two students' logits, each (B, K, *spatial)."""

    y1: Tensor
    y2: Tensor


class CollaborativeMeanTeacher(SSLMethod):
    """Two students and a teacher (STS); `losses` of {cps, mts}; `mix` none, cutmix or umix."""

    losses: ClassVar[frozenset[str]]
    mix: ClassVar[Literal["none", "cutmix", "umix"]] = "none"
    reference = UCMT_PAPER
    group = "co-training"
    year = 2023
    venue = "IJCAI"
    handles_ignored = True

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
        on_labeled, on_unlabeled = self.students(batch.labeled), self.students(batch.unlabeled)
        pseudo_labels = None
        if "mts" in self.losses or self.teacher_learns_from_passes:
            pseudo_labels = hard_labels(self.teacher(batch.unlabeled.teacher))
        yield self.loss(on_labeled, on_unlabeled, batch.labels, pseudo_labels, progress)

    @property
    def teacher_learns_from_passes(self) -> bool:
        """Whether a forward pass changes the teacher: in training mode it moves batch norm's statistics."""
        return not self.teacher.always_eval

    def students(self, images: Images) -> Students:
        """Each student on its own view."""
        return Students(self.student1(images.student1), self.student2(images.student2))

    def loss(
        self, labeled: Students, unlabeled: Students, labels: Tensor, y0: Tensor | None, progress: Progress
    ) -> Update:
        """One update's loss; `labels` are the labelled images', `y0` the teacher's pseudo labels (B, *spatial).

        `y0` can be None where "mts" is not among the losses.
        """
        smooth, (y1, y2) = self.protocol.dice_smooth, unlabeled
        supervised = self.supervised(*(self.segmentation_loss(logits, labels) for logits in labeled))
        terms = {"supervised": (1.0, supervised)}
        if "cps" in self.losses:
            cps = self.unsupervised(dice_loss(y1, hard_labels(y2), smooth), dice_loss(y2, hard_labels(y1), smooth))
            terms["cps"] = (progress.lambda_u, cps)
        if "mts" in self.losses:
            assert y0 is not None
            mts = self.unsupervised(dice_loss(y1, y0, smooth), dice_loss(y2, y0, smooth))
            terms["mts"] = (progress.lambda_u, mts)
        return Update(terms, branches=(y1, y2))

    def second_loss(
        self,
        batch: Batch,
        mix_labeled: Callable[[Tensor], Tensor],
        mix_unlabeled: Callable[[Tensor], Tensor],
        y0: Tensor,
        progress: Progress,
    ) -> Update:
        """The loss on mixed images, the same for both students; `y0` are step 1's pseudo labels, unmixed."""
        mixed_labeled, mixed_unlabeled = mix_labeled(batch.labeled.mixed), mix_unlabeled(batch.unlabeled.mixed)
        if self.protocol.step2_teacher == "mixed-labels":
            y0 = mix_unlabeled(y0)
        else:
            y0 = hard_labels(self.teacher(mixed_unlabeled))
        on_labeled = Students(self.student1(mixed_labeled), self.student2(mixed_labeled))
        on_unlabeled = Students(self.student1(mixed_unlabeled), self.student2(mixed_unlabeled))
        return self.loss(on_labeled, on_unlabeled, mix_labeled(batch.labels), y0, progress)

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
    """STS with cross pseudo supervision alone. The teacher follows the students, and is the tested network."""

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
    r: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="regions along each side of the image; auto: 16 in 2D (the paper), 8 in 3D (its code)"
    )

    def resolved(self, dimensions: int) -> Self:
        """Fill in r."""
        return self if self.r != "auto" else self.model_copy(update={"r": 16 if dimensions == 2 else 8})


@register
class UCMT(CollaborativeMeanTeacher):
    """Algorithm 1: a CMTv3 update, then a second one on images whose uncertain regions UMIX has replaced."""

    name = "ucmt"
    title = "UCMT"
    handles_ignored = True
    losses = frozenset({"cps", "mts"})
    mix = "umix"
    updates_per_iteration = 2
    hyperparameters = UMIXHyperparameters
    hyper: UMIXHyperparameters

    @classmethod
    def check(cls, hyper: UMIXHyperparameters, protocol: Protocol) -> None:
        """Raise UserError unless r divides every side of the image and there are at least 2k regions."""
        assert hyper.r != "auto"
        sides, regions = protocol.sides, hyper.r ** len(protocol.sides)
        if any(side % hyper.r for side in sides):
            raise UserError(f"r: sides of {'x'.join(map(str, sides))} must be divisible by r, found r = {hyper.r}")
        if 2 * hyper.k > regions:
            raise UserError(f"k: UMIX needs 2k regions, found k = {hyper.k} and r = {hyper.r}, which are {regions}")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L_s + lambda (L_cps + L_mts) twice: step 1 on the images, step 2 on their UMIX."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        on_labeled, on_unlabeled = self.students(labeled), self.students(unlabeled)
        runs_again = self.protocol.uncertainty_from == "after-update"
        teacher_labeled = None
        if not runs_again or self.teacher_learns_from_passes:
            teacher_labeled = self.teacher(labeled.teacher)
        teacher_unlabeled = self.teacher(unlabeled.teacher)
        pseudo_labels = hard_labels(teacher_unlabeled)
        yield self.loss(on_labeled, on_unlabeled, batch.labels, pseudo_labels, progress)

        with torch.no_grad():
            if runs_again:
                on_labeled, on_unlabeled = self.students(labeled), self.students(unlabeled)
                teacher_labeled, teacher_unlabeled = self.teacher(labeled.teacher), self.teacher(unlabeled.teacher)
            assert teacher_labeled is not None
            known = batch.labels != IGNORED if self.ignores else None
            mix_labeled = self._plan(on_labeled, teacher_labeled, known)
            mix_unlabeled = self._plan(on_unlabeled, teacher_unlabeled)
        yield self.second_loss(batch, mix_labeled, mix_unlabeled, pseudo_labels, progress)

    def snapshot(self, images: Tensor) -> Snapshot:
        """Uncertainty as the mean of both students' maps, every network on the same images."""
        seen = Students(self.student1(images), self.student2(images)), self.teacher(images)
        mixed = self._plan(*seen)(images)
        seen_mixed = Students(self.student1(mixed), self.student2(mixed)), self.teacher(mixed)
        return Snapshot(_uncertainty(*seen).mean(0), mixed, _uncertainty(*seen_mixed).mean(0))

    def _plan(self, students: Students, teacher: Tensor, known: Tensor | None = None) -> RegionMix:
        """UMIX's regions; `known` (B, *spatial) are the pixels whose entropy counts."""
        assert self.hyper.r != "auto"
        maps = _uncertainty(students, teacher)
        if self.protocol.umix_regions == "random":
            maps = random_maps(maps, self.hyper.r)
        return umix(*maps, k=self.hyper.k, r=self.hyper.r, order=self.protocol.umix_order, known=known)


def _uncertainty(students: Students, teacher: Tensor) -> Tensor:
    """The two maps of equation 8, (2, B, *spatial)."""
    return torch.stack([mean_prediction_entropy(logits, teacher) for logits in students])


@register
class UCMTCutMix(CollaborativeMeanTeacher):
    """UCMT with CutMix in UMIX's place (Figure 3): chance chooses the regions, so no uncertainty is computed."""

    name = "ucmt-cutmix"
    title = "UCMT (CutMix)"
    handles_ignored = True
    reference = f"{UCMT_PAPER}; boxes of French et al., BMVC 2020"
    losses = frozenset({"cps", "mts"})
    mix = "cutmix"
    updates_per_iteration = 2
    hyperparameters = CutMixHyperparameters
    hyper: CutMixHyperparameters

    @classmethod
    def check(cls, hyper: Hyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError for batches of one image."""
        require_pairs(protocol, "labeled", "unlabeled")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L_s + lambda (L_cps + L_mts) twice: step 1 on the images, step 2 on their CutMix."""
        on_labeled, on_unlabeled = self.students(batch.labeled), self.students(batch.unlabeled)
        pseudo_labels = hard_labels(self.teacher(batch.unlabeled.teacher))
        yield self.loss(on_labeled, on_unlabeled, batch.labels, pseudo_labels, progress)
        mix_labeled, mix_unlabeled = (
            cutmix(images.mixed, boxes=self.hyper.boxes, low=self.hyper.low, high=self.hyper.high)
            for images in (batch.labeled, batch.unlabeled)
        )
        yield self.second_loss(batch, mix_labeled, mix_unlabeled, pseudo_labels, progress)

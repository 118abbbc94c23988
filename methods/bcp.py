"""Bidirectional copy-paste: the student sees labelled images pasted into unlabelled ones, and the other way round."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import (
    Batch,
    Hyperparameters,
    Progress,
    Protocol,
    Setup,
    SSLMethod,
    Update,
    register,
    require_pairs,
)
from ssl_bench.ops import hard_labels, largest_component, random_box


class BCPHyperparameters(Hyperparameters):
    """The box, the first phase and the filter of pseudo labels; defaults are the authors'."""

    box: float = Field(2 / 3, ge=0, le=1, description="the pasted box's sides, as a share of the image's")
    pretrain_share: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = Field(
        "auto", description="share of the iterations that train on labelled images alone; auto: 0.25 in 2D, 0.12 in 3D"
    )
    filter_rounds: int = Field(
        10, ge=0, description="rounds of the search for each class's largest component in pseudo labels; 0: no filter"
    )

    def resolved(self, dimensions: int) -> Self:
        """Replace `auto` by the authors' 10,000 of 40,000 iterations (ACDC, 2D) or 2,000 of 17,000 (LA, 3D)."""
        if self.pretrain_share != "auto":
            return self
        return self.model_copy(update={"pretrain_share": 0.25 if dimensions == 2 else 0.12})


@register
class BidirectionalCopyPaste(SSLMethod):
    """Bai et al. 2023 with the protocol's supervised loss; theirs is the mean of Dice and cross-entropy.

    Phase 1 trains the student on labelled images with a box of another labelled image. Then the teacher takes over the
    student's weights, and phase 2 begins. In its first mix, an unlabelled image fills the box in a labelled one; in the
    second, a labelled image fills the box in an unlabelled one. All images of an iteration have the same box. Labels of
    unlabelled images are the teacher's hard labels, without what lies outside of each class's largest component. The
    loss of labelled regions, the mean over both mixes, is `supervised`; that of unlabelled regions has the weight
    lambda, 0.5 in the authors' code.

    The authors halve labelled and unlabelled batches, and each half takes part in one mix. Here batches may be odd and
    unequal, and every image takes part in both: labelled image i holds the box of unlabelled image i, and its own box
    lies in unlabelled image i + 1; the shorter batch is repeated. The authors add up both mixes: twice the loss here.
    Their phase 2 starts from the best checkpoint of phase 1, found on their test or validation cases; here from the
    last. Their optimiser starts again on LA and goes on in ACDC; here it goes on. Views are the protocol's; theirs are
    weak, for the student too. The student is what they test.
    """

    name = "bcp"
    title = "BCP"
    reference = "Bai et al., Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation, CVPR 2023"
    group = "mixing"
    year = 2023
    venue = "CVPR"
    components = frozenset({"TS"})
    authors = {
        "lambda_max": 0.5, "rampup_epochs": "none", "ema_decay": 0.99, "ema_warmup": False, "teacher_mode": "train",
        "teacher_buffers": "own", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = BCPHyperparameters
    hyper: BCPHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    @classmethod
    def check(cls, hyper: Hyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError for batches of one image."""
        require_pairs(protocol, "labeled")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """Phase 1: L_s of mixed labelled images. Phase 2: L_s of labelled regions + lambda L_u of unlabelled ones."""
        images, labels = batch.labeled.student1, batch.labels
        inside = random_box(tuple(labels.shape[1:]), self.hyper.box, labels.device)
        if progress.iteration <= self.switch(progress):
            mixed, truth = (pasted(one, one.roll(-1, 0), inside) for one in (images, labels))
            loss = self.segmentation_loss(self.student(mixed), truth)
            yield Update({"supervised": (1.0, loss)}, selectable=False)
            return

        unlabeled = batch.unlabeled.student1
        y0 = self.teacher(batch.unlabeled.teacher)
        pseudo = hard_labels(y0)
        if self.hyper.filter_rounds:
            pseudo = largest_component(pseudo, self.classes, rounds=self.hyper.filter_rounds)
        pairs = max(len(images), len(unlabeled))
        images, labels = taken(images, pairs), taken(labels, pairs)
        inner_labels, outer_labels = (taken(pseudo, pairs, shift) for shift in (0, 1))
        y_in = self.student(pasted(images, taken(unlabeled, pairs), inside))
        y_out = self.student(pasted(taken(unlabeled, pairs, 1), images, inside))
        outside = ~inside
        given = self.on_region(y_in, labels, outside), self.on_region(y_out, labels, inside)
        taught = self.on_region(y_in, inner_labels, inside), self.on_region(y_out, outer_labels, outside)
        terms = {
            "supervised": (1.0, torch.stack(given).mean()),
            "mixed": (progress.lambda_u, torch.stack(taught).mean()),
        }
        count = len(unlabeled)  # of unlabelled image i, the box is in y_in[i], the rest in y_out[i - 1]
        yield Update(terms, branches=(pasted(taken(y_out[:count], count, -1), y_in[:count], inside), y0))

    def on_region(self, logits: Tensor, labels: Tensor, region: Tensor) -> Tensor:
        """Loss within a region (*spatial)."""
        return self.segmentation_loss(logits, labels, keep=region.expand(labels.shape))

    def switch(self, progress: Progress) -> int:
        """The last iteration of phase 1."""
        assert self.hyper.pretrain_share != "auto"
        return round(self.hyper.pretrain_share * progress.iterations)

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student; it takes over its weights at the end of phase 1."""
        last = self.switch(progress)
        if progress.iteration == last:
            self.teacher.restart(self.student)
        elif progress.iteration > last:
            self.teacher.follow(self.student, iteration=progress.iteration - 1 - last)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student


def pasted(outside: Tensor, inside: Tensor, box: Tensor) -> Tensor:
    """One batch with the box of another: (B, *spatial) or (B, C, *spatial) each, box (*spatial)."""
    return torch.where(box, inside, outside)


def taken(batch: Tensor, count: int, shift: int = 0) -> Tensor:
    """`count` samples of a batch from number `shift` on, again from the first after the last."""
    return batch[(torch.arange(count, device=batch.device) + shift) % len(batch)]

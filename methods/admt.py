"""Alternate diverse teaching: two teachers take turns to follow the student, each on strong views of its own kind."""

import math
from collections.abc import Iterator
from itertools import count
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
from ssl_bench.ops import (
    ExponentialMovingAverage,
    beta_draws,
    clipped_boxes,
    confident_labels,
    cross_entropy_loss,
    dice_loss,
    entropy,
    whose_turn,
)

Share = Annotated[float, Field(ge=0, le=1)]


class ADMTHyperparameters(Hyperparameters):
    """Periods, loss and CutMix; defaults are those of the authors' code for ACDC (2D) and LA (3D)."""

    longest_period: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="most iterations until the teachers change over; auto: 50 in 2D, 19 in 3D"
    )
    confidence: Share | Literal["auto"] = Field(
        "auto", description="smallest probability of a pseudo label that counts; auto: 0.95 in 2D, 0.8 in 3D"
    )
    unsupervised_loss: Literal["dice", "cross-entropy", "auto"] = Field(
        "auto", description="of the pixels whose pseudo labels count; auto: dice in 2D, cross-entropy in 3D"
    )
    copy_share: Share = Field(
        0.005, description="share of the iterations in which the active teacher is a copy of the student"
    )
    box_a: float = Field(4.0, gt=0, description="a of l ~ Beta(a, b); CutMix's box has sqrt(1 - l) of each side")
    box_b: float = Field(4.0, gt=0, description="its b")

    def resolved(self, dimensions: int) -> Self:
        """Replace `auto` by the authors' value."""
        period, confidence, loss = (50, 0.95, "dice") if dimensions == 2 else (19, 0.8, "cross-entropy")
        usual = {"longest_period": period, "confidence": confidence, "unsupervised_loss": loss}
        return self.model_copy(update={key: value for key, value in usual.items() if getattr(self, key) == "auto"})


@register
class AlternateDiverseTeaching(SSLMethod):
    """Zhao et al. 2024 with the protocol's supervised loss; theirs is the mean of Dice and cross-entropy.

    One teacher at a time is active, for a period of random length, and moves. While it is teacher 1, the student learns
    on student 1's view; the authors change its colours, and blur it (ACDC) or add noise (LA). While it is teacher 2,
    the student learns on CutMix of the weak view, the protocol's for the teacher. The pseudo labels of the weak view
    are those of both teachers' mean softmax, weighted by exp(-H) with H the entropy in bits. Where the teachers
    disagree, and the student's own label is not that of the mean, the more confident of the two decides.

    The periods are a function of the run's seed and the iteration. The protocol says how teachers are averaged and in
    which mode they are; there the active teacher is in training mode, the other in evaluation mode. A teacher's time
    counts every second iteration, as in the authors' code, since each is active for about half of them. In its first
    active iteration a teacher copies the student. So it does in the authors' runs, where the first copies last longer
    than the longest first period; in a run too short for that, teacher 2 would start from random weights.

    The authors' code compares the mixed labels with the student's labels of the images before CutMix. Here the
    comparison comes before the mix. Their CutMix draws each image's partner at random, itself included; here it is
    the next one. Labelled, weak and strong images go through the student as one batch there. Their weight is ramped up
    to 2 over 6,000 of 15,000 (LA) or 7,500 of 30,000 iterations (ACDC). They test the student and teacher 1; the
    headline here is the student's, as in their test script.
    """

    name = "admt"
    title = "AD-MT"
    version = 2
    reference = "Zhao et al., Alternate Diverse Teaching for Semi-supervised Medical Image Segmentation, ECCV 2024"
    group = "pseudo label"
    year = 2024
    venue = "ECCV"
    components = frozenset({"TS"})
    authors = {
        "lambda_max": 2.0, "rampup_epochs": "run", "ema_decay": 0.99, "ema_warmup": True, "teacher_mode": "train",
        "teacher_buffers": "ema",
        "views.labeled_student1": "weak", "augmentation.jitter": 0.8, "augmentation.noise": 0.2,
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = ADMTHyperparameters
    hyper: ADMTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher1, self.teacher2 = self.new_teacher(self.student), self.new_teacher(self.student)
        self.periods_seed = torch.initial_seed()  # the run's, which it also has when it is resumed

    @classmethod
    def check(cls, hyper: Hyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError for batches of one image."""
        require_pairs(protocol, "unlabeled")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_u."""
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        weak = batch.unlabeled.teacher
        y1, y2 = self.teacher1(weak), self.teacher2(weak)
        with torch.no_grad():
            own = self.student(weak)
        labels, confidence = self.pseudo_labels(y1, y2, own)
        if self.active(progress) is self.teacher1:
            images = batch.unlabeled.student1
        else:
            sides = weak.dim() - 2
            box = clipped_boxes(weak, (1 - beta_draws(1, self.hyper.box_a, self.hyper.box_b)) ** (sides / 2))
            images = torch.where(box.unsqueeze(1), weak.roll(-1, 0), weak)
            labels, confidence = (torch.where(box, one.roll(-1, 0), one) for one in (labels, confidence))
        pseudo = self.loss(self.student(images), labels, confidence)
        yield Update({"supervised": (1.0, supervised), "pseudo": (progress.lambda_u, pseudo)}, branches=(y1, y2))

    def pseudo_labels(self, y1: Tensor, y2: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (B, *spatial) int64 and their confidence, from logits of the teachers and of the student."""
        p1, p2 = (y.float().softmax(1) for y in (y1, y2))
        first = ((entropy(p2) - entropy(p1)) / math.log(2)).sigmoid().unsqueeze(1)  # e^-H1 / (e^-H1 + e^-H2)
        confidence, labels = (first * p1 + (1 - first) * p2).max(1)
        own_labels, own_confidence = confident_labels(own)
        in_dispute = (p1.max(1).indices != p2.max(1).indices) & (own_labels != labels)
        decides = in_dispute & (own_confidence > confidence)
        return torch.where(decides, own_labels, labels), torch.where(decides, own_confidence, confidence)

    def loss(self, logits: Tensor, labels: Tensor, confidence: Tensor) -> Tensor:
        """Loss over the pixels of enough confidence; 0 if there are none."""
        assert self.hyper.confidence != "auto"
        keep = confidence >= self.hyper.confidence
        if self.hyper.unsupervised_loss == "dice":
            return dice_loss(logits, labels, self.protocol.dice_smooth, keep=keep)
        return cross_entropy_loss(logits, labels, keep=keep)

    def active(self, progress: Progress) -> ExponentialMovingAverage:
        """The teacher that moves in this iteration."""
        return (self.teacher1, self.teacher2)[self.turn(progress.iteration)]

    def turn(self, iteration: int) -> int:
        """0 while teacher 1 is active, 1 while teacher 2 is."""
        assert self.hyper.longest_period != "auto"
        return whose_turn(iteration, longest=self.hyper.longest_period, seed=self.periods_seed)

    def after_update(self, progress: Progress) -> None:
        """Move the active teacher towards the student; in the first iterations, and its own first one, it is a copy."""
        teacher, copies = self.active(progress), round(self.hyper.copy_share * progress.iterations)
        if progress.iteration <= copies or progress.iteration == self.first_iteration(self.turn(progress.iteration)):
            teacher.restart(self.student)
        else:
            teacher.follow(self.student, iteration=(progress.iteration - 1 - copies) // 2)

    def first_iteration(self, turn: int) -> int:
        """The first iteration of a teacher's first period."""
        return next(iteration for iteration in count(1) if self.turn(iteration) == turn)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student

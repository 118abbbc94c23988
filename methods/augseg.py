"""AugSeg: a student learns its teacher's confident labels on strong views, mixed the more the less certain they are."""

import math
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import IGNORED, adaptive_cutmix, entropy


class AugSegHyperparameters(Hyperparameters):
    """The threshold and the boxes; defaults are the authors'."""

    confidence: float = Field(0.95, ge=0, le=1, description="smallest probability of a pseudo label that counts")
    paste_a: float = Field(8.0, gt=0, description="a of l ~ Beta(a, b); a labelled box covers 1 - l of the image")
    paste_b: float = Field(2.0, gt=0, description="its b")
    box_a: float = Field(4.0, gt=0, description="a of l ~ Beta(a, b); a partner's box covers 1 - l of the image")
    box_b: float = Field(4.0, gt=0, description="its b")


@register
class AugSeg(SSLMethod):
    """Zhao et al. 2023 with the protocol's supervised loss.

    The teacher labels one view of an unlabelled image. The student sees another view after adaptive CutMix: each image
    takes a box of its partner, and a partner may hold a box of a labelled image, the more likely the less certain the
    teacher is of it. The certainty is the mean over pixels of (1 - H / ln K) max p. The loss is the cross-entropy with
    pseudo labels of at least the confidence, divided by the number of all pixels.

    Pixels of labelled images have their labels. Their cross-entropy, divided by the same number, is part of L_s here
    and not of the unsupervised loss: at the authors' weight of 1 the total is theirs, and at other weights no label is
    weighted by lambda. Strong views are the protocol's, not the authors' one to three of eleven changes of intensity.
    In 3D a box has the same share of the volume. The authors' teacher copies the student through the first epoch. Their
    supervised loss is a cross-entropy, and labelled and mixed images go through the student as one batch. They use a
    threshold on Pascal VOC, and none on Cityscapes (`confidence = 0`), there with the decay 0.996.
    """

    name = "augseg"
    title = "AugSeg"
    reference = "Zhao et al., Augmentation Matters (AugSeg), CVPR 2023"
    group = "pseudo label"
    year = 2023
    venue = "CVPR"
    components = frozenset({"TS"})
    authors = {
        "lambda_max": 1.0, "rampup_epochs": "none", "ema_decay": 0.999, "ema_warmup": True, "teacher_mode": "eval",
        "teacher_buffers": "ema", "views.labeled_student1": "weak",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = AugSegHyperparameters
    hyper: AugSegHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_u; L_u is the mean of 1[max p >= confidence] CE over pixels of unlabelled images."""
        hyper = self.hyper
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        y0 = self.teacher(batch.unlabeled.teacher)
        p0 = y0.float().softmax(1)
        confidence, pseudo = p0.max(1)
        images = batch.unlabeled.student1
        mix = adaptive_cutmix(
            images, len(batch.labels), self.certainty(p0, confidence),
            paste=(hyper.paste_a, hyper.paste_b), box=(hyper.box_a, hyper.box_b),
        )  # fmt: skip
        y1 = self.student(mix(images, batch.labeled.student1))
        counts = (mix(confidence) >= hyper.confidence) & ~mix.from_labeled
        consistency = (cross_entropy(y1.float(), mix(pseudo), reduction="none") * counts).mean()
        pasted = cross_entropy(y1.float(), mix.pasted(batch.labels), ignore_index=IGNORED, reduction="sum")
        supervised = supervised + pasted / counts.numel()
        terms = {"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)}
        y0 = torch.where(mix.from_labeled.unsqueeze(1), y1.detach(), mix(y0))  # the teacher has not seen these pixels
        yield Update(terms, branches=(y1, y0))

    def certainty(self, probabilities: Tensor, confidence: Tensor) -> Tensor:
        """Mean over the pixels of (1 - H / ln K) max p: (B,), from 0 to 1."""
        order = 1 - entropy(probabilities) / math.log(self.classes)
        return (order * confidence).flatten(1).mean(1)

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The teacher."""
        return self.teacher

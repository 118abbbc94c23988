"""Interpolation consistency training: the prediction of a mean of two images is the mean of their predictions."""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import mse_loss

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
from ssl_bench.ops import mixup


class ICTHyperparameters(Hyperparameters):
    """How far images are mixed; the default is SSL4MIS's."""

    alpha: float = Field(0.2, gt=0, description="both parameters of the Beta distribution of the mixing weights")


@register
class InterpolationConsistencyTraining(SSLMethod):
    """Verma et al. 2019 in SSL4MIS's form for segmentation, with the protocol's supervised loss.

    The student sees (1 - w) u_i + w u_j of two unlabelled images, each pair with a weight w ~ Beta(alpha, alpha) of its
    own. Its target is the same mean of the teacher's softmaxes of u_i and u_j. SSL4MIS halves the batch and mixes the
    halves; here the partner of each image is the next one of the batch, so a batch of any size gives as many mixed
    images. SSL4MIS's supervised loss is the mean of cross-entropy and Dice, and its labelled and mixed images go
    through the student as one batch. As there, the student is what is tested; the teacher is scored and stored too.
    """

    name = "ict"
    title = "ICT"
    reference = "Verma et al., Interpolation Consistency Training for Semi-Supervised Learning, IJCAI 2019"
    group = "consistency"
    year = 2019
    venue = "IJCAI"
    components = frozenset({"TS"})
    authors = {  # SSL4MIS's
        "lambda_max": 0.1, "rampup_epochs": "run", "ema_decay": 0.99, "ema_warmup": True, "teacher_mode": "train",
        "teacher_buffers": "own", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = ICTHyperparameters
    hyper: ICTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    @classmethod
    def check(cls, hyper: Hyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError for batches of one image."""
        require_pairs(protocol, "unlabeled")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_c, the mean squared distance of the student's softmax from the mixed softmax."""
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        mix = mixup(batch.unlabeled.student1, self.hyper.alpha)
        target = mix(self.teacher(batch.unlabeled.teacher).float().softmax(1))
        y1 = self.student(mix(batch.unlabeled.student1))
        consistency = mse_loss(y1.float().softmax(1), target)
        terms = {"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)}
        y0 = target.clamp(min=torch.finfo(target.dtype).tiny).log()  # logits whose softmax is the target
        yield Update(terms, branches=(y1, y0))

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student

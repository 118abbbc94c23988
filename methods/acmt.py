"""Ambiguity-selective mean teacher: a student learns from its teacher where a prediction is ambiguous."""

import math
from collections.abc import Iterator
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import entropy, gaussian_ramp_up, image_noise, prediction_entropy


class ACMTHyperparameters(Hyperparameters):
    """What tells an ambiguous pixel; defaults are those of the authors' code."""

    form: Literal["entropy", "uncertainty"] = Field(
        "entropy", description="entropy: of the student's prediction (Ent); uncertainty: of a mean of passes (MU)"
    )
    threshold_start: float = Field(0.75, ge=0, description="first threshold, as a share of ln K")
    threshold_end: float | Literal["auto"] = Field(
        "auto", description="last threshold, as a share of ln K; auto: 0.95, or 0.9 with form = uncertainty"
    )
    passes: int = Field(8, ge=1, description="the student's passes that its uncertainty is measured by")
    noise: float = Field(0.1, ge=0, description="standard deviation of the noise on normalised images")
    noise_limit: float = Field(0.2, ge=0, description="largest absolute noise on normalised images")

    def resolved(self, dimensions: int) -> Self:  # noqa: ARG002
        """Replace `auto` by the authors' value for the form."""
        if self.threshold_end != "auto":
            return self
        return self.model_copy(update={"threshold_end": 0.95 if self.form == "entropy" else 0.9})


@register
class AmbiguityConsensusMeanTeacher(SSLMethod):
    """Xu et al. 2023, its forms Ent and MU, with the protocol's supervised loss.

    The loss is UA-MT's on the other pixels: those whose entropy is at least the threshold. In the form `entropy` it is
    the entropy of the student's softmax; in the form `uncertainty` it is that of its mean softmax over passes with
    dropout on noisy images. UA-MT's passes are the teacher's. As in the authors' code they move the batch norm
    statistics of the student, and its dropout is the network's own: the noise alone makes the passes of a V-Net without
    dropout differ.

    The authors' code raises the threshold from 0.75 to 0.95 (Ent) or to 0.90 (MU) over the run. A comment there gives
    another one, from 0.75 down to 0.60: `threshold_end = 0.6`. Their MU form sums the distance over the classes; here
    both forms take the mean over pixels and classes. Their weight rises for three quarters of the run; `authors` has
    the whole run. Their supervised loss is the mean of cross-entropy and Dice, and the student is what they test. The
    forms P-Err and S-Err are not here.
    """

    name = "acmt"
    title = "AC-MT"
    reference = "Xu et al., Ambiguity-selective consistency regularization for mean-teacher SSL, MedIA 2023"
    group = "consistency"
    year = 2023
    venue = "MedIA"
    components = frozenset({"TS"})
    authors = {
        "lambda_max": 0.1, "rampup_epochs": "run", "ramp_start": 0, "ema_decay": 0.99, "ema_warmup": True,
        "teacher_mode": "train", "teacher_buffers": "own", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = ACMTHyperparameters
    hyper: ACMTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_c, the squared distance of the softmaxes averaged over ambiguous pixels and classes."""
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        images = batch.unlabeled.student1
        y1, y0 = self.student(images), self.teacher(self.noisy(batch.unlabeled.teacher))
        disorder = self.uncertainty(images) if self.hyper.form == "uncertainty" else prediction_entropy(y1.detach())
        ambiguous = disorder >= self.threshold(progress)
        distance = (y1.float().softmax(1) - y0.float().softmax(1)).square().sum(1)
        consistency = (distance * ambiguous).sum() / (self.classes * ambiguous.sum()).clamp(min=1)
        terms = {"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)}
        yield Update(terms, branches=(y1, y0))

    @torch.no_grad()
    def uncertainty(self, images: Tensor) -> Tensor:
        """Entropy of the student's mean softmax over noisy passes, in nats: (B, *spatial)."""
        passes = [self.student(self.noisy(images)).float().softmax(1) for _ in range(self.hyper.passes)]
        return entropy(torch.stack(passes).mean(0))

    def noisy(self, images: Tensor) -> Tensor:
        """Add clipped Gaussian noise."""
        return image_noise(images, self.hyper.noise, self.hyper.noise_limit)

    def threshold(self, progress: Progress) -> float:
        """Smallest entropy of an ambiguous pixel, in nats; it moves from start to end over the run."""
        start, end = self.hyper.threshold_start, float(self.hyper.threshold_end)
        ramp = gaussian_ramp_up(self.protocol.ramp_time(progress.iteration), progress.iterations)
        return (start + (end - start) * ramp) * math.log(self.classes)

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student

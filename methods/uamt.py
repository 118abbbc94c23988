"""Uncertainty-aware mean teacher: a student learns from its teacher where the teacher is certain."""

import math
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import dropout_switched, entropy, gaussian_ramp_up, image_noise


class UAMTHyperparameters(Hyperparameters):
    """The uncertainty's hyperparameters; defaults are the authors'."""

    passes: int = Field(8, ge=1, description="T, the teacher's passes that its uncertainty is measured by")
    noise: float = Field(0.1, ge=0, description="standard deviation of the noise on the teacher's normalised images")
    noise_limit: float = Field(0.2, ge=0, description="largest absolute noise on the teacher's normalised images")
    threshold_start: float = Field(0.75, ge=0, le=1, description="first uncertainty threshold, as a share of ln K")


@register
class UncertaintyAwareMeanTeacher(SSLMethod):
    """Yu et al. 2019 with the protocol's supervised loss.

    The passes differ by dropout, which is on in every teacher mode of the protocol, and by noise on the images.
    V-Net has no dropout here unless told: the noise alone then makes them differ, and `--set dropout=0.5` gives the
    authors' network. As in the authors' code the target is one more noisy pass, and the student is what is tested; the
    teacher is scored and stored too.
    """

    name = "uamt"
    version = 2
    title = "UA-MT"
    reference = "Yu et al., Uncertainty-Aware Self-ensembling Model for 3D Left Atrium Segmentation, MICCAI 2019"
    group = "consistency"
    year = 2019
    venue = "MICCAI"
    authors = {
        "lambda_max": 0.1, "rampup_epochs": "run", "ramp_start": 0, "ema_decay": 0.99, "ema_warmup": True,
        "teacher_mode": "train", "teacher_buffers": "own", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    components = frozenset({"TS"})
    handles_ignored = True
    hyperparameters = UAMTHyperparameters
    hyper: UAMTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_c, the squared distance of the two softmaxes averaged over certain pixels and classes."""
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        y1 = self.student(batch.unlabeled.student1)
        y0 = self.teacher(self.noisy(batch.unlabeled.teacher))
        certain = self.uncertainty(batch.unlabeled.teacher) < self.threshold(progress, y0.shape[1])
        distance = (y1.float().softmax(1) - y0.float().softmax(1)).square().sum(1)
        # The authors' 2 sum(mask), for any number of classes K: the mean over pixels and classes; 0 if none is certain.
        consistency = (distance * certain).sum() / (y0.shape[1] * certain.sum() + 1e-16)
        terms = {"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)}
        yield Update(terms, branches=(y1, y0))

    @torch.no_grad()
    def uncertainty(self, images: Tensor) -> Tensor:
        """Entropy of the mean softmax over T passes with dropout on noisy images, in nats: (B, *spatial)."""
        with dropout_switched(self.teacher, on=True):
            passes = [self.teacher(self.noisy(images)).float().softmax(1) for _ in range(self.hyper.passes)]
        return entropy(torch.stack(passes).mean(0))

    def noisy(self, images: Tensor) -> Tensor:
        """Add clipped Gaussian noise."""
        return image_noise(images, self.hyper.noise, self.hyper.noise_limit)

    def threshold(self, progress: Progress, classes: int) -> float:
        """Largest uncertainty of a certain pixel; it ramps up to ln K, the largest possible entropy, over the run.

        As in the authors' code, t is 0 at the first iteration where the protocol's `ramp_start` is 0.
        """
        start, t = self.hyper.threshold_start, self.protocol.ramp_time(progress.iteration)
        return (start + (1 - start) * gaussian_ramp_up(t, progress.iterations)) * math.log(classes)

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student

"""DUWM: a student follows its teacher, less where the teacher's predictions or features are uncertain."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import IGNORED, dropout_switched, entropy, image_noise, mean_of_parts, prediction_entropy


class DUWMHyperparameters(Hyperparameters):
    """The uncertainties' hyperparameters; passes and noise are UA-MT's, the weight that of Kendall and Gal's loss."""

    passes: int = Field(8, ge=1, description="T, the teacher's passes that its uncertainties are measured by")
    uncertainty_weight: float = Field(1.0, ge=0, description="beta, of the student's uncertainty")
    noise: float = Field(0.1, ge=0, description="standard deviation of the noise on the teacher's normalised images")
    noise_limit: float = Field(0.2, ge=0, description="largest absolute noise on the teacher's normalised images")


@register
class DoubleUncertaintyWeighted(SSLMethod):
    """Wang et al. 2020, reconstructed from its abstract, since no code was published.

    Known:

    - A student and its mean teacher; the student's inconsistency with the teacher is penalised on labelled and on
      unlabelled images (abstract).
    - The teacher is Bayesian (abstract): its uncertainties are those of several passes.
    - Segmentation uncertainty is the entropy of each pixel's class probabilities (notes of a listener of the talk).
    - Feature uncertainty extends it to features, and is about the information among their channels (abstract).
    - A "learnable uncertainty consistency loss" joins prediction and uncertainty. Without ground truth, it makes the
      teacher's predictions more accurate and the uncertainty lower (abstract).
    - Both uncertainties weigh each inconsistency penalty (abstract).

    Chosen:

    - Passes differ by dropout, which is on in every teacher mode of the protocol, and by UA-MT's noise on the images.
      V-Net has no dropout here unless told; `--set dropout=0.5` gives UA-MT's. There are 8 passes, as in UA-MT.
    - Segmentation uncertainty is the entropy of the passes' mean softmax, divided by ln K.
    - Feature uncertainty has the C channels of the decoder's last map in the place of the K classes: the entropy of the
      passes' mean softmax over the channels, divided by ln C. It is brought to the images' size by nearest neighbour.
    - A pixel's weight is exp(-U), where U is the sum of the two. The inconsistency is the squared distance of the two
      softmaxes, averaged over classes; the loss is the mean over all pixels of labelled and unlabelled images.
    - The loss has the form of Kendall and Gal (NeurIPS 2017), exp(-U) d^2 + beta U. A teacher has no gradient here, so
      the second U is the student's: the entropy of its softmax in its one pass, divided by ln K. The teacher follows
      the student.
    - The target is one more noisy pass of the teacher, as in UA-MT.
    - The protocol settles the teacher's decay and mode.
    - The student is what is tested, as in UA-MT; the teacher is scored and stored too.
    - Labelled images have the protocol's supervised loss. They go through the networks apart from unlabelled ones.
    """

    name = "duwm"
    title = "DUWM"
    reference = "Wang et al., Double-uncertainty Weighted Method for Semi-supervised Learning, MICCAI 2020"
    group = "consistency"
    year = 2020
    venue = "MICCAI"
    reconstructed = True
    components = frozenset({"TS"})
    handles_ignored = True
    needs_parts = True
    hyperparameters = DUWMHyperparameters
    hyper: DUWMHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (mean e^(-U_seg - U_feat) |p_S - p_T|^2 / K + beta mean U_S)."""
        on_labeled, y1 = self.student(batch.labeled.student1), self.student(batch.unlabeled.student1)
        supervised = self.segmentation_loss(on_labeled, batch.labels)
        target, y0 = (self.teacher(self.noisy(part.teacher)) for part in (batch.labeled, batch.unlabeled))
        labeled = self.inconsistency(on_labeled, target, batch.labeled.teacher)
        unlabeled = self.inconsistency(y1, y0, batch.unlabeled.teacher)
        entropies = (prediction_entropy(on_labeled), prediction_entropy(y1))
        known = batch.labels != IGNORED if self.ignores else None
        consistency, uncertainty = mean_of_parts(labeled, unlabeled, known), mean_of_parts(*entropies, known)
        terms = {
            "supervised": (1.0, supervised),
            "consistency": (progress.lambda_u, consistency),
            "uncertainty": (progress.lambda_u, self.hyper.uncertainty_weight * uncertainty / math.log(self.classes)),
        }
        yield Update(terms, branches=(y1, y0))

    def inconsistency(self, student: Tensor, teacher: Tensor, images: Tensor) -> Tensor:
        """Weighted squared distance of the softmaxes of two logits (B, K, *spatial): (B, *spatial)."""
        distance = (student.float().softmax(1) - teacher.float().softmax(1)).square().mean(1)
        of_segmentation, of_features = self.uncertainties(images)
        return (-of_segmentation - of_features).exp() * distance

    @torch.no_grad()
    def uncertainties(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's segmentation and feature uncertainty over T passes, each (B, *spatial), from 0 to 1."""
        network: Any = self.teacher.network
        totals: list[Tensor] = []  # over the passes; to keep all feature maps would take much memory
        with dropout_switched(self.teacher, on=True):
            for _ in range(self.hyper.passes):
                decoded = network.decoder(network.encoder(self.noisy(images)))
                drawn = [network.segmentation_head(decoded).float().softmax(1), decoded.float().softmax(1)]
                totals = [total + one for total, one in zip(totals, drawn, strict=True)] if totals else drawn
        of_segmentation, of_features = (_normalised_entropy(total / self.hyper.passes) for total in totals)
        resized = interpolate(of_features.unsqueeze(1), images.shape[2:], mode="nearest")
        return of_segmentation, resized.squeeze(1)

    def noisy(self, images: Tensor) -> Tensor:
        """Add clipped Gaussian noise."""
        return image_noise(images, self.hyper.noise, self.hyper.noise_limit)

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student


def _normalised_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of probabilities (B, K, *spatial), divided by its largest value ln K: (B, *spatial)."""
    return entropy(probabilities) / math.log(max(2, probabilities.shape[1]))

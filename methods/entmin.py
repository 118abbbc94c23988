"""Entropy minimisation: one network learns to be certain of every pixel."""

import math
from collections.abc import Iterator

from torch import Tensor, nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import IGNORED, mean_of_parts, prediction_entropy


@register
class EntropyMinimisation(SSLMethod):
    """Grandvalet and Bengio 2004 in SSL4MIS's form for segmentation, with the protocol's supervised loss.

    The second term is the mean entropy of the softmax over all pixels of the labelled and the unlabelled images,
    divided by its largest value ln K. SSL4MIS's supervised loss is the mean of cross-entropy and Dice. Its labelled and
    unlabelled images go through the network as one batch; here each part is a batch.
    """

    name = "entmin"
    title = "EntMin"
    reference = "Grandvalet and Bengio, Semi-supervised learning by entropy minimization, NeurIPS 2004"
    group = "pseudo label"
    year = 2004
    venue = "NeurIPS"
    authors = {  # SSL4MIS's
        "lambda_max": 0.1, "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda mean H(p) / ln K."""
        on_labeled, on_unlabeled = self.network(batch.labeled.student1), self.network(batch.unlabeled.student1)
        supervised = self.segmentation_loss(on_labeled, batch.labels)
        entropy = self.mean_entropy(on_labeled, batch.labels, on_unlabeled)
        yield Update({"supervised": (1.0, supervised), "entropy": (progress.lambda_u, entropy)})

    def mean_entropy(self, on_labeled: Tensor, labels: Tensor, on_unlabeled: Tensor) -> Tensor:
        """Mean entropy over the pixels of both parts, from 0 to 1; ignored pixels are left out."""
        known = labels != IGNORED if self.ignores else None
        mean = mean_of_parts(prediction_entropy(on_labeled), prediction_entropy(on_unlabeled), known)
        return mean / math.log(self.classes)

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network

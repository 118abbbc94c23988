"""Rotation consistency: the prediction of a turned image is the turned prediction."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import random_turn


@register
class RotationConsistency(SSLMethod):
    """The method of SSL4MIS's script "deep co-training", with the protocol's supervised loss.

    It has one network and no adversarial examples, so it is not Qiao et al.'s deep co-training (`dct`). The unlabelled
    images of a batch are turned together by a random multiple of 90 degrees, 0 included. Each of the two predictions is
    the other's target. The plane is the image, or the x-y plane of a volume. Where its sides differ, only half turns
    keep the shape, and only they are drawn. SSL4MIS has the method in 2D alone. Its supervised loss is the mean of
    cross-entropy and Dice. Its labelled and unlabelled images go through the network as one batch and the turned ones
    as another; here each part is a batch.
    """

    name = "rotation"
    title = "Rotation"
    reference = "Luo, SSL4MIS (github.com/HiLab-git/SSL4MIS), train_deep_co_training_2D.py, 2021"
    group = "consistency"
    year = 2021
    venue = "SSL4MIS"
    authors = {
        "lambda_max": 0.1, "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (|sg p(R u) - R p(u)|^2 + |p(R u) - R sg p(u)|^2) / 2, R the turn, sg a constant."""
        supervised = self.segmentation_loss(self.network(batch.labeled.student1), batch.labels)
        images = batch.unlabeled.student1
        turn = random_turn(images)
        upright, turned = self.probabilities(images), self.probabilities(turn(images))
        consistency = (mse_loss(turn(upright), turned.detach()) + mse_loss(turned, turn(upright.detach()))) / 2
        yield Update({"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)})

    def probabilities(self, images: Tensor) -> Tensor:
        """Softmax (B, K, *spatial) of images."""
        probabilities: Tensor = self.network(images).float().softmax(1)
        return probabilities

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network

"""Mirror: the prediction on a mirrored image shall be the mirrored prediction.

L = L_s + lambda * weight * mean (p(x) - flip p(flip x))^2
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register


class MirrorHyperparameters(Hyperparameters):
    """Hyperparameters of Mirror."""

    weight: float = Field(10.0, ge=0, description="weight of the distance within the unsupervised loss")


@register
class Mirror(SSLMethod):
    """One network, supervised by labels and by its own prediction on the mirrored image."""

    name = "mirror"
    title = "Mirror"
    reference = "an example of ssl-bench's"
    group = "consistency"
    year = 2026
    version = 1
    hyperparameters = MirrorHyperparameters

    def __init__(self, setup: Setup, hyper: MirrorHyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()
        self.weight = hyper.weight

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """Yield one update: the supervised loss on labelled images, the distance on unlabelled ones."""
        supervised = self.segmentation_loss(self.network(batch.labeled.student1), batch.labels)
        distance = self.distance(self.network, batch.unlabeled.student1)
        yield Update({"supervised": (1.0, supervised), "mirror": (progress.lambda_u * self.weight, distance)})

    @staticmethod
    def distance(network: nn.Module, images: Tensor) -> Tensor:
        """Mean squared distance of both predictions on images (B, C, *sides)."""
        straight, mirrored = network(images), network(images.flip(-1)).flip(-1)
        difference: Tensor = straight.softmax(1) - mirrored.softmax(1)
        return difference.square().mean()

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network

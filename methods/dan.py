"""Deep adversarial networks: an evaluator tells whether a segmentation is of a labelled image."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ssl_bench.method import (
    AdversaryHyperparameters,
    Batch,
    Progress,
    Setup,
    SSLMethod,
    Update,
    register,
)
from ssl_bench.ops import OriginDiscriminator, evaluating, origin_loss


@register
class DeepAdversarialNetwork(SSLMethod):
    """Zhang et al. 2017 in the form of SSL4MIS (Luo et al.), with the protocol's supervised loss.

    The evaluation network reads the softmax and the image. The segmentation network's loss is L_s + lambda L_adv, where
    L_adv is the cross-entropy of unlabelled images taken for labelled ones. The evaluation network's own update has the
    cross-entropy over all images; the segmentation network is then in evaluation mode. All images are shown in the
    protocol's view of labelled ones, else the evaluation network would learn how the views differ.

    The paper alternates between the two over epochs; SSL4MIS, as here, in each iteration. SSL4MIS's 2D evaluation
    network has neither activation nor dropout after its first layer, and pools to 2 x 2 places; here 2D and 3D have the
    form of its 3D network. Its supervised loss is the mean of cross-entropy and Dice.
    """

    name = "dan"
    title = "DAN"
    reference = (
        "Zhang et al., Deep Adversarial Networks for Biomedical Image Segmentation Utilizing Unannotated Images, "
        "MICCAI 2017"
    )
    group = "adversarial"
    year = 2017
    venue = "MICCAI"
    authors = {  # SSL4MIS's
        "lambda_max": 0.1, "rampup_epochs": "run", "views.labeled_student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = AdversaryHyperparameters
    hyper: AdversaryHyperparameters

    def __init__(self, setup: Setup, hyper: AdversaryHyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()
        self.evaluator = OriginDiscriminator(
            self.classes, self.channels, len(self.protocol.sides), hyper.adversary_filters
        )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """The segmentation network: L_s + lambda L_adv. Then the evaluation network: cross-entropy on all images."""
        x, u = batch.labeled.as_labeled, batch.unlabeled.as_labeled  # alike, else their views would tell them apart
        supervised = self.segmentation_loss(self.network(x), batch.labels)
        predicted = _softmax(self.network(u))
        with evaluating(self.evaluator):
            adversarial = origin_loss(self.evaluator(predicted, u), labeled=True).mean()
        yield Update({"supervised": (1.0, supervised), "adversarial": (progress.lambda_u, adversarial)})

        with torch.no_grad(), evaluating(self.network):
            of_labeled, of_unlabeled = _softmax(self.network(x)), _softmax(self.network(u))
        losses = (
            origin_loss(self.evaluator(of_labeled, x), labeled=True),
            origin_loss(self.evaluator(of_unlabeled, u), labeled=False),
        )
        yield Update({"evaluator": (1.0, torch.cat(losses).mean())}, trains="adversaries")

    @property
    def adversaries(self) -> dict[str, nn.Module]:
        """The evaluation network."""
        return {"evaluator": self.evaluator}

    @property
    def predictor(self) -> nn.Module:
        """The segmentation network."""
        return self.network


def _softmax(logits: Tensor) -> Tensor:
    return logits.float().softmax(1)

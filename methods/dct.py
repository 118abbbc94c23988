"""Deep co-training: two networks agree on images, and each resists the adversarial examples of the other."""

from collections.abc import Iterator

from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import (
    IGNORED,
    cross_entropy_loss,
    evaluating,
    fast_gradient_sign,
    hard_labels,
    jensen_shannon,
    mean_of_parts,
)


class DCTHyperparameters(Hyperparameters):
    """Weights of the two losses and the attack's strength; defaults are the authors'."""

    cot: float = Field(10.0, ge=0, description="weight of the networks' divergence, within the unsupervised loss")
    dif: float = Field(0.5, ge=0, description="weight of the view difference, within the unsupervised loss")
    epsilon: float = Field(0.08, ge=0, description="step of the attack in each pixel of a normalised image")


@register
class DeepCoTraining(SSLMethod):
    """Qiao et al. 2018 with two networks, for every pixel, with the protocol's supervised loss.

    An adversarial example g_i(x) is a step along the sign of the gradient that raises the cross-entropy of network i:
    with the label on labelled images, with its own hard label on unlabelled ones. Network i is then in evaluation mode.
    The paper gives neither the label of unlabelled images nor epsilon; a public re-implementation has both from its
    authors (AlanChou/Deep-Co-Training-for-Semi-Supervised-Image-Recognition). Their epsilon is 0.02 on CIFAR-10's
    images, which range from 0 to 1 with a standard deviation of 0.25. Images here are normalised, hence 0.08.

    L_cot is the mean over the pixels of the unlabelled images, L_dif that over the pixels of all images. In L_dif the
    prediction of the clean image is a constant target, as in Peng et al.'s code for segmentation (Pattern Recognition
    2020); the re-implementation differentiates it too. Both networks of the authors see the same unlabelled image; here
    each has its own view of it. They draw a labelled batch for each network; here both have one batch, each its own
    view of it where the protocol has two. Their weights 10 and 0.5 rise over the first 80 of 600 epochs; `authors` has
    the protocol's ramp.
    """

    name = "dct"
    title = "DCT"
    reference = "Qiao et al., Deep Co-Training for Semi-Supervised Image Recognition, ECCV 2018"
    group = "co-training"
    year = 2018
    venue = "ECCV"
    components = frozenset({"SS"})
    authors = {"lambda_max": 1.0, "supervised_reduction": "sum"}
    handles_ignored = True
    hyperparameters = DCTHyperparameters
    hyper: DCTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student1, self.student2 = self.new_students()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (10 L_cot + 0.5 L_dif), L_dif = H(p_1(x), p_2(g_1(x))) + H(p_2(x), p_1(g_2(x)))."""
        net1, net2, labels = self.student1, self.student2, batch.labels
        x1, x2 = batch.labeled.student1, batch.labeled.student2
        u1, u2 = batch.unlabeled.student1, batch.unlabeled.student2
        z1, z2, y1, y2 = net1(x1), net2(x2), net1(u1), net2(u2)
        supervised = self.supervised(
            self.segmentation_loss(z1, labels),
            self.segmentation_loss(z2, labels),
        )
        cot = self.hyper.cot * jensen_shannon(y1, y2).mean()
        gx1, gu1 = self.adversarial(net1, x1, labels), self.adversarial(net1, u1, hard_labels(y1))
        gx2, gu2 = self.adversarial(net2, x2, labels), self.adversarial(net2, u2, hard_labels(y2))
        known = labels != IGNORED if self.ignores else None
        dif = self.hyper.dif * (
            mean_of_parts(surprise(net2(gx1), z1), surprise(net2(gu1), y1), known)
            + mean_of_parts(surprise(net1(gx2), z2), surprise(net1(gu2), y2), known)
        )
        terms = {"supervised": (1.0, supervised), "cot": (progress.lambda_u, cot), "dif": (progress.lambda_u, dif)}
        yield Update(terms, branches=(y1, y2))

    def adversarial(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, *spatial) moved so that the network errs on labels (B, *spatial)."""
        with evaluating(network):
            return fast_gradient_sign(
                images,
                lambda moved: cross_entropy_loss(network(moved), labels, ignores=self.ignores),
                self.hyper.epsilon,
            )

    @property
    def predictor(self) -> nn.Module:
        """Student 1."""
        return self.student1


def surprise(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of predictions with the softmax of the target logits, a constant: (B, *spatial)."""
    return -(target.detach().float().softmax(1) * logits.float().log_softmax(1)).sum(1)

"""ABD: two students exchange patches of their views by confidence, and teach each other on the displaced images."""

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import (
    Batch,
    Hyperparameters,
    Progress,
    Protocol,
    SecondNetworkHyperparameters,
    Setup,
    SSLMethod,
    Update,
    UserError,
    register,
)
from ssl_bench.ops import IGNORED, RegionMix, confident_labels, dice_loss, hard_labels, region_means

Pair = tuple[Tensor, Tensor]


class ABDHyperparameters(SecondNetworkHyperparameters):
    """Patches and weights; defaults are those of the authors' code."""

    patches: int = Field(4, ge=1, description="patches along each side of an image")
    candidates: int = Field(4, ge=1, description="most confident patches, at most all, of which the closest is taken")
    labeled_chance: float = Field(0.5, ge=0, le=1, description="that patches of a labelled image are displaced")
    labeled_weight: float = Field(2.0, ge=0, description="weight of the loss on displaced labelled images")
    labeled_share: float = Field(2 / 3, ge=0, le=1, description="share of the run, from its start, that has this loss")


@register
class AdaptiveBidirectionalDisplacement(SSLMethod):
    """Chi et al. 2024, the form that builds on cross teaching, with the protocol's supervised loss.

    Each student sees its own view. A patch's confidence is the mean over its pixels of the softmax's largest value.

    - Unlabelled images (ABD-R): the least confident patch of each view is replaced by one of the most confident
      patches of the other view, the one whose prediction is closest by Kullback-Leibler divergence. A patch's
      prediction is the softmax of its mean logits.
    - Labelled images (ABD-I), each with probability 1/2: the most confident patch of each view is replaced by the least
      confident one of the other, labels too. This loss is a part of `supervised`, and ends after 2/3 of the run.

    Both views, displaced, go through both students. Each student learns the other's hard labels on the unlabelled
    images and on their displacement. The authors displace view 2 by a patch of view 1 after view 1 has changed; both
    happen at once here. The result is the same as long as there are more patches than candidates, since no patch is
    then both replaced and taken. A region without known pixels (`ignore`) is neither.

    By default both students have the protocol's architecture, as in the authors' second form, which builds on BCP, so
    the method fits every protocol in 2D and 3D. In the first form student 2 is Swin-UNet with ImageNet weights. For
    a transformer in its place, set `second_network = "unet"`, `second_encoder = "mit_b0"` and `second_weights`.

    What differs here: the authors' student 1 sees a weak view and student 2 a strong one with a box of noise, which is
    labelled as background; here views are the protocol's. Their supervised loss is the mean of Dice and cross-entropy,
    and their Dice is that of the whole batch. Their labelled and unlabelled images go through a network as one batch;
    here each part is a batch. After 2/3 of the run their displaced labelled images still move batch norm's statistics.
    They have this method in 2D alone, with patches of 56 x 56 pixels.
    """

    name = "abd"
    title = "ABD"
    reference = (
        "Chi et al., Adaptive Bidirectional Displacement for Semi-Supervised Medical Image Segmentation, CVPR 2024"
    )
    group = "mixing"
    year = 2024
    venue = "CVPR"
    authors = {
        "lambda_max": 0.1, "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    components = frozenset({"SS", "L_cps"})
    handles_ignored = True
    hyperparameters = ABDHyperparameters
    hyper: ABDHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student1, self.student2 = self.new_students(**self.hyper.second)

    @classmethod
    def architectures(cls, hyper: Any) -> list[dict[str, str]]:
        """The second network's, if it is another one."""
        return [hyper.second] if hyper.second else []

    @classmethod
    def check(cls, hyper: ABDHyperparameters, protocol: Protocol) -> None:
        """Raise UserError unless the patches divide every side of the image."""
        sides = protocol.sides
        if any(side % hyper.patches for side in sides):
            raise UserError(
                f"patches: sides of {'x'.join(map(str, sides))} must be divisible by it, found {hyper.patches}"
            )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + 2 L_s(displaced) + lambda (L_cps + L_cps(displaced))."""
        views, views_u = ((part.student1, part.student2) for part in (batch.labeled, batch.unlabeled))
        on_labeled, on_unlabeled = self.students(*views), self.students(*views_u)
        supervised = self.on_labels(on_labeled, batch.labels)
        if progress.iteration <= round(self.hyper.labeled_share * progress.iterations):
            images, labels = self.displaced_labeled(views, on_labeled, batch.labels)
            again = self.on_labels(self.students(images, images), labels)
            supervised = supervised + self.hyper.labeled_weight * again
        displaced = torch.cat(self.displaced(views_u, on_unlabeled))
        terms = {
            "supervised": (1.0, supervised),
            "cps": (progress.lambda_u, self.on_each_other(on_unlabeled)),
            "displaced": (progress.lambda_u, self.on_each_other(self.students(displaced, displaced))),
        }
        yield Update(terms, branches=on_unlabeled)

    def students(self, first: Tensor, second: Tensor) -> Pair:
        """Logits (B, K, *spatial) of each student on its images."""
        return self.student1(first), self.student2(second)

    def on_labels(self, logits: Pair, labels: Tensor) -> Tensor:
        """L_s of both students against given labels."""
        return self.supervised(*(self.segmentation_loss(z, labels) for z in logits))

    def on_each_other(self, logits: Pair) -> Tensor:
        """Dice loss of each student against the other's hard labels."""
        (y1, y2), smooth = logits, self.protocol.dice_smooth
        return self.unsupervised(dice_loss(y1, hard_labels(y2), smooth), dice_loss(y2, hard_labels(y1), smooth))

    def displaced(self, views: Pair, logits: Pair) -> Pair:
        """Both views of unlabelled images, with the least confident patch of each replaced (ABD-R)."""
        confidence = [self.means(confident_labels(z)[1]) for z in logits]
        log_p = [self.mean_log_softmax(z) for z in logits]
        least = [one.argmin(1, keepdim=True) for one in confidence]
        taken = []
        for own, other in ((0, 1), (1, 0)):  # patches of view `own` that view `other` takes
            best = confidence[own].topk(min(self.hyper.candidates, confidence[own].shape[1]), dim=1).indices
            target, candidates = patch(log_p[other], least[other]), patch(log_p[own], best)
            divergence = (target.exp() * (target - candidates)).sum(2)
            taken.append(best.gather(1, divergence.argmin(1, keepdim=True)))
        return self.exchanged(views, replaced=(least[0], least[1]), taken=(taken[0], taken[1]))

    def displaced_labeled(self, views: Pair, logits: Pair, labels: Tensor) -> Pair:
        """Both views of labelled images and their labels, as one batch, the most confident patch replaced (ABD-I)."""
        known = labels != IGNORED if self.ignores else None
        least, most = zip(*(self.extremes(confident_labels(z)[1], known) for z in logits), strict=True)
        chosen = torch.empty(len(labels)).uniform_().to(labels.device, non_blocking=True) < self.hyper.labeled_chance

        def mixed(pair: Pair) -> Tensor:
            shape = (-1, *(1 for _ in pair[0].shape[1:]))
            after = self.exchanged(pair, replaced=most, taken=least)
            return torch.cat([new.where(chosen.view(shape), old) for new, old in zip(after, pair, strict=True)])

        return mixed(views), mixed((labels, labels))

    def exchanged(self, views: Pair, *, replaced: Pair, taken: Pair) -> Pair:
        """Replace patch `replaced[m]` of each view m by patch `taken[n]` of the other view n; numbers are (B, 1)."""
        patches, dimensions = self.hyper.patches, len(self.protocol.sides)
        first = RegionMix(replaced[0], taken[1], patches, dimensions)(views[0], views[1])
        return first, RegionMix(replaced[1], taken[0], patches, dimensions)(views[1], views[0])

    def extremes(self, confidence: Tensor, known: Tensor | None) -> Pair:
        """The least and the most confident patch among those with known pixels, (B, 1) each."""
        if known is None:
            means = self.means(confidence)
            return means.argmin(1, keepdim=True), means.argmax(1, keepdim=True)
        share = self.means(known.float())
        means, empty = self.means(confidence.where(known, 0)) / share, share == 0
        lowest, highest = means.masked_fill(empty, torch.inf), means.masked_fill(empty, -torch.inf)
        return lowest.argmin(1, keepdim=True), highest.argmax(1, keepdim=True)

    def mean_log_softmax(self, logits: Tensor) -> Tensor:
        """Logarithm of the softmax of each patch's mean logits: (B, patches, K)."""
        means = torch.stack([self.means(plane) for plane in logits.detach().float().unbind(1)], 2)
        return means.log_softmax(2)

    def means(self, values: Tensor) -> Tensor:
        """Mean over each patch of (B, *spatial): (B, patches)."""
        return region_means(values, self.hyper.patches)

    @property
    def predictor(self) -> nn.Module:
        """Student 1."""
        return self.student1


def patch(values: Tensor, numbers: Tensor) -> Tensor:
    """Values (B, patches, K) of the patches with these numbers, (B, n): (B, n, K)."""
    return values.gather(1, numbers.unsqueeze(2).expand(-1, -1, values.shape[2]))

"""Pseudo-label: one network learns from its own hard labels of the unlabelled images."""

from collections.abc import Iterator

from pydantic import Field
from torch import nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Protocol, Setup, SSLMethod, Update, UserError, register
from ssl_bench.ops import hard_labels


class PseudoLabelHyperparameters(Hyperparameters):
    """Lee's linear rise of the weight, on top of the protocol's ramp; by default the protocol's ramp alone holds."""

    rise_start: float = Field(0.0, ge=0, le=1, description="share of the run before which the weight is 0 (T1)")
    rise_end: float = Field(0.0, ge=0, le=1, description="share of the run from which the weight is whole (T2)")


@register
class PseudoLabel(SSLMethod):
    """Lee 2013, self-training in one stage, with the protocol's supervised loss for both kinds of labels.

    A pixel's label is the class of the largest logit in the same pass, whatever its probability. It is a constant. Lee
    classifies digits with a cross-entropy of sigmoids, and weighs the loss on pseudo labels by alpha(t): 0 before epoch
    T1 = 100, then rising linearly to 3 at epoch T2 = 600. Epochs of his runs have no counterpart in runs of another
    length. `authors` takes T1 and T2 as shares of a run of 1,000 epochs. That length is a choice: it could not be read
    how long his runs were. The weight 3 is then the protocol's lambda_max, without its ramp.
    """

    name = "pseudo-label"
    version = 2  # 1 could select iterations at which the weight still rose
    title = "Pseudo-label"
    reference = "Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method, ICML Workshop 2013"
    group = "pseudo label"
    year = 2013
    venue = "ICML Workshop"
    authors = {"lambda_max": 3.0, "rampup_epochs": "none", "rise_start": 0.1, "rise_end": 0.6}
    handles_ignored = True
    hyperparameters = PseudoLabelHyperparameters
    hyper: PseudoLabelHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()

    @classmethod
    def check(cls, hyper: PseudoLabelHyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError if the rise ends before it starts."""
        if hyper.rise_start > hyper.rise_end:
            raise UserError(f"rise_start: expected at most rise_end = {hyper.rise_end}, found {hyper.rise_start}")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_s on the unlabelled images and their pseudo labels (equation 15)."""
        supervised = self.segmentation_loss(self.network(batch.labeled.student1), batch.labels)
        logits = self.network(batch.unlabeled.student1)
        rise = self.rise(progress)
        pseudo = rise * self.segmentation_loss(logits, hard_labels(logits))
        terms = {"supervised": (1.0, supervised), "pseudo": (progress.lambda_u, pseudo)}
        yield Update(terms, selectable=rise >= 1)

    def rise(self, progress: Progress) -> float:
        """Share of the weight at an iteration, alpha(t) / alpha_f of equation 16."""
        t = self.protocol.ramp_time(progress.iteration) / progress.iterations
        start, end = self.hyper.rise_start, self.hyper.rise_end
        if t >= end:
            return 1.0
        return 0.0 if t <= start else (t - start) / (end - start)

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network

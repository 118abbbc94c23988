"""Supervised baseline: one network, the labelled images alone."""

from collections.abc import Iterator

from torch import nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register


@register
class Supervised(SSLMethod):
    """The labelled images alone (the UCMT paper's baseline)."""

    name = "supervised"
    title = "Supervised"
    reference = "Shen et al., Co-training with High-Confidence Pseudo Labels (UCMT), IJCAI 2023: its baseline"
    group = "baseline"
    year = 2023
    venue = "IJCAI"
    uses_unlabeled = False
    handles_ignored = True

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:  # noqa: ARG002
        """L = L_s."""
        loss = self.segmentation_loss(self.network(batch.labeled.student1), batch.labels)
        yield Update({"supervised": (1.0, loss)})

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network

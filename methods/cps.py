"""Cross pseudo supervision: two students learn from each other's hard pseudo labels."""

from collections.abc import Iterator

from torch import nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import dice_loss


@register
class CrossPseudoSupervision(SSLMethod):
    """Chen et al. 2021 with the UCMT paper's Dice loss (equation 5)."""

    name = "cps"
    title = "CPS"
    reference = "Chen et al., Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision, CVPR 2021"
    components = frozenset({"SS", "L_cps"})

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student1, self.student2 = self.new_students()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (L_cps1 + L_cps2)."""
        smooth = self.protocol.dice_smooth
        supervised = self.supervised(
            dice_loss(self.student1(batch.labeled.student1), batch.labels, smooth),
            dice_loss(self.student2(batch.labeled.student2), batch.labels, smooth),
        )
        y1 = self.student1(batch.unlabeled.student1)
        y2 = self.student2(batch.unlabeled.student2)
        cps = self.unsupervised(dice_loss(y1, y2.argmax(1), smooth), dice_loss(y2, y1.argmax(1), smooth))
        yield Update({"supervised": (1.0, supervised), "cps": (progress.lambda_u, cps)}, branches=(y1, y2))

    @property
    def predictor(self) -> nn.Module:
        """Student 1."""
        return self.student1

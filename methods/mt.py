"""Mean teacher: a student learns from the hard pseudo labels of its own moving average."""

from collections.abc import Iterator

from torch import nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import dice_loss


@register
class MeanTeacher(SSLMethod):
    """Tarvainen and Valpola 2017 as the UCMT paper re-implements it: L_mts is a Dice loss on hard labels."""

    name = "mt"
    title = "MT"
    reference = "Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017"
    components = frozenset({"TS", "L_mts"})

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_mts (UCMT paper, equations 2 and 7 with one student)."""
        smooth = self.protocol.dice_smooth
        supervised = dice_loss(self.student(batch.labeled.student1), batch.labels, smooth)
        y0 = self.teacher(batch.unlabeled.teacher)
        y1 = self.student(batch.unlabeled.student1)
        mts = dice_loss(y1, y0.argmax(1), smooth)
        yield Update({"supervised": (1.0, supervised), "mts": (progress.lambda_u, mts)}, branches=(y1, y0))

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The teacher."""
        return self.teacher

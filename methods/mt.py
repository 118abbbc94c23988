"""Mean teacher: a student learns from the hard pseudo labels of its own moving average."""

from collections.abc import Iterator

from torch import Tensor, nn

from ssl_bench.method import (
    Batch,
    CutMixHyperparameters,
    Hyperparameters,
    Images,
    Progress,
    Protocol,
    Setup,
    SSLMethod,
    Update,
    register,
    require_pairs,
)
from ssl_bench.ops import cutmix, dice_loss, hard_labels


@register
class MeanTeacher(SSLMethod):
    """Tarvainen and Valpola 2017 as the UCMT paper re-implements it: L_mts is a Dice loss on hard labels."""

    name = "mt"
    title = "MT"
    reference = "Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017"
    group = "consistency"
    year = 2017
    venue = "NeurIPS"
    components = frozenset({"TS", "L_mts"})
    handles_ignored = True

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_mts (UCMT paper, equations 2 and 7 with one student)."""
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        y1, y0 = self.on_unlabeled(batch.unlabeled)
        mts = dice_loss(y1, hard_labels(y0), self.protocol.dice_smooth)
        yield Update({"supervised": (1.0, supervised), "mts": (progress.lambda_u, mts)}, branches=(y1, y0))

    def on_unlabeled(self, images: Images) -> tuple[Tensor, Tensor]:
        """Logits (B, K, *spatial) of the student and of the teacher, each on its own view."""
        y0 = self.teacher(images.teacher)
        return self.student(images.student1), y0

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The teacher."""
        return self.teacher


@register
class MeanTeacherCutMix(MeanTeacher):
    """French et al. 2020 with MT's loss: the student on a mix of images learns the same mix of the teacher's labels.

    Their loss is a squared distance of softmaxes weighted by the teacher's confidence; here it is MT's, so that the two
    methods differ by CutMix alone. The boxes are CPS's by default, as in every method with CutMix; theirs is one of
    half of the image.
    """

    name = "mt-cutmix"
    title = "MT + CutMix"
    reference = "French et al., Semi-supervised semantic segmentation needs strong, varied perturbations, BMVC 2020"
    group = "mixing"
    year = 2020
    venue = "BMVC"
    authors = {"lambda_max": 1.0, "rampup_epochs": "none", "ema_decay": 0.99, "boxes": 1, "low": 0.5, "high": 0.5}
    hyperparameters = CutMixHyperparameters
    hyper: CutMixHyperparameters

    @classmethod
    def check(cls, hyper: Hyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError for batches of one image."""
        require_pairs(protocol, "unlabeled")

    def on_unlabeled(self, images: Images) -> tuple[Tensor, Tensor]:
        """Logits of the student on the mixed images, and the teacher's on the images, mixed alike."""
        mix = cutmix(images.student1, boxes=self.hyper.boxes, low=self.hyper.low, high=self.hyper.high)
        y0 = mix(self.teacher(images.teacher))
        return self.student(mix(images.student1)), y0

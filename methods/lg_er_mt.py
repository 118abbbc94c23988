"""LG-ER-MT: a certain student keeps the local and global structure of its teacher's predictions."""

import math
from collections.abc import Iterator

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import image_noise, prediction_entropy, region_similarity_distance, self_information


class LGERMTHyperparameters(Hyperparameters):
    """Weights, regions and noise; all but the noise are choices of this reconstruction, the noise is UA-MT's."""

    region: int = Field(8, ge=2, description="side of a local region, in pixels")
    entropy_weight: float = Field(1.0, ge=0, description="of the entropy")
    local_weight: float = Field(1.0, ge=0, description="of the local structural consistency")
    global_weight: float = Field(1.0, ge=0, description="of the global structural consistency")
    noise: float = Field(0.1, ge=0, description="standard deviation of the noise on the teacher's normalised images")
    noise_limit: float = Field(0.2, ge=0, description="largest absolute noise on the teacher's normalised images")


@register
class LocalGlobalEntropyRegularizedMeanTeacher(SSLMethod):
    """Hang et al. 2020, reconstructed from its abstract; the authors published test code and weights alone.

    Known:

    - A student and its mean teacher (abstract). Their code is UA-MT's, with its V-Net (repository 3DMRIs/LG-ER-MT).
    - The student minimises the entropy of its predictions of unlabelled images (abstract).
    - Local structural consistency: similarities between the voxels of one local region of a prediction agree between
      student and teacher (abstract). Regions are sub-volumes (notes of a listener of the talk).
    - Global structural consistency: the weighted self-information maps of student and teacher match (abstract); such a
      map is -p ln p for each class (Vu et al., ADVENT, CVPR 2019).

    Chosen:

    - The entropy is divided by ln K, as in `entmin`, and averaged over the pixels.
    - A similarity is the cosine between the softmaxes of two pixels, as in pairwise distillation (Liu et al., CVPR
      2019). The authors' V-Net also returns its last feature map, which may have been compared instead.
    - Regions lie side by side and do not overlap; their side is `region`. The loss is the mean squared difference of
      the similarities over all pairs of pixels in a region.
    - Self-information maps match by their mean squared difference over pixels and classes, in units of ln K. The
      repository holds a compiled file with ADVENT's discriminator in 3D, so the authors may have matched the maps by an
      adversary; the abstract names none.
    - The three terms have equal weights.
    - There is no other consistency: the abstract names no distance of the predictions themselves.
    - All three terms are of unlabelled images.
    - The teacher sees images with UA-MT's noise; the protocol settles its decay and mode.
    - The student is what is tested, as in UA-MT; the teacher is scored and stored too.
    - Labelled images have the protocol's supervised loss. They go through the student apart from unlabelled ones.
    """

    name = "lg-er-mt"
    title = "LG-ER-MT"
    reference = (
        "Hang et al., Local and Global Structure-Aware Entropy Regularized Mean Teacher Model for 3D Left Atrium "
        "Segmentation, MICCAI 2020"
    )
    group = "consistency"
    year = 2020
    venue = "MICCAI"
    reconstructed = True
    components = frozenset({"TS"})
    handles_ignored = True
    hyperparameters = LGERMTHyperparameters
    hyper: LGERMTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (w_e L_entropy + w_l L_local + w_g L_global)."""
        hyper = self.hyper
        supervised = self.segmentation_loss(self.student(batch.labeled.student1), batch.labels)
        y1 = self.student(batch.unlabeled.student1)
        y0 = self.teacher(image_noise(batch.unlabeled.teacher, hyper.noise, hyper.noise_limit))
        terms = {
            "supervised": (1.0, supervised),
            "entropy": (progress.lambda_u, hyper.entropy_weight * self.entropy(y1)),
            "local": (progress.lambda_u, hyper.local_weight * self.local_consistency(y1, y0)),
            "global": (progress.lambda_u, hyper.global_weight * self.global_consistency(y1, y0)),
        }
        yield Update(terms, branches=(y1, y0))

    def entropy(self, y1: Tensor) -> Tensor:
        """Mean entropy of the prediction, in units of ln K."""
        return prediction_entropy(y1).mean() / math.log(self.classes)

    def local_consistency(self, y1: Tensor, y0: Tensor) -> Tensor:
        """Mean squared difference of the two predictions' similarities within regions."""
        return region_similarity_distance(y1.float().softmax(1), y0.float().softmax(1), self.hyper.region)

    def global_consistency(self, y1: Tensor, y0: Tensor) -> Tensor:
        """Mean squared difference of the two self-information maps, in units of ln K."""
        return mse_loss(self_information(y1), self_information(y0)) / math.log(self.classes) ** 2

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The student."""
        return self.student

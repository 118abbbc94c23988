"""Weak-to-strong consistency: confident pseudo labels of a weak view teach strong views of the same images."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import (
    Batch,
    CutMixHyperparameters,
    Hyperparameters,
    Progress,
    Protocol,
    Setup,
    SSLMethod,
    Update,
    UserError,
    register,
    require_pairs,
)
from ssl_bench.ops import BoxMix, complementary_dropout, confident_labels, cross_entropy_loss, cutmix, dice_loss

Labels = tuple[Tensor, Tensor]  # pseudo labels (B, *spatial) int64 and their confidence
Share = Annotated[float, Field(ge=0, le=1)]


class WeakToStrongHyperparameters(CutMixHyperparameters):
    """Loss and CutMix; defaults are those of UniMatch's code for medical images."""

    unsupervised_loss: Literal["dice", "cross-entropy"] = Field(
        "dice",
        description="dice: of confident pixels alone; cross-entropy: mean over all pixels, where the others are 0",
    )
    mix_probability: Share = Field(0.5, description="that CutMix changes an image at all")
    boxes: int = Field(1, ge=1, description="CutMix's boxes per image")
    low: float = Field(0.02, gt=0, le=1, description="smallest sum of the boxes' sizes, as a share of the image")
    high: float = Field(0.4, gt=0, le=1, description="largest sum of the boxes' sizes, as a share of the image")


class FixMatchHyperparameters(WeakToStrongHyperparameters):
    """Those and the confidence of pseudo labels."""

    confidence: Share = Field(0.95, description="smallest confidence of a pseudo label that counts")


class UniMatchHyperparameters(FixMatchHyperparameters):
    """Those and the perturbation of features."""

    channel_dropout: float = Field(0.5, ge=0, lt=1, description="share of the channels that feature perturbation drops")


class CrossMatchHyperparameters(WeakToStrongHyperparameters):
    """Threshold, the two perturbations of features and self-distillation; defaults are those of the authors' code."""

    confidence: Share | Literal["auto"] = Field(
        "auto",
        description="smallest confidence of a pseudo label that counts; auto: 0.95 in 2D, 0.75 in 3D, where the "
        "authors' code has 0.75 in its first iteration, and then 0.52 rising to 0.69",
    )
    weak_dropout: float = Field(0.25, ge=0, lt=1, description="share of the channels that the weak perturbation drops")
    strong_dropout: float = Field(0.75, ge=0, lt=1, description="share of them that the strong perturbation drops")
    same_stream: Share = Field(0.3, description="eta: share of the losses against a perturbed stream's own labels")
    distillation: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="weight of self-distillation; auto: 0.5 in 2D, 1 in 3D"
    )

    def resolved(self, dimensions: int) -> Self:
        """Replace `auto` by the value of the authors' code for ACDC (2D) or LA (3D)."""
        confidence, distillation = (0.95, 0.5) if dimensions == 2 else (0.75, 1.0)
        usual = {"confidence": confidence, "distillation": distillation}
        return self.model_copy(update={key: value for key, value in usual.items() if getattr(self, key) == "auto"})


class WeakToStrong(SSLMethod):
    """What the methods share: losses, and the strong views with their labels."""

    group = "pseudo label"
    hyper: WeakToStrongHyperparameters

    def __init__(self, setup: Setup, hyper: Any) -> None:
        super().__init__(setup, hyper)
        self.least_confidence: float = hyper.confidence

    @classmethod
    def check(cls, hyper: Any, protocol: Protocol) -> None:
        """Raise UserError for batches of one image, unless nothing is mixed."""
        if hyper.mix_probability > 0:
            require_pairs(protocol, "unlabeled")

    def on_labeled(self, network: nn.Module, batch: Batch) -> Tensor:
        """L_s on the labelled images."""
        return self.segmentation_loss(network(batch.labeled.student1), batch.labels)

    def mix(self, images: Tensor) -> BoxMix:
        """CutMix of an unlabelled view (B, C, *spatial)."""
        hyper = self.hyper
        return cutmix(images, boxes=hyper.boxes, low=hyper.low, high=hyper.high, probability=hyper.mix_probability)

    def strong_views(self, batch: Batch) -> tuple[Tensor, BoxMix, BoxMix]:
        """Both strong views, each mixed by itself, as one batch (2B, C, *spatial), and their mixes."""
        first, second = batch.unlabeled.student1, batch.unlabeled.student2
        mix1, mix2 = self.mix(first), self.mix(second)
        return torch.cat([mix1(first), mix2(second)]), mix1, mix2

    def loss(self, logits: Tensor, labels: Labels) -> Tensor:
        """Loss of logits (B, K, *spatial) against pseudo labels; 0 if none is confident."""
        hard, confidence = labels
        keep = confidence >= self.least_confidence
        if self.hyper.unsupervised_loss == "dice":
            return dice_loss(logits, hard, self.protocol.dice_smooth, keep=keep)
        return cross_entropy_loss(logits, hard, keep=keep) * keep.float().mean()


def mixed(labels: Labels, mix: BoxMix) -> Labels:
    """Labels and confidence of the mixed images."""
    hard, confidence = labels
    return mix(hard), mix(confidence)


def decoded(network: Any, features: list[Tensor]) -> Tensor:
    """Logits (B, K, *spatial) of a network's feature maps."""
    logits: Tensor = network.segmentation_head(network.decoder(features))
    return logits


def changed(features: list[Tensor], images: Tensor, rate: float) -> list[Tensor]:
    """Drop channels of every feature map; the image itself, which some encoders pass on, is no feature and stays."""
    return [z if z is images else torch.feature_dropout(z, rate, train=True) for z in features]


@register
class FixMatch(WeakToStrong):
    """Sohn et al. 2020 in the segmentation form of UniMatch's code, with the protocol's supervised loss.

    The network labels the weak view. It learns the labels of at least the `confidence` on the strong view, which
    is mixed by CutMix. Weak and strong view are the protocol's for the teacher and for student 1. The loss is that of
    UniMatch's code for medical images: Dice without the pixels that are not confident. FixMatch itself has
    cross-entropy, averaged over all pixels: `unsupervised_loss = "cross-entropy"`.

    As in that code the network labels the weak view in training mode. The code mixes with images of a second unlabelled
    batch, which the network labels in evaluation mode; here they are of the same batch. Its boxes have aspect ratios
    U(0.3, 1/0.3); those here have the random shape of every CutMix here. Labelled and unlabelled images go through the
    network apart. Its loss is (L_s + L_u) / 2: a weight lambda of 1 without ramp-up, up to the factor. Its L_s is
    cross-entropy alone.
    """

    name = "fixmatch"
    title = "FixMatch"
    reference = "Sohn et al., FixMatch: Simplifying SSL with Consistency and Confidence, NeurIPS 2020"
    year = 2020
    venue = "NeurIPS"
    authors = {
        "lambda_max": 1.0, "rampup_epochs": "none", "views.labeled_student1": "weak",
        "unsupervised_loss": "cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    hyperparameters = FixMatchHyperparameters
    hyper: FixMatchHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = self.new_student()

    @classmethod
    def check(cls, hyper: FixMatchHyperparameters, protocol: Protocol) -> None:
        """Raise UserError if the network would learn its labels on the images that it labels."""
        super().check(hyper, protocol)
        view = protocol.views.student1
        if view == protocol.views.teacher and hyper.mix_probability == 0:
            raise UserError(
                f"views.student1: expected another view than views.teacher, as mix_probability is 0; found '{view}'"
            )

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_strong."""
        supervised = self.on_labeled(self.network, batch)
        images = batch.unlabeled.student1
        with torch.no_grad():
            labels = confident_labels(self.network(batch.unlabeled.teacher))
        mix = self.mix(images)
        strong = self.loss(self.network(mix(images)), mixed(labels, mix))
        yield Update({"supervised": (1.0, supervised), "strong": (progress.lambda_u, strong)})

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.network


@register
class UniMatch(WeakToStrong):
    """Yang et al. 2023 as their code for medical images has it: FixMatch with two strong views and perturbed features.

    L_strong = (L_strong1 + L_strong2) / 4 and L_features / 2, where L_strong1 and L_strong2 are the losses of the views
    of students 1 and 2, each with CutMix of its own, and L_features is that of the weak view's features without half of
    their channels. Every map that the encoder gives is perturbed. Both strong views go through the network together.
    The authors decode clean and perturbed features together, those of labelled images too; here the weak view's are
    decoded apart, the clean ones without gradient. Their supervised loss is the mean of cross-entropy and Dice.
    Otherwise as FixMatch here.
    """

    name = "unimatch"
    title = "UniMatch"
    reference = "Yang et al., Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation, CVPR 2023"
    year = 2023
    venue = "CVPR"
    authors = {
        "lambda_max": 1.0, "rampup_epochs": "none", "views.labeled_student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    needs_parts = True
    hyperparameters = UniMatchHyperparameters
    hyper: UniMatchHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network: Any = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (L_strong + L_features / 2)."""
        supervised = self.on_labeled(self.network, batch)
        weak = batch.unlabeled.teacher
        features = self.network.encoder(weak)
        with torch.no_grad():
            labels = confident_labels(decoded(self.network, features))
        perturbed = decoded(self.network, changed(features, weak, self.hyper.channel_dropout))
        images, mix1, mix2 = self.strong_views(batch)
        y1, y2 = self.network(images).chunk(2)
        strong = (self.loss(y1, mixed(labels, mix1)) + self.loss(y2, mixed(labels, mix2))) / 4
        yield Update(
            {
                "supervised": (1.0, supervised),
                "strong": (progress.lambda_u, strong),
                "features": (progress.lambda_u, self.loss(perturbed, labels) / 2),
            }
        )

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.networks["network"]


@register
class UniMatchV2(WeakToStrong):
    """Yang et al. 2025: a teacher labels the weak view, and complementary dropout makes the strong views differ more.

    L_strong = (L_strong1 + L_strong2) / 2. Each channel of an image's features is dropped in one strong view and
    doubled in the other; half of the images keep their channels. There is no loss of the weak view's features. The
    authors' network is DINOv2 with DPT, whose maps have equal widths and share their draws; here each map that the
    encoder gives has its own. Their loss is cross-entropy averaged over all pixels, `unsupervised_loss =
    "cross-entropy"`; the default is the Dice loss of UniMatch's code for medical images. Their CutMix takes the pixels
    of an image of the same batch, in reversed order; here the next one's. They score student and teacher; the headline
    here is the teacher's.
    """

    name = "unimatch-v2"
    title = "UniMatch V2"
    components = frozenset({"TS"})
    reference = "Yang et al., UniMatch V2: Pushing the Limit of Semi-Supervised Semantic Segmentation, TPAMI 2025"
    year = 2025
    venue = "TPAMI"
    authors = {
        "lambda_max": 1.0, "rampup_epochs": "none", "ema_decay": 0.996, "ema_warmup": True, "teacher_mode": "eval",
        "teacher_buffers": "ema", "views.labeled_student1": "weak", "unsupervised_loss": "cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    needs_parts = True
    hyperparameters = FixMatchHyperparameters
    hyper: FixMatchHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.student: Any = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda L_strong."""
        supervised = self.on_labeled(self.student, batch)
        y0 = self.teacher(batch.unlabeled.teacher)
        labels = confident_labels(y0)
        images, mix1, mix2 = self.strong_views(batch)
        features = self.student.encoder(images)
        image = features[:1] if features[0] is images else []
        y1, y2 = decoded(self.student, [*image, *complementary_dropout(features[len(image) :])]).chunk(2)
        strong = (self.loss(y1, mixed(labels, mix1)) + self.loss(y2, mixed(labels, mix2))) / 2
        terms = {"supervised": (1.0, supervised), "strong": (progress.lambda_u, strong)}
        yield Update(terms, branches=(y1, mix1(y0)))

    def after_update(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        """The teacher."""
        return self.teacher


@register
class CrossMatch(WeakToStrong):
    """Zhao et al. 2024: UniMatch with a weak and a strong perturbation of features, which distil from clean ones.

    Both perturbations drop channels of every map that the encoder gives, of the weak view and of strong view 2. Their
    predictions learn the clean prediction of the weak view: four losses, of weight 1 - `same_stream`. On strong view 2
    they also learn what the same perturbation predicts on the weak view: two losses, of weight `same_stream`. Each
    group is averaged. Strong views have the weight 1/4 each, self-distillation the weight `distillation`; the authors'
    code for ACDC halves the latter.

    The authors' code for LA compares confidences with 0.75 in its first iteration, and then with a number that rises
    from 0.52 to 0.69, UA-MT's ramp of an entropy in nats; here `confidence` is constant. Their V-Net has no dropout of
    its own in these passes. They decode clean and perturbed features together; here they are decoded apart. Their
    supervised loss is the mean of cross-entropy and Dice. Otherwise as UniMatch here.
    """

    name = "crossmatch"
    title = "CrossMatch"
    reference = "Zhao et al., CrossMatch: Perturbation Strategies and Knowledge Distillation, JBHI 2024"
    year = 2024
    venue = "JBHI"
    authors = {
        "lambda_max": 1.0, "rampup_epochs": "none", "views.labeled_student1": "weak",
        "supervised_loss": "dice+cross-entropy",
    }  # fmt: skip
    handles_ignored = True
    needs_parts = True
    hyperparameters = CrossMatchHyperparameters
    hyper: CrossMatchHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network: Any = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (L_strong + w L_distillation)."""
        assert self.hyper.distillation != "auto"
        supervised = self.on_labeled(self.network, batch)
        weak = batch.unlabeled.teacher
        features = self.network.encoder(weak)
        with torch.no_grad():
            clean = confident_labels(decoded(self.network, features))
        on_weak = self.perturbed(features, weak)
        own = [confident_labels(logits) for logits in on_weak]

        images, mix1, mix2 = self.strong_views(batch)
        features = self.network.encoder(images)
        y1, y2 = decoded(self.network, features).chunk(2)
        target2 = mixed(clean, mix2)
        strong = (self.loss(y1, mixed(clean, mix1)) + self.loss(y2, target2)) / 4

        _, second = images.chunk(2)
        on_strong = self.perturbed([second if z is images else z.chunk(2)[1] for z in features], second)
        from_clean = [self.loss(y, clean) for y in on_weak] + [self.loss(y, target2) for y in on_strong]
        from_own = [self.loss(y, mixed(target, mix2)) for y, target in zip(on_strong, own, strict=True)]
        share = self.hyper.same_stream
        distilled = (1 - share) * torch.stack(from_clean).mean() + share * torch.stack(from_own).mean()
        yield Update(
            {
                "supervised": (1.0, supervised),
                "strong": (progress.lambda_u, strong),
                "distillation": (progress.lambda_u, self.hyper.distillation * distilled),
            }
        )

    def perturbed(self, features: list[Tensor], images: Tensor) -> list[Tensor]:
        """Logits of features under the weak and under the strong perturbation."""
        rates = self.hyper.weak_dropout, self.hyper.strong_dropout
        return [decoded(self.network, changed(features, images, rate)) for rate in rates]

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.networks["network"]

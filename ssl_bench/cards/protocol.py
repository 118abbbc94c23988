"""Protocol: all settings that affect a result except data, method and seed, in a 2D and a 3D form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from ssl_bench.cards.benchmark import Benchmark
from ssl_bench.cards.card import Card, Count, Positive, in_unit, parse_card
from ssl_bench.cards.metric import Metrics, MetricsOrAuto
from ssl_bench.errors import UserError

View = Literal["weak", "strong1", "strong2"]
Upsampling = Literal["default", "transposed", "linear", "nearest"]  # of a network's decoder; no protocol field


Probability = Annotated[float, Field(ge=0, le=1)]


Sides3D = tuple[Count, Count, Count]
Role = Literal["measures", "observes"]
MEASURES: JsonDict = {"role": "measures"}  # how a finished network is scored
OBSERVES: JsonDict = {"role": "observes"}  # how often training is observed


class ImageAugmentation(Card):
    """Random views of 2D images: a weak geometric one, and two strong photometric ones on top of it."""

    horizontal_flip: Probability = Field(description="probability of a flip from left to right, of every view")
    vertical_flip: Probability = Field(description="probability of a flip from top to bottom, of every view")
    rotation: Probability = Field(description="probability of a rotation, of every view")
    rotation_degrees: float = Field(
        ge=0, le=180, json_schema_extra=in_unit("degrees"), description="largest angle of the rotation"
    )
    jitter: Probability = Field(
        description="probability of a change of brightness, contrast, saturation and hue, in random order"
    )
    brightness: float = Field(ge=0, le=1, description="largest relative change of brightness")
    contrast: float = Field(ge=0, le=1, description="largest relative change of contrast")
    saturation: float = Field(ge=0, le=1, description="largest relative change of saturation")
    hue: float = Field(
        ge=0, le=0.5, json_schema_extra=in_unit("turns"), description="largest turn of the hue on the colour circle"
    )
    posterize: Probability = Field(description="probability of fewer bits a channel")
    posterize_bits: int = Field(
        ge=1, le=8, json_schema_extra=in_unit("bits"), description="number of bits that remain a channel"
    )
    autocontrast: Probability = Field(description="probability of stretching each channel to its full range")
    equalize: Probability = Field(description="probability of equalising each channel's histogram")
    blur: Probability = Field(description="probability of a Gaussian blur")
    blur_kernel: Literal[3, 5, 7] = Field(json_schema_extra=in_unit("px"), description="side of the blur's kernel")
    blur_sigma: tuple[Positive, Positive] = Field(
        json_schema_extra=in_unit("px"), description="smallest and largest standard deviation of the blur"
    )
    strong2_from: Literal["strong1", "weak"] = Field(description="which view strong view 2 augments")
    extra: dict[str, dict[str, Any]] = Field(
        {}, description="registered augmentations with their settings, applied to strong views after the others"
    )


class VolumeAugmentation(Card):
    """Random views of 3D patches: a weak geometric one, and two strong ones on top of it, whose intensities change."""

    rotate_flip: Probability = Field(
        description="probability of a turn by a random multiple of 90 degrees in the x-y plane together with a flip "
        "along x or y"
    )
    blur: Probability = Field(description="probability of a Gaussian blur")
    blur_sigma: tuple[Positive, Positive] = Field(
        json_schema_extra=in_unit("voxels"), description="smallest and largest standard deviation of the blur"
    )
    jitter: Probability = Field(0.0, description="probability of a change of brightness and contrast")
    brightness: float = Field(
        0.5, ge=0, le=1, description="largest shift, as a share of the patch's mean above its lowest intensity"
    )
    contrast: float = Field(0.5, ge=0, le=1, description="largest relative change of distances from the mean")
    noise: Probability = Field(0.0, description="probability of Gaussian noise")
    noise_sigma: tuple[Positive, Positive] = Field(
        (0.1, 1.0), description="smallest and largest standard deviation, as a share of the patch's own"
    )
    strong2_from: Literal["strong1", "weak"] = Field(description="which view strong view 2 augments")
    extra: dict[str, dict[str, Any]] = Field(
        {}, description="registered augmentations with their settings, applied to strong views after the others"
    )


class Views(Card):
    """Which view of an image each network sees (step 1), and which one a mix cuts and pastes (step 2)."""

    labeled_student1: View = Field(description="of labelled images, for student 1")
    labeled_student2: View = Field(description="of labelled images, for student 2")
    labeled_teacher: View = Field(description="of labelled images, for the teacher")
    labeled_mixed: View = Field(description="of labelled images, in a mix")
    student1: View = Field(description="of unlabelled images, for student 1")
    student2: View = Field(description="of unlabelled images, for student 2")
    teacher: View = Field(description="of unlabelled images, for the teacher")
    mixed: View = Field(description="of unlabelled images, in a mix")


class Protocol(Card):
    """What both forms of a protocol have in common (a card in benchmarks/protocols/)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="in commands and tables")
    title: str = Field(description="in lists of protocols")
    note: str = Field("", description="a sentence that every table of its runs prints")

    # Data: which split of the card, and what is scored.
    split: str | Literal["default"] = Field("default", description="a split of the card by name, or a .csv split file")
    metrics: MetricsOrAuto = Field("auto", json_schema_extra=MEASURES, description="auto: the data set's own")
    labeled_batch: Count = Field(json_schema_extra=in_unit("images"), description="labelled images in a batch")
    unlabeled_batch: Count = Field(json_schema_extra=in_unit("images"), description="unlabelled images in a batch")
    labeled_scale: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        {}, description="by data set: times the labelled shares of tables, figures, claims and its card; --labeled, "
        "100% and numbers of images stay as they are",
    )  # fmt: skip
    unlabeled_pool: Literal["unlabeled", "all"] = Field(
        description="what unlabelled images are drawn from; all: the labelled images too, without their masks"
    )
    views: Views = Field(description="which view of an image each network sees")

    # Network.
    filters: Count = Field(
        json_schema_extra=in_unit("channels"),
        description="of the first level of a V-Net or the small U-Net; each level has twice as many",
    )
    student_init: Literal["different", "same"] = Field(description="how the second student's weights start")

    # Length and optimiser (AdamW).
    epochs: Count | None = Field(
        None, json_schema_extra=in_unit("epochs"),
        description="passes over the training images, for a method with one update per iteration",
    )  # fmt: skip
    iterations: Count | None = Field(
        None, json_schema_extra=in_unit("iterations"),
        description="length for a method with one update per iteration; overrides epochs",
    )  # fmt: skip
    learning_rate: Positive = Field(description="AdamW's, constant")
    betas: tuple[Probability, Probability] = Field(description="AdamW's")
    weight_decay: float = Field(ge=0, description="AdamW's")
    precision: Literal["auto", "fp32", "bf16"] = Field(description="auto: bf16 on a GPU, fp32 elsewhere")
    compile: bool = Field(description="compile the networks by torch.compile")
    channels_last: bool = Field(description="store the networks' tensors with the channels innermost")

    # Losses.
    dice_smooth: Positive = Field(
        json_schema_extra=in_unit("pixels"), description="added to numerator and denominator of the Dice loss"
    )
    supervised_loss: Literal["dice", "dice+cross-entropy"] = Field(
        "dice", description="against the labels of labelled images; dice+cross-entropy: the mean of both"
    )
    supervised_reduction: Literal["sum", "mean"] = Field(description="over the students")
    unsupervised_reduction: Literal["sum", "mean"] = Field(description="over the two directions of one loss")
    lambda_max: float = Field(ge=0, description="largest weight of the whole unsupervised loss")
    rampup_epochs: Positive | Literal["run", "none"] = Field(
        json_schema_extra=in_unit("epochs"),
        description="length of lambda's ramp-up; run: all of training; none: lambda is lambda_max from the start",
    )
    ramp_start: Literal[0, 1] = Field(1, description="the first iteration's t in ramp-ups: lambda's and a method's own")

    # Teacher.
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay of the moving average that is the teacher, per update"
    )
    ema_warmup: bool = Field(description="decay min(1 - 1/(t+1), ema_decay)")
    teacher_start: Literal["own", "student1"] = Field(description="own: weights drawn for itself")
    teacher_source: tuple[Probability, Probability] = Field(description="weights of students 1 and 2")
    teacher_mode: Literal["eval", "train"] = Field(
        description="the teacher's mode in training; train: its batch norm uses the batch's statistics"
    )
    teacher_buffers: Literal["ema", "own"] = Field(description="own: batch norm statistics of its own forward passes")

    # UCMT's second step.
    uncertainty_from: Literal["step1", "after-update"] = Field(
        description="logits that give UMIX's uncertainty; after-update: the students run again after the first update"
    )
    step2_teacher: Literal["mixed-labels", "run-again"] = Field(
        description="the teacher's labels of mixed images: mixed with the images, or predicted on the mixed images"
    )
    umix_order: Literal["simultaneous", "in-place"] = Field(
        description="how UMIX replaces regions; in-place: by both uncertainty maps in turn"
    )
    umix_regions: Literal["uncertain", "random"] = Field(
        "uncertain",
        description="what orders UMIX's regions; random: numbers drawn for each region, and no uncertainty",
    )

    # What is scored, and how often the curves have a row.
    select: Literal["last", "train-loss"] = Field(
        description="train-loss: the complete epoch with the lowest last-step loss"
    )
    log_every: Count = Field(
        json_schema_extra=OBSERVES | in_unit("iterations"), description="interval of the rows of curves.csv"
    )
    score_every: Count | None = Field(
        None,
        json_schema_extra=OBSERVES | in_unit("iterations"),
        description="also score the predictor on the test set at this interval of iterations, to show what selecting a "
        "checkpoint on it would have claimed; no checkpoint is selected by it",
    )

    # What a search for hyperparameters may look at; the test set never is.
    validation: Literal["labeled", "train"] | None = Field(
        None,
        description="hold out images for scoring and never train on them; labeled: some of the labelled images; train: "
        "some of the other images, which uses more masks than --labeled says",
    )
    validation_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="held-out share of the labelled images, or of all training images"
    )
    validate_every: Count | None = Field(
        None,
        json_schema_extra=OBSERVES | in_unit("iterations"),
        description="score the predictor on these images at this interval of iterations",
    )

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the images that the networks train on, in pixels or voxels."""
        raise NotImplementedError

    @property
    def stored_size(self) -> int | None:
        """Side of the squares at which the cache stores 2D images; None for volumes, which it stores as they are."""
        return None

    def problems(self) -> list[str]:
        """Return the inconsistencies between fields, one sentence each."""
        problems = []
        if self.epochs is None and self.iterations is None:
            problems.append("one of epochs and iterations must be given")
        if self.teacher_mode == "eval" and self.teacher_buffers == "own":
            problems.append(
                "teacher_mode 'eval' needs teacher_buffers 'ema', since a teacher in eval mode collects no statistics"
            )
        if self.validation is None and self.validate_every is not None:
            problems.append("validate_every needs validation = labeled or train")
        if abs(sum(self.teacher_source) - 1) > 1e-9:
            problems.append(f"teacher_source must sum to 1, found {sum(self.teacher_source)}")
        return problems

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        problems = self.problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def iterations_per_epoch(self, train_count: int) -> int:
        """One pass over all training images in batches of unlabelled size, whatever the labelled fraction."""
        return math.ceil(train_count / self.unlabeled_batch)

    def ramp_time(self, iteration: int) -> int:
        """Return t, an iteration's place in ramp-ups: `ramp_start` for the first iteration, whose number is 1."""
        return iteration - 1 + self.ramp_start

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return the protocol with other values of some fields.

        Raises:
            UserError: a field is unknown, or a value is not allowed.
        """
        return parse_card(type(self), {**dict(self), **changes}, "protocol") if changes else self

    def split_of(self, benchmark: Benchmark) -> str:
        """Return the name of the split; of `default`, the data set's first.

        Raises:
            UserError: the data set has no such split.
        """
        split = next(iter(benchmark.splits)) if self.split == "default" else self.split
        if split not in benchmark.splits:
            known = ", ".join(benchmark.splits)
            raise UserError(
                f"split = '{split}': expected one of {known} (the splits of {benchmark.name}) or a .csv file"
            )
        return split

    def decisions(self, benchmark: Benchmark, train_count: int, device_type: str) -> dict[str, Any]:
        """Return the fields whose default or `auto` a run on this data and device replaces, with the run's values.

        Raises:
            UserError: the data set has no such split, or a beta is 1, which AdamW refuses.
        """
        if max(self.betas) == 1:
            raise UserError(f"betas: expected numbers below 1, found {list(self.betas)}")
        iterations = self.iterations
        if iterations is None:
            assert self.epochs is not None  # held by _hangs_together
            iterations = self.iterations_per_epoch(train_count) * self.epochs
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if device_type == "cuda" else "fp32"
        metrics = benchmark.metrics if self.metrics == "auto" else self.metrics
        return {
            "split": self.split_of(benchmark), "epochs": None, "iterations": iterations, "precision": precision,
            "metrics": metrics,
        }  # fmt: skip


class ImageProtocol(Protocol):
    """A protocol's 2D form: the common fields of its card and those of the table [2d]."""

    dimensions: Literal[2] = Field(2, description="of the images")
    image_size: Count = Field(
        json_schema_extra=in_unit("px"), description="side of the square image that the networks see"
    )
    augment_size: Count = Field(
        json_schema_extra=in_unit("px"),
        description="side at which views are drawn before they are resized to image_size",
    )
    score_size: Literal["original"] | Count = Field(
        json_schema_extra=MEASURES | in_unit("px"), description="side at which masks are compared"
    )
    augmentation: ImageAugmentation = Field(description="random changes that make the views")

    network: str = Field(
        description="deeplabv3plus, unet, unet-small (without an encoder), smp:NAME, monai:NAME, or one of your own"
    )
    encoder: str = Field(description="an encoder of segmentation-models-pytorch, or tu- and a timm model")
    encoder_weights: str = Field(description="none, imagenet, an installed package, or a .pth or .safetensors file")
    output_stride: Literal[8, 16] = Field(description="the image's side over that of the encoder's last map")
    aspp: Literal["plain", "separable"] = Field(description="convolutions of the DeepLabs' ASPP")
    aspp_dropout: Probability = Field(description="dropout after the DeepLabs' ASPP")
    input_mean: tuple[float, float, float] = Field(
        description="of each RGB channel, subtracted; intensities are 0 to 1"
    )
    input_std: tuple[Positive, Positive, Positive] = Field(
        description="of each RGB channel, divided by; intensities are 0 to 1"
    )

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.image_size, self.image_size

    @property
    def stored_size(self) -> int:
        """The side at which views are drawn."""
        return self.augment_size

    def problems(self) -> list[str]:
        """Also checks sizes and strides."""
        problems = super().problems()
        if self.augment_size < self.image_size:
            problems.append(f"augment_size {self.augment_size} must be at least image_size {self.image_size}")
        return problems

    def resolved(self, benchmark: Benchmark, train_count: int, device_type: str) -> ResolvedImageProtocol:
        """Return the protocol as a run on this data and device takes it.

        For a network without an encoder, the encoder's name and weights have no effect.

        Raises:
            UserError: the data set has no such split.
        """
        decided = self.decisions(benchmark, train_count, device_type)
        if self.network == "unet-small" or self.network.startswith("monai:"):
            decided |= {"encoder": "none", "encoder_weights": "none"}
        return ResolvedImageProtocol.model_validate({**dict(self), **decided})


class VolumeProtocol(Protocol):
    """A protocol's 3D form: the common fields of its card and those of the table [3d]. Axes are (x, y, z)."""

    dimensions: Literal[3] = Field(3, description="of the volumes")
    patch_size: Sides3D = Field(
        json_schema_extra=in_unit("voxels"), description="sides of the patches that the networks see"
    )
    augmentation: VolumeAugmentation = Field(description="random changes that make the views")
    network: str = Field(description="vnet, monai:NAME, or one of your own")
    dropout: Probability = Field(description="dropout of the V-Net, after its deepest level and before its last layer")
    stride: Sides3D = Field(
        json_schema_extra=MEASURES | in_unit("voxels"),
        description="from one window to the next when a volume is predicted",
    )
    window_batch: Count = Field(
        json_schema_extra=MEASURES | in_unit("windows"), description="windows predicted at once"
    )
    largest_component: bool = Field(
        json_schema_extra=MEASURES, description="keep only each class's largest connected component"
    )

    @property
    def sides(self) -> tuple[int, int, int]:
        """Sides of the patch."""
        return self.patch_size

    def problems(self) -> list[str]:
        """Also checks sizes and strides."""
        problems = super().problems()
        if any(step > side for step, side in zip(self.stride, self.patch_size, strict=True)):
            problems.append(f"stride {list(self.stride)} must be at most patch_size {list(self.patch_size)}")
        return problems

    def resolved(self, benchmark: Benchmark, train_count: int, device_type: str) -> ResolvedVolumeProtocol:
        """Return the protocol as a run on this data and device takes it.

        Raises:
            UserError: the data set has no such split.
        """
        decided = self.decisions(benchmark, train_count, device_type)
        return ResolvedVolumeProtocol.model_validate({**dict(self), **decided})


class Resolved(Protocol):
    """A run's protocol: defaults and `auto` that depend on the data or the device are replaced by values."""

    metrics: Metrics = Field(json_schema_extra=MEASURES, description="that the run is scored by")
    epochs: None = Field(None, description="replaced by iterations")
    iterations: Count = Field(
        json_schema_extra=in_unit("iterations"), description="length for a method with one update per iteration"
    )
    precision: Literal["fp32", "bf16"] = Field(description="of the networks' forward passes")


class ResolvedImageProtocol(Resolved, ImageProtocol):
    """A run's protocol in its 2D form."""


class ResolvedVolumeProtocol(Resolved, VolumeProtocol):
    """A run's protocol in its 3D form."""


ResolvedProtocol = Annotated[ResolvedImageProtocol | ResolvedVolumeProtocol, Field(discriminator="dimensions")]


PROTOCOLS: dict[int, type[ImageProtocol] | type[VolumeProtocol]] = {2: ImageProtocol, 3: VolumeProtocol}


def fields_that(role: Role, protocol: type[Protocol]) -> set[str]:
    """Names of a protocol's fields that do not affect the weights: they measure, or they observe training."""
    return {
        name
        for name, field in protocol.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("role") == role
    }

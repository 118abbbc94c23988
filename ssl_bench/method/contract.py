"""The contract of a semi-supervised method: its inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_bench.cards import Card, Protocol, Upsampling
from ssl_bench.errors import UserError
from ssl_bench.ops import ExponentialMovingAverage, cross_entropy_loss, dice_loss

Group = Literal[
    "baseline", "consistency", "co-training", "pseudo label", "adversarial", "contrastive", "mixing", "other"
]


class Images:
    """The views of one batch of images, each made when it is first asked for.

    Every view has shape (B, C, *spatial), is normalised and on the training device; `student1`, `student2` and
    `teacher` are the views that the protocol shows to each network, `mixed` the one that a mix cuts and pastes.
    """

    def __init__(
        self, view: Callable[[str], Tensor], student1: str, student2: str, teacher: str, mixed: str, as_labeled: str
    ) -> None:
        self._view = view
        self._names = {"student1": student1, "student2": student2, "teacher": teacher, "mixed": mixed}
        self._names["as_labeled"] = as_labeled

    @property
    def student1(self) -> Tensor:
        """The view of student 1 or the only network."""
        return self._view(self._names["student1"])

    @property
    def student2(self) -> Tensor:
        """The view of student 2."""
        return self._view(self._names["student2"])

    @property
    def teacher(self) -> Tensor:
        """The view of the teacher."""
        return self._view(self._names["teacher"])

    @property
    def mixed(self) -> Tensor:
        """The view that UMIX cuts and pastes."""
        return self._view(self._names["mixed"])

    @property
    def as_labeled(self) -> Tensor:
        """The view of labelled images for student 1, in both parts: what an adversary compares must be drawn alike."""
        return self._view(self._names["as_labeled"])


class Batch(NamedTuple):
    """One iteration's images. `labels` is (B, *spatial) int64, pixel for pixel on every view of `labeled`.

    On a card with `ignore`, labels can be IGNORED.
    """

    labeled: Images
    labels: Tensor
    unlabeled: Images


@dataclass(frozen=True)
class Progress:
    """The progress of training: `iteration` counts from 1 to `iterations`; `lambda_u` is the ramped weight at it.

    A method with a ramp-up of its own takes `self.protocol.ramp_time(iteration)` for t, as lambda's does.
    """

    iteration: int
    iterations: int
    lambda_u: float


@dataclass(frozen=True)
class Update:
    """One optimiser step's loss: each term with its name and weight. The weight includes lambda where it applies.

    `branches` are the logits (B, K, *spatial) of the two branches on the unlabelled images, whose disagreement and
    entropy Figure 1 plots; they are read without gradient.

    `trains`: whose optimiser is stepped. Every gradient is cleared before, so a loss of the networks may go through an
    adversary and the other way round. An update of the adversaries is not counted and calls no `after_update`.

    `selectable`: false in a phase of the method whose loss lacks a term that comes later. The protocol's `select =
    "train-loss"` compares losses, and takes no epoch with such an update unless there is no other.
    """

    terms: dict[str, tuple[float, Tensor]]
    branches: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    trains: Literal["networks", "adversaries"] = "networks"
    selectable: bool = True

    @property
    def total(self) -> Tensor:
        """The loss to differentiate: the sum of weight x value."""
        return torch.stack([weight * value for weight, value in self.terms.values()]).sum()


class Hyperparameters(Card):
    """A method's own typed hyperparameters; subclass it with pydantic fields (name, type, default, description)."""

    def resolved(self, dimensions: int) -> Self:  # noqa: ARG002
        """Return them with every `auto` replaced by the value for 2D or 3D data. By default no field is `auto`."""
        return self


class AdversaryHyperparameters(Hyperparameters):
    """The size of a method's adversaries and their optimiser (Adam); subclass it in a method that has any.

    Defaults are those of AdvSemSeg, SASSNet and DAN. The rate stays the same over the run.
    """

    adversary_filters: int = Field(64, ge=1, description="filters of the adversaries' first layer")
    adversary_learning_rate: float = Field(1e-4, gt=0, description="learning rate of the adversaries' Adam")
    adversary_beta1: float = Field(0.9, ge=0, lt=1, description="its decay of the mean gradient")
    adversary_beta2: float = Field(0.99, ge=0, lt=1, description="its decay of the mean squared gradient")


class SecondNetworkHyperparameters(Hyperparameters):
    """The architecture of a method's second network; a value `same` stands for the protocol's own."""

    second_network: str = Field("same", description="network of student 2; same: the protocol's")
    second_encoder: str = Field("same", description="its encoder, where it takes one; same: the protocol's")
    second_weights: str = Field("same", description="weights its encoder starts from; same: the protocol's")

    @property
    def second(self) -> dict[str, str]:
        """The protocol fields in which the second network differs from the first; none if it does not."""
        wanted = {
            "network": self.second_network, "encoder": self.second_encoder, "encoder_weights": self.second_weights,
        }  # fmt: skip
        return {field: value for field, value in wanted.items() if value != "same"}


class CutMixHyperparameters(Hyperparameters):
    """CutMix's boxes, for every method with CutMix; defaults are those of CPS (Chen et al. 2021)."""

    boxes: int = Field(3, ge=1, description="CutMix's boxes per image")
    low: float = Field(0.25, gt=0, le=1, description="smallest sum of the boxes' sizes, as a share of the image")
    high: float = Field(0.5, gt=0, le=1, description="largest sum of the boxes' sizes, as a share of the image")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} must be at most high {self.high}")
        return self


class Snapshot(NamedTuple):
    """The uncertainty and the mix of a batch of images, of a method that mixes by uncertainty (Figure 5)."""

    uncertainty: Tensor  # (B, *spatial), entropy in nats
    mixed: Tensor  # (B, C, *spatial), the images after the mix
    uncertainty_mixed: Tensor  # (B, *spatial), of the mixed images


def require_pairs(protocol: Protocol, *parts: Literal["labeled", "unlabeled"]) -> None:
    """Refuse batches of one image, for `check` of a method that mixes an image with another one of its batch.

    Raises:
        UserError: a part's batch has one image.
    """
    for part in parts:
        if getattr(protocol, f"{part}_batch") == 1:
            raise UserError(f"{part}_batch: expected at least 2, since an image is mixed with another one; found 1")


@dataclass(frozen=True)
class Setup:
    """The arguments of a method.

    Attributes:
        protocol: the resolved protocol.
        build_network: builds one freshly drawn network; keywords as `SSLMethod.new_student`.
        classes: K, background included.
        channels: C, of an image.
        ignores: whether pixels of the batch's labels can be IGNORED (their class is not known).

    """

    protocol: Protocol
    build_network: Callable[..., nn.Module]
    classes: int
    channels: int
    ignores: bool = False


class SSLMethod(nn.Module):
    """A semi-supervised method: subclass, set the class attributes, and write `updates`.

    Direct child modules are the run's networks, each scored under its attribute's name, unless `networks` says
    otherwise. A method never touches the optimiser, the device, autocast, files or logging, and works on images
    (B, C, *spatial) of the `dimensions` it names.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when a change of the code changes results
    updates_per_iteration: ClassVar[int] = 1
    uses_unlabeled: ClassVar[bool] = True
    handles_ignored: ClassVar[bool] = False  # labels can be IGNORED where `self.ignores` is true
    needs_parts: ClassVar[bool] = False  # of its networks: encoder, decoder, segmentation_head, with `out_channels`
    needs_pyramid: ClassVar[bool] = False  # of their decoders: `pyramid`, the maps of all scales, `pyramid_channels`
    wants_upsampling: ClassVar[bool] = False  # its decoders differ by it; a note says where a network has no choice
    dimensions: ClassVar[tuple[int, ...]] = (2, 3)
    components: ClassVar[frozenset[str]] = frozenset()  # of TS, SS, STS, L_cps, L_mts, U: Table 4's check marks
    group: ClassVar[str] = "other"  # one of `Group`
    year: ClassVar[int | None] = None  # of its paper
    venue: ClassVar[str] = ""
    authors: ClassVar[Mapping[str, Any]] = {}  # the authors' own settings where they differ: `--tuned authors`
    reconstructed: ClassVar[bool] = False  # built from a description, since no code was published
    hyperparameters: ClassVar[type[Hyperparameters]] = Hyperparameters

    def __init_subclass__(cls) -> None:
        """Take `handles_ignored` and `authors` back where a subclass is another method and does not say them itself."""
        super().__init_subclass__()
        says_authors = next(one for one in cls.__mro__ if "authors" in one.__dict__)
        if "name" in cls.__dict__ and says_authors is not cls and hasattr(says_authors, "name"):
            cls.authors = {}
        if "updates" in cls.__dict__ and "handles_ignored" not in cls.__dict__:
            cls.handles_ignored = False

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__()
        self.protocol = setup.protocol
        self.hyper = hyper
        self.classes, self.channels = setup.classes, setup.channels
        self.ignores = setup.ignores
        self._build_network = setup.build_network

    @classmethod
    def architectures(cls, hyper: Any) -> list[dict[str, str]]:  # noqa: ARG003
        """Return the protocol fields of each further architecture that `new_student` builds; by default none."""
        return []

    @classmethod
    def check(cls, hyper: Any, protocol: Protocol) -> None:
        """Raise UserError where hyperparameters and protocol do not fit each other; by default there is no check."""

    def new_students(self, **changes: str) -> tuple[nn.Module, nn.Module]:
        """Build two students; with `changes`, as in `new_student`, the second has another architecture.

        With the protocol's `student_init = same`, a second student of the same architecture has the first one's
        weights.
        """
        first, second = self._build_network(), self._build_network(**changes)
        if self.protocol.student_init == "same" and not changes:
            second.load_state_dict(first.state_dict())
        return first, second

    def new_student(self, *, upsampling: Upsampling = "default", **changes: str) -> nn.Module:
        """Build one freshly drawn network.

        Args:
            upsampling: how its decoder doubles the sides of a map. The small U-Net and V-Net have all ways, smp's U-Net
                `linear` and `nearest` (its default); other networks have no choice and ignore it.
            changes: protocol fields of another architecture (`network`, `encoder`, `encoder_weights`). `architectures`
                names it too, so that planning knows.

        """
        return self._build_network(upsampling=upsampling, **changes)

    def new_teacher(
        self, *students: nn.Module, decay: float | None = None, warmup: bool | None = None
    ) -> ExponentialMovingAverage:
        """Build the protocol's teacher, which follows `students`.

        `decay` and `warmup` take the place of the protocol's `ema_decay` and `ema_warmup` where a method is defined by
        them.
        """
        protocol, network = self.protocol, self._build_network()
        if protocol.teacher_start == "student1":
            network.load_state_dict(students[0].state_dict())
        return ExponentialMovingAverage(
            network,
            decay=protocol.ema_decay if decay is None else decay,
            warmup=protocol.ema_warmup if warmup is None else warmup,
            source=protocol.teacher_source if len(students) > 1 else (1.0,),
            average_buffers=protocol.teacher_buffers == "ema",
            always_eval=protocol.teacher_mode == "eval",
        )

    def segmentation_loss(self, logits: Tensor, labels: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """Return L_s, the protocol's `supervised_loss`: a scalar.

        Args:
            logits: (B, K, *spatial).
            labels: (B, *spatial), int64 in [0, K); where `self.ignores`, also IGNORED, which does not count.
            keep: (B, *spatial) bool; pixels where it is false do not count either. None: all count.

        """
        dice = dice_loss(logits, labels, self.protocol.dice_smooth, ignores=self.ignores, keep=keep)
        if self.protocol.supervised_loss == "dice":
            return dice
        return (dice + cross_entropy_loss(logits, labels, ignores=self.ignores, keep=keep)) / 2

    def supervised(self, *losses: Tensor) -> Tensor:
        """Join the students' supervised losses by the protocol's `supervised_reduction`."""
        return _reduce(self.protocol.supervised_reduction, losses)

    def unsupervised(self, *losses: Tensor) -> Tensor:
        """Join the directions of one unsupervised loss by the protocol's `unsupervised_reduction`."""
        return _reduce(self.protocol.unsupervised_reduction, losses)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """Yield one Update per optimiser step of this iteration.

        After each yield the harness differentiates `Update.total`, steps the optimiser and calls `after_update`; what
        follows in the generator sees the moved weights. Updates of adversaries come after one of the networks.
        """
        raise NotImplementedError

    def after_update(self, progress: Progress) -> None:
        """Run after each optimiser step; teachers take their moving average here."""

    def snapshot(self, images: Tensor) -> Snapshot | None:  # noqa: ARG002
        """Return the snapshot of images (B, C, *spatial) for Figure 5; None if the method does not mix by uncertainty.

        Called at intervals, in evaluation mode and without gradient. It has no effect on training.
        """
        return None

    @property
    def predictor(self) -> nn.Module:
        """The network used at test time, one of the direct children."""
        raise NotImplementedError

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Every network of the run by name; all are scored. Override this if a child module is not a network."""
        others = list(self.adversaries.values())
        return {name: child for name, child in self.named_children() if not any(child is one for one in others)}

    @property
    def adversaries(self) -> dict[str, nn.Module]:
        """Child modules that an optimiser of their own trains (discriminators), by name; by default there are none."""
        return {}

    @property
    def predictor_name(self) -> str:
        """The name under which the predictor's scores are written."""
        return next(name for name, network in self.networks.items() if network is self.predictor)


def _reduce(how: str, losses: tuple[Tensor, ...]) -> Tensor:
    stacked = torch.stack(losses)
    return stacked.sum() if how == "sum" else stacked.mean()

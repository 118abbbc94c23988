"""RunSpec: the frozen, complete description of one training, and the hash that is its identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ssl_bench.atomic import WEIGHT_FILES
from ssl_bench.cards.benchmark import CHANNELS, Intensity
from ssl_bench.cards.card import Card, Count, content_hash
from ssl_bench.cards.layout import Axes, Files, ImageAxes, SliceWindow, Volumes
from ssl_bench.cards.metric import HEADLINE, METRICS
from ssl_bench.cards.protocol import Protocol, ResolvedProtocol, VolumeProtocol, fields_that
from ssl_bench.cards.split import Split

HARNESS = 1  # raise it when a change of views, loop or networks changes numbers
READING = ("label_values", "layout", "channel_names", "image_axes")  # how files are read and masks written
RUN_ID = r"[0-9a-f]{16}(-s[0-9]+)?(-v[0-9]+)?"  # what `RunSpec.run_id` looks like
VOLUME_CHANGES = {"jitter": ("brightness", "contrast"), "noise": ("noise_sigma",)}
# Of a protocol, decide nothing: epochs have become iterations, and shares numbers of images.
WORDS = ("name", "title", "note", "epochs", "labeled_scale")
# Fields that runs once lacked, and the value that was fixed then.
LATER = {"ramp_start": 1, "supervised_loss": "dice", "umix_regions": "uncertain"}


def training_fields(protocol: Protocol) -> dict[str, Any]:
    """Return the fields of a protocol that affect a training, as plain data.

    Two resolved protocols with equal fields give the same training.

    The name of the split is left out, and a file with encoder weights is "file": what they hold stands in the run's
    `split`, `data_fingerprint` and `weights_fingerprint`. Without validation its fields are left out.
    Fields that came later are left out where they have the value that was fixed before: those of LATER, an empty list
    of extra augmentations, and the probability and the strength of a 3D jitter or noise that never happens.
    """
    kind = type(protocol)
    left_out = {*WORDS, "split", *fields_that("measures", kind), *fields_that("observes", kind)}
    data = protocol.model_dump(mode="json", exclude=left_out)
    if str(data.get("encoder_weights")).endswith(WEIGHT_FILES):
        data["encoder_weights"] = "file"
    if protocol.validation is None:
        del data["validation"], data["validation_share"]
    augmentation = data["augmentation"]
    if not augmentation["extra"]:
        del augmentation["extra"]
    if isinstance(protocol, VolumeProtocol):
        for change, strengths in VOLUME_CHANGES.items():
            if augmentation[change] == 0:
                for name in (change, *strengths):
                    del augmentation[name]
    return {key: value for key, value in data.items() if key not in LATER or value != LATER[key]}


def _curves(protocol: Protocol) -> dict[str, int | None]:
    """How often a run scores the test (s) and the validation cases (v) during training, in iterations; None: never."""
    return {"s": protocol.score_every, "v": None if protocol.validation is None else protocol.validate_every}


def seed_text(seed: int, label_seed: int | None) -> str:
    """Return a seed, and the label seed where there is one, as text: "1", or "1, labels 2"."""
    return f"{seed}" + ("" if label_seed is None else f", labels {label_seed}")


class RunSpec(Card):
    """A frozen, complete description of one training; nothing else affects its results."""

    benchmark: str = Field(description="the data set's name")
    channels: Count | None = Field(None, description="of an image; absent: 3 in 2D, 1 in 3D, as in older runs")
    classes: tuple[str, ...] = Field(description="background first")
    label_values: tuple[int, ...] = Field(description="each class's value in the data set's own masks")
    intensity: Intensity = Field(description="how intensities are read; rgb: 8 bits a channel")
    split: Split = Field(description="of the data set's card")
    data_fingerprint: str = Field(description="hash of the source files' contents and ids")
    train_count: Count = Field(description="number of training cases, labelled and unlabelled")
    test_count: Count = Field(description="number of test cases")
    group: str | None = Field(None, description="the card's rule of groups, where it has one")
    train_groups: Count | None = Field(None, description="number of groups in training, where the card has groups")
    train_slices: Count | None = Field(None, description="number of slices in training, where volumes train by slices")
    slice_window: SliceWindow | None = Field(None, description="the layout's, where volumes train by slices")
    axes: Axes | None = Field(None, description="the layout's, where it is not xyz")
    layout: Files | Volumes | None = Field(None, description="of the data set's files; absent: drawn, or an older run")
    channel_names: tuple[str, ...] | None = Field(None, description="where each channel has a file of its own")
    image_axes: ImageAxes | None = Field(None, description="of training volumes; absent: 2D, or an older run")
    labeled: Count = Field(description="number of labelled training images, or groups where the card has groups")
    protocol: ResolvedProtocol = Field(description="every field, with `default` and `auto` replaced by values")
    weights_fingerprint: str | None = Field(None, description="hash of the encoder's weight file, where it is a file")
    method: str = Field(description="the method's name")
    method_version: int = Field(description="the method's `version`")
    hyperparameters: dict[str, int | float | bool | str] = Field(description="every one, set or default")
    seed: int = Field(description="draws weights, batches, augmentation and, without label_seed, the labelled cases")
    label_seed: int | None = Field(None, description="draws the labelled cases; absent: `seed` draws them, too")
    kept_whole: Literal[True] | None = Field(
        None, description="validation has whole sequences, and all images of one content; absent: drawn one by one"
    )
    harness: int = Field(1, description="version of the harness's own part in the numbers: views, loop, networks")

    @model_validator(mode="after")
    def _names_one_training_in_one_way(self) -> Self:
        if self.label_seed == self.seed:
            raise ValueError(f"label_seed: expected another number than the seed ({self.seed}), or none")
        return self

    def identity(self) -> dict[str, Any]:
        """The fields that decide the weights, as plain data: the run's training identity."""
        data = self.model_dump(mode="json", exclude={*READING, "protocol"})
        data["classes"] = len(self.classes)  # their names are words, too
        if self.channels is None:
            del data["channels"]
        for name in ("group", "train_groups", "train_slices", "slice_window", "axes", "label_seed", "kept_whole"):
            if data[name] is None:
                del data[name]  # as in runs from before these were fields
        if self.split.parts is None:
            del data["split"]["parts"]
        data["protocol"] = training_fields(self.protocol)
        if self.weights_fingerprint is not None:
            del data["protocol"]["encoder_weights"]  # the fingerprint is more specific
        if self.split.file is None:
            data["protocol"]["split"] = self.protocol.split
        else:
            del data["split"]["file"]  # the file's content counts, not where it lies
        return data

    @property
    def label_draw(self) -> int:
        """The seed that draws the labelled cases: `label_seed`, or `seed` where that is absent."""
        return self.seed if self.label_seed is None else self.label_seed

    @property
    def draws(self) -> tuple[int, int]:
        """Seed and label draw. They tell apart the trainings of one cell of a table."""
        return self.seed, self.label_draw

    @property
    def channel_count(self) -> int:
        """How many channels an image has."""
        return self.channels or CHANNELS[self.dimensions]

    @property
    def dimensions(self) -> int:
        """The dimensions of the data and of what is scored: 3 for volumes trained by slices."""
        return 3 if self.slice_window is not None else self.protocol.dimensions

    @property
    def train_images(self) -> int:
        """How many training images an epoch passes over: slices, where volumes train by slices."""
        return self.train_slices or self.train_count

    @property
    def train_units(self) -> int:
        """The whole that `labeled` is a part of: training groups, or training images on a card without groups."""
        return self.train_groups or self.train_count

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the canonical JSON of `identity`."""
        return content_hash(self.identity())[:16]

    @property
    def run_id(self) -> str:
        """The name of the run's folder: the hash, and how often the run scores the test and validation cases."""
        return self.hash + "".join(f"-{letter}{every}" for letter, every in _curves(self.protocol).items() if every)

    def has_curves_of(self, protocol: Protocol) -> bool:
        """Whether its curves of test and validation scores have each point that `protocol` asks for."""
        own = _curves(self.protocol)
        return all(
            every is None or ((there := own[letter]) is not None and every % there == 0)
            for letter, every in _curves(protocol).items()
        )

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Validate a recorded specification; metrics that are not registered here are left out of it.

        Raises:
            ValidationError: the specification is not of this version.
        """
        protocol = data["protocol"]
        known = [metric for metric in protocol["metrics"] if metric in METRICS] or [HEADLINE]
        return cls.model_validate({**data, "protocol": {**protocol, "metrics": known}})

    @property
    def label(self) -> str:
        """A short, readable name."""
        data = f"{self.benchmark} {self.labeled}/{self.train_units}"
        return f"{self.method} · {data} · {self.protocol.name} · seed {seed_text(self.seed, self.label_seed)}"

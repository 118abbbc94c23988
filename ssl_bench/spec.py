"""What defines a run: Benchmark and Protocol (cards in benchmarks/), RunSpec, and the hash that is its identity."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ssl_bench import BENCHMARKS_DIR
from ssl_bench.cards import Card, parse_card, read_toml
from ssl_bench.errors import UserError

METRICS = ("dsc", "jaccard", "95hd", "asd")
Metric = Literal["dsc", "jaccard", "95hd", "asd"]
View = Literal["weak", "strong1", "strong2"]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


# ---------------------------------------------------------------------------------------------------- benchmarks


class Files(Card):
    """Where the files of a 2D data set lie, in the layout in which it is published."""

    roots: tuple[str, ...] = Field(
        min_length=1, description="folders under the data root; the first with images is used"
    )
    images: str = Field(description="glob of the images, relative to the root; a file's stem is the case's id")
    image_suffixes: tuple[str, ...] = Field((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"), min_length=1)
    masks: str = Field(description="path of a mask without its suffix; {id} stands for the case's id")
    mask_threshold: int = Field(127, ge=0, le=254, description="a mask pixel above this is foreground")

    @field_validator("masks")
    @classmethod
    def _names_the_case(cls, value: str) -> str:
        if "{id}" not in value:
            raise ValueError("must contain {id}, the place of the case's id")
        return value


class Split(Card):
    """How cases are divided into training and test; the seed belongs to the card, so all runs share a test set."""

    test: int | str = Field(description="number of test cases, or a share such as '20%'")
    seed: int = 0
    sequence_starts: tuple[int, ...] | None = Field(
        None, description="first frame number of each video sequence; given, whole sequences are held out"
    )

    @field_validator("sequence_starts")
    @classmethod
    def _increase(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or any(a >= b for a, b in pairwise(value))):
            raise ValueError("must be increasing frame numbers")
        return value

    @field_validator("test")
    @classmethod
    def _is_a_share(cls, value: int | str) -> int | str:
        parse_share(value, "test")
        return value


class Benchmark(Card):
    """A data set and how it is split and scored (a card in benchmarks/datasets/)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    dimensions: Literal[2] = 2
    classes: tuple[str, ...] = Field(min_length=2, max_length=2, description="background first")
    cases: Count = Field(description="how many cases the published data set has")
    files: Files | None = Field(None, description="the layout on disk; absent for a data set that the package draws")
    generator: Literal["demo"] | None = Field(None, description="the drawing function, for a synthetic data set")
    splits: dict[str, Split] = Field(min_length=1, description="the first is the default")
    labeled: tuple[str, ...] = Field(min_length=1, description="usual labelled shares; the first is the default")
    metrics: tuple[Metric, ...] = Field(min_length=1)
    protocol: str = Field("paper", description="the protocol that `run` takes when none is named")
    source: str
    license: str
    citation: str
    _option: str = PrivateAttr("")

    @property
    def option(self) -> str:
        """What `--dataset` calls it: the name of a card that comes with the package, or the card's file."""
        return self._option or self.name

    @field_validator("labeled")
    @classmethod
    def _are_shares(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for share in value:
            parse_share(share, "labeled")
        return value

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if (self.files is None) == (self.generator is None):
            raise ValueError("exactly one of [files] and generator must be given")
        return self


# ----------------------------------------------------------------------------------------------------- protocols


class Augmentation(Card):
    """Random views of a batch: a weak geometric one, and two strong photometric ones on top of it."""

    horizontal_flip: Probability
    vertical_flip: Probability
    rotation: Probability
    rotation_degrees: float = Field(ge=0, le=180)
    jitter: Probability
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)
    saturation: float = Field(ge=0, le=1)
    hue: float = Field(ge=0, le=0.5)
    posterize: Probability
    posterize_bits: int = Field(ge=1, le=8)
    autocontrast: Probability
    equalize: Probability
    blur: Probability
    blur_kernel: Literal[3, 5, 7]
    blur_sigma: tuple[Positive, Positive]
    strong2_from: Literal["strong1", "weak"] = Field(description="which view strong view 2 augments")


class Views(Card):
    """Which view of an image each network sees (step 1), and which one UMIX cuts and pastes (step 2)."""

    labeled_students: View
    labeled_teacher: View
    student1: View
    student2: View
    teacher: View
    mixed: View


class Protocol(Card):
    """Everything but data, method and seed that decides a number (a card in benchmarks/protocols/)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    note: str = ""

    # Data: which split of the card, how large the images are, and what is scored.
    split: str | Literal["default"] = "default"
    image_size: Count = Field(description="side of the square image that the networks see, in pixels")
    augment_size: Count = Field(description="side at which views are drawn before they are brought to image_size")
    score_size: Literal["original"] | Count = Field(description="side at which masks are compared")
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] | Literal["auto"] = Field(
        "auto", description="auto: the data set's own"
    )
    labeled_batch: Count
    unlabeled_batch: Count
    unlabeled_pool: Literal["unlabeled", "all"] = Field(description="all: the labelled images too, without their masks")
    views: Views
    augmentation: Augmentation

    # Network.
    network: Literal["deeplabv3plus", "unet"]
    encoder: str
    encoder_weights: str = Field(description="none, imagenet, an installed package, or a .pth or .safetensors file")
    output_stride: Literal[8, 16]
    aspp: Literal["plain", "separable"]
    aspp_dropout: Probability
    input_mean: tuple[float, float, float]
    input_std: tuple[Positive, Positive, Positive]
    student_init: Literal["different", "same"] = Field(description="how the second student's weights start")

    # Length and optimiser (AdamW).
    epochs: Count | None = Field(None, description="passes over the training images, for a one-update method")
    iterations: Count | None = Field(None, description="iterations of a one-update method; goes before epochs")
    learning_rate: Positive
    betas: tuple[Probability, Probability]
    weight_decay: float = Field(ge=0)
    precision: Literal["auto", "fp32", "bf16"] = Field(description="auto: bf16 on a GPU, fp32 elsewhere")
    channels_last: bool
    compile: bool

    # Losses.
    dice_smooth: Positive
    supervised_reduction: Literal["sum", "mean"] = Field(description="over the students")
    unsupervised_reduction: Literal["sum", "mean"] = Field(description="over the two directions of one loss")
    lambda_max: float = Field(ge=0, description="largest weight of the whole unsupervised loss")
    rampup_epochs: Positive | Literal["run"] = Field(description="length of lambda's ramp-up; run: all of training")

    # Teacher.
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    ema_warmup: bool = Field(description="decay min(1 - 1/(t+1), ema_decay)")
    teacher_start: Literal["own", "student1"] = Field(description="own: weights drawn for itself")
    teacher_source: tuple[Probability, Probability] = Field(description="weights of students 1 and 2")
    teacher_mode: Literal["eval", "train"]
    teacher_buffers: Literal["ema", "own"] = Field(description="own: batch norm statistics of its own forward passes")

    # UCMT's second step.
    uncertainty_from: Literal["step1", "after-update"]
    step2_teacher: Literal["mixed-labels", "run-again"]
    umix_order: Literal["simultaneous", "in-place"]

    # What is scored, and how often the curves have a row.
    select: Literal["last", "train-loss"] = Field(description="train-loss: the epoch with the lowest last-step loss")
    log_every: Count

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        problems = []
        if self.epochs is None and self.iterations is None:
            problems.append("one of epochs and iterations must be given")
        if self.teacher_mode == "eval" and self.teacher_buffers == "own":
            problems.append(
                "teacher_mode 'eval' needs teacher_buffers 'ema': it has no forward passes of its own to learn from"
            )
        if abs(sum(self.teacher_source) - 1) > 1e-9:
            problems.append(f"teacher_source must sum to 1, found {sum(self.teacher_source)}")
        if self.network == "deeplabv3plus" and self.image_size % self.output_stride:
            problems.append(f"image_size {self.image_size} must be divisible by output_stride {self.output_stride}")
        if self.network == "unet" and self.image_size % 32:
            problems.append(f"image_size {self.image_size} must be divisible by 32 for a U-Net")
        if self.augment_size < self.image_size:
            problems.append(f"augment_size {self.augment_size} must be at least image_size {self.image_size}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def iterations_per_epoch(self, train_count: int) -> int:
        """One pass over all training images in batches of unlabelled size, whatever the labelled fraction."""
        return math.ceil(train_count / self.unlabeled_batch)

    def resolved(self, benchmark: Benchmark, train_count: int, device_type: str) -> Protocol:
        """Return the protocol with every default and `auto` replaced by what a run on this data and device takes."""
        split = next(iter(benchmark.splits)) if self.split == "default" else self.split
        if split not in benchmark.splits:
            raise UserError(f"split = '{split}': {benchmark.name} has {_listed(benchmark.splits)}")
        iterations = self.iterations
        if iterations is None:
            assert self.epochs is not None  # held by _hangs_together
            iterations = self.iterations_per_epoch(train_count) * self.epochs
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if device_type == "cuda" else "fp32"
        metrics = benchmark.metrics if self.metrics == "auto" else self.metrics
        resolved = {
            "split": split, "epochs": None, "iterations": iterations, "precision": precision, "metrics": metrics,
        }  # fmt: skip
        return self.model_copy(update=resolved)


# ---------------------------------------------------------------------------------------------------------- runs


class RunSpec(Card):
    """A frozen, complete description of one training: what is not in here decides no number."""

    benchmark: str
    split: Split
    data_fingerprint: str = Field(description="hash of the source files' contents and ids")
    train_count: Count
    test_count: Count
    labeled: Count = Field(description="number of labelled training images")
    protocol: Protocol
    weights_fingerprint: str | None = Field(None, description="hash of the encoder's weight file, where it is a file")
    method: str
    method_version: int
    hyperparameters: dict[str, int | float | bool | str]
    seed: int

    def identity(self) -> dict[str, Any]:
        """The fields that decide a number, as plain data."""
        data = self.model_dump(mode="json")
        for words in ("name", "title", "note"):
            del data["protocol"][words]
        if self.weights_fingerprint is not None:
            del data["protocol"]["encoder_weights"]  # the file's content counts, not where it lies
        del data["protocol"]["epochs"]
        return data

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the canonical JSON of `identity`."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """A short name for people."""
        data = f"{self.benchmark} {self.labeled}/{self.train_count}"
        return f"{self.method} · {data} · {self.protocol.name} · seed {self.seed}"


def parse_share(value: int | str, option: str) -> Fraction | int:
    """Read '5%' as a fraction of a whole and '90' (or 90) as a number of cases.

    Raises:
        UserError: not of either form, zero, or above 100 %.
    """
    text = str(value).strip()
    try:
        share: Fraction | int = Fraction(text[:-1]) / 100 if text.endswith("%") else int(text)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"{option}: expected a share such as '5%' or a number of cases, found '{text}'") from None
    if share <= 0 or (isinstance(share, Fraction) and share > 1):
        raise UserError(f"{option}: expected more than 0 and at most 100%, found '{text}'")
    return share


def number_of(share: Fraction | int, whole: int) -> int:
    """Number of cases that a parsed share of `whole` is: floor(fraction x whole), or the count itself."""
    return math.floor(share * whole) if isinstance(share, Fraction) else share


def share_of(value: int | str, whole: int, option: str) -> int:
    """Return the number of cases that a share of `whole` is: floor(fraction x whole), or the count itself.

    Raises:
        UserError: the share is malformed, leaves no case, or asks for more than there are.
    """
    share = parse_share(value, option)
    number = number_of(share, whole)
    if number < 1:
        raise UserError(
            f"{option}: '{value}' of {whole} training images leaves no labelled image; give at least {_least(whole)}"
        )
    if number > whole:
        raise UserError(f"{option}: expected at most {whole} cases, found {number}")
    return number


def _least(whole: int) -> str:
    return f"{math.ceil(10000 / whole) / 100:g}% or 1"


# --------------------------------------------------------------------------------------------------------- cards


def load_benchmark(name: str) -> Benchmark:
    """Read a data set's card by name (benchmarks/datasets/NAME.toml) or by path (a name that ends in .toml)."""
    path = _card_path("datasets", name, "--dataset")
    benchmark = parse_card(Benchmark, read_toml(path), str(path))
    benchmark._option = name
    return benchmark


def load_protocol(name: str, overrides: dict[str, Any] | None = None) -> Protocol:
    """Read a protocol's card by name or path, follow its `extends`, and lay `overrides` (dotted keys) on top."""
    path = _card_path("protocols", name, "--protocol")
    data = _extended(path, seen=())
    _lengthen(data, overrides or {})
    for key, value in (overrides or {}).items():
        _put(data, key, value)
    where = f"{path} with --set" if overrides else str(path)
    return parse_card(Protocol, data, where)


def card_names(kind: Literal["datasets", "protocols", "tables"]) -> list[str]:
    """Names of the cards that come with the package."""
    return sorted(path.stem for path in (BENCHMARKS_DIR / kind).glob("*.toml"))


def protocol_keys() -> set[str]:
    """Every key of a protocol that `--set` may name, dotted where it stands in a table of the card."""
    keys = set(Protocol.model_fields) - {"name", "title", "note", "views", "augmentation"}
    keys |= {f"views.{key}" for key in Views.model_fields}
    return keys | {f"augmentation.{key}" for key in Augmentation.model_fields}


def parse_setting(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE; the value is read as TOML (`3`, `true`, `[0.5, 0.5]`) and otherwise as a string."""
    key, equals, value = text.partition("=")
    if not (key.strip() and equals and value.strip()):
        raise UserError(f"--set: expected KEY=VALUE, found '{text}'")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _card_path(kind: Literal["datasets", "protocols"], name: str, option: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    path = BENCHMARKS_DIR / kind / f"{name}.toml"
    if name not in card_names(kind):
        raise UserError(f"{option}: expected {_listed(card_names(kind))} or a .toml file, found '{name}'")
    return path


def _extended(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    data = read_toml(path)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    if path in seen:
        raise UserError(f"{path}: extends: the cards extend each other in a circle")
    parent_path = _card_path("protocols", str(parent), f"{path}: extends")
    base = _extended(path.parent / parent_path, (*seen, path))  # a relative file lies beside the card
    _lengthen(base, data)
    return _merged(base, data)


def _merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_tables else value
    return merged


def _lengthen(base: dict[str, Any], top: dict[str, Any]) -> None:
    """Drop the length of `base` where `top` gives one: a length in epochs then replaces one in iterations too."""
    if top.get("iterations") is not None or top.get("epochs") is not None:
        base.pop("iterations", None)
        base.pop("epochs", None)


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    table, _, leaf = key.rpartition(".")
    inner = data.setdefault(table, {}) if table else data
    if isinstance(inner, dict):  # a card with something else there is reported when it is validated
        inner[leaf] = value


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names)

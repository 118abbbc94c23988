"""Benchmark: a data set's card, where its files lie, how they are read, split and scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ssl_bench.atomic import file_fingerprint
from ssl_bench.cards.card import Card, Count, Positive
from ssl_bench.cards.download import Download
from ssl_bench.cards.metric import METRICS, DistanceUnit, MetricName, Metrics, UndefinedDistances
from ssl_bench.cards.share import parse_share
from ssl_bench.errors import UserError

ExifOrientation = Literal["refuse", "apply", "ignore"]


Intensity = Literal["as-is", "zscore", "rgb"]  # how intensities are read; rgb: 8 bits a channel


SliceWindow = Literal["percentiles", "range"] | tuple[float, float]  # what of a volume's intensities 8 bits show


Axes = Literal["xyz", "zyx"]  # of the arrays in HDF5 files, which do not name them


GREY = (0, 255)  # background and foreground in a mask of two classes whose card names no values


CHANNELS = {2: 3, 3: 1}  # default number of channels by the image's dimensions


HDF5 = (".h5", ".hdf5")  # has no spacing, unlike the other volume formats


ARRAYS = (*HDF5, ".npz")  # of 2D images and masks


OPEN_END = re.compile(r"\*\?*\{group\}|\{group\}\?*\*")  # nothing says where the group's name begins or ends


NEXT_TO_IT = re.compile(r"\*\?*\{(id|folder)\}|\{(id|folder)\}\?*\*|\*\*")  # nothing says where one of two ends


VOLUME_SUFFIXES = (*HDF5, ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


Value = TypeVar("Value", int, str)


class Files(Card):
    """Paths of a 2D data set's files in its published layout."""

    roots: tuple[str, ...] = Field(
        min_length=1, description="folders under the data root; the first with images is used"
    )
    images: str = Field(
        description="path of an image without its suffix, relative to the root; {id} is the case's id, {channel} one "
        "of the card's channels; {folder} a folder that comes before the id; *, ? and [...] are wildcards"
    )
    image_suffixes: tuple[str, ...] = Field((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif"), min_length=1)
    masks: str | None = Field(
        None,
        description="path of a mask without its suffix; {id} is the case's id; absent: in the image's own array file",
    )
    image_key: str = Field("image", description="the image's name in an HDF5 or NPZ file")
    mask_key: str = Field("label", description="the mask's name in an HDF5 or NPZ file")
    intensity_range: tuple[float, float] | None = Field(
        None, description="HDF5 and NPZ: the values that are black and white; absent: 8 bits, as they are"
    )
    mask_threshold: int = Field(127, ge=0, le=254, description="two classes: a mask pixel above this is foreground")
    mask_values: tuple[int | tuple[int, ...], ...] | None = Field(
        None,
        description="a mask pixel's grey level (or palette index) for each class, or a list of those that are one "
        "class; replaces the threshold",
    )
    mask_colors: tuple[str | tuple[str, ...], ...] | None = Field(
        None,
        description="a mask pixel's colour (#rrggbb) for each class, or a list of those that are one class; replaces "
        "the threshold",
    )
    ignore: int | str | None = Field(
        None,
        description="a mask pixel's grey level or palette index (with mask_values) or colour (with mask_colors) where "
        "the class is not known; left out of supervised losses and scores",
    )
    mask_suffixes: tuple[str, ...] | None = Field(None, description="suffixes of masks; default: image_suffixes")
    exif_orientation: ExifOrientation = Field(
        "refuse", description="of images and masks: apply: turn as viewers do; ignore: read as stored; refuse: an error"
    )
    masks_optional: bool = Field(False, description="a case without a mask is an unlabelled training image")
    masks_united: bool = Field(False, description="an image may have several masks, which are united")
    exclude: tuple[str, ...] = Field((), description="patterns of files that are neither images nor masks")

    @field_validator("mask_colors")
    @classmethod
    def _are_colors(cls, value: tuple[str | tuple[str, ...], ...] | None) -> tuple[str | tuple[str, ...], ...] | None:
        if value is None:
            return None
        if not all(re.fullmatch("#[0-9a-f]{6}", color.lower()) for own in members_of(value) for color in own):
            raise ValueError('expected colours such as "#ff0000"')
        return tuple(one.lower() if isinstance(one, str) else tuple(map(str.lower, one)) for one in value)

    @field_validator("ignore")
    @classmethod
    def _is_a_color(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, str) and not re.fullmatch("#[0-9a-f]{6}", value.lower()):
            raise ValueError('expected a number or a colour such as "#ff0000"')
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _read_in_one_way(self) -> Self:
        if self.mask_colors is not None and self.mask_values is not None:
            raise ValueError("mask_values and mask_colors exclude each other")
        if self.masks is None and not all(suffix.lower().endswith(ARRAYS) for suffix in self.image_suffixes):
            raise ValueError("masks must be given: only an HDF5 or NPZ file holds image and label in one")
        if self.masks is None and self.masks_optional:
            raise ValueError("masks_optional needs masks in files of their own")
        if self.intensity_range is not None and self.intensity_range[0] >= self.intensity_range[1]:
            raise ValueError("intensity_range must be increasing")
        _require_same_folder(self.images, self.masks)
        return self

    @field_validator("images", "masks")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            _require_pattern(value)
        return value


class Volumes(Card):
    """Paths of a 3D data set's files and how their intensities are read; the suffix gives the format.

    HDF5 (`.h5`: keys image and label), NIfTI (`.nii`, `.nii.gz`), NRRD (`.nrrd`) and MetaImage (`.mha`; `.mhd` with its
    voxels in a file beside it). All but HDF5 are brought to the closest canonical axes: right, anterior, superior.
    """

    roots: tuple[str, ...] = Field(
        min_length=1, description="folders under the data root; the first with images is used"
    )
    images: str = Field(
        description="path of an image, relative to the root; {id} is the case's id, wherever it stands; {channel} one "
        "of the card's channels; {folder} a folder that comes before the id; *, ? and [...] are wildcards"
    )
    masks: str | None = Field(
        None, description="path of a mask; {id} is the case's id; absent: in the image's own HDF5 file"
    )
    intensity: Literal["as-is", "zscore"] = Field(
        "zscore", description="zscore: each volume is brought to zero mean and unit standard deviation"
    )
    mask_values: tuple[int | tuple[int, ...], ...] | None = Field(
        None, description="a mask voxel's value per class, or a list of those that are one class; default 0, 1, ..."
    )
    ignore: int | None = Field(
        None, description="a mask voxel's value where the class is not known; left out of supervised losses and scores"
    )
    masks_optional: bool = Field(False, description="a case without a mask is an unlabelled training volume")
    masks_united: bool = Field(False, description="an image may have several masks, which are united")
    exclude: tuple[str, ...] = Field((), description="patterns of files that are neither images nor masks")
    axes: Axes = Field("xyz", description="order of the axes of arrays in HDF5 files; zyx: the slices first")
    slice_files: str | None = Field(
        None,
        description="path of an HDF5 file with one slice along z, image and label; {id} is the case's id, {slice} the "
        "slice's number; for cases whose volume is no file of its own",
    )
    slice_window: SliceWindow = Field(
        "percentiles",
        description="on a card with slices: the intensities that become 0 and 255, those outside are clipped; "
        "percentiles: each volume's 0.5th and 99.5th; range: its smallest and largest",
    )

    @field_validator("slice_window")
    @classmethod
    def _increases(cls, value: SliceWindow) -> SliceWindow:
        if not isinstance(value, str) and value[0] >= value[1]:
            raise ValueError("must be two intensities, the lower one first")
        return value

    @field_validator("slice_files")
    @classmethod
    def _is_a_pattern_of_slices(cls, value: str | None) -> str | None:
        if value is not None:
            _require_pattern(value)
            if value.count("{slice}") != 1 or value.count("{id}") != 1:
                raise ValueError("must contain {id} and {slice} once each")
        return value

    @field_validator("images", "masks")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            _require_pattern(value)
            if not value.lower().endswith(VOLUME_SUFFIXES):
                raise ValueError(f"must end in one of {', '.join(VOLUME_SUFFIXES)}")
        return value

    @model_validator(mode="after")
    def _has_masks(self) -> Self:
        if self.masks is None and not self.images.lower().endswith(HDF5):
            raise ValueError("masks must be given: only an HDF5 file holds image and label in one")
        if self.masks is None and self.masks_optional:
            raise ValueError("masks_optional needs masks in files of their own")
        _require_same_folder(self.images, self.masks)
        if self.slice_files is not None and (self.masks is not None or not self.slice_files.lower().endswith(HDF5)):
            raise ValueError("slice_files must be HDF5 files beside HDF5 files of volumes, without masks")
        return self


class Split(Card):
    """How cases are divided into training and test; part of the card, so that all runs share a test set."""

    test: int | str | None = Field(None, description="number of test cases, or a share such as '20%'")
    seed: int = 0
    sequence_starts: tuple[int, ...] | None = Field(
        None, description="first frame number of each video sequence; if given, whole sequences are held out"
    )
    file: str | None = Field(
        None, description="instead of test: a CSV file with the columns id and part (train or test)"
    )
    parts: dict[Literal["train", "test"], tuple[str, ...]] | None = Field(
        None,
        description="instead of test: patterns of the ids of each part, such as {train = ['train/*'], test = "
        "['test/*']}; other cases are left out",
    )
    labeled: Literal["random", "first"] = Field(
        "random", description="first: the labelled cases are the first of the training cases, whatever the seed"
    )
    fingerprint: str | None = Field(None, description="hash of the file; filled in when the card is read")

    @field_validator("sequence_starts")
    @classmethod
    def _increase(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or any(a >= b for a, b in pairwise(value))):
            raise ValueError("must be increasing frame numbers")
        return value

    @field_validator("test")
    @classmethod
    def _is_a_share(cls, value: int | str | None) -> int | str | None:
        if value is not None:
            parse_share(value, "test")
        return value

    @model_validator(mode="after")
    def _has_one_rule(self) -> Self:
        if [self.test, self.file, self.parts].count(None) != 2:
            raise ValueError("exactly one of test, file and parts must be given")
        if self.parts is not None and not (self.parts.get("train") and self.parts.get("test")):
            raise ValueError("parts must have patterns for train and for test")
        return self

    def located(self, folder: Path) -> Split:
        """Return the split with its file's full path and hash; `folder` is the card's folder."""
        if self.file is None:
            return self
        path = folder / self.file
        return self.model_copy(update={"file": str(path), "fingerprint": _fingerprint(path, "split file")})


class Benchmark(Card):
    """A data set and how it is split and scored (a card in benchmarks/datasets/)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    dimensions: Literal[2, 3] = Field(2, description="of the data and of what is scored")
    slices: bool = Field(
        False, description="3D: 2D networks train on the slices along z; whole volumes are split, counted and scored"
    )
    channels: Count | tuple[str, ...] | None = Field(
        None,
        description="of an image: their number (2D files: 1 is grey, 3 RGB; volumes: the length of a fourth axis), or "
        "the words that {channel} stands for in `images`, a file each; absent: 3 in 2D, 1 in 3D",
    )
    classes: tuple[str, ...] = Field(min_length=2, max_length=255, description="background first")
    cases: Count = Field(description="how many cases the published data set has")
    files: Files | None = Field(None, description="the layout of a 2D data set on disk")
    volumes: tuple[Volumes, ...] = Field((), description="layouts of a 3D data set; the first that is found is used")
    generator: Literal["demo", "demo3d"] | None = Field(
        None, description="the function that draws a synthetic data set"
    )
    splits: dict[str, Split] = Field(min_length=1, description="the first is the default")
    labeled: tuple[str, ...] = Field(min_length=1, description="usual labelled shares; the first is the default")
    metrics: Metrics
    nsd_tolerance: Positive | None = Field(
        None, description="surface distance that NSD accepts, in distance_unit; required by the metric nsd"
    )
    distance_unit: DistanceUnit = Field(
        "voxel", description="of distances and tolerances; mm needs files that have a spacing (NIfTI, NRRD, MHA)"
    )
    undefined_distances: UndefinedDistances = Field(
        "left-out", description="distance where one of two masks is empty: not averaged, or worst: the image's diagonal"
    )
    group: str | None = Field(
        None,
        description="which patient, video or lesion a case is of: a pattern of the ids with {group}, or a CSV file "
        "with the columns id and group; splits and draws keep groups whole, and labelled shares count groups",
    )
    group_fingerprint: str | None = Field(None, description="hash of that file; filled in when the card is read")
    protocol: str = Field("paper", description="the protocol that `run` uses by default")
    image_sides: Literal["varying"] | tuple[Count, Count] | None = Field(
        None, description="(H, W) of the published images, or varying; tells a copy of another size from the original"
    )
    download: Download | None = Field(None, description="how to get the files; `data download` follows it")
    source: str
    license: str
    citation: str
    _option: str = PrivateAttr("")

    @property
    def option(self) -> str:
        """The value of `--dataset`: the name of a built-in card, or the path of the card's file."""
        return self._option or self.name

    @property
    def network_dimensions(self) -> Literal[2, 3]:
        """The dimensions of the images that networks see: 2 for volumes trained by slices."""
        return 2 if self.slices else self.dimensions

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The values of {channel} if an image has a file for each channel; otherwise empty."""
        return self.channels if isinstance(self.channels, tuple) else ()

    @property
    def channel_count(self) -> int:
        """Number of channels of an image."""
        if isinstance(self.channels, int):
            return self.channels
        return len(self.channel_names) or CHANNELS[self.dimensions]

    @property
    def ignores(self) -> bool:
        """Whether pixels of a mask can have no known class."""
        return any(layout is not None and layout.ignore is not None for layout in (self.files, *self.volumes))

    @property
    def group_rule(self) -> str | None:
        """The rule of the groups as runs record it: the pattern, or the hash of the CSV file."""
        return f"csv {self.group_fingerprint}" if self.group_fingerprint else self.group

    def located(self, folder: Path) -> Benchmark:
        """Return the card with its files' full paths and hashes; `folder` is the card's folder.

        Raises:
            UserError: a file cannot be read.
        """
        found: dict[str, Any] = {"splits": {key: split.located(folder) for key, split in self.splits.items()}}
        if self.group is not None and self.group.endswith(".csv"):
            path = folder / self.group
            found |= {"group": str(path), "group_fingerprint": _fingerprint(path, "file of groups")}
        return self.model_copy(update=found)

    def heading(self, metric: MetricName) -> str:
        """Return a metric's title with the unit in which it is measured on this data set."""
        return METRICS[metric].heading(self.dimensions, self.distance_unit)

    def missing_parameters(self, metrics: Sequence[MetricName]) -> list[tuple[MetricName, str]]:
        """Return each of these metrics that has a parameter without a value here, and the parameter's name."""
        return [
            (metric, name) for metric in metrics for name in METRICS[metric].parameters if getattr(self, name) is None
        ]

    @property
    def _has_spacing(self) -> bool:
        return bool(self.volumes) and not any(layout.images.lower().endswith(HDF5) for layout in self.volumes)

    def _problems_of_channels(self) -> list[str]:
        """Return the inconsistencies of `channels`, one sentence each."""
        problems, names = list[str](), self.channel_names
        if self.channels == () or len(set(names)) != len(names):
            problems.append("channels must be a number or a list of different words")
        for layout in (self.files, *self.volumes):
            if layout is not None and ("{channel}" in layout.images) != bool(names):
                problems.append("images must contain {channel} if channels is a list of words, and only then")
        if self.files is not None and not names and self.channel_count not in (1, 3):
            problems.append(
                f"channels: expected 1 or 3 in a 2D file, found {self.channels}; for other numbers, list the "
                "channels by name, each in its own file"
            )
        if self.generator is not None and self.channel_count != CHANNELS[self.dimensions]:
            problems.append(f"channels: expected {CHANNELS[self.dimensions]} with a generator, found {self.channels}")
        return problems

    def _problems_of_ignore(self) -> list[str]:
        """Return the inconsistencies of `ignore`, one sentence each."""
        problems = list[str]()
        for layout in (self.files, *self.volumes):
            if layout is None or layout.ignore is None:
                continue
            by_color = getattr(layout, "mask_colors", None) is not None
            named = layout.mask_values or getattr(layout, "mask_colors", None)
            if named is None and isinstance(layout, Files):
                problems.append(
                    "ignore needs mask_values or mask_colors, so that every value in a mask has one meaning"
                )
            elif isinstance(layout.ignore, str) != by_color:
                kind = "a colour, as mask_colors" if by_color else "a number, as mask_values"
                problems.append(f"ignore must be {kind}, found {layout.ignore!r}")
            elif layout.ignore in {value for own in members_of(named or range(len(self.classes))) for value in own}:
                problems.append(f"ignore must be no class's value, found {layout.ignore!r}")
            elif layout.masks_united:
                problems.append("ignore needs one mask for each image; masks_united has several")
        return problems

    @field_validator("group")
    @classmethod
    def _names_groups(cls, value: str | None) -> str | None:
        if value is not None and value.count("{group}") != (0 if value.endswith(".csv") else 1):
            raise ValueError("must contain {group} once, the place of the group's name in an id, or end in .csv")
        if value is not None and OPEN_END.search(value):
            raise ValueError("must have text between {group} and *, which says where the group's name ends")
        return value

    @field_validator("labeled")
    @classmethod
    def _are_shares(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for share in value:
            parse_share(share, "labeled")
        return value

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        problems = []
        if len(set(self.classes)) != len(self.classes):
            problems.append("classes must have different names")
        if [self.files is None, not self.volumes, self.generator is None].count(False) != 1:
            problems.append("exactly one of [files], [[volumes]] and generator must be given")
        if self.files is not None and self.dimensions != 2:
            problems.append("[files] needs dimensions = 2; a 3D data set has [[volumes]]")
        if self.volumes and self.dimensions != 3:
            problems.append("[[volumes]] needs dimensions = 3")
        if self.slices and self.dimensions != 3:
            problems.append("slices needs dimensions = 3; a 2D data set has no slices")
        for layout in (self.files, *self.volumes):
            for key in ("mask_values", "mask_colors"):
                values: Any = getattr(layout, key, None)
                if values is None:
                    continue
                single = [value for own in members_of(values) for value in own]
                if len(values) != len(self.classes) or len(set(single)) != len(single) or () in values:
                    problems.append(f"{key} must be {len(self.classes)} different values, one for each class")
        problems += self._problems_of_channels() + self._problems_of_ignore()
        if self.group is not None and any(split.sequence_starts for split in self.splits.values()):
            problems.append("group must not be given if a split has sequence_starts, which are groups, too")
        if self.distance_unit == "mm" and not self._has_spacing:
            problems.append("distance_unit 'mm' needs [[volumes]] in a format that has a spacing: NIfTI, NRRD or MHA")
        for metric, name in self.missing_parameters(self.metrics):
            problems.append(f"{name} must be given, since metrics has {metric}")
        if self.files is not None and not (self.files.mask_values or self.files.mask_colors) and len(self.classes) > 2:
            problems.append("files.mask_values or files.mask_colors must be given for more than two classes")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def members_of(classes: Sequence[Value | tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Return the values in masks that each class has, from a card's mask_values or mask_colors."""
    return [one if isinstance(one, tuple) else (one,) for one in classes]


def _fingerprint(path: Path, what: str) -> str:
    try:
        return file_fingerprint(path)
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read: {error.strerror}") from None


def _require_pattern(value: str) -> None:
    if "{id}" not in value:
        raise ValueError("must contain {id}, the place of the case's id")
    if NEXT_TO_IT.search(value):
        raise ValueError("must have text between * and {id}, {folder} or another *")
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError("must be a path below the data set's folder")


def _require_same_folder(images: str, masks: str | None) -> None:
    if masks is not None and ("{folder}" in images) != ("{folder}" in masks):
        raise ValueError("images and masks must both contain {folder}, or neither")

"""Benchmark: a data set's card, where its files lie, how they are read, split and scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ssl_bench.cards.card import Card, Count, Positive, in_unit
from ssl_bench.cards.download import Download
from ssl_bench.cards.layout import HDF5, Files, Volumes, members_of
from ssl_bench.cards.metric import METRICS, DistanceUnit, MetricName, Metrics, UndefinedDistances
from ssl_bench.cards.share import parse_share
from ssl_bench.cards.split import Split, fingerprint_of
from ssl_bench.errors import UserError

Intensity = Literal["as-is", "zscore", "rgb"]  # how intensities are read; rgb: 8 bits a channel
GREY = (0, 255)  # background and foreground in a mask of two classes whose card names no values
CHANNELS = {2: 3, 3: 1}  # default number of channels by the image's dimensions
OPEN_END = re.compile(r"\*\?*\{group\}|\{group\}\?*\*")  # nothing says where the group's name begins or ends


class Benchmark(Card):
    """A data set and how it is split and scored (a card in benchmarks/datasets/)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names the folder of its runs")
    title: str = Field(description="in tables and figures")
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
    cases: Count = Field(json_schema_extra=in_unit("cases"), description="how many cases the published data set has")
    files: Files | None = Field(None, description="the layout of a 2D data set on disk")
    volumes: tuple[Volumes, ...] = Field((), description="layouts of a 3D data set; the first that is found is used")
    generator: Literal["demo", "demo3d"] | None = Field(
        None, description="the function that draws a synthetic data set"
    )
    splits: dict[str, Split] = Field(min_length=1, description="the first is the default")
    literature_splits: tuple[str, ...] = Field(
        (), description="splits whose test set is the literature's: published numbers are on the same test cases"
    )
    labeled: tuple[str, ...] = Field(min_length=1, description="usual labelled shares; the first is the default")
    metrics: Metrics = Field(description="that its runs are scored by; the first is the headline of tables")
    nsd_tolerance: Positive | None = Field(
        None, json_schema_extra=in_unit("distance_unit"),
        description="surface distance that NSD accepts; required by the metric nsd",
    )  # fmt: skip
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
        None, json_schema_extra=in_unit("px"),
        description="(H, W) of the published images, or varying; tells a copy of another size from the original",
    )  # fmt: skip
    download: Download | None = Field(None, description="how to get the files; `data download` follows it")
    source: str = Field(description="where the data set was published")
    license: str = Field(description="terms of use of the images")
    citation: str = Field(description="the paper to cite")
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
    def has_groups(self) -> bool:
        """Whether the card says which cases belong together."""
        return self.group is not None or any(split.sequence_starts for split in self.splits.values())

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
            found |= {"group": str(path), "group_fingerprint": fingerprint_of(path, "file of groups")}
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
        if any(layout.slice_files for layout in self.volumes) and self.channel_count != 1:
            problems.append(f"channels: expected 1 with slice_files, found {self.channels}")
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

    @field_validator("labeled", mode="before")
    @classmethod
    def _are_texts(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or not all(isinstance(share, str) for share in value):
            raise UserError(
                f'labeled: expected a list of shares or numbers in quotes, such as ["5%", "90"], found {value!r}'
            )
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
        unknown = [name for name in self.literature_splits if name not in self.splits]
        if unknown:
            problems.append(f"literature_splits must be names of splits; found '{unknown[0]}'")
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

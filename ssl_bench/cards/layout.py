"""Layouts: where a data set's files lie and how they are read, in 2D and in 3D."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from ssl_bench.cards.card import Card, in_unit

ExifOrientation = Literal["refuse", "apply", "ignore"]
ImageAxes = Literal["RAS", "unknown"]  # on which networks see volumes; unknown: as HDF5 files have them
SliceWindow = Literal["percentiles", "range"] | tuple[float, float]  # what of a volume's intensities 8 bits show
Axes = Literal["xyz", "zyx"]  # of the arrays in HDF5 files, which do not name them

HDF5 = (".h5", ".hdf5")  # has no spacing, unlike the other volume formats
ARRAYS = (*HDF5, ".npz")  # of 2D images and masks
VOLUME_SUFFIXES = (*HDF5, ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
NEXT_TO_IT = re.compile(r"\*\?*\{(id|folder)\}|\{(id|folder)\}\?*\*|\*\*")  # nothing says where one of two ends

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
    image_suffixes: tuple[str, ...] = Field(
        (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif"), min_length=1, description="suffixes of images"
    )
    masks: str | None = Field(
        None,
        description="path of a mask without its suffix; {id} is the case's id; absent: in the image's own array file",
    )
    image_key: str = Field("image", description="the image's name in an HDF5 or NPZ file")
    mask_key: str = Field("label", description="the mask's name in an HDF5 or NPZ file")
    intensity_range: tuple[float, float] | None = Field(
        None,
        description="arrays and grey pictures of more than 8 bits: the values that are black and white; absent: images "
        "of 8 bits, as they are",
    )
    mask_threshold: int = Field(
        127, ge=0, le=254, json_schema_extra=in_unit("grey level"),
        description="two classes: a mask pixel above this is foreground",
    )  # fmt: skip
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

    @property
    def ignored_level(self) -> int | None:
        """The ignored grey level, palette index or array value; None where there is none or it is a colour."""
        return self.ignore if isinstance(self.ignore, int) else None

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
            require_pattern(value)
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
            require_pattern(value)
            if value.count("{slice}") != 1 or value.count("{id}") != 1:
                raise ValueError("must contain {id} and {slice} once each")
            if re.search(r"[*?[]|\{folder\}|\{channel\}", value):
                raise ValueError("must contain no wildcard, {folder} or {channel}")
        return value

    @field_validator("images", "masks")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            require_pattern(value)
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
        if self.slice_files is not None and self.axes != "zyx":
            raise ValueError("slice_files needs axes = 'zyx': the rows of a slice are y, as in whole volumes")
        return self


def image_axes(layout: Volumes) -> ImageAxes:
    """Return on which axes a layout's volumes are read: HDF5 files do not name theirs."""
    return "unknown" if layout.images.lower().endswith(HDF5) else "RAS"


def members_of(classes: Sequence[Value | tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Return the values in masks that each class has, from a card's mask_values or mask_colors."""
    return [one if isinstance(one, tuple) else (one,) for one in classes]


def require_pattern(value: str) -> None:
    """Check a pattern of paths.

    Raises:
        ValueError: it has no {id}, leaves the folder, or does not say where the id ends.
    """
    if "{id}" not in value:
        raise ValueError("must contain {id}, the place of the case's id")
    if NEXT_TO_IT.search(value):
        raise ValueError("must have text between * and {id}, {folder} or another *")
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError("must be a path below the data set's folder")


def _require_same_folder(images: str, masks: str | None) -> None:
    if masks is not None and ("{folder}" in images) != ("{folder}" in masks):
        raise ValueError("images and masks must both contain {folder}, or neither")

"""The dataset.json of nnU-Net (versions 1 and 2) and of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_bench.cards import VOLUME_SUFFIXES, Files, Volumes
from ssl_bench.command import quantity
from ssl_bench.errors import UserError

FILE = "dataset.json"
IGNORE = "ignore"  # name of the label of pixels without a known class, as nnU-Net has it
SUFFIXES = (*Files.model_fields["image_suffixes"].default, *VOLUME_SUFFIXES)


@dataclass(frozen=True)
class Description:
    """What a dataset.json says.

    Attributes:
        path: of the file.
        labels: class name -> value in masks, background first.
        channels: their names; a file each in nnU-Net's layout, on a fourth axis in the Decathlon's.
        ending: suffix of the files.
        count: number of training cases; None where it is not said.
        fields: title, source and license for the card, where they are said.
    """

    path: Path
    labels: dict[str, int]
    channels: tuple[str, ...]
    ending: str
    count: int | None
    fields: dict[str, str]


def read_description(folder: Path) -> Description | None:
    """Read the dataset.json in a folder; None if there is none, or it is not of this kind.

    Raises:
        UserError: labels are regions of several values, or are not whole numbers from 0; or the files' format is not
            supported.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    channels = data.get("channel_names", data.get("modality")) if isinstance(data, dict) else None
    if not isinstance(channels, dict) or not isinstance(data.get("labels"), dict) or not (folder / "imagesTr").is_dir():
        return None
    if {*channels} != set(map(str, range(len(channels)))):
        raise UserError(f"{path}: expected the channels 0, 1, ..., found {', '.join(channels) or 'none'}")
    ending = _ending(path, data)
    said = {
        "title": data.get("name"),
        "source": data.get("reference"),
        "license": data.get("licence", data.get("license")),
    }
    return Description(
        path=path,
        labels=_labels(path, data["labels"]),
        channels=tuple(str(channels[key]) for key in sorted(channels, key=int)),
        ending=ending,
        count=data.get("numTraining") if isinstance(data.get("numTraining"), int) else None,
        fields={key: text.strip() for key, text in said.items() if isinstance(text, str) and text.strip()},
    )


def layout_of(found: Description, folder: Path) -> tuple[Files | Volumes, dict[str, Any], str]:
    """Return the layout, the fields of the card that it needs, and a line about test images without labels."""
    images = sorted((folder / "imagesTr").glob(f"[!.]*{found.ending}"))
    numbered = [path for path in images if path.name.endswith(f"_0000{found.ending}")]
    pictures = found.ending in Files.model_fields["image_suffixes"].default
    suffix = "" if pictures else found.ending
    fields: dict[str, Any] = {}
    if not numbered:  # the Decathlon's: all channels in one file
        name = "{id}"
        if len(found.channels) > 1:
            fields["channels"] = len(found.channels)
    elif len(found.channels) > 1 and (not pictures or _next_channel(numbered[0], found.ending).exists()):
        name, fields["channels"] = "{id}_{channel}", [f"{number:04d}" for number in range(len(found.channels))]
    else:
        name = "{id}_0000"
    place = {"roots": ["."], "images": f"imagesTr/{name}{suffix}", "masks": f"labelsTr/{{id}}{suffix}"}
    if pictures:
        place["image_suffixes"] = [found.ending]
    tests = len(list((folder / "imagesTs").glob(f"[!.]*{found.ending}")))
    both = json.dumps(f"images*/{name}{suffix}")
    unused = f"# Not used: the {quantity(tests, 'file')} of imagesTs"
    said = f"{unused}; images = {both} and masks_optional = true make them unlabelled."
    return (Files if pictures else Volumes).model_validate(place), fields, said if tests else ""


def _next_channel(path: Path, ending: str) -> Path:
    """The file of the second channel beside that of the first."""
    return path.with_name(path.name.removesuffix(f"_0000{ending}") + f"_0001{ending}")


def _ending(path: Path, data: Mapping[str, Any]) -> str:
    """The suffix of the files: as said, or (version 1, Decathlon) as that of the first training image."""
    training = data.get("training")
    training = training if isinstance(training, list) and training else [""]
    first = str(training[0].get("image", "")) if isinstance(training[0], dict) else str(training[0])
    ending = str(data.get("file_ending") or next((one for one in SUFFIXES if first.lower().endswith(one)), ".nii.gz"))
    if ending not in SUFFIXES:
        raise UserError(f"{path}: file_ending: expected one of {', '.join(SUFFIXES)}; found {ending!r}")
    return ending


def _region_alone(name: str, region: Sequence[int], labels: Mapping[str, Any]) -> str:
    """The fields of a card whose foreground is this region: all other values are background."""
    named = (value if isinstance(value, list) else [value] for key, value in labels.items() if key != IGNORE)
    known = {int(one) for own in named for one in own}
    background = sorted({0, *known} - {*region})
    values = [background[0] if len(background) == 1 else background, region[0] if len(region) == 1 else [*region]]
    ignored = f" and ignore = {labels[IGNORE]}" if IGNORE in labels else ""
    return f"classes = {json.dumps(['background', name])} and mask_values = {values}{ignored}"


def _labels(path: Path, labels: Mapping[str, Any]) -> dict[str, int]:
    """Class names with their values, in either direction of the file; the background is 0."""
    by_value = all(key.isdigit() for key in labels)
    pairs = [(str(value), key) if by_value else (key, value) for key, value in labels.items()]
    for name, value in pairs:
        if isinstance(value, list):
            raise UserError(
                f"{path}: labels: '{name}' is a region of several values, {value}, and may overlap others; a card has "
                "one class for each value; to segment this region alone, move the file away, run `data init` again and "
                f"put {_region_alone(name, value, labels)} on the card"
            )
        if not str(value).isdigit():
            raise UserError(f"{path}: labels: expected a whole number for '{name}', found {value!r}")
    found = dict(sorted(((name, int(value)) for name, value in pairs), key=lambda pair: pair[1]))
    if len(found.keys() - {IGNORE}) < 2 or 0 not in found.values() or len(set(found.values())) < len(labels):
        raise UserError(
            f"{path}: labels: expected two or more classes of different values from 0, found {dict(labels)}"
        )
    return found

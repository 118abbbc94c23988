"""Merged classes: several values or colours of a mask that are one class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from ssl_bench.cards import Benchmark, Files, Volumes, parse_card
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.pictures import read_mask
from ssl_bench.data.sources import find_source
from ssl_bench.data.volumes import read_case
from ssl_bench.errors import UserError

VALUES = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.uint8)
ONE_FOR_TWO_AND_THREE = [[0, 2, 1, 1], [1, 1, 2, 0]]


def mask_of(path: Path, image: Image.Image, **fields: Any) -> list[list[int]]:
    image.save(path)
    files = parse_card(Files, {"roots": ["."], "images": "{id}", "masks": "{id}_m", **fields}, "files")
    return read_mask(path, path.read_bytes(), files)[0].tolist()


def test_levels_palettes_and_colours_are_merged(tmp_path: Path) -> None:
    path, merged = tmp_path / "m.png", {"mask_values": [0, [3, 2], 1]}
    assert mask_of(path, Image.fromarray(VALUES), **merged) == ONE_FOR_TWO_AND_THREE
    palette = Image.fromarray(VALUES, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert mask_of(path, palette, **merged) == ONE_FOR_TWO_AND_THREE
    colors = ["#000000", ["#0000FF", "#00ff00"], "#ff0000"]
    assert mask_of(path, palette.convert("RGB"), mask_colors=colors) == ONE_FOR_TWO_AND_THREE
    with pytest.raises(UserError, match=r"m.png: expected mask values 0, 3, 1, found also 2"):
        mask_of(path, Image.fromarray(VALUES), mask_values=[0, [3], 1])


def test_values_of_a_volume_are_merged(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.random.default_rng(0).normal(size=(2, 4, 1))
        file["label"] = VALUES[..., None]
    layout = parse_card(Volumes, {"roots": ["."], "images": "{id}.h5", "mask_values": [0, [2, 3], 1]}, "volumes")
    case = read_case(CaseFiles("a", tmp_path / "a.h5", tmp_path / "a.h5"), layout, 3)
    assert case.mask[..., 0].tolist() == ONE_FOR_TWO_AND_THREE


def card(classes: int, **fields: Any) -> Benchmark:
    data = {
        "name": "mine", "title": "Mine", "classes": [f"c{number}" for number in range(classes)], "cases": 1,
        "files": {"roots": ["."], "images": "{id}", "masks": "masks/{id}", **fields}, "splits": {"random": {"test": 1}},
        "labeled": ["50%"], "metrics": ["dsc"], "source": "s", "license": "l", "citation": "c",
    }  # fmt: skip
    return parse_card(Benchmark, data, "card")


def test_a_card_names_every_value_once(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    Image.fromarray(VALUES).save(tmp_path / "a.png")
    Image.fromarray(VALUES).save(tmp_path / "masks" / "a.png")
    source = find_source(card(2, mask_values=[0, [1, 2, 3]]), tmp_path, False)
    assert source.label_values == (0, 1)  # what `predict` writes
    other = find_source(card(2, mask_values=[[0, 1], [2, 3]]), tmp_path, False)
    assert (other.label_values, other.reading != source.reading) == ((0, 2), True)
    assert find_source(card(3, mask_values=[0, 1, 2]), tmp_path, False).reading == "mask (0, 1, 2)"  # as ever
    for wrong in ([0, [1, 1]], [0, [0, 1]], [0, []], [0, 1, [2]]):
        with pytest.raises(UserError, match="mask_values must be 2 different values, one for each class"):
            card(2, mask_values=wrong)
    with pytest.raises(UserError, match="expected colours"):
        card(2, mask_colors=["#000000", ["#ff0000", "red"]])

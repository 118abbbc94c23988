"""Grey pictures of more than 8 bits: read by the card's range and values, or refused; proposed by `data init`."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from PIL import Image
from skimage.measure import label

from ssl_bench import load_model
from ssl_bench.cards import Benchmark, Files, load_benchmark, parse_card
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.pictures import read_deep_image, read_mask
from ssl_bench.data.sources import find_source
from ssl_bench.errors import UserError
from ssl_bench.labels import IGNORED
from ssl_bench.store import Store

HERE = Path("x.tif")
LEVELS = np.array([[0, 1, 8, 1000], [2047, 2048, 4094, 4095]], np.uint16)
MAPPED = [[0, 0, 0, 62], [127, 128, 255, 255]]  # 255 / 4095 of each, by hand: 0.06, 0.50, 62.3, 127.47, 127.53, 254.9
KINDS = {"png": "PNG", "tif": "TIFF"}


def encoded(pixels: np.ndarray, kind: str = "TIFF") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def big_endian(pixels: np.ndarray) -> bytes:
    """A TIFF file of the byte order MM, written as its specification says."""
    height, width = pixels.shape
    entries = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    entries.append((279, 2 * pixels.size))
    data = pixels.astype(">u2").tobytes()
    directory = struct.pack(">H", len(entries))
    for tag, value in entries:
        directory += struct.pack(">HHIHH", tag, 3, 1, value, 0)
    return b"MM\0*" + struct.pack(">I", 8 + len(data)) + data + directory + struct.pack(">I", 0)


def card(**files: Any) -> Benchmark:
    layout = {"roots": ["."], "images": "images/{id}", "masks": "masks/{id}", "intensity_range": [0, 4095], **files}
    data = {
        "name": "mine", "title": "Mine", "classes": ["background", "lesion"], "cases": 1, "channels": 1,
        "splits": {"random": {"test": 1}}, "labeled": ["50%"], "metrics": ["dsc"], "source": "s", "license": "l",
        "citation": "c", "files": {key: value for key, value in layout.items() if value is not None},
    }  # fmt: skip
    return parse_card(Benchmark, data, "card")


def put(root: Path, image: bytes, mask: bytes, suffix: str = "tif") -> Path:
    for part, content in (("images", image), ("masks", mask)):
        (root / part).mkdir(exist_ok=True, parents=True)
        (root / part / f"a.{suffix}").write_bytes(content)
    return root


def image_of(root: Path, benchmark: Benchmark) -> np.ndarray:
    ((case, _),) = find_source(benchmark, root, False).decoded()
    return case.image


MASK = np.array([[0, 0, 255, 255]] * 2, np.uint8)


@pytest.mark.parametrize("kind", ["png", "tif", "big-endian", "32 bits", "float"])
def test_levels_are_mapped_by_the_range(tmp_path: Path, kind: str) -> None:
    contents = {
        "png": encoded(LEVELS, "PNG"), "tif": encoded(LEVELS), "big-endian": big_endian(LEVELS),
        "32 bits": encoded(LEVELS.astype(np.int32)), "float": encoded(LEVELS.astype(np.float32)),
    }  # fmt: skip
    root = put(tmp_path, contents[kind], encoded(MASK, "PNG"), "png" if kind == "png" else "tif")
    assert image_of(root, card())[..., 0].tolist() == MAPPED
    arrays = card(images="arrays/{id}", image_suffixes=[".npz"], mask_suffixes=[".png", ".tif"])
    (root / "arrays").mkdir()
    np.savez(root / "arrays/a.npz", image=LEVELS)
    assert (image_of(root, arrays) == image_of(root, card())).all()
    three = card().model_copy(update={"channels": None})
    assert (image_of(root, three) == image_of(root, card())).all()
    assert image_of(root, three).shape == (2, 4, 3)


def test_the_range_is_part_of_the_datas_identity(tmp_path: Path) -> None:
    root = put(tmp_path, encoded(LEVELS), encoded(MASK))
    one, other = (find_source(card(intensity_range=ends), root, False).reading for ends in ([0, 4095], [0, 65535]))
    assert one != other


@pytest.mark.parametrize(
    ("image", "fields", "message"),
    [
        (LEVELS, {"intensity_range": None}, "a.tif: expected 8 bits, found more; intensity_range on the card"),
        (LEVELS, {"intensity_range": [0, 4000]}, r"a.tif: expected .*intensity_range = \[0, 4000\], found 0 to 4095"),
        (MASK, {}, "a.tif: expected more than 8 bits, .*intensity_range.*; found 8"),
        (np.stack([MASK] * 3, 2), {}, "a.tif: expected more than 8 bits, .*intensity_range.*; found 8"),
        (LEVELS * np.float32(np.nan), {}, "a.tif: expected finite values, found NaN"),
    ],
)
def test_levels_without_a_meaning_are_refused(
    tmp_path: Path, image: np.ndarray, fields: dict[str, Any], message: str
) -> None:
    root = put(tmp_path, encoded(image), encoded(MASK))
    with pytest.raises(UserError, match=message):
        image_of(root, card(**fields))


def test_white_is_zero_is_refused_since_its_levels_would_be_read_upside_down() -> None:
    content = encoded(LEVELS)
    entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(entry) == 1
    inverted = content.replace(entry, struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    assert (read_deep_image(HERE, content, "refuse") == LEVELS).all()
    with pytest.raises(UserError, match=r"x.tif: expected .*\(BlackIsZero\), found white \(WhiteIsZero\)"):
        read_deep_image(HERE, inverted, "refuse")


def test_unsigned_32_bits_are_read_below_the_sign_alone() -> None:
    levels = np.array([[10, 2**31 - 1]], np.uint32)
    assert (read_deep_image(HERE, tiff_of_32_bits(levels), "refuse") == levels).all()
    with pytest.raises(UserError, match=r"x.tif: expected levels below 2\^31, found larger ones"):
        read_deep_image(HERE, tiff_of_32_bits(levels + 1), "refuse")


def tiff_of_32_bits(levels: np.ndarray) -> bytes:
    """A TIFF file of unsigned numbers, written as its specification says."""
    height, width = levels.shape
    entries = [(256, width), (257, height), (258, 32), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    entries += [(279, 4 * levels.size), (339, 1)]
    data = levels.astype("<u4").tobytes()
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHIHH", tag, 3, 1, v, 0) for tag, v in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 0)


def test_levels_of_pgm_are_refused_since_they_are_read_scaled() -> None:
    content = b"P5 2 1 4095\n" + np.array([0, 900], ">u2").tobytes()
    with pytest.raises(UserError, match=r"x\.pgm: expected PNG or TIFF for more than 8 bits"):
        read_deep_image(Path("x.pgm"), content, "refuse")


# ------------------------------------------------------------------------------------------------------------- masks


def files(**fields: Any) -> Files:
    return Files.model_validate({"roots": ["."], "images": "images/{id}", "masks": "masks/{id}", **fields})


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_levels_of_masks_are_classes_by_the_cards_values(kind: str) -> None:
    mask = np.array([[0, 1000, 65535, 255]], np.uint16)
    numbers, palette = read_mask(HERE, encoded(mask, kind), files(mask_values=[0, 65535, 1000], ignore=255))
    assert (numbers.tolist(), palette) == ([[0, 2, 1, IGNORED]], {})
    assert read_mask(HERE, encoded(mask, kind), files(mask_threshold=0))[0].tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("mask", "fields", "message"),
    [
        # 300 objects: of the default threshold 127, those from 128 on alone would be the foreground
        (np.arange(300, dtype=np.uint16), {}, "expected 8 bits, found more; .*mask_values.*mask_threshold = 0"),
        (np.array([0, 1, 2], np.uint16), {"mask_values": [0, 1]}, "expected mask values 0, 1, found also 2"),
        (np.array([0, 0.5, 1], np.float32), {"mask_values": [0, 1]}, "expected mask values 0, 1, found also 0.5"),
        (np.array([-1, 0, 1], np.int32), {"mask_threshold": 0}, "expected mask levels from 0 on, found -1"),
        (np.array([0, 1], np.uint16), {"mask_colors": ["#000000", "#ffffff"]}, "expected 8 bits, found more"),
    ],
)
def test_masks_without_a_meaning_are_refused(mask: np.ndarray, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"x.tif: {message}"):
        read_mask(HERE, encoded(mask[None]), files(**fields))


# --------------------------------------------------------------------------------------------------------- data init


def radiographs(root: Path, most: int, masks: str = "whole", suffix: str = "png") -> Path:
    """Twelve images with levels from 3 to `most`, and masks of 65535, or of numbered objects."""
    for i in range(12):
        rng = np.random.default_rng(i)
        image = rng.integers(3, most, (48, 40)).astype(np.uint16)
        image[0, 0] = most
        mask = np.zeros((48, 40), np.uint16)
        mask[10 : 20 + i, 8:30] = 65535
        if masks == "objects":
            mask = label(rng.random((48, 40)) > 0.8, connectivity=2).astype(np.uint16)
        for part, pixels in (("images", image), ("masks", mask)):
            (root / part).mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels).save(root / part / f"r{i:02d}.{suffix}", KINDS[suffix])
    return root


def described(root: Path, path: Path) -> tuple[str, Benchmark]:
    path.write_text(describe(root), encoding="utf-8")
    return path.read_text(encoding="utf-8"), load_benchmark(str(path))


@pytest.mark.parametrize(("most", "white"), [(4000, 4095), (1023, 1023), (65535, 65535), (130, 255)])
def test_data_init_proposes_the_range_of_whole_bits(tmp_path: Path, most: int, white: int) -> None:
    root = radiographs(tmp_path / "xrays", most)
    _, benchmark = described(root, tmp_path / "xrays.toml")
    assert benchmark.files is not None
    assert benchmark.files.intensity_range == (0, white)
    assert (benchmark.files.mask_values, benchmark.channels) == ((0, 65535), 1)
    assert check(benchmark, root).errors == 0


def test_data_init_keeps_the_contrast_of_levels_with_an_offset(tmp_path: Path) -> None:
    """Hounsfield units with 32768 added, as DeepLesion has them."""
    root = radiographs(tmp_path / "ct", 4000)
    for path in (root / "images").iterdir():
        levels = np.asarray(Image.open(path)) // 4 + 31768
        Image.fromarray(levels.astype(np.uint16)).save(path)
    text, benchmark = described(root, tmp_path / "ct.toml")
    assert "intensity_range = [31768.0, 32768.0]" in text
    assert not [one for one in check(benchmark, root).findings if one.kind == "few levels"]
    assert benchmark.files is not None
    wide = benchmark.model_copy(update={"files": benchmark.files.model_copy(update={"intensity_range": (0, 65535)})})
    (finding,) = (one for one in check(wide, root).findings if one.kind == "few levels")
    assert finding.text.startswith("12 images with fewer than 32 of 256 levels, such as r00")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_data_init_takes_numbered_objects_for_the_foreground(tmp_path: Path, suffix: str) -> None:
    root = radiographs(tmp_path / "cells", 4000, "objects", suffix)
    text, benchmark = described(root, tmp_path / "cells.toml")
    assert "The masks number objects" in text
    assert benchmark.files is not None
    assert (benchmark.files.mask_values, benchmark.files.mask_threshold) == (None, 0)
    for case, _ in find_source(benchmark, root, False).decoded():
        drawn = np.asarray(Image.open(root / "masks" / f"{case.id}.{suffix}"))
        assert (case.mask == (drawn > 0)).all()


def test_data_init_keeps_the_ends_of_floating_point_levels(tmp_path: Path) -> None:
    root = radiographs(tmp_path / "x", 4000, suffix="tif")
    for i, path in enumerate(sorted((root / "images").iterdir())):
        levels = np.linspace(-5, 295 - i, 48 * 40, dtype=np.float32).reshape(48, 40)
        path.write_bytes(encoded(levels))
    text, benchmark = described(root, tmp_path / "x.toml")
    assert "intensity_range = [-5.0, 295.0]" in text
    assert check(benchmark, root).errors == 0


def test_what_was_trained_on_deep_pictures_predicts_them(call: Call, tmp_path: Path) -> None:
    root = radiographs(tmp_path / "xrays", 4000)
    (tmp_path / "xrays.toml").write_text(describe(root))
    words = ["--dataset", "xrays.toml", "--data-root", str(root), "--protocol", "tiny", "--iterations", "2"]
    code, _, err = call("run", "--methods", "supervised", *words)
    assert code == 0, err
    (run,) = Store(tmp_path / "results").runs()
    code, _, err = call("predict", str(run.path), str(root / "images/r03.png"), "--output", "out")
    assert code == 0, err
    drawn = np.asarray(Image.open(tmp_path / "out/r03.png"))
    assert (drawn.dtype, set(np.unique(drawn)) <= {0, 65535}) == (np.uint16, True)
    np.savez(tmp_path / "other.npz", image=np.zeros((48, 40), np.uint8))
    code, _, err = call("predict", str(run.path), "other.npz", "--output", "out")
    assert (code, "expected more than 8 bits" in err) == (2, True)
    with pytest.raises(UserError, match=r"image: expected more than 8 bits, .*; found uint8"):
        load_model(run).predict(np.zeros((48, 40), np.uint8))
    Image.fromarray(np.zeros((48, 40), np.uint8)).save(tmp_path / "other.png")
    code, _, err = call("predict", str(run.path), "other.png", "--output", "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "other.png: expected more than 8 bits" in err

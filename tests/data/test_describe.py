"""`data init`: the card that it writes finds and decodes what was put into the folder, and what it refuses to guess."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import h5py
import medpy.io
import nibabel as nib
import numpy as np
import pytest
from conftest import Call, CommandLine
from PIL import Image
from skimage.measure import block_reduce

from ssl_bench.cards import Benchmark, load_benchmark, share_of
from ssl_bench.cli.data import data_init
from ssl_bench.data.describe.card import card_name, describe
from ssl_bench.data.images import CaseFiles, list_cases
from ssl_bench.data.pictures import read_mask
from ssl_bench.data.sources import find_source
from ssl_bench.data.split import draw_labeled, split_cases
from ssl_bench.data.volumes import list_volumes, read_case
from ssl_bench.errors import UserError

IDS = ["p1_9", "p1_10", "p2_3", "p2_04", "p7_1", "p9"]  # in the order of their numbers
Put = Callable[[Path, np.ndarray], None]


def classes_of(index: int, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Boxes of the classes 0 to classes - 1, background around them, placed by the case's index."""
    numbers = np.zeros(shape, dtype=np.uint8)
    for number in range(1, classes):
        numbers[(slice(2, 6), slice(1 + 4 * number, 4 + 4 * number), *[slice(1, 5 + index % 2)] * (len(shape) - 2))] = (
            number
        )
    return numbers


def put_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def put_palette(path: Path, indices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([200, 10, 10, 0, 0, 0, 10, 200, 10, 10, 10, 200])
    image.save(path)


def put_alpha(path: Path, grey: np.ndarray, alpha: int | None = None) -> None:
    """A red picture whose alpha channel is the drawing, or a grey drawing of one alpha."""
    red = np.stack([np.full_like(grey, 255), 0 * grey, 0 * grey, grey], axis=-1)
    put_picture(path, red if alpha is None else np.stack([grey] * 3 + [np.full_like(grey, alpha)], axis=-1))


def put_volume(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    else:
        medpy.io.save(voxels[::-1, ::-1], str(path))  # its axes are left, posterior, superior


def put_hdf5(path: Path, image: np.ndarray, label: np.ndarray | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"] = image
        if label is not None:
            file["label"] = label


def photo(index: int, size: tuple[int, int] = (24, 20)) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


def scan(index: int, shape: tuple[int, int, int] = (8, 20, 6)) -> np.ndarray:
    return np.random.default_rng(index).normal(300, 80, shape).astype(np.float32)


def put_pictures(
    root: Path, images: str, masks: str, ids: list[str], values: list[int], masked: int = 99, put: Put = put_picture
) -> dict[str, np.ndarray]:
    """Write images, and masks for the first `masked` of them; returns each case's class numbers."""
    truth = {name: classes_of(i, (24, 20), len(values)) for i, name in enumerate(ids)}
    for i, name in enumerate(ids):
        put_picture(root / images.format(name), photo(i))
        if i < masked:
            put(root / masks.format(name), np.array(values, dtype=np.uint8)[truth[name]])
    return truth


def put_volumes(
    root: Path, images: str, masks: str, ids: list[str], values: list[int], masked: int = 99
) -> dict[str, np.ndarray]:
    truth = {name: classes_of(i, (8, 20, 6), len(values)) for i, name in enumerate(ids)}
    for i, name in enumerate(ids):
        put_volume(root / images.format(name), scan(i))
        if i < masked:
            put_volume(root / masks.format(name), np.array(values, dtype=np.uint8)[truth[name]])
    return truth


def written(root: Path, text: str) -> Benchmark:
    """The card, read from a file that lies elsewhere."""
    path = root.parent / "card.toml"
    path.write_text(text, encoding="utf-8")
    return load_benchmark(str(path))


def cases_of(benchmark: Benchmark, root: Path) -> list[CaseFiles]:
    return list_cases(benchmark, root) if benchmark.files is not None else list_volumes(benchmark, root)[1]


def expected(root: Path, images: str, masks: str, ids: list[str], masked: int = 99) -> list[CaseFiles]:
    return [
        CaseFiles(name, root / images.format(name), root / masks.format(name) if i < masked else None)
        for i, name in enumerate(ids)
    ]


@pytest.mark.parametrize(
    ("images", "masks", "values", "mask_values"),
    [
        ("images/{}.png", "masks/{}.png", [0, 255], None),
        ("Original/{}.tif", "Ground Truth/{}.tif", [0, 255], None),
        ("a/{}.jpg", "b/{}.png", [0, 255], None),  # told by their values alone
        ("b/{}.png", "a/{}.jpg", [0, 255], None),  # a JPEG's masks have more values than were written
        ("{}.png", "{}_mask.png", [0, 255], None),
        ("data/{}.jpeg", "data/seg {} final.bmp", [0, 255], None),
        ("Input/{}.png", "GT/{}_segmentation.png", [0, 1], (0, 1)),
        ("train/x/{}.png", "train/y/{}.png", [0, 80, 200], (0, 80, 200)),
        ("images/{}.png", "masks/{}.png", [0, 1, 2, 3], (0, 1, 2, 3)),
        ("{}/image.png", "{}/mask.png", [0, 255], None),
        ("imagesTr/{}_0000.png", "labelsTr/{}.png", [0, 1, 2], (0, 1, 2)),  # nnU-Net's
    ],
)
def test_pictures_are_found_and_decoded(
    tmp_path: Path, images: str, masks: str, values: list[int], mask_values: tuple[int, ...] | None
) -> None:
    root = tmp_path / "data"
    truth = put_pictures(root, images, masks, IDS, values)
    benchmark = written(root, describe(root))
    assert list_cases(benchmark, root) == expected(root, images, masks, IDS)
    assert (benchmark.dimensions, benchmark.cases, benchmark.metrics) == (2, 6, ("dsc", "jaccard"))
    assert benchmark.distance_unit == "voxel"
    assert benchmark.files is not None
    assert benchmark.files.mask_values == mask_values
    assert not benchmark.files.masks_optional
    assert len(benchmark.classes) == len(values)
    for name in IDS:
        path = root / masks.format(name)
        np.testing.assert_array_equal(read_mask(path, path.read_bytes(), benchmark.files)[0], truth[name])


def test_palette_masks_are_read_by_index(tmp_path: Path) -> None:
    root = tmp_path / "data"
    truth = put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 1, 2], put=put_palette)
    benchmark = written(root, describe(root))
    assert benchmark.files is not None
    assert benchmark.files.mask_values == (0, 1, 2)
    path = root / "masks/p9.png"
    np.testing.assert_array_equal(read_mask(path, path.read_bytes(), benchmark.files)[0], truth["p9"])


def test_a_palette_of_0_and_255_is_read_by_index_too(tmp_path: Path) -> None:
    root = tmp_path / "data"
    truth = put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255], put=put_palette)
    benchmark = written(root, describe(root))
    path = root / "masks/p9.png"
    assert benchmark.files is not None
    np.testing.assert_array_equal(read_mask(path, path.read_bytes(), benchmark.files)[0], truth["p9"])


def test_a_smoothed_mask_is_parted_by_the_threshold(tmp_path: Path) -> None:
    ramp = np.repeat(np.array([0] * 40 + list(range(8, 248, 8)) + [255] * 1000, dtype=np.uint8)[None], 9, axis=0)
    for i, name in enumerate(IDS):
        put_picture(tmp_path / f"data/images/{name}.png", photo(i, (9, ramp.shape[1])))
        put_picture(tmp_path / f"data/masks/{name}.png", ramp)
    benchmark = written(tmp_path / "data", describe(tmp_path / "data"))
    assert benchmark.classes == ("background", "foreground")
    assert benchmark.files is not None
    assert benchmark.files.mask_values is None


def discs(index: int, *values: int, width: int = 20) -> np.ndarray:
    """Discs in each other (96, 96), each `width` pixels smaller than the one around it."""
    y, x = np.mgrid[:96, :96]
    distance, pixels = np.hypot(y - 46 - index, x - 49), np.zeros((96, 96), np.uint8)
    for place, value in enumerate(values):
        pixels[distance < 42 - place * width] = value
    return pixels


def halved(pixels: np.ndarray) -> np.ndarray:
    """The mean of each square of four pixels, or each cube of eight voxels."""
    return np.rint(block_reduce(pixels.astype(float), 2, np.mean)).astype(pixels.dtype)


def lines(index: int, *values: int) -> np.ndarray:
    """Curves (96, 96) of one pixel that cross, as vessels do."""
    pixels, along = np.zeros((96, 96), np.uint8), np.arange(96)
    for place, value in enumerate(values):
        pixels[along, (40 + 10 * place + index + 30 * np.sin(along / 20 + place)).astype(int)] = value
    return pixels


def init_of(root: Path, masks: Sequence[np.ndarray], mode: str | None = None) -> tuple[str, Benchmark]:
    """The card of images with these masks."""
    for i, mask in enumerate(masks):
        put_picture(root / f"images/{i}.png", photo(i, mask.shape[:2]))
        put_picture(root / f"masks/{i}.png", mask)
        if mode is not None:
            Image.fromarray(mask).convert(mode).save(root / f"masks/{i}.png")
    text = describe(root)
    return text, written(root, text)


@pytest.mark.parametrize("mode", [None, "RGB", "P"])
def test_smoothed_edges_are_no_classes(tmp_path: Path, mode: str | None) -> None:
    truth = [discs(i, 255) for i in range(4)]
    text, benchmark = init_of(tmp_path / "data", [halved(one) for one in truth], mode)
    assert "# Only along borders: 64, 128, 191. The threshold of 127 takes them for smoothed edges.\n" in text
    assert benchmark.files is not None
    assert (benchmark.classes, benchmark.files.mask_values) == (("background", "foreground"), None)
    for i, one in enumerate(truth):
        path = tmp_path / f"data/masks/{i}.png"
        found, _ = read_mask(path, path.read_bytes(), benchmark.files)
        np.testing.assert_array_equal(found, halved(one) > 127)


def test_a_mask_of_smoothed_edges_alone_is_empty(tmp_path: Path) -> None:
    dot = np.zeros((96, 96), np.uint8)
    dot[50, 30] = 255  # a quarter of a pixel
    root = tmp_path / "data"
    _, benchmark = init_of(root, [halved(one) for one in (dot, discs(1, 255), discs(2, 255))])
    assert benchmark.files is not None
    assert benchmark.files.mask_values == ((0, 64), (255, 191, 128))
    masks = [case.mask for case, _ in find_source(benchmark, root, False).decoded()]
    np.testing.assert_array_equal(masks, [halved(one) > 127 for one in (dot, discs(1, 255), discs(2, 255))])


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ([discs(i, 128, 255) for i in range(4)], None),  # an optic disc and its cup
        ([discs(i, 128, 200, 255, width=4) for i in range(4)], None),
        ([np.maximum(discs(i, 255) * (i > 1), lines(i, 128)) for i in range(4)], None),  # vessels beside the disc
        ([lines(i, 85, 170, 255) for i in range(4)], None),  # arteries, veins and both
        ([discs(i, 128, 255, width=1) for i in range(4)], "128"),  # outlines of one pixel, or edges
        ([halved(discs(i, 128, 255)) for i in range(4)], "32, 64, 96, 160, 192 and 1 more"),
    ],
)
def test_thin_classes_stay_classes(tmp_path: Path, masks: list[np.ndarray], said: str | None) -> None:
    text, benchmark = init_of(tmp_path / "data", masks)
    assert benchmark.files is not None
    assert benchmark.files.mask_values == tuple(np.unique(masks).tolist())
    comment = f"# Only along borders: {said}. If these are smoothed edges, merge each with a class beside it.\n"
    assert (comment in text) == (said is not None)
    assert ("Only along borders" in text) == (said is not None)


def test_smoothed_edges_between_colours_are_named(tmp_path: Path) -> None:
    red = [np.stack([halved(discs(i, 255)), *[np.zeros((48, 48), np.uint8)] * 2], axis=2) for i in range(4)]
    text, benchmark = init_of(tmp_path / "data", red)
    assert benchmark.files is not None
    assert benchmark.files.mask_colors == ("#000000", "#400000", "#800000", "#bf0000", "#ff0000")
    assert "# Only along borders: #400000, #800000, #bf0000. If" in text


def test_smoothed_edges_of_voxels_and_arrays_are_merged(tmp_path: Path) -> None:
    truth = [halved(np.repeat(discs(i, 255)[..., None], 20, 2) * (np.arange(20) % 19 > 4)) for i in range(4)]
    for i, voxels in enumerate(truth):
        put_volume(tmp_path / f"volumes/images/{i}.nii.gz", scan(i, voxels.shape))
        put_volume(tmp_path / f"volumes/masks/{i}.nii.gz", voxels)
        (tmp_path / "arrays").mkdir(exist_ok=True)
        np.savez(
            tmp_path / f"arrays/{i}.npz",
            image=photo(i, voxels.shape[:2])[..., 0],
            label=voxels[..., 5].astype(np.float16),
        )
    for kind, low, high in (("volumes", (0, 32, 64, 96), (255, 191, 128)), ("arrays", (0, 64), (255, 191, 128))):
        text = describe(tmp_path / kind)
        assert "mask_values takes them for smoothed edges" in text
        benchmark = written(tmp_path / kind, text)
        layout = benchmark.files or benchmark.volumes[0]
        assert (benchmark.classes, layout.mask_values) == (("background", "foreground"), (low, high))
        for (case, _), voxels in zip(find_source(benchmark, tmp_path / kind, False).decoded(), truth, strict=True):
            labels = voxels if kind == "volumes" else voxels[..., 5]
            np.testing.assert_array_equal(case.mask, labels > 127)


def test_a_negative_value_may_be_an_unknown_class(tmp_path: Path) -> None:
    for i in range(4):
        put_volume(tmp_path / f"data/images/{i}.nii.gz", scan(i))
        put_volume(tmp_path / f"data/masks/{i}.nii.gz", classes_of(i, (8, 20, 6), 3).astype(np.int16) - 1)
    text = describe(tmp_path / "data")
    assert "# -1 may stand for an unknown class: then give ignore = -1 instead.\n" in text
    assert written(tmp_path / "data", text).volumes[0].mask_values == (0, -1, 1)


@pytest.mark.parametrize(
    ("images", "masks", "values", "mask_values"),
    [
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz", [0, 1, 2], None),  # nnU-Net's
        ("imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz", [0, 1], None),
        ("{}/image.nii.gz", "{}/label.nii.gz", [0, 1, 2, 4], (0, 1, 2, 4)),
        ("scans/{}/anat/t1.nii", "scans/{}/anat/x.nii", [0, 255], (0, 255)),  # told by their values alone
        ("{}_img.nii", "{}_gt.nii", [0, 1], None),
        ("v/{}.nii.gz", "v/{}_seg.nii.gz", [0, 1], None),
        ("Training Set/{}/lgemri.nrrd", "Training Set/{}/laendo.nrrd", [0, 255], (0, 255)),
        ("images/{}.mha", "masks/{}.mha", [0, 1, 2], None),
        ("images [1]/{}.nii.gz", "masks/{}.nii.gz", [0, 1], None),
        ("{0}/{0}_image.nii.gz", "{0}/{0}_label.nii.gz", [0, 1], None),
    ],
)
def test_volumes_are_found_and_decoded(
    tmp_path: Path, images: str, masks: str, values: list[int], mask_values: tuple[int, ...] | None
) -> None:
    root = tmp_path / "data"
    truth = put_volumes(root, images, masks, IDS, values)
    benchmark = written(root, describe(root))
    layout, cases = list_volumes(benchmark, root)
    assert cases == expected(root, images, masks, IDS)
    assert (benchmark.dimensions, benchmark.cases) == (3, 6)
    assert benchmark.metrics == ("dsc", "jaccard", "95hd", "asd")
    assert benchmark.distance_unit == "mm"
    assert (layout.mask_values, layout.intensity) == (mask_values, "zscore")
    for case in cases:
        np.testing.assert_array_equal(read_case(case, layout, len(benchmark.classes)).mask, truth[case.id])


@pytest.mark.parametrize("ids", [["a", "b"], ["seg1", "seg2"]])
def test_two_cases_are_enough(tmp_path: Path, ids: list[str]) -> None:
    for layout in (("imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz"), ("{}/image.nii.gz", "{}/label.nii.gz")):
        root = tmp_path / layout[0][:2] / "data"
        put_volumes(root, *layout, ids, [0, 1])
        benchmark = written(root, describe(root))
        assert cases_of(benchmark, root) == expected(root, *layout, ids)
        assert (benchmark.splits["random"].test, benchmark.labeled) == (1, ("1",))


@pytest.mark.parametrize(("mean", "deviation", "intensity"), [(0, 1, "as-is"), (0.4, 1, "zscore"), (0, 1.2, "zscore")])
def test_hdf5_is_taken_as_it_is_where_it_is_normalised(
    tmp_path: Path, mean: float, deviation: float, intensity: str
) -> None:
    root = tmp_path / "data"
    truth = {name: classes_of(i, (8, 20, 6), 3) for i, name in enumerate(IDS)}
    for i, name in enumerate(IDS):
        image = (scan(i) - scan(i).mean()) / scan(i).std()
        put_hdf5(root / "2018LA Set" / name / "mri_norm2.h5", image * deviation + mean, truth[name])
    benchmark = written(root, describe(root))
    layout, cases = list_volumes(benchmark, root)
    assert cases == expected(root, "2018LA Set/{}/mri_norm2.h5", "2018LA Set/{}/mri_norm2.h5", IDS)
    assert layout.intensity == intensity
    assert benchmark.distance_unit == "voxel"
    assert benchmark.classes == ("background", "class1", "class2")
    np.testing.assert_array_equal(read_case(cases[0], layout, 3).mask, truth["p1_9"])


def test_hdf5_slices_beside_the_volumes_are_not_taken_for_them(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i, name in enumerate(IDS):
        put_hdf5(root / f"{name}.h5", scan(i), classes_of(i, (8, 20, 6), 2))
        for z in range(2):
            put_hdf5(root / f"slices/{name}_slice_{z}.h5", scan(i)[..., z], classes_of(i, (8, 20), 2))
    text = describe(root)
    assert cases_of(written(root, text), root) == expected(root, "{}.h5", "{}.h5", IDS)
    assert '# Not used: 12 other files, such as "slices/' in text


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("place", ["masks/{}", "images/{}_mask"])
def test_cases_without_a_mask_are_unlabelled(tmp_path: Path, dimensions: int, place: str) -> None:
    root = tmp_path / "data"
    put, suffix = (put_pictures, ".png") if dimensions == 2 else (put_volumes, ".nii.gz")
    put(root, f"images/{{}}{suffix}", f"{place}{suffix}", IDS, [0, 255], masked=4)
    text = describe(root)
    benchmark = written(root, text)
    assert cases_of(benchmark, root) == expected(root, f"images/{{}}{suffix}", f"{place}{suffix}", IDS, masked=4)
    assert (benchmark.files or benchmark.volumes[0]).masks_optional
    assert "2 of 6 have no mask" in text
    assert "Found 6 " in text
    assert "and 4 masks" in text


def test_masks_whose_id_is_no_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    (root / "masks" / "p9.png").rename(root / "masks" / "P9.png")
    assert '# Not used: 1 mask whose id is no image\'s, such as "masks/P9.png".' in describe(root)


@pytest.mark.parametrize(
    ("images", "masked", "labeled"),
    [
        (40, 40, ["10%", "20%"]),
        (13, 13, ["10%", "20%"]),  # 10 % of 11 is 1
        (12, 12, ["10%", "20%"]),  # 10 % of 10 is 1
        (11, 11, ["1"]),  # 10 % of 9 is none
        (4, 4, ["1"]),
        (30, 5, ["2", "4"]),  # 29 train, 4 of them with a mask: 20 % would be 5
        (60, 5, ["4"]),
    ],
)
def test_the_labelled_shares_can_be_drawn(tmp_path: Path, images: int, masked: int, labeled: list[str]) -> None:
    ids = [f"{number:02d}" for number in range(images)]
    put_pictures(tmp_path / "data", "images/{}.png", "masks/{}.png", ids, [0, 255], masked)
    benchmark = written(tmp_path / "data", describe(tmp_path / "data"))
    assert benchmark.labeled == tuple(labeled)
    split, with_mask = benchmark.splits["random"], set(ids[:masked])
    train, test = split_cases(split, ids, ids, masked=with_mask)
    for share in labeled:
        number = share_of(share, len(train), "labeled")
        drawn = draw_labeled(train, test, number, 1, masked=with_mask, first=False)
        assert 1 <= len(drawn.labeled) <= masked - len(test)


def put_split(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("id", "part")) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def test_a_split_file_is_the_default_split(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    put_split(root / "split.csv", [(name, "train" if i < 4 else "test") for i, name in enumerate(IDS)])
    benchmark = written(root, describe(root))
    assert list(benchmark.splits) == ["file", "random"]
    assert benchmark.splits["file"].file == str(root / "split.csv")
    assert split_cases(benchmark.splits["file"], IDS, IDS, masked=set(IDS)) == (IDS[:4], IDS[4:])
    assert benchmark.labeled == ("1",)  # of the file's 4


def test_a_split_file_of_other_columns_is_said_not_to_be_used(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    put_split(root / "split.csv", [("p9", "train")], ("case", "fold"))
    text = describe(root)
    assert list(written(root, text).splits) == ["random"]
    assert "# Not used: split.csv" in text


def test_odd_names_come_back(tmp_path: Path) -> None:
    root = tmp_path / 'Ma "données" \\ 😀\n2'
    ids = ["a 'b'", 'c "d" (1)', "é😀", "tab\there", "x{id}[y]"]
    images, masks = "my 'Bilder'/{}.png", 'the "Masken" ü/{}_m #1.png'
    put_pictures(root, images, masks, ids, [0, 7])
    put_picture(root / 'other\n"x".png', photo(99))
    benchmark = written(root, describe(root))
    assert benchmark.title == root.name
    assert benchmark.name == "ma-donnees-2"
    found = {case.id: case for case in cases_of(benchmark, root)}
    assert found == {case.id: case for case in expected(root, images, masks, ids)}


def test_odd_names_of_volumes_come_back(tmp_path: Path) -> None:
    root = tmp_path / "data"
    ids = ["a 'b'", 'c "d" (1)', "é😀", "x{id}[y]"]
    images, masks = '"scans" ü\\/{}/image #1.nii', '"scans" ü\\/{}/labels.nii'
    put_volumes(root, images, masks, ids, [0, 1])
    found = {case.id: case for case in cases_of(written(root, describe(root)), root)}
    assert found == {case.id: case for case in expected(root, images, masks, ids)}


def test_what_is_hidden_is_not_seen_and_what_is_over_is_said(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_volumes(root, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz", IDS, [0, 1])
    for name in (".hidden/a.png", "__MACOSX/b.png", "imagesTr/._c.png"):
        put_picture(root / name, photo(0))
    for i in range(3):
        put_volume(root / f"imagesTs/{i}_0000.nii.gz", scan(i))
    (root / "labelsTr/again").symlink_to(root)
    text = describe(root)
    assert cases_of(written(root, text), root) == expected(root, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz", IDS)
    assert '# Not used: 3 other files, such as "imagesTs/0_0000.nii.gz".' in text


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    put_pictures(tmp_path / "disk", "i/{}.png", "m/{}.png", IDS, [0, 255])
    root = tmp_path / "data"
    root.mkdir()
    (root / "images").symlink_to(tmp_path / "disk/i")
    (root / "masks").symlink_to(tmp_path / "disk/m")
    assert cases_of(written(root, describe(root)), root) == expected(root, "images/{}.png", "masks/{}.png", IDS)


def test_names_settle_what_values_do_not(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i, name in enumerate(IDS):  # drawings of two colours, and masks
        put_picture(root / f"aa/{name}.png", 255 - 255 * classes_of(i, (24, 20), 2))
        put_picture(root / f"zz_truth/{name}.png", 255 * classes_of(i, (24, 20), 2))
    assert cases_of(written(root, describe(root)), root) == expected(root, "aa/{}.png", "zz_truth/{}.png", IDS)


def test_the_name_may_be_given_and_what_must_be_filled_in_is_said(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    text = describe(root, "My Polyps")
    benchmark = written(root, text)
    assert (benchmark.name, benchmark.title, benchmark.protocol) == ("my-polyps", "data", "paper")
    assert (benchmark.source, benchmark.license, benchmark.citation) == ("unknown", "unknown", "unknown")
    assert re.search(r'^source = "unknown"  # fill in', text, re.MULTILINE)
    assert re.search(r"^classes = .*  # .*edit", text, re.MULTILINE)


def test_every_mask_is_read_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    ids = [f"{number:02d}" for number in range(20)]
    put_pictures(root, "images/{}.png", "masks/{}.png", ids, [0, 1, 2])
    put_picture(root / "masks/13.png", np.full((24, 20), 9, dtype=np.uint8))  # a class that no other case has
    calls: list[tuple[int, int]] = []
    benchmark = written(root, describe(root, advance=lambda done, total: calls.append((done, total))))
    assert benchmark.files is not None
    assert benchmark.files.mask_values == (0, 1, 2, 9)
    assert calls == [(number, 20) for number in range(1, 21)]


@pytest.mark.parametrize(
    ("text", "name"),
    [("Kvasir-SEG", "kvasir-seg"), ("_Été 2020!", "ete-2020"), ("数据", "dataset"), ("a__b", "a__b"), ("-", "dataset")],
)
def test_card_names(text: str, name: str) -> None:
    assert card_name(text) == name


def empty(root: Path) -> None:
    put_split(root / "notes.csv", [])


def mixed(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    put_volume(root / "a.nii.gz", scan(0))


def images_alone(root: Path) -> None:
    for i, name in enumerate(IDS):
        put_picture(root / f"images/{name}.png", photo(i))


def scans_alone(root: Path) -> None:
    for i, name in enumerate(IDS):
        put_volume(root / f"images/{name}.nii.gz", scan(i))


def two_images(root: Path) -> None:
    put_volumes(root, "imagesTr/{}_a.nii.gz", "labelsTr/{}.nii.gz", IDS, [0, 1])
    put_volumes(root, "imagesTr/{}_b.nii.gz", "labelsTr/{}.nii.gz", IDS, [0, 1])


def a_channel_missing(root: Path) -> None:
    for channel in ("flair", "t1", "t2"):
        put_volumes(root, f"{{0}}/{{0}}_{channel}.nii.gz", "{0}/{0}_seg.nii.gz", IDS, [0, 1])
    (root / "p9/p9_t2.nii.gz").unlink()


def a_label_beside(root: Path) -> None:
    put_pictures(root, "{}.png", "{}_mask.png", IDS, [0, 255])
    put_picture(root / "p9_label.png", 255 * classes_of(0, (24, 20), 2))


def empty_masks(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0])


def cut_outs(root: Path) -> None:
    put_pictures(root, "images/{}.png", "x/{}.png", IDS, [0], masked=0)
    for i, name in enumerate(IDS):
        put_picture(root / f"segmented/{name}.png", photo(10 + i))


def jpeg_of_three_classes(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.jpg", IDS, [0, 120, 255])


def sixteen_bits(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 1])
    put_picture(root / "masks/p9.png", np.full((24, 20), 1, dtype=np.uint16))


def sixteen_bit_images(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    for i, name in enumerate(IDS):
        put_picture(root / f"images/{name}.png", photo(i)[..., 0].astype(np.uint16) * 16)


def a_mask_for_each_class(root: Path) -> None:
    for kind in ("disc", "cup"):
        put_pictures(root, "images/{}.png", kind + "/{}.png", IDS, [0, 255])


def one_of_eight_bits(root: Path) -> None:
    sixteen_bit_images(root)
    put_picture(root / "images/p9.png", photo(0)[..., 0])


def broken_masks(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    for name in IDS[2:]:
        (root / f"masks/{name}.png").write_bytes(b"no picture")


def a_drawing_in_alpha(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255], put=put_alpha)


def half_transparent(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255], put=partial(put_alpha, alpha=128))


def fractions(root: Path) -> None:
    put_volumes(root, "images/{}.nii.gz", "masks/{}.nii.gz", IDS, [0, 1])
    for name in IDS:
        put_volume(root / f"masks/{name}.nii.gz", np.linspace(0, 1, 960).reshape(8, 20, 6).astype(np.float32))


def one_mask_of_a_pair(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255], masked=1)


def a_label_missing(root: Path) -> None:
    for i, name in enumerate(IDS):
        put_hdf5(root / f"{name}.h5", scan(i), classes_of(i, (8, 20, 6), 2) if i < 5 else None)


def no_label_at_all(root: Path) -> None:
    for i, name in enumerate(IDS):
        put_hdf5(root / f"{name}.h5", scan(i), None)


def two_hdf5_for_each_case(root: Path) -> None:
    for i, name in enumerate(IDS):
        for kind in ("mri", "ct"):
            put_hdf5(root / name / f"{kind}.h5", scan(i), classes_of(i, (8, 20, 6), 2))


def one_hdf5(root: Path) -> None:
    put_hdf5(root / "a.h5", scan(0), classes_of(0, (8, 20, 6), 2))


def a_split_of_others(root: Path) -> None:
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    put_split(root / "split.csv", [("someone", "train"), ("p9", "test")])


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (empty, ["{root}: no images or volumes", ".png", ".nii.gz", ".h5"]),
        (mixed, ["one kind", "2D images and volumes", "12 .png", "1 .nii.gz"]),
        (images_alone, ["no masks found; looked for", '"images/{id}" (6 files)', "a card needs two or more images"]),
        (scans_alone, ["no masks found; looked for", '"images/{id}.nii.gz" (6 files)', "a card needs two or more"]),
        (two_images, ["several pairs", "imagesTr/{id}_a.nii.gz", "imagesTr/{id}_b.nii.gz", "labelsTr/{id}."]),
        (a_mask_for_each_class, ["several pairs", 'masks "cup/{id}"', 'masks "disc/{id}"', "merge them to one mask"]),
        (a_channel_missing, ["{root}/p9/p9_flair.nii.gz", "expected 3 channels of case 'p9', found 2"]),
        (a_label_beside, ["{root}/p9_label.png", "looks like a mask without an image"]),
        (empty_masks, ["two or more values, found 0"]),
        (cut_outs, ["{root}/segmented", "at most 20 grey levels"]),
        (jpeg_of_three_classes, ["{root}/masks", "JPEG"]),
        (sixteen_bits, ["{root}/masks/p9.png: expected 8 bits as in the first mask, found more"]),
        (one_of_eight_bits, ["{root}/images/p9.png: expected more than 8 bits", "found 8"]),
        (broken_masks, ["{root}/masks/p", "not a readable image", "only 2 of 6 cases can be read"]),
        (a_drawing_in_alpha, ["{root}/masks/p", "one colour whose alpha channel is the drawing"]),
        (half_transparent, ["{root}/masks/p", "alpha = 128 in all pixels; save it without its alpha channel"]),
        (fractions, ["{root}/masks/p1_9.nii.gz", "whole numbers"]),
        (one_mask_of_a_pair, ["cannot tell", '"images/{id}" (6 files)']),
        (a_label_missing, ["{root}/p9.h5", "label"]),
        (no_label_at_all, ["{root}/p1_10.h5", "label"]),
        (two_hdf5_for_each_case, ["several groups", '"{id}/ct.h5" (6 files)', '"{id}/mri.h5" (6 files)']),
        (one_hdf5, ["{root}: expected two or more volumes"]),
        (a_split_of_others, ["{root}/split.csv", "training case"]),
    ],
)
def test_what_it_cannot_tell_is_one_line(tmp_path: Path, put: Callable[[Path], None], words: list[str]) -> None:
    root = tmp_path / "data"
    root.mkdir()
    put(root)
    with pytest.raises(UserError) as raised:
        describe(root)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word.replace("{root}", str(root)) in message


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        describe(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["card.toml", "card.txt"])
def test_the_command_replaces_no_file(tmp_path: Path, name: str) -> None:
    put_pictures(tmp_path / "data", "images/{}.png", "masks/{}.png", IDS, [0, 255])
    (tmp_path / "card.toml").write_text("mine")
    with pytest.raises(UserError, match=f"--output: .*{name}"):
        data_init(tmp_path / "data", tmp_path / name)
    assert [(p.name, p.read_text()) for p in tmp_path.glob("card*")] == [("card.toml", "mine")]


def test_the_command_says_what_it_would_replace(tmp_path: Path, call: Call) -> None:
    put_pictures(tmp_path / "kvasir", "images/{}.png", "masks/{}.png", IDS, [0, 255])
    words = ("data", "init", tmp_path / "kvasir", "--output", tmp_path / "mine.toml")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "\nNamed mine" not in out
    assert "Found 6 2D images" in out
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err == (
        f"error: --output: {tmp_path / 'mine.toml'} exists (the card of kvasir, 6 cases); --overwrite replaces it\n"
    )
    (tmp_path / "mine.toml").write_text("x = 1")
    assert "mine.toml exists (not a card of a data set); --overwrite" in call(*words)[2]
    assert call(*words, "--overwrite")[0] == 0
    assert load_benchmark(str(tmp_path / "mine.toml")).cases == 6
    code, out, err = call("data", "init", tmp_path / "kvasir", "--output", tmp_path / "kvasir.toml")
    assert (code, err) == (0, "")
    assert "\nNamed kvasir-own, since kvasir is a built-in data set.\n" in out
    assert load_benchmark(str(tmp_path / "kvasir.toml")).name == "kvasir-own"


def test_the_command_writes_a_card_and_says_what_comes_next(tmp_path: Path, cli: CommandLine) -> None:
    put_pictures(tmp_path / "My Data", "images/{}.png", "masks/{}.png", IDS, [0, 255], masked=5)
    done = cli("data", "init", "My Data")
    assert done.returncode == 0, done.stderr
    assert 'Found 6 2D images as "images/{id}" and 5 masks as "masks/{id}".\nMask values: 0, 255.\n' in done.stdout
    assert "  ssl-bench data check my-data.toml --data-root 'My Data'\n" in done.stdout
    run = "  ssl-bench run --methods supervised,mt --dataset my-data.toml --data-root 'My Data' --protocol mini\n"
    assert run in done.stdout
    card = tmp_path / "my-data.toml"
    assert load_benchmark(str(card)).cases == 6


def test_errors_about_files_that_are_gone_say_what_ones_own_card_can_change(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_pictures(root, "images/{}.png", "masks/{}.png", IDS, [0, 255])
    data_init(root, tmp_path / "mine.toml")
    benchmark = load_benchmark(str(tmp_path / "mine.toml"))
    (root / "masks/p9.png").unlink()
    with pytest.raises(UserError, match=r"masks/p9\.\* is missing; masks_optional = true on the card takes"):
        find_source(benchmark, root, allow_partial=True)
    (root / "images/p9.png").unlink()
    with pytest.raises(UserError, match=r"found 5; --allow-partial accepts these, and so does cases = 5 on the card"):
        find_source(benchmark, root, allow_partial=False)

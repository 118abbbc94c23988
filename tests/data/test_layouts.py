"""Known data sets as they are downloaded: `data init` finds all their cases, which train and predict without a copy."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import layouts
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import Call
from layouts import LAYOUTS, Truth, photo, picture, volume
from PIL import Image

from ssl_bench.cards import Benchmark, load_benchmark
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.leaks import sides_of
from ssl_bench.data.sources import find_source
from ssl_bench.errors import UserError
from ssl_bench.store import Store

NEW = {  # a file that `predict` reads, and the fields of the card that matter
    "acdc": ("testing/patient101/patient101_frame01.nii.gz", {"group": "{group}_frame*"}),
    "busi": ("Dataset_BUSI_with_GT/benign/benign (4).png", {}),
    "drive": ("test/images/01_test.tif", {}),
    "chase": ("Image_01L.jpg", {"group": "Image_{group}[LR]"}),
    "nnunet": ("imagesTs/liver_006_0000.nii.gz", {"classes": ("background", "liver", "tumour"), "title": "Livers"}),
    "msd": ("imagesTs/hippocampus_006.nii.gz", {"classes": ("background", "Anterior", "Posterior")}),
    "glas": ("testA_1.bmp", {}),
    "polypgen": ("data_C2/images_C2/102OLCV1_100H0002.jpg", {}),
}
PARTS = {"acdc": ("training/", "testing/"), "drive": ("training/", "test/"), "glas": ("train_", "test")}


def put(root: Path, name: str) -> Truth:
    root.mkdir()
    return LAYOUTS[name](root)


def card_of(root: Path) -> Benchmark:
    path = root.parent / "card.toml"
    path.write_text(describe(root), encoding="utf-8")
    return load_benchmark(str(path))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_case_is_found_with_its_mask(tmp_path: Path, name: str) -> None:
    truth = put(tmp_path / "data", name)
    benchmark = card_of(tmp_path / "data")
    found = {case.id: case.mask for case, _ in find_source(benchmark, tmp_path / "data", False).decoded()}
    assert found.keys() == truth.keys()
    for case, mask in truth.items():
        assert np.array_equal(found[case], mask), case
    assert {field: getattr(benchmark, field) for field in NEW[name][1]} == NEW[name][1]
    report = check(benchmark, tmp_path / "data")
    assert (report.cases, [finding for finding in report.findings if finding.level == "error"]) == (len(truth), [])
    train, test = sides_of(benchmark, list(truth), list(truth), set(truth))[next(iter(benchmark.splits))]
    if name in PARTS:
        assert next(iter(benchmark.splits)) == "parts"
        assert train == {case for case in truth if case.startswith(PARTS[name][0])}
        assert test == {case for case in truth if case.startswith(PARTS[name][1])}
        assert train | test == set(truth)
    else:
        assert list(benchmark.splits) == ["random"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_trains_reports_and_predicts(tmp_path: Path, call: Call, name: str) -> None:
    put(tmp_path / "data", name)
    new = tmp_path / "data" / NEW[name][0]
    code, _, err = call("data", "init", "data", "--output", "mine.toml")
    assert code == 0, err
    code, out, err = call("data", "check", "mine.toml", "--data-root", "data")
    assert code == 0, out + err
    words = ["--iterations", "2", "--labeled", "2", "--device", "cpu", "--protocol", "tiny", "--data-root", "data"]
    words += ["--set", "stride=[16,16,16]"] if new.name.endswith(".nii.gz") else []
    code, out, err = call("run", "--methods", "mt", "--dataset", "mine.toml", *words)
    assert code == 0, err
    (run,) = Store(Path("results")).runs()
    (command,) = re.findall(r"^A table of these runs: (ssl-bench report .*)$", out, re.MULTILINE)
    code, table, err = call(*shlex.split(command)[1:], "--format", "csv")
    assert code == 0, err
    (shown,) = [row for row in csv.reader(table.splitlines()) if row[:1] == ["MT"]]
    cases = pd.read_csv(next(run.path.glob("cases-*.csv")), dtype={"case": str})
    cases = cases[cases["network"] == run.result["predictor"]]
    assert set(cases["case"]) == set(json.loads((run.path / "splits.json").read_text())["test"])
    expected = 100 * cases.groupby("class")["dsc"].mean().mean()
    assert f"{expected:.2f}" in " ".join(shown)
    code, _, err = call("predict", run.path, new, "--output", "masks", "--device", "cpu")
    assert code == 0, err
    (written,) = Path("masks").iterdir()
    if new.name.endswith(".nii.gz"):
        mask, image = nib.load(written), nib.load(new)
        assert np.allclose(mask.affine, image.affine)
        assert mask.shape == image.shape
        assert set(np.unique(mask.dataobj)) <= set(run.spec.label_values)
    else:
        with Image.open(written) as mask, Image.open(new) as image:
            assert mask.size == image.size
            assert set(np.unique(np.asarray(mask))) <= set(run.spec.label_values)


def test_what_is_beside_the_masks_is_said(tmp_path: Path) -> None:
    said = {
        "acdc": ["Not used: 5 files such as patient101_4d.nii.gz, of another number of axes", 'train = ["training/*"]'],
        "busi": ["Several masks of an image are united: 1 image, such as benign (4)"],
        "chase": ['Not used: "{id}_2ndHO", which fit the images, too'],
        "glas": ["The masks number objects, up to 11 of one image: any value above 0 is the foreground"],
        "msd": ["Not used: the 1 file of imagesTs", 'images = "images*/{id}.nii.gz"'],
    }
    for name, lines in said.items():
        put(tmp_path / name, name)
        comment = describe(tmp_path / name).partition("\n\n")[0]
        assert [line for line in lines if line not in comment] == []
        assert "._" not in comment


def test_drive_without_masks_of_its_test_images(tmp_path: Path) -> None:
    """The fields of view, which all images have, are no masks."""
    truth = layouts.drive(tmp_path / "data", tested=False)
    benchmark = card_of(tmp_path / "data")
    assert benchmark.files is not None
    assert benchmark.files.masks == "training/1st_manual/{id}_manual1"
    found = {case.id: case.mask.tolist() for case, _ in find_source(benchmark, tmp_path / "data", False).decoded()}
    assert found == {name: mask.tolist() for name, mask in truth.items()}


def test_several_channels_by_dataset_json(tmp_path: Path) -> None:
    truth = layouts.nnunet(tmp_path / "a" / "data", ("CT", "T1"))
    benchmark = card_of(tmp_path / "a" / "data")
    assert benchmark.channels == ("0000", "0001")
    for case, _ in find_source(benchmark, tmp_path / "a" / "data", False).decoded():
        number = int(case.id[-3:])
        for channel in (0, 1):
            voxels = layouts.canonical(layouts.scan(10 * number + channel)).astype(np.float64)
            assert np.allclose(case.image[channel], (voxels - voxels.mean()) / voxels.std(), atol=1e-5)
        assert np.array_equal(case.mask, truth[case.id])
    layouts.msd(tmp_path / "b" / "data", channels=2)
    benchmark = card_of(tmp_path / "b" / "data")
    assert (benchmark.channels, benchmark.license, benchmark.source) == (2, "CC-BY-SA 4.0", "Vanderbilt University")
    for case, _ in find_source(benchmark, tmp_path / "b" / "data", False).decoded():
        voxels = layouts.scan(int(case.id[-3:]), 2)[::-1, ::-1].astype(np.float64)
        for channel in (0, 1):
            own = voxels[..., channel]
            assert np.allclose(case.image[channel], (own - own.mean()) / own.std(), atol=1e-5)


def test_test_images_are_unlabelled_if_the_card_asks(tmp_path: Path) -> None:
    layouts.msd(tmp_path / "data")
    text = describe(tmp_path / "data")
    text = text.replace('images = "imagesTr/', 'masks_optional = true\nimages = "images*/').replace(
        "cases = 5", "cases = 6"
    )
    (tmp_path / "card.toml").write_text(text)
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    masked = {case.id: case.mask is not None for case, _ in find_source(benchmark, tmp_path / "data", False).decoded()}
    assert masked == {f"hippocampus_{number:03d}": number < 6 for number in range(1, 7)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, r"'whole' is a region of several values, \[1, 2\]"),
        (
            {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}},
            r'classes = \["background", "whole"\] and mask_values = \[0, \[1, 2, 3\]\] and ignore = 4 on the card$',
        ),
        (
            {"labels": {"background": 0, "core": [2], "whole": [1, 2]}},
            r'put classes = \["background", "core"\] and mask_values = \[\[0, 1\], 2\] on the card$',
        ),
        ({"labels": {"background": 0, "liver": 1}}, r"dataset.json: labels: names the values 0, 1; the masks have 2"),
        ({"labels": {"liver": 1, "tumour": 2}}, r"labels: expected two or more classes of different values from 0"),
        ({"labels": {"background": 0, "liver": "x"}}, r"labels: expected a whole number for 'liver', found 'x'"),
        ({"labels": {"background": 0, "ignore": 2}}, r"labels: expected two or more classes of different values"),
        ({"channel_names": {"CT": "0"}}, r"dataset.json: expected the channels 0, 1, ..., found CT"),
        ({"file_ending": ".dcm"}, r"file_ending: expected one of .*; found '.dcm'"),
    ],
)
def test_a_dataset_json_that_a_card_cannot_say_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    layouts.nnunet(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        describe(tmp_path)


@pytest.mark.parametrize(
    ("folders", "parts", "said"),
    [
        (("train", "val", "test"), {"train": ("train/*",), "test": ("test/*",)}, '"val/*" is left out'),
        (("Training", "Validation"), {"train": ("Training/*",), "test": ("Validation/*",)}, "No part is named test"),
        (("a", "b"), None, None),
    ],
)
def test_folders_with_the_same_names_are_the_split(
    tmp_path: Path, folders: tuple[str, ...], parts: dict[str, tuple[str, ...]] | None, said: str | None
) -> None:
    root, truth = tmp_path / "data", Truth()
    for seed, (folder, number) in enumerate(itertools.product(folders, "1234")):
        layouts.picture(root / folder / "images" / f"{number}.png", layouts.photo(seed))
        layouts.picture(root / folder / "masks" / f"{number}.png", 255 * layouts.box(seed))
        truth[f"{folder}/{number}"] = layouts.box(seed)
    benchmark = card_of(root)
    found = {case.id: case.mask.tolist() for case, _ in find_source(benchmark, root, False).decoded()}
    assert found == {name: mask.tolist() for name, mask in truth.items()}
    assert benchmark.splits["parts"].parts == parts if parts else "parts" not in benchmark.splits
    assert said is None or said in describe(root)
    assert check(benchmark, root).errors == 0


def test_numbered_objects_with_a_palette_are_one_class(tmp_path: Path) -> None:
    truth = layouts.glas(tmp_path / "data")
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    for path in (tmp_path / "data").glob("*_anno.bmp"):
        mask = Image.fromarray(np.asarray(Image.open(path)), mode="P")
        mask.putpalette(palette)
        mask.save(path)
    benchmark = card_of(tmp_path / "data")
    assert benchmark.files is not None
    assert benchmark.files.mask_values == (0, tuple(range(1, 12)))
    found = {case.id: case.mask.tolist() for case, _ in find_source(benchmark, tmp_path / "data", False).decoded()}
    assert found == {name: mask.tolist() for name, mask in truth.items()}


def test_classes_that_images_have_a_part_of_are_no_objects(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(8):
        mask = np.zeros((32, 32), np.uint8)
        for value in range(1, 2 + number % 4):
            mask[2:12, 7 * value - 5 : 7 * value] = value
        layouts.picture(root / "images" / f"{number}.png", layouts.photo(number))
        layouts.picture(root / "masks" / f"{number}.png", mask)
    assert "mask_values = [0, 1, 2, 3, 4]" in describe(root)


# ------------------------------------------------------------------------------------------- what stands beside images


@pytest.mark.parametrize(("fits", "way"), [("turned", "apply"), ("stored", "ignore"), ("both", None)])
def test_sizes_of_masks_say_how_an_exif_orientation_is_meant(tmp_path: Path, fits: str, way: str | None) -> None:
    root = tmp_path / "data"
    exif = Image.Exif()
    exif[274] = 6  # viewers turn it by a quarter
    height, width = (32, 32) if fits == "both" else (20, 32)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((width, height) if fits == "turned" else (height, width), np.uint8)
        mask[3:9, 4 : 10 + number] = 255
        layouts.picture(
            root / "images" / f"{number}.jpg", pixels, quality=95, exif=exif if number % 2 else Image.Exif()
        )
        shown = mask if number % 2 else np.resize(mask, (height, width))
        layouts.picture(root / "masks" / f"{number}.png", shown)
    text = describe(root)
    benchmark = card_of(root)
    assert benchmark.files is not None
    assert "# 3 of 6 images, such as 1.jpg, have an EXIF orientation." in text
    assert benchmark.files.exif_orientation == (way or "refuse")
    assert bool(check(benchmark, root).errors) == (way is None)


def test_masks_that_are_there_twice_and_formats_that_are_not_read(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(5):
        layouts.picture(root / "images" / f"{number}.png", layouts.photo(number))
        for suffix in (".bmp", ".jpg"):
            layouts.picture(root / "masks" / f"{number}{suffix}", 255 * layouts.box(number))
    (root / "a.webp").touch()
    (root / "b.dcm").touch()
    text = describe(root)
    assert 'mask_suffixes = [".bmp"]' in text
    assert "masks/{id} is there as .bmp, .jpg; mask_suffixes chooses .bmp" in text
    assert "# Not read, in formats that are not supported: 1 .dcm, 1 .webp." in text
    found = [case.mask.tolist() for case, _ in find_source(card_of(root), root, False).decoded()]
    assert found == [layouts.box(number).tolist() for number in range(5)]


def test_a_folder_of_other_formats_names_them(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"no images or volumes found; looked for .*; found 2 .dcm, 1 .txt"):
        describe(tmp_path)


def test_nnunets_ignore_label_is_ignored(tmp_path: Path) -> None:
    layouts.nnunet(tmp_path / "data")
    path = tmp_path / "data/dataset.json"
    labels = {"background": 0, "liver": 1, "ignore": 2}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels}))
    (tmp_path / "card.toml").write_text(describe(tmp_path / "data"))
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    assert benchmark.classes == ("background", "liver")
    assert [layout.ignore for layout in benchmark.volumes] == [2]


def draw(folder: Path, masks: list[list[int]], suffix: str) -> Path:
    """Images with masks of these values, one each beside the background."""
    for number, values in enumerate(masks):
        mask = np.zeros((16, 16), np.uint8)
        for place, value in enumerate(values):
            mask[3 * place : 3 * place + 3, :8] = value
        if suffix == ".png":
            picture(folder / f"images/c{number}.png", photo(number)[:16, :16])
            picture(folder / f"masks/c{number}.png", mask)
        else:
            volume(folder / f"images/c{number}.nii.gz", np.repeat(photo(number)[:16, :16, :1], 4, 2).astype(np.float32))
            volume(folder / f"masks/c{number}.nii.gz", np.repeat(mask[..., None], 4, 2))
    return folder


@pytest.mark.parametrize("suffix", [".png", ".nii.gz"])
@pytest.mark.parametrize(
    ("masks", "classes", "values", "ignore"),
    [
        ([[1, 2, 255], [1], [2]], 3, (0, 1, 2), 255),
        ([[1, 255], [1], [1]], 2, (0, 1), 255),
        ([[1], [255], [1]], 2, (0, (1, 255)), None),  # one class, written in two ways
        ([[1, 2], [255], [1]], 4, (0, 1, 2, 255), None),  # a class of its own, for all that is known
        ([[1, 3, 255], [1], [3]], 4, (0, 1, 3, 255), None),
    ],
)
def test_255_beside_classes_is_proposed_as_unknown(
    masks: list[list[int]], classes: int, values: tuple[Any, ...], ignore: int | None, suffix: str, tmp_path: Path
) -> None:
    text = describe(draw(tmp_path / "data", masks, suffix))
    (tmp_path / "card.toml").write_text(text)
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    layout = benchmark.files or benchmark.volumes[0]
    found = layout.mask_values or tuple(range(len(benchmark.classes)))
    assert (len(benchmark.classes), found, layout.ignore) == (classes, values, ignore)
    assert ("255 is taken for pixels without a known class" in text) == (ignore is not None)
    numbers = [case.mask for case, _ in find_source(benchmark, tmp_path / "data", False).decoded()]
    assert all(mask is not None for mask in numbers)


def test_a_case_that_lacks_a_channel_of_dataset_json_is_named(tmp_path: Path) -> None:
    layouts.nnunet(tmp_path / "data", channels=("T1", "T2"))
    (tmp_path / "data/imagesTr/liver_001_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"liver_001_0000\.nii\.gz: expected 2 channels of case 'liver_001', found 1"):
        describe(tmp_path / "data")


def test_arrays_of_two_kinds_are_refused(tmp_path: Path) -> None:
    for number in range(4):
        image = photo(number)[..., 0] if number < 2 else photo(number)[..., 0] / 255
        np.savez(tmp_path / f"s{number}.npz", image=image, label=np.eye(32, dtype=np.uint8))
    with pytest.raises(UserError, match=r"s0\.npz: has an image of 8 bits, .*s2\.npz another one; expected one"):
        describe(tmp_path)


def test_a_test_folder_without_masks_is_said_to_train(tmp_path: Path) -> None:
    for part, count in (("train", 8), ("val", 4), ("test", 3)):
        for number in range(count):
            picture(tmp_path / f"data/{part}/images/{number:04d}.png", photo(number))
            if part != "test":
                picture(tmp_path / f"data/{part}/masks/{number:04d}.png", 255 * layouts.box(number))
    text = describe(tmp_path / "data")
    assert "# Without masks: test (3). These images train unlabelled; the test cases are drawn from all others." in text


def test_check_names_rare_and_absent_classes_and_missing_masks(tmp_path: Path) -> None:
    draw(tmp_path / "data", [[1, 2], [1], [1], [1], [1], []], ".png")
    (tmp_path / "data/masks/c5.png").unlink()
    text = describe(tmp_path / "data").replace('"class2"]', '"class2", "class3"]').replace("[0, 1, 2]", "[0, 1, 2, 3]")
    (tmp_path / "card.toml").write_text(text)
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    found = {one.kind: [] for one in check(benchmark, tmp_path / "data").findings}  # type: dict[str, list[str]]
    for one in check(benchmark, tmp_path / "data").findings:
        found[one.kind].append(one.text)
    assert found["class"] == ["class2 occurs in one mask of 5, c0", "class3 occurs in no mask"]
    assert found["no mask"] == ["1 of 6 cases, such as c5; they train unlabelled"]


def test_check_refuses_a_split_file_that_names_other_cases(tmp_path: Path) -> None:
    draw(tmp_path / "data", [[1]] * 6, ".png")
    (tmp_path / "card.toml").write_text(describe(tmp_path / "data") + '\n[splits.listed]\nfile = "listed.csv"\n')
    (tmp_path / "listed.csv").write_text("id,part\nc0,train\nc1,test\n9999,test\n")
    found = check(load_benchmark(str(tmp_path / "card.toml")), tmp_path / "data").findings
    (error,) = [one.text for one in found if one.level == "error"]
    assert error.endswith("listed.csv: names 1 case that the data set does not have, such as '9999'")

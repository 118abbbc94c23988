"""Patterns with wildcards: which files they name, with which ids, and what is refused."""

from __future__ import annotations

import glob
import unicodedata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from layouts import photo, picture
from PIL import Image

from ssl_bench.cards import Benchmark, Files, Split, load_benchmark, parse_card
from ssl_bench.data.images import CaseFiles, list_cases
from ssl_bench.data.patterns import filled_in, literal, named
from ssl_bench.data.sources import decode, find_cases, find_source
from ssl_bench.data.split import split_cases
from ssl_bench.data.volumes import list_volumes
from ssl_bench.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def card(layout: dict[str, Any], **changes: Any) -> Benchmark:
    flat = "nii" not in layout["images"]
    place = {"roots": ["."], **layout}
    data = {
        "name": "mine", "title": "Mine", "dimensions": 2 if flat else 3, "classes": ["background", "organ"],
        "cases": 4, "splits": {"random": {"test": 1}}, "labeled": ["50%"], "metrics": ["dsc"], "source": "s",
        "license": "l", "citation": "c", **({"files": place} if flat else {"volumes": [place]}),
    } | changes  # fmt: skip
    return parse_card(Benchmark, data, "card")


def grey(path: Path, pixels: Any) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(pixels, dtype=np.uint8)
    Image.fromarray(array).save(path)
    return array


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("*/{id}.png", ["x_1", "x_2", "y_1", "y_2_gt"]),
        ("p?/{id}.png", ["x_1", "x_2", "y_1", "y_2_gt"]),
        ("p[!2-9]/{id}.png", ["x_1", "x_2"]),
        ("p[12]/y_{id}.png", ["1", "2_gt"]),
        ("*/*_{id}.png", ["1", "2", "1", "2_gt"]),  # from left to right, each takes as little as possible
        ("*/{id}_*.png", ["x", "x", "y", "y"]),
        ("{folder}/{id}_*.png", ["p1/x", "p1/x", "p2/y", "p2/y"]),
        ("{folder}/{id}.png", ["p1/x_1", "p1/x_2", "p2/y_1", "p2/y_2_gt"]),
        ("p1/x_[[]{id}.png", []),
    ],
)
def test_wildcards_name_what_a_shell_names(tmp_path: Path, pattern: str, ids: list[str]) -> None:
    touch(tmp_path, "p1/x_1.png", "p1/x_2.png", "p2/y_1.png", "p2/y_2_gt.png", "p1/.x_3.png", ".p3/x_4.png", "x_5.png")
    touch(tmp_path, "p1/deeper/x_6.png", "p1/x_7.jpg")
    found = named(tmp_path, pattern)
    shell = sorted(glob.glob(pattern.replace("{id}", "*").replace("{folder}", "*"), root_dir=tmp_path))  # noqa: PTH207
    assert [path.relative_to(tmp_path).as_posix() for _, path in found] == shell
    assert [name for name, _ in found] == ids


def test_a_folder_in_a_name_takes_as_little_as_possible(tmp_path: Path) -> None:
    touch(tmp_path, "a_b_c.png", "train/train_1.png", "test/train_2.png")
    assert [name for name, _ in named(tmp_path, "{folder}_{id}.png")] == ["a/b_c"]
    assert [name for name, _ in named(tmp_path, "{folder}/{folder}_{id}.png")] == ["train/1"]


def test_brackets_of_a_name_are_written_in_brackets(tmp_path: Path) -> None:
    touch(tmp_path, "set [a]*?/1.png", "set a/2.png")
    assert [name for name, _ in named(tmp_path, literal("set [a]*?") + "/{id}.png")] == ["1"]
    assert [name for name, _ in named(tmp_path, "set[ ][[]a]*/{id}.png")] == ["1"]


def test_a_folder_is_put_before_the_id(tmp_path: Path) -> None:
    assert filled_in("{folder}/labels/{folder}_{id}.png", "train/7") == "train/labels/train_7.png"
    assert filled_in("labels/{id}.png", "7") == "labels/7.png"
    for folder in ("train", "val", "test"):
        for name in ("1", "2"):
            grey(tmp_path / folder / "images" / f"{name}.png", np.full((4, 5), len(folder) + int(name)))
            grey(tmp_path / folder / "masks" / f"{name}.png", [[0, 0, 0, 0, 255]] * 4)
    both = card({"images": "{folder}/images/{id}", "masks": "{folder}/masks/{id}"}, cases=6, channels=1)
    cases = list_cases(both, tmp_path)
    assert [case.id for case in cases] == [f"{folder}/{n}" for folder in ("test", "train", "val") for n in "12"]
    for case in cases:
        folder, _, name = case.id.partition("/")
        assert case.mask == tmp_path / folder / "masks" / f"{name}.png"
        assert (decode(case, find_cases(both, tmp_path)[0], both)[0].image == len(folder) + int(name)).all()


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ("*{id}", "m/{id}", r"files.images: must have text between \* and \{id\}"),
        ("{id}?*", "m/{id}", r"files.images: must have text between"),
        ("**/{id}", "m/{id}", r"files.images: must have text between"),
        ("{folder}/{id}", "m/{id}", r"images and masks must both contain \{folder\}, or neither"),
    ],
)
def test_an_unclear_pattern_is_refused(images: str, masks: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        card({"images": images, "masks": masks})


def test_an_id_of_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        grey(tmp_path / "images" / name, np.zeros((3, 4)))
        grey(tmp_path / "masks" / name, [[0, 0, 0, 255]] * 3)
    unique = {"images": "images/*/{id}", "masks": "masks/*/{id}"}
    with pytest.raises(
        UserError, match=r"images.b.1.png: two images have the id '1'; the other one is .*images.a.1.png"
    ):
        list_cases(card(unique), tmp_path)
    (tmp_path / "images" / "b" / "1.png").unlink()
    with pytest.raises(UserError, match=r"masks.b.1.png: two masks have the id '1'; .*masks.a.1.png; .*masks_united"):
        list_cases(card(unique), tmp_path)
    (tmp_path / "masks" / "b" / "1.png").unlink()
    assert [case.id for case in list_cases(card(unique), tmp_path)] == ["1", "2"]


def test_acdc_as_downloaded_is_found_whole(tmp_path: Path) -> None:
    rng, truth = np.random.default_rng(0), {}
    for patient in ("patient001", "patient002"):
        folder = tmp_path / "training" / patient
        folder.mkdir(parents=True)
        touch(folder, "Info.cfg")
        nib.save(
            nib.Nifti1Image(rng.normal(size=(4, 5, 3, 2)).astype(np.float32), np.eye(4)),
            folder / f"{patient}_4d.nii.gz",
        )
        for frame in ("frame01", "frame12"):
            name, mask = f"{patient}_{frame}", rng.integers(0, 2, (4, 5, 3)).astype(np.uint8)
            nib.save(
                nib.Nifti1Image(rng.normal(size=(4, 5, 3)).astype(np.float32), np.eye(4)), folder / f"{name}.nii.gz"
            )
            nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{name}_gt.nii.gz")
            truth[name] = mask
    layout = {"images": "training/*/{id}.nii.gz", "masks": "training/*/{id}_gt.nii.gz"}
    with pytest.raises(UserError, match=r"patient001_4d.nii.gz: its mask .*patient001_4d_gt.nii.gz is missing"):
        find_source(card(layout), tmp_path, False)
    whole = card({**layout, "exclude": ["*_4d.nii.gz"]})
    assert {case.id: case.mask.tolist() for case, _ in find_source(whole, tmp_path, False).decoded()} == {
        name: mask.tolist() for name, mask in truth.items()
    }
    assert (
        list_volumes(card({**layout, "exclude": ["training/*/*_4d.*"]}), tmp_path)[1] == find_cases(whole, tmp_path)[1]
    )


def test_several_masks_of_an_image_are_united_only_if_the_card_says_so(tmp_path: Path) -> None:
    for name in ("benign (1)", "benign (2)", "normal (1)"):
        grey(tmp_path / name.split()[0] / f"{name}.png", np.full((3, 4), 9))
    one = grey(tmp_path / "benign" / "benign (1)_mask.png", [[255, 255, 0, 0]] * 3)
    two = grey(tmp_path / "benign" / "benign (1)_mask_1.png", [[0, 255, 255, 0], [0] * 4, [0] * 4])
    three = grey(tmp_path / "benign" / "benign (2)_mask.png", [[0, 0, 0, 255]] * 3)
    empty = grey(tmp_path / "normal" / "normal (1)_mask.png", np.zeros((3, 4)))
    layout = {"images": "*/{id}", "masks": "*/{id}_mask*"}
    with pytest.raises(
        UserError, match=r"benign \(1\)_mask_1.png: two masks have the id .*benign \(1\)_mask.png.*united"
    ):
        find_source(card(layout), tmp_path, True)
    source = find_source(card({**layout, "masks_united": True}, cases=3), tmp_path, False)
    expected = [("benign (1)", (one > 0) | (two > 0)), ("benign (2)", three > 0), ("normal (1)", empty > 0)]
    found = [(case.id, case.mask) for case, _ in source.decoded()]
    assert [(name, mask.tolist()) for name, mask in found] == [
        (name, mask.astype(int).tolist()) for name, mask in expected
    ]
    before = source.state(), [digest for _, digest in source.decoded()]
    grey(tmp_path / "benign" / "benign (1)_mask_1.png", [[255, 255, 255, 0], [0] * 4, [255] * 4])
    source = find_source(card({**layout, "masks_united": True}, cases=3), tmp_path, False)
    after = source.state(), [digest for _, digest in source.decoded()]
    assert after[0] != before[0]
    assert [a != b for a, b in zip(before[1], after[1], strict=True)] == [True, False, False]


def test_united_masks_must_agree(tmp_path: Path) -> None:
    grey(tmp_path / "1.png", np.zeros((1, 4)))
    grey(tmp_path / "1_mask.png", [[0, 1, 1, 0]])
    grey(tmp_path / "1_mask_b.png", [[0, 0, 1, 2]])
    layout = {"images": "{id}", "masks": "{id}_mask*", "masks_united": True, "mask_values": [0, 1, 2]}
    benchmark = card(layout, classes=["background", "a", "b"], cases=1)
    ((case, _),) = find_source(benchmark, tmp_path, False).decoded()
    assert case.mask.tolist() == [[0, 1, 1, 2]]
    grey(tmp_path / "1_mask_b.png", [[0, 2, 2, 2]])
    with pytest.raises(UserError, match=r"1_mask_b.png: expected masks of one image that agree, found 2 pixels"):
        list(find_source(benchmark, tmp_path, False).decoded())
    grey(tmp_path / "1_mask_b.png", [[0, 2]])
    with pytest.raises(UserError, match=r"1_mask_b.png: expected the size of its image, 4x1 pixels, found 2x1"):
        list(find_source(benchmark, tmp_path, False).decoded())


def test_masks_of_a_volume_are_united_on_its_grid(tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(size=(4, 3, 2)).astype(np.float32)
    masks = np.zeros((2, 4, 3, 2), np.uint8)
    masks[0, 0], masks[1, 3] = 1, 1
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "7.nii")
    nib.save(nib.Nifti1Image(masks[0], np.eye(4)), tmp_path / "7_gt_a.nii")
    mirrored = np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # its affine says so
    nib.save(nib.Nifti1Image(masks[1][::-1], mirrored), tmp_path / "7_gt_b.nii")
    layout = {"images": "{id}.nii", "masks": "{id}_gt_*.nii", "masks_united": True}
    ((case, _),) = find_source(card(layout, cases=1), tmp_path, False).decoded()
    assert np.array_equal(case.mask, masks.max(0))


# --------------------------------------------------------------------------------------------------- folders as splits


IDS = ["train/1", "train/2", "val/1", "test/1", "test/10"]


def test_parts_are_patterns_of_ids() -> None:
    def parts(**changes: Any) -> tuple[list[str], list[str]]:
        split = parse_card(Split, {"parts": {"train": ["train/*"], "test": ["test/*"]} | changes}, "split")
        return split_cases(split, IDS, IDS, masked=set(IDS) - {"train/2"})

    assert parts() == (["train/1", "train/2"], ["test/1", "test/10"])
    assert parts(train=["train/*", "val/*"]) == (["train/1", "train/2", "val/1"], ["test/1", "test/10"])
    assert parts(test=["test/?"]) == (["train/1", "train/2"], ["test/1"])
    with pytest.raises(UserError, match=r"parts: train = 'tarin/\*': expected cases, found none"):
        parts(train=["tarin/*"])
    with pytest.raises(UserError, match=r"parts: case 'train/1' is in train and in test"):
        parts(test=["*/1"])
    with pytest.raises(UserError, match=r"parts: test case 'train/2' has no mask"):
        parts(train=["val/*"], test=["train/*"])


@pytest.mark.parametrize(
    "split",
    [
        {"parts": {"train": ["*"]}},
        {"parts": {"train": [], "test": ["*"]}},
        {"parts": {"train": ["a"], "test": ["b"]}, "test": 1},
    ],
)
def test_parts_that_are_not_both_there_are_refused(split: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"parts|exactly one"):
        parse_card(Split, split, "split")


# ----------------------------------------------------------------------------------------- files that fit two ids


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        picture(folder / name, photo(len(name)))
    return folder


def two_ids(folder: Path, images: str, masks: str, **fields: Any) -> list[CaseFiles]:
    layout = Files.model_validate({"roots": ["."], "images": images, "masks": masks, **fields})
    return list_cases(load_benchmark("kvasir").model_copy(update={"files": layout}), folder)


def test_a_mask_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "i/a.png", "i/a_b.png", "m/a_b_1.png")
    with pytest.raises(UserError, match=r"a_b_1\.png: fits the ids 'a' and 'a_b'; expected a pattern that tells them"):
        two_ids(tmp_path, "i/{id}", "m/{id}_*", masks_optional=True)


def test_an_image_that_fits_two_masks_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "i/p_1_x.png", "m/p.png", "m/p_1.png")
    with pytest.raises(UserError, match=r"p_1_x\.png: fits the ids 'p' and 'p_1'"):
        two_ids(tmp_path, "i/{id}_*", "m/{id}")


def test_image_and_mask_of_different_folders_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "A/x.png", "B/x_mask.png", "A/y.png", "A/y_mask.png")
    with pytest.raises(UserError, match=r"B/x_mask\.png: expected the mask in the folder of its image, .*A/x\.png"):
        two_ids(tmp_path, "*/{id}", "*/{id}_mask")


def test_images_that_are_all_masks_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "i/a.png", "i/b.png")
    card = load_benchmark("kvasir")
    layout = Files.model_validate({"roots": ["."], "images": "i/{id}", "masks": "i/{id}"})
    with pytest.raises(UserError, match=r"every file that fits images = 'i/\{id\}' fits masks, too"):
        find_cases(card.model_copy(update={"files": layout}), tmp_path)


def test_parts_match_in_either_unicode_form() -> None:
    ids = ["é_1", "é_2", "b_1"]
    split = Split.model_validate({"parts": {"train": [unicodedata.normalize("NFD", "é_*")], "test": ["b_*"]}})
    assert split_cases(split, ids, ids, masked=set(ids)) == (ids[:2], ids[2:])


# ----------------------------------------------------------------------------------- brackets that older cards meant


def test_a_name_with_the_brackets_of_the_pattern_is_refused_though_they_fit_other_files(tmp_path: Path) -> None:
    touch(tmp_path, "set[12]/a.png", "set1/b.png", "x/[c].png")
    with pytest.raises(
        UserError, match=r"set\[12\]/a\.png: has the brackets of 'set\[12\]/{id}' in its name; .*\[\[\]"
    ):
        named(tmp_path, "set[12]/{id}", (".png",))
    assert [name for name, _ in named(tmp_path, "set[[]12]/{id}", (".png",))] == ["a"]
    assert [name for name, _ in named(tmp_path, "x/[[]{id}]", (".png",))] == ["c"]
    assert [name for name, _ in named(tmp_path, literal("set[12]") + "/{id}", (".png",))] == ["a"]
    (tmp_path / "set[12]/a.png").unlink()
    assert [name for name, _ in named(tmp_path, "set[12]/{id}", (".png",))] == ["b"]
    assert [name for name, _ in named(tmp_path, "set[!2]/{id}", (".png",))] == ["b"]


@pytest.mark.parametrize("suffix", ["", ".nii.gz"])
def test_a_pattern_with_brackets_that_fits_no_file_says_what_they_mean(suffix: str, tmp_path: Path) -> None:
    hint = "; brackets in a pattern stand for one of their characters, and [[] for a ["
    layout = {"images": f"img[12]/{{id}}{suffix}", "masks": f"gt(1)/{{id}}{suffix}"}
    with pytest.raises(UserError, match="found; looked for") as caught:
        find_cases(card(layout), tmp_path)
    assert str(caught.value).endswith(hint)
    with pytest.raises(UserError, match="found; looked for") as caught:
        find_cases(card(layout | {"images": f"img[[]12]/{{id}}{suffix}"}), tmp_path)
    assert "; brackets" not in str(caught.value)
    touch(tmp_path, f"img1/a{suffix or '.png'}")
    with pytest.raises(UserError, match="is missing") as caught:
        find_source(card(layout | {"masks": f"gt[1]/{{id}}{suffix}"}), tmp_path, allow_partial=True)
    assert str(caught.value).endswith(hint)

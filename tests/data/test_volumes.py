"""Reading 3D data sets: layouts, formats, axes, intensities, mask values; and their way through cache and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from ssl_bench.cards import Benchmark, Volumes, load_benchmark, parse_card
from ssl_bench.data import cache, dataset
from ssl_bench.data.cache import prepare
from ssl_bench.data.check import check
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.split import draw_labeled, split_cases
from ssl_bench.data.volumes import list_volumes, read_case
from ssl_bench.errors import UserError

LAYOUT = {"roots": ["."], "images": "images/{id}.nii.gz", "masks": "labels/{id}_seg.nii.gz", "intensity": "as-is"}
CANONICAL = np.diag([1.0, 1.5, 2.0, 1.0])


def volume(seed: int, shape: tuple[int, int, int] = (7, 6, 5), classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(40, 9, shape).astype(np.float32), rng.integers(0, classes, shape).astype(np.uint8)


def card(**changes: Any) -> Benchmark:
    layout = LAYOUT | changes.pop("layout", {})
    data = {
        "name": "mine", "title": "Mine", "dimensions": 3, "classes": ["background", "liver", "spleen"], "cases": 4,
        "volumes": [layout], "splits": {"random": {"test": 1}}, "labeled": ["50%"], "metrics": ["dsc"],
        "source": "s", "license": "l", "citation": "c",
    } | changes  # fmt: skip
    return parse_card(Benchmark, data, "card")


def put(path: Path, array: np.ndarray, affine: np.ndarray = CANONICAL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def write(root: Path, count: int = 4, without_mask: tuple[int, ...] = ()) -> None:
    for number in range(count):
        image, mask = volume(number, (7, 6, 5 + number))
        put(root / "images" / f"c{number}.nii.gz", image)
        if number not in without_mask:
            put(root / "labels" / f"c{number}_seg.nii.gz", mask)


def read(image: Path, mask: Path | None, classes: int = 3, **layout: Any) -> Any:
    settings = parse_card(Volumes, LAYOUT | layout, "layout")
    return read_case(CaseFiles("a", image, mask), settings, classes)


# ---------------------------------------------------------------------------------------------------------- layouts


def test_cases_are_found_by_the_id_in_their_path_and_ordered_by_its_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        put(tmp_path / "images" / f"c{number}.nii.gz", volume(0)[0])
    put(tmp_path / "labels" / "c9_seg.nii.gz", volume(0)[1])
    put(tmp_path / "images" / ".c3.nii.gz", volume(0)[0])
    _, cases = list_volumes(card(), tmp_path)
    assert [(case.id, case.mask is not None) for case in cases] == [("c1", False), ("c9", True), ("c10", False)]


def test_masks_among_the_images_are_no_images(tmp_path: Path) -> None:
    put(tmp_path / "a.nii.gz", volume(0)[0])
    put(tmp_path / "a_seg.nii.gz", volume(0)[1])
    _, cases = list_volumes(card(layout={"images": "{id}.nii.gz", "masks": "{id}_seg.nii.gz"}), tmp_path)
    assert [(case.id, case.mask) for case in cases] == [("a", tmp_path / "a_seg.nii.gz")]


def test_la_is_found_in_ua_mts_layout_and_in_the_challenges(tmp_path: Path) -> None:
    la = load_benchmark("la")
    folder = tmp_path / "raw" / "Training Set" / "X1"
    folder.mkdir(parents=True)
    for name in ("lgemri.nrrd", "laendo.nrrd"):
        (folder / name).touch()
    layout, cases = list_volumes(la, tmp_path / "raw")
    assert (layout.intensity, [case.id for case in cases]) == ("zscore", ["X1"])
    inner = tmp_path / "h5" / "la" / "2018LA_Seg_Training Set" / "X2"
    inner.mkdir(parents=True)
    (inner / "mri_norm2.h5").touch()
    layout, cases = list_volumes(la, tmp_path / "h5")
    assert (layout.intensity, cases[0].mask) == ("as-is", inner / "mri_norm2.h5")


def test_no_volumes_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no volumes of Left Atrium 2018 found; .*mri_norm2\.h5.*lgemri"):
        list_volumes(load_benchmark("la"), tmp_path)
    with pytest.raises(UserError, match="--data-root: expected the folder that holds Mine"):
        list_volumes(card(), None)


# ---------------------------------------------------------------------------------------------------------- formats


def test_an_hdf5_file_holds_image_and_label(tmp_path: Path) -> None:
    image, mask = volume(1, classes=2)
    path = tmp_path / "mri_norm2.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, mask
    case = read(path, path, classes=2)
    assert case.image.dtype == np.float32
    assert np.array_equal(case.image, image)
    assert np.array_equal(case.mask, mask)


def test_nrrd_is_read_in_the_order_x_y_z(tmp_path: Path) -> None:
    image, mask = volume(2)
    for name, array in (("i.nrrd", image[::-1, ::-1]), ("m.nrrd", mask[::-1, ::-1])):  # ITK's axes are LPS
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.transpose(2, 1, 0)), str(tmp_path / name))
    case = read(tmp_path / "i.nrrd", tmp_path / "m.nrrd")
    assert np.array_equal(case.image, image)
    assert np.array_equal(case.mask, mask)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "IPL"])
def test_nifti_is_brought_to_right_anterior_superior(codes: str, tmp_path: Path) -> None:
    image, mask = volume(3)
    canonical = nib.Nifti1Image(image, CANONICAL)
    start = nib.orientations.io_orientation(CANONICAL)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes))
    turned, turned_mask = canonical.as_reoriented(turn), nib.Nifti1Image(mask, CANONICAL).as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == codes
    nib.save(turned, tmp_path / "i.nii.gz")
    nib.save(turned_mask, tmp_path / "m.nii.gz")
    case = read(tmp_path / "i.nii.gz", tmp_path / "m.nii.gz")
    assert np.array_equal(case.image, image)
    assert np.array_equal(case.mask, mask)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "IPL"])
def test_a_spacing_follows_its_axes(codes: str, tmp_path: Path) -> None:
    image, mask = volume(3)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(CANONICAL), nib.orientations.axcodes2ornt(codes)
    )
    for name, array in (("i.nii", image), ("m.nii", mask)):
        nib.save(nib.Nifti1Image(array, CANONICAL).as_reoriented(turn), tmp_path / name)
    assert read(tmp_path / "i.nii", tmp_path / "m.nii").spacing == pytest.approx((1.0, 1.5, 2.0))
    assert read(tmp_path / "i.nii", None).spacing == pytest.approx((1.0, 1.5, 2.0))


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 0.001), ("meter", 1000), ("unknown", 1)])
def test_a_spacing_is_brought_to_mm(unit: str, factor: float, tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(3)[0], CANONICAL)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "i.nii")
    assert read(tmp_path / "i.nii", None).spacing == pytest.approx((factor, 1.5 * factor, 2 * factor))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_a_spacing_is_read_by_simpleitk_in_the_order_x_y_z(suffix: str, tmp_path: Path) -> None:
    for name, array in zip("im", volume(2), strict=True):
        written = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
        written.SetSpacing((0.5, 1.25, 3.0))
        SimpleITK.WriteImage(written, str(tmp_path / f"{name}.{suffix}"))
    assert read(tmp_path / f"i.{suffix}", tmp_path / f"m.{suffix}").spacing == (0.5, 1.25, 3.0)


def test_spacings_come_back_from_the_cache(tmp_path: Path) -> None:
    for number in range(4):
        image, mask = volume(number)
        affine = np.diag([0.5, 1.0 + number, 3.0, 1.0])
        put(tmp_path / "images" / f"c{number}.nii.gz", image, affine)
        put(tmp_path / "labels" / f"c{number}_seg.nii.gz", mask, affine)
    for _ in ("decoded", "cached"):
        dataset = prepare(card(), tmp_path, None)
        assert dataset.spacings(("c2", "c0")) == [(0.5, 3.0, 3.0), (0.5, 1.0, 3.0)]
        assert dataset.spacings(()) == []


def test_no_spacing_in_the_file_is_an_error_where_one_is_needed(tmp_path: Path) -> None:
    for number in range(4):
        image, mask = volume(number)
        with h5py.File(tmp_path / f"c{number}.h5", "w") as file:
            file["image"], file["label"] = image, mask
    dataset = prepare(card(layout={"images": "{id}.h5", "masks": None}), tmp_path, None)
    with pytest.raises(UserError, match=r"^c1: distances in mm need a positive spacing in the file, found"):
        dataset.spacings(("c1",))


def test_a_mask_on_the_other_side_than_its_image_is_refused(tmp_path: Path) -> None:
    image, mask = volume(4, (6, 6, 6))
    image_path = put(tmp_path / "i.nii.gz", image)
    mask_path = put(tmp_path / "m.nii.gz", mask, np.diag([-1.0, 1.5, 2.0, 1.0]))
    with pytest.raises(UserError, match=r"m\.nii\.gz: expected the geometry of its image, .*i\.nii\.gz: the first"):
        read(image_path, mask_path)


def test_zscore_gives_zero_mean_and_unit_deviation(tmp_path: Path) -> None:
    image, mask = volume(5)
    case = read(put(tmp_path / "i.nii.gz", image), put(tmp_path / "m.nii.gz", mask), intensity="zscore")
    expected = (image.astype(np.float64) - image.astype(np.float64).mean()) / image.astype(np.float64).std()
    np.testing.assert_allclose(case.image, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), "every voxel has the value 1"),
        (np.full((4, 4, 4), np.nan, np.float32), np.zeros((4, 4, 4), np.uint8), "expected finite values"),
        (
            volume(0, (4, 4, 4))[0],
            np.zeros((4, 4, 5), np.uint8),
            r"the shape of its image, \(4, 4, 4\), found",
        ),
        (volume(0, (4, 4, 4))[0], np.full((4, 4, 4), 7, np.uint8), "expected mask values 0, 1, 2, found also 7"),
        (volume(0, (4, 4, 4))[0], np.full((4, 4, 4), 0.5, np.float32), "expected mask values 0, 1, 2, found also 0.5"),
        (np.ones((4, 4, 4, 2), np.float32), np.zeros((4, 4, 4), np.uint8), "expected a volume of three axes"),
        (
            np.ones((4, 4, 4), np.complex64),
            np.zeros((4, 4, 4), np.uint8),
            "expected one number per voxel, found complex64",
        ),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    image: np.ndarray, mask: np.ndarray, message: str, tmp_path: Path
) -> None:
    paths = put(tmp_path / "i.nii.gz", image), put(tmp_path / "m.nii.gz", mask)
    with pytest.raises(UserError, match=message) as caught:
        read(*paths, intensity="zscore")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["i.nii.gz", "i.nii", "i.h5", "i.nrrd"])
def test_a_file_that_is_no_volume_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"no volume at all" * 40)
    with pytest.raises(UserError, match=rf"{name}: not a readable volume"):
        read(path, path)


def test_a_damaged_or_empty_nifti_file_is_refused_by_name(tmp_path: Path) -> None:
    path = put(tmp_path / "i.nii.gz", volume(0, (16, 16, 16))[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    for broken in (bytes(content), b"", path.read_bytes()[:-20]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"i\.nii\.gz: not a readable volume: .+"):
            read(path, None)
    (tmp_path / "i.nii").touch()
    with pytest.raises(UserError, match=r"i\.nii: not a readable volume: .+"):
        read(tmp_path / "i.nii", None)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_with_its_voxels_beside_is_read_and_identified_with_them(compressed: bool, tmp_path: Path) -> None:
    files = Volumes(roots=(".",), images="{id}.mhd", masks="{id}_segmentation.mhd")
    made = load_benchmark("demo3d").model_copy(
        update={"name": "own", "generator": None, "cases": 2, "volumes": (files,)}
    )
    arrays = {}
    for number in (0, 1):
        image, mask = volume(number, (16, 17, 18), 2)
        for name, array in ((f"Case{number}", image), (f"Case{number}_segmentation", mask)):
            written = SimpleITK.GetImageFromArray(array.T)
            written.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # right and anterior, as ITK counts to left and back
            written.SetSpacing((0.5, 0.625, 3.0))
            SimpleITK.WriteImage(written, str(tmp_path / f"{name}.mhd"), compressed)
        arrays[f"Case{number}"] = image, mask
    dataset = prepare(made, tmp_path, None)
    for name, found, truth in zip(dataset.ids, dataset.volumes(dataset.ids), dataset.truths(dataset.ids), strict=True):
        image, mask = arrays[name]
        expected = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        assert (truth == mask).all()
    assert dataset.spacings(dataset.ids)[0] == (0.5, 0.625, 3.0)
    beside = next(path for path in tmp_path.glob("Case0.*raw"))
    other = SimpleITK.GetImageFromArray(2 * arrays["Case0"][0].T + np.arange(16, dtype=np.float32))
    other.CopyInformation(SimpleITK.ReadImage(str(tmp_path / "Case0.mhd")))
    SimpleITK.WriteImage(other, str(tmp_path / "other.mhd"), compressed)
    beside.write_bytes(next(tmp_path.glob("other.*raw")).read_bytes())
    if compressed:  # whose header names the number of bytes
        header = (tmp_path / "other.mhd").read_text().replace("other.", "Case0.")
        (tmp_path / "Case0.mhd").write_text(header)
    for path in tmp_path.glob("other.*"):
        path.unlink()
    changed = prepare(made, tmp_path, None)
    assert changed.fingerprint != dataset.fingerprint
    beside.unlink()
    with pytest.raises(UserError, match=r"Case0\.z?raw: expected a file with the 19584 bytes of voxels of Case0\.mhd"):
        prepare(made, tmp_path, None)


def test_voxels_in_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must end in one of"):
        card(layout={"images": "{id}.img"})
    path = tmp_path / "i.nrrd"
    path.write_bytes(b"NRRD0004\ntype: float\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: i.raw\n\n")
    with pytest.raises(UserError, match="the voxel data is in a separate file"):
        read(path, None)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume(0)[0]), str(tmp_path / "x.mhd"))
    (tmp_path / "x.mhd").rename(tmp_path / "x.mha")
    with pytest.raises(UserError, match=r"x\.mha: the voxel data is in a separate file"):
        read(tmp_path / "x.mha", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": {"images": "/data/{id}.nii"}}, "must be a path below"),
        ({"layout": {"images": "../{id}.nii"}}, "must be a path below"),
        ({"layout": {"images": "{id}.h5", "masks": None, "masks_optional": True}}, "masks_optional needs masks"),
        ({"layout": {"masks": None}}, "masks must be given"),
        ({"classes": ["background", "a", "a"]}, "classes must have different names"),
        ({"layout": {"mask_values": [0, 1]}}, "mask_values must be 3 different values"),
    ],
)
def test_errors_of_a_card_of_volumes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        card(**change)


def test_mask_values_are_classes_by_their_place(tmp_path: Path) -> None:
    image, mask = volume(6)
    values = np.array([0, 4, 2], np.int16)
    paths = put(tmp_path / "i.nii.gz", image), put(tmp_path / "m.nii.gz", values[mask])
    assert np.array_equal(read(*paths, mask_values=[0, 4, 2]).mask, mask)


# ------------------------------------------------------------------------------------------------- cache and splits


def test_the_cache_gives_back_every_voxel(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = prepare(card(), tmp_path, None)
    ids = ("c2", "c0", "c3")
    for name, (image,), mask in zip(ids, dataset.volumes(ids), dataset.truths(ids), strict=True):
        number = int(name[1])
        expected, expected_mask = volume(number, (7, 6, 5 + number))
        assert np.array_equal(image, expected)
        assert np.array_equal(mask, expected_mask)
    assert dataset.label_values == (0, 1, 2)
    assert prepare(card(), tmp_path, None) == dataset


@pytest.mark.parametrize("change", [{"intensity": "zscore"}, {"mask_values": [0, 2, 1]}])
def test_how_files_are_read_is_part_of_the_fingerprint(change: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path)
    assert prepare(card(layout=change), tmp_path, None).fingerprint != prepare(card(), tmp_path, None).fingerprint


def test_a_missing_mask_is_an_error_unless_the_card_allows_it(tmp_path: Path) -> None:
    write(tmp_path, without_mask=(1, 3))
    with pytest.raises(UserError, match=r"c1\.nii\.gz: its mask labels/c1_seg\.nii\.gz is missing"):
        prepare(card(), tmp_path, None)
    dataset = prepare(card(layout={"masks_optional": True}), tmp_path, None)
    assert dataset.masked == {"c0", "c2"}


def test_too_few_volumes_go_on_only_when_told(tmp_path: Path) -> None:
    write(tmp_path, count=3)
    with pytest.raises(UserError, match="expected the 4 cases of Mine, found 3; --allow-partial"):
        prepare(card(), tmp_path, None)
    assert len(prepare(card(), tmp_path, None, allow_partial=True).ids) == 3


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9])
def test_bit_planes_hold_every_class(classes: int) -> None:
    mask = np.random.default_rng(classes).integers(0, classes, (5, 4, 3)).astype(np.uint8)
    planes = (classes - 1).bit_length()
    packed = np.packbits(cache._to_planes(mask, planes))
    flat = np.unpackbits(packed, count=planes * mask.size)
    assert np.array_equal(dataset._from_planes(flat.reshape(planes, *mask.shape)), mask)


def test_cases_without_a_mask_train_and_are_never_labelled_or_tested() -> None:
    ids = [f"c{number}" for number in range(40)]
    masked = set(ids[::2])
    split = card(splits={"random": {"test": "25%"}}).splits["random"]
    train, test = split_cases(split, ids, ids, masked=masked)
    assert len(test) == 5
    assert set(test) <= masked
    assert set(train) | set(test) == set(ids)
    for seed in range(5):
        splits = draw_labeled(train, test, 15, seed, masked=masked, first=False)
        assert set(splits.labeled) == set(train) & masked
    with pytest.raises(UserError, match="--labeled: 16 of 35 training cases, but only 15 of them have a mask"):
        draw_labeled(train, test, 16, 0, masked=masked, first=False)


def test_an_unlabelled_copy_of_a_test_case_does_not_train() -> None:
    ids, contents = ["a", "b", "c", "d"], ["x", "x", "y", "z"]
    for seed in range(20):
        split = card(splits={"random": {"test": 1, "seed": seed}}).splits["random"]
        train, test = split_cases(split, ids, contents, masked={"a", "c", "d"})
        assert ("b" in train) == ("a" not in test)


# ------------------------------------------------------------------------------------------------------ split files


def split_file(folder: Path, text: str) -> Benchmark:
    (folder / "split.csv").write_text(text)
    return card(splits={"file": {"file": str(folder / "split.csv")}})


def test_a_split_file_says_who_trains_and_who_tests_in_its_order(tmp_path: Path) -> None:
    split = split_file(tmp_path, "id,part\nc3,train\nc1,test\nc0,train\n").splits["file"].located(tmp_path)
    assert split_cases(split, ["c0", "c1", "c2", "c3"], "abcd", masked={"c0", "c1", "c3"}) == (["c3", "c0"], ["c1"])
    splits = draw_labeled(["c3", "c0", "c2"], ["c1"], 2, 5, masked={"c0", "c1", "c2"}, first=True)
    assert (splits.labeled, splits.unlabeled) == (("c0", "c2"), ("c3",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,part\nc0,train\n", "expected the columns id and part, found name, part"),
        ("id,part\nc0,train\nc1,val\n", "part: expected train or test, found 'val'"),
        ("id,part\nc0,train\nc0,test\n", "case 'c0' is named twice"),
        (
            "id,part\nc0,train\nc9,test\n",
            r"names 1 case that the data set does not have, such as 'c9'; --allow-partial",
        ),
        ("id,part\nc0,train\nc2,test\n", "test case 'c2' has no mask"),
        ("id,part\nc0,train\n", "found 1 training case and 0 test cases"),
    ],
)
def test_errors_of_a_split_file(text: str, message: str, tmp_path: Path) -> None:
    split = split_file(tmp_path, text).splits["file"].located(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        split_cases(split, ["c0", "c1", "c2"], "abc", masked={"c0", "c1"})
    assert "split.csv" in str(caught.value)


def test_the_la_split_is_ua_mts(real_data: Path) -> None:
    split = load_benchmark("la").splits["uamt"]
    lists = [(real_data / "la" / f"{part}.list").read_text().split() for part in ("train", "test")]
    ids = sorted(lists[0] + lists[1])
    parts = split_cases(split, ids, ids, masked=ids, allow_partial=True)
    assert list(parts) == lists


# ------------------------------------------------------------------------------------------------------------ check


def test_check_sees_what_is_wrong_with_volumes(tmp_path: Path) -> None:
    write(tmp_path)
    put(tmp_path / "labels" / "c0_seg.nii.gz", np.zeros((7, 6, 5), np.uint8))
    put(tmp_path / "labels" / "c1_seg.nii.gz", np.full((7, 6, 6), 9, np.uint8))
    (tmp_path / "labels" / "c2_seg.nii.gz").unlink()
    found = check(card(cases=5), tmp_path)
    kinds = [(finding.level, finding.kind) for finding in found.findings]
    assert kinds == [("error", "count"), ("error", "file"), ("error", "file"), ("warning", "empty mask")]
    assert "found also 9" in found.findings[1].text
    assert "labels/c2_seg.nii.gz is missing" in found.findings[2].text
    assert found.sizes == {(7, 6, 5), (7, 6, 8)}


def test_equal_volumes_are_found(tmp_path: Path) -> None:
    write(tmp_path)
    image, mask = volume(0)
    put(tmp_path / "images" / "c9.nii.gz", image)
    put(tmp_path / "labels" / "c9_seg.nii.gz", mask)
    texts = [finding.text for finding in check(card(cases=5), tmp_path).findings]
    assert texts == ["c0 and c9 have the same pixels"]

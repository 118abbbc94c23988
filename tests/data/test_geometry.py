"""Geometry of volumes: axes, position and voxel size of every format, with SimpleITK as the oracle."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
import unicodedata
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from ssl_bench.cards import Benchmark, Files, Measurement, Volumes, load_benchmark, parse_card
from ssl_bench.data.cache import prepare
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.describe.masks import voxel_values
from ssl_bench.data.describe.unreadable import Unreadable
from ssl_bench.data.images import Case, CaseFiles, pair_files, pair_up
from ssl_bench.data.patterns import named
from ssl_bench.data.volume_files import read_array
from ssl_bench.data.volumes import list_stacks, read_case, read_channels
from ssl_bench.errors import UserError
from ssl_bench.scoring.metrics import score_case

SHAPE = (7, 6, 5)
FORMATS = ("nrrd", "mha", "nii", "nii.gz")
AXES = [
    "".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*order)
]  # the 48 ways to store a volume
OBLIQUE = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


def image_and_mask() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(40, 9, SHAPE).astype(np.float32), rng.integers(0, 3, SHAPE).astype(np.uint8)


def itk(
    array: np.ndarray,
    axes: str = "RAS",
    *,
    spacing: tuple[float, ...] = (0.5, 1.25, 3.0),
    origin: tuple[float, ...] = (-31.5, 12.25, 104.0),
    direction: tuple[float, ...] = (-1, 0, 0, 0, -1, 0, 0, 0, 1),
) -> Any:
    """An ITK image of an array (X, Y, Z) whose axes are RAS by default, stored along other axes by SimpleITK."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image if axes == "RAS" else SimpleITK.DICOMOrient(image, axes)


def save(image: Any, path: Path) -> Path:
    SimpleITK.WriteImage(image, str(path))
    return path


def read(image: Path, mask: Path | None, **layout: Any) -> Case:
    settings = {"roots": ["."], "images": "{id}.nii", "masks": "{id}_m.nii", "intensity": "as-is"} | layout
    return read_case(CaseFiles("a", image, mask), parse_card(Volumes, settings, "layout"), 3)


# ------------------------------------------------------------------------------------------------------ axes


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_voxel_lies_where_simpleitk_says(suffix: str, tmp_path: Path) -> None:
    array, _ = image_and_mask()
    for axes in AXES:
        path = save(itk(array, axes), tmp_path / f"i.{suffix}")
        volume = read_array(path, "image")
        stored = SimpleITK.ReadImage(str(path))
        assert "".join(nib.aff2axcodes(volume.affine)) == "RAS"
        assert (volume.stored, volume.spacing) == (axes, pytest.approx((0.5, 1.25, 3.0)))
        assert volume.turned_since == (suffix in ("nrrd", "mha") and axes != "RAS")
        back = np.linalg.inv(volume.affine)
        for index in itertools.product(*map(range, stored.GetSize())):
            x, y, z = stored.TransformIndexToPhysicalPoint(index)
            found = back @ (-x, -y, z, 1)
            nearest = tuple(np.rint(found[:3]).astype(int))
            assert np.abs(found[:3] - nearest).max() < 1e-3
            assert volume.array[nearest] == stored[index]


@pytest.mark.parametrize("direction", [(-1, 0, 0, 0, -1, 0, 0, 0, 1), OBLIQUE])
def test_a_mask_along_other_axes_or_in_another_format_is_the_same_mask(
    direction: tuple[float, ...], tmp_path: Path
) -> None:
    array, labels = image_and_mask()
    expected = read(
        save(itk(array, direction=direction), tmp_path / "i.nii"),
        save(itk(labels, direction=direction), tmp_path / "m.nii"),
    )
    for number, axes in enumerate(AXES):
        turned = itk(labels, direction=direction)
        turned = SimpleITK.DICOMOrient(turned, axes)
        first, second = FORMATS[number % 4], FORMATS[number // 4 % 4]
        image = save(itk(array, direction=direction), tmp_path / f"i.{first}")
        case = read(image, save(turned, tmp_path / f"m.{second}"))
        assert np.array_equal(case.image, expected.image)
        assert np.array_equal(case.mask, expected.mask)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mirrored_mask_whose_direction_says_so_has_a_dsc_of_100(suffix: str, tmp_path: Path) -> None:
    array, labels = image_and_mask()
    image = save(itk(array), tmp_path / f"i.{suffix}")
    plain = read(image, save(itk(labels), tmp_path / f"m.{suffix}")).mask
    mirrored = SimpleITK.Flip(itk(labels), (True, False, False))
    assert mirrored.GetDirection()[0] == 1
    stored = SimpleITK.GetArrayFromImage(mirrored).T
    assert not np.array_equal(stored, labels)
    other = read(image, save(mirrored, tmp_path / f"n.{suffix}")).mask
    assert plain is not None
    assert other is not None
    assert np.array_equal(plain, labels)
    measurement = Measurement(metrics=("dsc",))
    assert [score_case(other == k, plain == k, measurement, None) for k in (1, 2)] == [[1.0], [1.0]]


def test_close_to_45_degrees_a_mask_is_turned_onto_its_image(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    for number, degrees in enumerate((44.999, 45.001)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rotation = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        nib.save(nib.Nifti1Image(array, rotation), tmp_path / f"i{number}.nii")
        nib.save(nib.Nifti1Image(labels, rotation), tmp_path / f"m{number}.nii")
    for image, mask in itertools.product("01", "01"):
        case = read(tmp_path / f"i{image}.nii", tmp_path / f"m{mask}.nii")
        assert case.mask is not None
        pairs = sorted(zip(case.image.ravel().tolist(), case.mask.ravel().tolist(), strict=True))
        assert pairs == sorted(zip(array.ravel().tolist(), labels.ravel().tolist(), strict=True))


def test_channels_along_other_axes_are_turned_onto_the_first(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    first = save(itk(array), tmp_path / "t1.nrrd")
    second = save(itk(labels.astype(np.float32), "SLP"), tmp_path / "t2.nii.gz")
    volume = read_channels([first, second], 2, "as-is")
    assert np.array_equal(volume.array, np.stack([array, labels]))
    moved = save(itk(array, origin=(0, 0, 0)), tmp_path / "t3.mha")
    with pytest.raises(UserError, match=r"t3\.mha: expected the geometry of the first channel, .*t1\.nrrd: the first"):
        read_channels([first, moved], 2, "as-is")


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_a_fourth_axis_of_itk_formats_holds_channels(suffix: str, tmp_path: Path) -> None:
    array, labels = image_and_mask()
    both = np.stack([array, labels.astype(np.float32)])
    joined = SimpleITK.JoinSeries([itk(one, "LPS") for one in both])
    vector = SimpleITK.Compose([itk(one, "LPS") for one in both])
    for name, image in (("scalar", joined), ("vector", vector)):
        found = read_array(save(image, tmp_path / f"{name}.{suffix}"), "image", channels=2)
        assert np.array_equal(found.array, both)
        assert found.spacing == (0.5, 1.25, 3.0)


# ----------------------------------------------------------------------------------------------- disagreement


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": (-31.5, 12.25, 112.0)}, r"the first voxel at .*104\) mm, found .*112\); .* up to 8 mm apart"),
        ({"spacing": (0.5, 1.25, 2.5)}, r"voxels of \(0\.5, 1\.25, 3\) mm, found \(0\.5, 1\.25, 2\.5\)"),
        ({"direction": (-0.996, -0.0893, 0, 0.0893, -0.996, 0, 0, 0, 1)}, r"axes along \(1, 0, 0\) .*, found \(0\.99"),
        ({"direction": (1, 0, 0, 0, -1, 0, 0, 0, 1)}, "the first voxel at"),
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused_with_both_names(
    suffix: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    array, labels = image_and_mask()
    image = save(itk(array), tmp_path / f"i.{suffix}")
    mask = save(itk(labels, **change), tmp_path / f"m.{suffix}")
    with pytest.raises(UserError, match=message) as caught:
        read(image, mask)
    assert str(caught.value).startswith(f"{mask}: expected the geometry of its image, {image}: ")
    assert "\n" not in str(caught.value)


def test_a_sheared_mask_is_refused_and_a_mask_of_a_sheared_image_is_not(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    sheared = np.diag([1.0, 1, 1, 1])
    sheared[0, 2] = 0.3
    paths = [tmp_path / name for name in ("i.nii", "m.nii", "n.nii")]
    for path, voxels, affine in zip(paths, (array, labels, labels), (np.eye(4), sheared, np.eye(4)), strict=True):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    with pytest.raises(UserError, match="axes along"):
        read(paths[0], paths[1])
    nib.save(nib.Nifti1Image(array, sheared), paths[0])
    assert np.array_equal(read(paths[0], paths[1]).mask, labels)


@pytest.mark.parametrize(("shift", "agrees"), [(0.049, True), (0.051, False)])
def test_a_tenth_of_the_smallest_side_of_a_voxel_is_tolerated(shift: float, agrees: bool, tmp_path: Path) -> None:
    array, labels = image_and_mask()
    image = save(itk(array), tmp_path / "i.mha")
    mask = save(itk(labels, origin=(-31.5, 12.25, 104.0 + shift)), tmp_path / "m.mha")
    if agrees:
        assert np.array_equal(read(image, mask).mask, labels)
    else:
        with pytest.raises(UserError, match=r"corners are up to 0\.051 mm apart"):
            read(image, mask)


def test_units_are_the_same_lengths(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    affine = np.diag([0.5, 1.5, 2.0, 1.0])
    affine[:3, 3] = 4, -7, 9
    image, mask = nib.Nifti1Image(array, affine), nib.Nifti1Image(labels, np.diag([1e3, 1e3, 1e3, 1]) @ affine)
    mask.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "i.nii")
    nib.save(mask, tmp_path / "m.nii")
    assert np.array_equal(read(tmp_path / "i.nii", tmp_path / "m.nii").mask, labels)


def test_an_affine_without_volume_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[2, 2] = 0
    image = nib.Nifti1Image(image_and_mask()[0], np.eye(4))
    image.header.set_sform(affine, code=1)
    image.header["qform_code"] = 0
    (tmp_path / "i.nii").write_bytes(image.header.binaryblock + bytes(4) + image.get_fdata().astype("f4").tobytes("F"))
    with pytest.raises(UserError, match=r"i\.nii: (expected an affine with three independent axes|not a readable)"):
        read(tmp_path / "i.nii", None)


@pytest.mark.parametrize(("shear", "angle"), [(0.0, None), (0.009, None), (0.02, 88.9), (-0.3, 73.3)])
def test_distances_in_mm_need_axes_at_right_angles(shear: float, angle: float | None, tmp_path: Path) -> None:
    array, labels = image_and_mask()
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    affine[1, 2] = 5.0 * shear  # each slice lies farther to anterior, as with a tilted gantry
    (tmp_path / "data").mkdir()
    for number in range(5):
        nib.save(nib.Nifti1Image(array + number, affine), tmp_path / "data" / f"{number}.nii")
        nib.save(nib.Nifti1Image(labels, affine), tmp_path / "data" / f"{number}_m.nii")
    path, root = tmp_path / "card.toml", tmp_path / "data"
    path.write_text(describe(root))
    in_mm = load_benchmark(str(path))
    in_voxels = in_mm.model_copy(update={"distance_unit": "voxel"})
    found = [finding.text for finding in check(in_mm, root).findings]
    assert check(in_voxels, root).findings == []
    prepare(in_voxels, root, None)
    if angle is None:
        assert found == []
        return
    said = (
        "expected axes at right angles, along which distances in mm are measured, found an angle of "
        f"{angle} degrees; resample the volume, or set distance_unit = 'voxel' on the card"
    )
    assert found == [f"{root}/{number}.nii: {said}" for number in range(5)]
    with pytest.raises(UserError, match=re.escape(f"0.nii: {said}")):  # though the cache has the voxels
        prepare(in_mm, root, None)


# ------------------------------------------------------------------------------------------------- no geometry


def without_transform(array: np.ndarray, sides: tuple[float, ...], path: Path) -> Path:
    image = nib.Nifti1Image(array, None)
    image.header.set_zooms(sides)
    nib.save(image, path)
    header = nib.load(path).header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    return path


def test_nifti_without_a_transform_has_its_shape_and_voxel_size_compared(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    image = without_transform(array, (1, 2, 3), tmp_path / "i.nii")
    case = read(image, without_transform(labels, (1, 2, 3), tmp_path / "m.nii"))
    assert np.array_equal(case.image, array[::-1])  # as nibabel reads it: LAS
    assert np.array_equal(case.mask, labels[::-1])
    assert case.spacing == (1, 2, 3)
    with pytest.raises(UserError, match=r"m\.nii: expected the geometry .*i\.nii: voxels of \(1, 2, 3\) mm, found"):
        read(image, without_transform(labels, (1, 2, 4), tmp_path / "m.nii"))


def test_a_file_without_a_position_goes_with_one_that_has_the_same_axes_only(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["label"] = labels
    assert np.array_equal(read(save(itk(array), tmp_path / "i.nrrd"), tmp_path / "m.h5").mask, labels)
    with pytest.raises(UserError, match=r"m\.h5: .*axes LPS, found RAS; this file has no orientation and position"):
        read(save(itk(array, "LPS"), tmp_path / "i.nrrd"), tmp_path / "m.h5")
    plain = without_transform(labels, (0.5, 1.25, 3), tmp_path / "m.nii")
    assert np.array_equal(read(save(itk(array, "LAS"), tmp_path / "i.nrrd"), plain).mask, labels[::-1])


# ------------------------------------------------------------------------------------------------------ labels


def test_labels_that_nibabel_scales_are_whole(tmp_path: Path) -> None:
    array, labels = image_and_mask()
    image = nib.Nifti1Image(array, np.eye(4))
    nib.save(image, tmp_path / "i.nii")
    mask = nib.Nifti1Image(labels.astype(np.float32), np.eye(4))
    mask.set_data_dtype(np.int16)
    nib.save(mask, tmp_path / "m.nii")
    found = np.unique(nib.load(tmp_path / "m.nii").get_fdata())
    assert not np.array_equal(found, np.rint(found))
    assert np.array_equal(read(tmp_path / "i.nii", tmp_path / "m.nii").mask, labels)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.99999994, None), (1.0009, None), (1.0042, "1.0042"), (np.nan, "nan"), (np.inf, "inf")]
)
def test_labels_are_whole_within_a_thousandth(value: float, shown: str | None, tmp_path: Path) -> None:
    array, labels = image_and_mask()
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "i.nii")
    written = np.where(labels == 1, value, labels).astype(np.float32)
    nib.save(nib.Nifti1Image(written, np.eye(4)), tmp_path / "m.nii")
    if shown is None:
        assert np.array_equal(read(tmp_path / "i.nii", tmp_path / "m.nii").mask, labels)
        return
    with pytest.raises(UserError) as caught:
        read(tmp_path / "i.nii", tmp_path / "m.nii")
    assert str(caught.value) == f"{tmp_path / 'm.nii'}: expected mask values 0, 1, 2, found also {shown}"


# --------------------------------------------------------------------------------------------- content of files


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("axes", [(), (1,), (1, 1)])
def test_a_nifti_file_is_known_by_its_content(kind: Any, order: str, axes: tuple[int, ...], tmp_path: Path) -> None:
    array, labels = image_and_mask()
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    for name, voxels in (("i", array), ("m", labels)):
        header = kind.header_class(endianness=order)
        content = kind(voxels.reshape(SHAPE + axes), affine, header).to_bytes()
        for suffix in ("nii", "nii.gz"):
            (tmp_path / f"plain_{name}.{suffix}").write_bytes(content)
            (tmp_path / f"packed_{name}.{suffix}").write_bytes(gzip.compress(content))
    for form, suffix in itertools.product(("plain", "packed"), ("nii", "nii.gz")):
        case = read(tmp_path / f"{form}_i.{suffix}", tmp_path / f"{form}_m.{suffix}")
        assert np.array_equal(case.image, array[::-1])
        assert np.array_equal(case.mask, labels[::-1])
        assert case.spacing == (2, 1.5, 3)


def test_the_channels_of_a_nifti_file_may_be_its_fifth_axis(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(*SHAPE, 1, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "i.nii")
    found = read_array(tmp_path / "i.nii", "image", channels=2).array
    assert np.array_equal(found, np.moveaxis(array[..., 0, :], -1, 0))


# ----------------------------------------------------------------------------------------------- whole data sets


def folder_of_cases(root: Path, suffix: str, axes: str = "RAS") -> Benchmark:
    """Write four cases, the last mask mirrored in the file, and return their card."""
    (root / "i").mkdir(parents=True)
    (root / "m").mkdir()
    for number in range(4):
        array, labels = image_and_mask()
        save(itk(array + number, axes), root / f"i/c{number}.{suffix}")
        save(itk(labels, "LAS" if number == 3 else axes), root / f"m/c{number}.{suffix}")
    data = {
        "name": "mine", "title": "Mine", "dimensions": 3, "classes": ["background", "liver", "spleen"], "cases": 4,
        "volumes": [{"roots": ["."], "images": f"i/{{id}}.{suffix}", "masks": f"m/{{id}}.{suffix}"}],
        "splits": {"random": {"test": 1}}, "labeled": ["50%"], "metrics": ["dsc"],
        "source": "s", "license": "l", "citation": "c",
    }  # fmt: skip
    return parse_card(Benchmark, data, "card")


@pytest.mark.parametrize(
    ("suffix", "axes", "turned"),
    [("nrrd", "LPS", 4), ("mha", "LPS", 4), ("mha", "RAS", 1), ("nii", "LPS", 0), ("nii.gz", "SRA", 0)],
)
def test_check_says_once_what_earlier_versions_did_not_turn(
    suffix: str, axes: str, turned: int, tmp_path: Path
) -> None:
    found = check(folder_of_cases(tmp_path, suffix, axes), tmp_path).findings
    assert [(finding.level, finding.kind) for finding in found] == ([("warning", "axes")] if turned else [])
    assert all(finding.text.startswith(f"{turned} of 4 cases, such as c") for finding in found)


def test_formats_that_were_not_turned_have_another_fingerprint_than_before(tmp_path: Path) -> None:
    before = "mask (0, 1, 2) intensity zscore"
    for suffix, reading in (("nrrd", f"{before} axes RAS"), ("mha", f"{before} axes RAS"), ("nii.gz", before)):
        benchmark = folder_of_cases(tmp_path / suffix, suffix, "LPS")
        dataset = prepare(benchmark, tmp_path / suffix, None)
        digest = hashlib.sha256()
        for number in range(4):
            files = [(tmp_path / suffix / f"{part}/c{number}.{suffix}").read_bytes() for part in "im"]
            contents = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in files)).hexdigest()
            digest.update(f"c{number}|{contents}|".encode())
        digest.update(reading.encode())
        assert dataset.fingerprint == digest.hexdigest()[:16]


def test_every_format_gives_the_same_cases(tmp_path: Path) -> None:
    datasets = [prepare(folder_of_cases(tmp_path / one, one, "LSP"), tmp_path / one, None) for one in FORMATS]
    assert len({dataset.contents for dataset in datasets}) == 1
    truths = [list(dataset.truths(dataset.ids)) for dataset in datasets]
    for truth in itertools.chain(*truths):
        assert np.array_equal(truth, image_and_mask()[1])


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (1.0042, "1.0042"), (np.inf, "inf")])
def test_data_init_refuses_labels_that_are_not_whole_in_one_line(value: float, shown: str, tmp_path: Path) -> None:
    folder_of_cases(tmp_path, "nii")
    labels = image_and_mask()[1].astype(np.float32)
    labels[labels == 1] = value
    path = save(itk(labels), tmp_path / "m" / "c2.nii")
    with pytest.raises(UserError) as caught:
        voxel_values([path], None, Unreadable())
    assert str(caught.value) == f"{path}: expected at most 255 different whole numbers in all masks, found {shown}"


# ------------------------------------------------------------------------------------------------ Unicode in names


@pytest.mark.parametrize(("card", "image", "mask"), list(itertools.product(("NFC", "NFD"), repeat=3)))
def test_names_match_in_either_unicode_normal_form(card: str, image: str, mask: str, tmp_path: Path) -> None:
    wanted = [
        unicodedata.normalize(form, text)
        for form, text in ((card, "Läsionen"), (image, "Läsionen"), (mask, "Läsionen"), (image, "Bjørn é"))
    ]
    pattern, images, masks, name = wanted
    for folder, ending, form in ((images, "", image), (masks, "_é", mask)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / unicodedata.normalize(form, f"Bjørn é{ending}.png")).touch()
    found = dict(named(tmp_path, f"{pattern}/{{id}}", (".png",)))
    marked = dict(named(tmp_path, f"{pattern}/{{id}}_{unicodedata.normalize(card, 'é')}", (".png",)))
    assert (len(found), len(marked)) == (2, 1)
    assert list(marked.values()) == [tmp_path / masks / unicodedata.normalize(mask, "Bjørn é_é.png")]
    (case,) = pair_up(found, marked)
    assert case.image == tmp_path / images / f"{name}.png"
    assert case.mask == next(iter(marked.values()))


def test_an_id_is_in_one_form_and_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    layout = Files.model_validate({"roots": ["."], "images": "{id}", "image_suffixes": [".h5"]})
    names = [unicodedata.normalize(form, "é") for form in ("NFD", "NFC")]
    for name in names:
        (tmp_path / f"{name}.h5").touch()
    images = named(tmp_path, "{id}", (".h5",))
    assert images == [(names[1], tmp_path / f"{name}.h5") for name in names]
    assert [case.id for case in pair_files(layout, tmp_path, [images[:1]], [])] == names[1:]
    with pytest.raises(UserError, match=r"two images have the id 'é'; the other one is"):
        pair_files(layout, tmp_path, [images], [])


def test_slices_in_files_have_their_ids_in_one_form(tmp_path: Path) -> None:
    for form, slice_ in (("NFC", 0), ("NFD", 1)):
        (tmp_path / unicodedata.normalize(form, f"é_schöne_{slice_}.h5")).touch()
    (stack,) = list_stacks(tmp_path, unicodedata.normalize("NFD", "{id}_schöne_{slice}.h5"))
    assert (stack.id, len(stack.images)) == ("é", 2)

"""`data init` on folders of patients, on channels in files of their own, and on files that cannot be read."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import h5py
import layouts
import numpy as np
import pytest
from conftest import Call
from layouts import box, organs, photo, picture, scan, volume
from PIL import Image

from ssl_bench.cards import Benchmark, load_benchmark
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.groups import groups_of
from ssl_bench.data.leaks import sides_of
from ssl_bench.data.sources import find_source


def card_of(root: Path, text: str | None = None) -> Benchmark:
    path = root.parent / "card.toml"
    path.write_text(text or describe(root), encoding="utf-8")
    return load_benchmark(str(path))


def masks_of(benchmark: Benchmark, root: Path) -> dict[str, list[list[int]]]:
    return {case.id: case.mask.tolist() for case, _ in find_source(benchmark, root, False).decoded()}


# ------------------------------------------------------------------------------------------------------------- patients


def test_images_masks_and_split_file_in_different_unicode_forms_are_matched(tmp_path: Path) -> None:
    root = tmp_path / "data"
    composed, decomposed = ([unicodedata.normalize(form, f"é{n}") for n in range(5)] for form in ("NFC", "NFD"))
    for i in range(5):
        picture(root / "images" / f"{composed[i]}.png", photo(i))
        picture(root / "masks" / f"{decomposed[i]}.png", 255 * box(i))
    rows = [
        f"{name},{part}" for name, part in zip(decomposed, ("train", "train", "train", "train", "test"), strict=True)
    ]
    (root / "split.csv").write_text("\n".join(["id,part", *rows]))
    benchmark = card_of(root)
    assert list(masks_of(benchmark, root)) == composed
    assert check(benchmark, root).errors == 0


@pytest.mark.parametrize(
    ("images", "masks", "folders"),
    [
        ("{0}/images/{1}.png", "{0}/masks/{1}.png", ["P0", "P1", "P2", "P3", "P12"]),
        ("images/{0}/{1}.png", "masks/{0}/{1}.png", ["0001", "0002", "0003"]),
        ("{0}/{0}_{1}.png", "{0}/{0}_{1}_mask.png", ["TCGA_CS_4941_1996", "TCGA_CS_4942_1997", "TCGA_DU_5851_1995"]),
        ("{0}/a{0}{1}.png", "{0}/a{0}{1}_mask.png", ["007", "011", "012"]),
        ("all/{0}/slice_{1}.png", "all/{0}/slice_{1}_mask.png", ["s1", "s2", "s3"]),
        ("x/{0}/images/{1}.png", "y/{0}/masks/{1}.png", [str(number) for number in range(10)]),
    ],
)
def test_folders_of_patients_are_groups(tmp_path: Path, images: str, masks: str, folders: list[str]) -> None:
    root, truth = tmp_path / "data", {}
    for i, folder in enumerate(folders):
        for j in range(3):
            picture(root / images.format(folder, j), photo(3 * i + j))
            picture(root / masks.format(folder, j), 255 * box(3 * i + j))
            truth[folder, 3 * i + j] = box(3 * i + j).tolist()
    benchmark = card_of(root)
    assert benchmark.group == "{group}/*"
    found = masks_of(benchmark, root)
    groups = groups_of(benchmark, [*found])
    assert sorted(zip(groups, found.values(), strict=True)) == sorted((key[0], mask) for key, mask in truth.items())
    train, test = sides_of(benchmark, [*found], [*found], set(found))["random"]
    assert {name.partition("/")[0] for name in train}.isdisjoint(name.partition("/")[0] for name in test)
    assert check(benchmark, root).findings == []


@pytest.mark.parametrize(
    "folders",
    [["benign", "malignant", "normal"], ["C1", "C2", "C3"], ["fold_1", "fold_2", "fold_3"], ["0", "1", "2"],
     ["grade1", "grade2", "grade3"], ["P1", "P2"], ["centre 1", "centre 2", "centre 3"]],
)  # fmt: skip
def test_folders_of_classes_centres_and_folds_are_no_groups(tmp_path: Path, folders: list[str]) -> None:
    root = tmp_path / "data"
    for i, folder in enumerate(folders):
        for j in range(4):
            picture(root / folder / f"images/{j}.png", photo(4 * i + j))
            picture(root / folder / f"masks/{j}.png", 255 * box(4 * i + j))
    benchmark = card_of(root)
    assert benchmark.group is None
    torn = [one.text for one in check(benchmark, root).findings]
    assert len(torn) == 1
    assert torn[0].startswith("split random: ")
    assert torn[0].endswith('if a folder is a patient or a video, add group = "{group}/*" to the card')
    assert check(card_of(root, describe(root).replace("cases =", 'group = "{group}"\ncases =')), root).findings == []


@pytest.mark.parametrize("shared", [False, True])
def test_folders_of_patients_below_the_parts_of_a_split(tmp_path: Path, shared: bool) -> None:
    root, truth = tmp_path / "data", {}
    patients = {"train": ["P0", "P1", "P2", "P3"], "val": ["P4"], "test": ["P0" if shared else "P5", "P6"]}
    for part, folders in patients.items():
        for folder in folders:
            for number in range(3):
                name = f"{number}" if not (shared and part == "test") else f"{number + 3}"
                truth[f"{folder}/{name}"] = box(len(truth))
                picture(root / part / folder / f"images/{name}.png", photo(len(truth)))
                picture(root / part / folder / f"masks/{name}.png", 255 * truth[f"{folder}/{name}"])
    text = describe(root)
    benchmark = card_of(root, text)
    assert masks_of(benchmark, root) == {name: mask.tolist() for name, mask in truth.items()}
    assert benchmark.group == "{group}/*"
    if shared:  # a patient in both
        assert list(benchmark.splits) == ["random"]
        assert "# Not followed as a split: the folders test, train, val." in text
        return
    assert "# Split by the folders: train trains, test tests, val is left out." in text
    train, test = sides_of(benchmark, [*truth], [*truth], set(truth))["parts"]
    for side, part in ((train, "train"), (test, "test")):
        assert side == {name for name in truth if name.partition("/")[0] in patients[part]}


def test_centres_stay_in_the_ids(tmp_path: Path) -> None:
    layouts.polypgen(tmp_path / "data")
    text = describe(tmp_path / "data")
    assert {name.partition("/")[0] for name in masks_of(card_of(tmp_path / "data"), tmp_path / "data")} == {
        "C1", "C2", "C3", "C4",
    }  # fmt: skip
    assert '# Not used: "data_{folder}/bbox_image_{folder}/{id}", which fit the masks, too.' in text
    assert "other file" not in text  # the same files are named once


# ------------------------------------------------------------------------------------------- slices first, and channels


@pytest.mark.parametrize(("shape", "axes"), [((4, 20, 18), "zyx"), ((18, 20, 4), "xyz"), ((12, 20, 18), "xyz")])
def test_arrays_whose_first_axis_is_the_shortest_have_their_slices_first(
    tmp_path: Path, shape: tuple[int, ...], axes: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for number in range(4):
        with h5py.File(root / f"case{number}.h5", "w") as file:
            file["image"] = np.random.default_rng(number).normal(300, 80, shape).astype(np.float32)
            file["label"] = np.resize(np.arange(2, dtype=np.uint8), shape)
    text = describe(root)
    benchmark = card_of(root, text)
    assert benchmark.volumes[0].axes == axes
    assert ('axes = "zyx" takes it for the slices' in text) == (axes == "zyx")
    expected = shape[::-1] if axes == "zyx" else shape
    assert {case.image.shape for case, _ in find_source(benchmark, root, False).decoded()} == {expected}


@pytest.mark.parametrize("names", ["{0}/{0}_{1}", "HGG/{0}/{0}_{1}", "{0}-{1}", "imagesTr/{0}_{1}"])
def test_modalities_are_channels_in_a_stated_order(tmp_path: Path, names: str) -> None:
    root, truth = tmp_path / "data", {}
    modalities = ["0000", "0001"] if names.startswith("images") else ["t2", "t1ce", "flair", "t1"]
    for i in range(4):
        name = f"BraTS19_{i}_1"
        for j, modality in enumerate(modalities):
            volume(root / f"{names.format(name, modality)}.nii.gz", scan(10 * i + j))
        masks = "labelsTr/{0}" if names.startswith("images") else names
        volume(root / f"{masks.format(name, 'seg')}.nii.gz", organs(i, 3))
        truth[name] = i
    text = describe(root)
    benchmark = card_of(root, text)
    assert benchmark.channels == tuple(sorted(modalities))
    assert f"# Channels, a file each, in this order: {', '.join(sorted(modalities))}." in text
    cases = [case for case, _ in find_source(benchmark, root, False).decoded()]
    assert [case.id for case in cases] == [*truth]
    for case in cases:
        assert case.mask is not None
        assert np.array_equal(case.mask, layouts.canonical(organs(truth[case.id], 3)))
        for channel, modality in zip(case.image, sorted(modalities), strict=True):
            voxels = layouts.canonical(scan(10 * truth[case.id] + modalities.index(modality))).astype(np.float64)
            assert np.allclose(channel, (voxels - voxels.mean()) / voxels.std(), atol=1e-5)


@pytest.mark.parametrize("flat", [True, False])
def test_superpixels_are_no_images(tmp_path: Path, flat: bool) -> None:
    root = tmp_path / "data"
    for number in range(6):
        name, numbers = f"ISIC_{number:07d}", np.arange(32 * 32).reshape(32, 32) // (100 if flat else 1)
        picture(root / f"Data/{name}.jpg", photo(number), quality=95)
        coded = np.stack([numbers % 256, numbers // 256, 0 * numbers], -1).astype(np.uint8)
        picture(root / f"Data/{name}_superpixels.png", coded)
        picture(root / f"Truth/{name}_segmentation.png", 255 * box(number))
    text = describe(root)
    benchmark = card_of(root, text)
    assert masks_of(benchmark, root) == {f"ISIC_{number:07d}": box(number).tolist() for number in range(6)}
    assert text.count('# Not used: "Data/{id}_superpixels", which fit the ') == 1
    assert "other file" not in text


def test_a_second_annotator_is_named(tmp_path: Path) -> None:
    layouts.drive(tmp_path / "data")
    text = describe(tmp_path / "data")
    assert '# Not used: the masks of a second person, 5 files such as "test/2nd_manual/01_manual2.gif".' in text
    assert '# Not used: 10 other files, such as "test/mask/01_test_mask.gif".' in text


# ----------------------------------------------------------------------------------------- files that cannot be read


@pytest.mark.parametrize("bad", [1, 4])
def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path: Path, bad: int) -> None:
    root = tmp_path / "data"
    for number in range(20):
        picture(root / f"images/{number}.png", photo(number))
        picture(root / f"masks/{number}.png", 255 * box(number))
    for number in range(bad):
        (root / f"masks/{number}.png").write_bytes(b"no picture")
    for number in range(10, 10 + bad):
        (root / f"images/{number}.png").write_bytes(b"")
    text = describe(root)
    benchmark = card_of(root, text)
    left = [number for number in range(20) if not (number < bad or 10 <= number < 10 + bad)]
    assert masks_of(benchmark, root) == {str(number): box(number).tolist() for number in left}
    assert check(benchmark, root).errors == 0
    (line,) = [line for line in text.splitlines() if line.startswith("# Cannot be read: ")]
    assert line.startswith(f"# Cannot be read: {2 * bad} files, ")
    assert line.count(".png") == min(2 * bad, 5)
    assert line.endswith(" and 3 more.") == (bad == 4)
    assert "other file" not in text


def test_volumes_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(8):
        volume(root / f"imagesTr/{number}.nii.gz", scan(number))
        volume(root / f"labelsTr/{number}.nii.gz", organs(number, 3))
    (root / "imagesTr/0.nii.gz").write_bytes((root / "imagesTr/1.nii.gz").read_bytes()[:900])
    (root / "labelsTr/7.nii.gz").write_bytes(b"")
    benchmark = card_of(root)
    found = masks_of(benchmark, root)
    assert found == {str(n): layouts.canonical(organs(n, 3)).tolist() for n in range(1, 7)}


def test_an_array_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for number in range(6):
        with h5py.File(root / f"c{number}.h5", "w") as file:
            file["image"] = np.random.default_rng(number).normal(300, 80, (12, 20, 18))
            file["label"] = np.resize(np.arange(2, dtype=np.uint8), (12, 20, 18))
    (root / "c0.h5").write_bytes(b"no HDF5")
    text = describe(root)
    assert "# Cannot be read: 1 file, c0.h5." in text
    assert [*masks_of(card_of(root, text), root)] == [f"c{number}" for number in range(1, 6)]


# ------------------------------------------------------------------------------------------- palettes and orientations


@pytest.mark.parametrize("odd", [None, "a white mask", "exchanged indices"])
def test_gif_masks_are_read_as_viewers_show_them(tmp_path: Path, odd: str | None) -> None:
    root, truth = tmp_path / "data", {}
    (root / "masks").mkdir(parents=True)
    for number in range(6):
        picture(root / f"images/{number}.png", photo(number))
        numbers, colors = box(number), [0, 0, 0, 255, 255, 255]
        if number == 3 and odd == "a white mask":
            numbers = np.ones_like(numbers)
        truth[str(number)] = numbers.tolist()
        if number == 3 and odd == "exchanged indices":
            numbers, colors = 1 - numbers, [255, 255, 255, 0, 0, 0]
        image = Image.fromarray(numbers, mode="P")
        image.putpalette(colors)
        image.save(root / f"masks/{number}.gif")
    assert masks_of(card_of(root), root) == truth


def test_images_turned_in_two_ways_need_one(tmp_path: Path) -> None:
    root, exif = tmp_path / "data", Image.Exif()
    exif[274] = 6
    for number in range(4):
        pixels, mask = photo(number)[:20], 255 * box(number)
        picture(root / f"images/{number}.jpg", pixels, quality=95, exif=exif if number < 2 else Image.Exif())
        picture(root / f"masks/{number}.png", mask[:, :20] if number == 1 else mask[:20])
    text = describe(root)
    assert "# 2 of 4 images, such as 0.jpg, have an EXIF orientation." in text
    assert "say apply for 1.jpg and ignore for 0.jpg: no one value of exif_orientation reads all of them." in text


def test_init_says_which_classes_are_merged(tmp_path: Path, call: Call) -> None:
    for number in range(6):
        picture(tmp_path / f"data/images/{number}.png", photo(number))
        picture(tmp_path / f"data/masks/{number}.png", box(number, 255 if number % 2 else 1))
    code, out, err = call("data", "init", tmp_path / "data", "--output", tmp_path / "mine.toml")
    assert (code, err) == (0, "")
    assert "\nMerged classes: foreground = 1 + 255. Masks of predict have the first value of each.\nwrote " in out

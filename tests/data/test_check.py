"""`data check`: every kind of finding on a tiny folder, and nothing on a sound one."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from conftest import REPOSITORY, Call
from PIL import Image, ImageEnhance

from ssl_bench.cards import Benchmark, Files, Split, load_benchmark
from ssl_bench.data.check import check
from ssl_bench.data.finding import Finding
from ssl_bench.data.sources import find_source
from ssl_bench.errors import UserError


def card(cases: int) -> Benchmark:
    return load_benchmark("kvasir").model_copy(update={"cases": cases, "labeled": ("1", "2")})


def own_card(name: str = "mine", cases: int = 6, labeled: str = '"1"', protocol: str = "mini") -> str:
    """The text of Kvasir's card for a data set of one's own."""
    text = (REPOSITORY / "benchmarks" / "datasets" / "kvasir.toml").read_text()
    text = text.replace('name = "kvasir"', f'name = "{name}"').replace("cases = 1000", f"cases = {cases}")
    text = re.sub(r"^labeled = .*$", f"labeled = [{labeled}]", text, flags=re.MULTILINE)
    return f'protocol = "{protocol}"\n' + re.sub(r"^protocol = .*$", "", text, flags=re.MULTILINE)


def photograph(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth random image: large shapes, as a photograph has, unlike any other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def disc_of(size: tuple[int, int]) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]]
    return Image.fromarray(np.where((x - 30) ** 2 + (y - 30) ** 2 < 200, 255, 0).astype(np.uint8))


def put(root: Path, name: str, image: Image.Image, mask: Image.Image | None = None) -> None:
    for folder, pixels in (("images", image), ("masks", mask or disc_of(image.size))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        pixels.save(root / folder / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six sound cases, a to f."""
    for seed, name in enumerate("abcdef"):
        put(tmp_path, name, photograph(seed))
    return tmp_path


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.kind) for finding in findings]


def test_a_sound_folder_has_no_findings(folder: Path) -> None:
    report = check(card(6), folder)
    assert report.findings == []
    assert report.errors == 0
    assert (report.folder, report.cases, report.sizes) == (folder / "images", 6, {(96, 80)})


def test_masks_that_fit_no_image_are_found(folder: Path) -> None:
    (folder / "masks" / "b.png").rename(folder / "masks" / "B.png")
    (folder / "masks" / "c.png").rename(folder / "masks" / "c1.png")
    disc_of((9, 9)).save(folder / "masks" / "x.png")
    optional = card(6)
    assert optional.files is not None
    optional = optional.model_copy(update={"files": optional.files.model_copy(update={"masks_optional": True})})
    found = [(one.level, one.text) for one in check(optional, folder).findings if one.kind == "mask without image"]
    closest = "the id 'c1' is no image's; the closest id of an image without a mask is 'c'"
    assert found == [
        ("error", f"{folder}/masks/B.png: its id 'B' differs from 'b' in letter case alone"),
        ("warning", f"2 masks, such as {folder}/masks/c1.png: {closest}"),
    ]


def test_sizes_are_width_by_height_of_every_readable_case(folder: Path) -> None:
    put(folder, "g", photograph(10, (120, 60)))
    assert check(card(7), folder).sizes == {(96, 80), (120, 60)}


@pytest.mark.parametrize("expected", [5, 7])
def test_another_number_of_cases_is_an_error(folder: Path, expected: int) -> None:
    (finding,) = check(card(expected), folder).findings
    assert (finding.level, finding.kind) == ("error", "count")
    assert str(expected) in finding.text
    assert "6" in finding.text


def test_a_missing_mask_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "masks" / "c.png").unlink()
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("error", "file")
    assert str(folder / "images" / "c.png") in finding.text
    assert "masks/c" in finding.text


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "folder", "dangling link"])
def test_an_unreadable_file_is_an_error_that_names_it(folder: Path, kind: str, damage: str) -> None:
    path = folder / kind / "d.png"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "dangling link":
        path.symlink_to(folder / "nowhere.png")
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"<html>", "empty": b""}[damage])
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("error", "file")
    assert str(path) in finding.text


def test_a_16_bit_image_is_an_error(folder: Path) -> None:
    Image.fromarray(np.full((80, 96), 900, np.uint16)).save(folder / "images" / "d.png")
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("error", "file")
    assert "8 bits" in finding.text


def test_a_mask_of_another_size_is_an_error(folder: Path) -> None:
    disc_of((80, 96)).save(folder / "masks" / "d.png")
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("error", "file")
    assert "96x80" in finding.text
    assert "80x96" in finding.text


def test_a_mask_of_0_and_1_is_an_error(folder: Path) -> None:
    Image.fromarray((np.asarray(disc_of((96, 80))) > 0).astype(np.uint8)).save(folder / "masks" / "d.png")
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("error", "file")
    assert "found 0 and 1" in finding.text


@pytest.mark.parametrize(("value", "kind"), [(0, "empty mask"), (255, "full mask")])
def test_an_empty_and_a_full_mask_are_warnings(folder: Path, value: int, kind: str) -> None:
    Image.new("L", (96, 80), value).save(folder / "masks" / "e.png")
    report = check(card(6), folder)
    assert report.findings == [Finding("warning", kind, "e")]
    assert report.errors == 0


def test_the_same_pixels_under_two_names_are_a_duplicate_and_not_a_near_one(folder: Path) -> None:
    photograph(0).save(folder / "images" / "f.png", compress_level=1)  # other bytes, the same pixels as a
    assert (folder / "images" / "f.png").read_bytes() != (folder / "images" / "a.png").read_bytes()
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("warning", "duplicate")
    assert "a and f" in finding.text


def test_three_equal_images_are_all_named(folder: Path) -> None:
    for name in "cf":
        shutil.copy(folder / "images" / "a.png", folder / "images" / f"{name}.png")
    findings = check(card(6), folder).findings
    assert kinds(findings) == [("warning", "duplicate")] * 2
    assert {"c", "f"} <= {word for finding in findings for word in finding.text.split()}


@pytest.mark.parametrize("copy", ["re-encoded", "brightened", "scaled"])
def test_an_altered_copy_is_a_near_duplicate(folder: Path, copy: str) -> None:
    original = photograph(1)  # b
    if copy == "re-encoded":
        (folder / "images" / "e.png").unlink()
        original.save(folder / "images" / "e.jpg", quality=70)
    elif copy == "brightened":
        ImageEnhance.Brightness(original).enhance(1.06).save(folder / "images" / "e.png")
    else:
        put(folder, "e", original.resize((144, 120), Image.Resampling.BILINEAR))
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("warning", "near-duplicate")
    assert "b and e" in finding.text


def test_unlike_images_are_not_called_near_duplicates(tmp_path: Path) -> None:
    for seed in range(60):
        put(tmp_path, f"case{seed}", photograph(seed))
    assert check(card(60), tmp_path).findings == []


def test_a_uniform_data_set_is_compared_with_its_own_spread(tmp_path: Path) -> None:
    """Variations of one scene, as of slices of one organ: hashes call many pairs alike, of which one is a copy."""
    scene, images = np.asarray(photograph(0), float), []
    for seed in range(1, 31):
        varied = scene + 0.12 * (np.asarray(photograph(seed), float) - 128)
        images.append(Image.fromarray(varied.clip(0, 255).astype(np.uint8)))
    images.append(ImageEnhance.Brightness(images[7]).enhance(1.03))
    for number, image in enumerate(images):
        put(tmp_path, f"case{number}", image)
    hashes = [imagehash.phash(image) for image in images]
    assert sum(one - other <= 4 for one, other in itertools.combinations(hashes, 2)) > 30
    (finding,) = check(card(31), tmp_path).findings
    assert finding.kind == "near-duplicate"
    assert "case7 and case30 look alike" in finding.text


def test_everything_is_found_in_one_pass(folder: Path) -> None:
    (folder / "masks" / "a.png").unlink()
    (folder / "images" / "b.png").write_bytes(b"")
    Image.new("L", (96, 80)).save(folder / "masks" / "c.png")
    put(folder, "g", photograph(3))  # d again
    put(folder, "h", ImageEnhance.Brightness(photograph(4)).enhance(1.06), Image.new("L", (96, 80), 255))
    report = check(card(6), folder)
    assert sorted(kinds(report.findings)) == sorted([
        ("error", "count"), ("error", "file"), ("error", "file"), ("warning", "empty mask"), ("warning", "full mask"),
        ("warning", "duplicate"), ("warning", "near-duplicate"),
    ])  # fmt: skip
    assert report.errors == 3
    assert report.cases == 8


def test_progress_counts_every_case(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    check(card(6), folder, lambda done, total: told.append((done, total)))
    assert told == [(number, 6) for number in range(1, 7)]


def test_a_check_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    check(card(6), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_no_folder_of_the_layout_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data-root"):
        check(card(6), tmp_path)


# --------------------------------------------------------------------------------------- orientations, palettes, splits


def with_files(cases: int, **fields: Any) -> Benchmark:
    benchmark = card(cases)
    assert benchmark.files is not None
    return benchmark.model_copy(update={"files": benchmark.files.model_copy(update=fields)})


def test_orientations_that_are_not_said_are_one_error(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name in "abc":
        photograph(ord(name)).save(folder / "images" / f"{name}.png", exif=exif)
    disc_of((96, 80)).save(folder / "masks" / "f.png", exif=exif)
    (finding,) = check(card(6), folder).findings
    assert (finding.level, finding.kind) == ("error", "EXIF orientation")
    assert finding.text.startswith("3 images and 1 mask, such as a.png; exif_orientation = apply")
    (finding,) = check(with_files(6, exif_orientation="ignore"), folder).findings
    assert finding == Finding(
        "warning", "EXIF orientation", "3 images and 1 mask, such as a.png; exif_orientation = ignore on the card"
    )


def test_an_error_about_sizes_names_the_orientation(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    photograph(9, (80, 96)).save(folder / "images" / "a.png", exif=exif)  # viewers show 96x80, the size of its mask
    report = check(with_files(6, exif_orientation="ignore"), folder)
    (error,) = [finding.text for finding in report.findings if finding.level == "error"]
    assert error.endswith(
        "a.png: expected the size of its image, 80x96 pixels, found 96x80; the image has EXIF orientation 6: "
        "exif_orientation on the card may be wrong"
    )
    assert check(with_files(6, exif_orientation="apply"), folder).errors == 0


@pytest.mark.parametrize(("colors", "warned"), [([255, 255, 255, 0, 0, 0], True), ([0, 0, 0, 255, 255, 255], False)])
def test_a_background_that_viewers_show_white_is_said(folder: Path, colors: list[int], warned: bool) -> None:
    for name in "abcdef":
        mask = Image.fromarray((np.asarray(disc_of((96, 80))) > 0).astype(np.uint8), mode="P")
        mask.putpalette(colors)
        mask.save(folder / "masks" / f"{name}.png")
    report = check(with_files(6, mask_values=(0, 1)), folder)
    assert report.errors == 0
    said = [finding.text for finding in report.findings if finding.kind == "white background"]
    assert [text.partition(":")[0] for text in said] == ["6 masks, such as that of a"] * warned


@pytest.mark.parametrize(("inverted", "warned"), [("abcd", True), ("abc", False)])  # of six
def test_masks_drawn_black_on_white_are_said(folder: Path, inverted: str, warned: bool) -> None:
    for name in inverted:
        Image.fromarray(255 - np.asarray(disc_of((96, 80)))).save(folder / "masks" / f"{name}.png")
    text = (
        "4 of 6 masks, such as that of a, have foreground along most of the border; if the background is white, "
        "other mask_values on the card, such as [255, 0], exchange the two"
    )
    assert check(card(6), folder).findings == [Finding("warning", "foreground around", text)] * warned
    exchanged = check(with_files(6, mask_values=(255, 0)), folder).findings  # where a and b to f exchange their parts
    assert not any(one.kind == "foreground around" for one in exchanged)
    Image.new("L", (96, 80), 255).save(folder / "masks" / "a.png")  # whole, which says nothing
    assert not any(one.kind == "foreground around" for one in check(card(6), folder).findings)


def halved(mask: np.ndarray) -> np.ndarray:
    """A mask whose edges were smoothed to 0, 64, 128, 192 and 255."""
    quarters = np.rint(np.asarray(Image.fromarray(mask).reduce(2)) / 63.75).astype(int)
    return np.array([0, 64, 128, 192, 255], np.uint8)[quarters]


@pytest.mark.parametrize("palette", [False, True])
def test_classes_of_smoothed_edges_are_said(folder: Path, palette: bool) -> None:
    values, discs = (0, 64, 128, 192, 255), np.asarray(disc_of((192, 160)))
    for name in "abcdef":
        mask = Image.fromarray(halved(discs))
        if palette:  # whose indices are not in the order of the grey levels
            mask = Image.fromarray(np.array([3, 2, 4, 0, 1], np.uint8)[np.searchsorted(values, np.asarray(mask))], "P")
            mask.putpalette([level for index in (3, 4, 1, 0, 2) for level in [values[index]] * 3])
        mask.save(folder / "masks" / f"{name}.png")
    named = (3, 2, 4, 0, 1) if palette else values
    classes = ("background", "a", "b", "c", "polyp")
    benchmark = with_files(6, mask_values=named).model_copy(update={"classes": classes})
    (finding,) = check(benchmark, folder).findings
    said = ", ".join(f"{label} ({value})" for label, value in zip("abc", named[1:4], strict=True))
    assert (finding.level, finding.kind) == ("warning", "edges")
    assert finding.text.startswith(f"{said}: only along borders, as the edges of smoothed or resized masks; ")
    two = with_files(6, mask_values=((named[0], named[1]), (named[4], named[3], named[2])))
    assert check(two, folder).findings == []


def test_smoothed_edges_of_colours_are_said_and_rings_are_not(folder: Path) -> None:
    for name in "abcdef":
        grey = halved(np.asarray(disc_of((192, 160))))
        Image.fromarray(np.stack([grey, 0 * grey, grey], axis=2)).save(folder / "masks" / f"{name}.png")
    colors = ("#000000", "#400040", "#800080", "#c000c0", "#ff00ff")
    classes = ("background", "a", "b", "c", "polyp")
    (finding,) = check(with_files(6, mask_colors=colors).model_copy(update={"classes": classes}), folder).findings
    assert finding.text.startswith("a (#400040), b (#800080), c (#c000c0): only along borders")
    for name in "abcdef":
        y, x = np.mgrid[:80, :96]
        distance = np.hypot(x - 40, y - 40)
        ring = np.select([distance < 10, distance < 13], [255, 128], 0).astype(np.uint8)
        Image.fromarray(ring).save(folder / "masks" / f"{name}.png")
    rings = with_files(6, mask_values=(0, 128, 255)).model_copy(update={"classes": ("background", "rim", "polyp")})
    assert check(rings, folder).findings == []


def test_a_split_that_cannot_be_made_leaves_the_others(folder: Path) -> None:
    put(folder, "g", photograph(0))  # the pixels of a
    (folder / "two.csv").write_text("id,part\na,train\ng,test\n")
    splits = {
        "wrong": Split.model_validate({"parts": {"train": ["x*"], "test": ["a"]}}),
        "leaky": Split.model_validate({"file": str(folder / "two.csv")}),
    }
    findings = check(card(7).model_copy(update={"splits": splits}), folder).findings
    assert Finding("error", "split", "split wrong: parts: train = 'x*': expected cases, found none among 7") in findings
    (leak,) = [finding.text for finding in findings if finding.kind == "duplicate in training and test"]
    assert leak == "a and g have the same pixels; one trains, one tests (split leaky)"


def test_a_split_of_the_command_line_is_checked(folder: Path, call: Call) -> None:
    put(folder, "g", photograph(0))
    (folder / "two.csv").write_text("id,part\na,train\ng,test\n")
    (folder / "wrong.csv").write_text("id,part\na,train\nz,test\n")
    text = own_card(cases=7)
    (folder / "card.toml").write_text(text)
    words = ("data", "check", folder / "card.toml", "--data-root", folder, "--set")
    code, out, _ = call(*words, f"split={folder / 'two.csv'}")
    assert code == 0
    assert f"one trains, one tests (split {folder / 'two.csv'})" in out
    code, out, _ = call(*words, f"split={folder / 'wrong.csv'}")
    assert code == 2
    assert "names 1 case that the data set does not have, such as 'z'" in out
    assert call(*words, "split=no")[::2] == (
        2, "error: --set split: expected one of random or a .csv file; found 'no'\n"
    )  # fmt: skip
    assert call(*words, "seed=1")[::2] == (2, "error: --set seed: expected split, the only setting of data check\n")


# ------------------------------------------------------------------------------------------------------------ the card


@pytest.mark.parametrize(
    ("labeled", "level", "text"),
    [
        ('"90"', "error", "split random: labeled: expected at most 5 cases, found 90"),
        ('"5%", "1"', "error", "split random: labeled: '5%' of 5 training images leaves no labelled image"),
        ('"1", "90"', "warning", "split random: labeled: expected at most 5 cases, found 90"),
        ('"4"', "error", "split random: labeled: '4' is 4 of 5 training images, but only 3 of them have a mask"),
        ('"3", "60%"', None, None),
    ],
)
def test_labelled_shares_that_cannot_be_drawn_are_found(
    folder: Path, labeled: str, level: str | None, text: str | None
) -> None:
    """One of the four cases with a mask tests, so that five train, three of them with a mask."""
    card_text = own_card(labeled=labeled).replace("[files]", "[files]\nmasks_optional = true")
    (folder / "card.toml").write_text(card_text.replace('test = "20%"', "test = 1"))
    benchmark = load_benchmark(str(folder / "card.toml"))
    for name in "ef":
        (folder / "masks" / f"{name}.png").unlink()
    found = [one for one in check(benchmark, folder).findings if one.kind == "labeled"]
    assert [one.level for one in found] == [level] * (level is not None)
    assert all(one.text.startswith(str(text)) for one in found)


def test_a_protocol_that_does_not_exist_is_an_error_with_a_suggestion(folder: Path, call: Call) -> None:
    (folder / "card.toml").write_text(own_card(protocol="papr"))
    code, out, _ = call("data", "check", folder / "card.toml", "--data-root", folder)
    assert code == 2
    assert re.search(r"error: protocol: --protocol: expected .*, found 'papr'; did you mean paper\?", out)
    (folder / "card.toml").write_text(own_card())
    code, _, err = call("data", "check", folder / "card.toml", "--data-root", folder, "--protocol", "minni")
    assert code == 2
    assert err.endswith("found 'minni'; did you mean mini?\n")
    code, out, _ = call("data", "check", folder / "card.toml", "--data-root", folder, "--protocol", "paper")
    assert code == 0
    run = f"ssl-bench run --methods supervised,mt --dataset {folder / 'card.toml'} --data-root {folder}"
    assert out.endswith(f"Next:\n  {run} --protocol paper\n")


def test_a_card_with_the_name_of_a_built_in_one_is_told(folder: Path) -> None:
    (folder / "card.toml").write_text(own_card(name="kvasir"))
    (finding,) = check(load_benchmark(str(folder / "card.toml")), folder).findings
    assert (finding.level, finding.kind) == ("warning", "name")
    assert finding.text.startswith("kvasir is also a built-in data set")


def test_merged_classes_are_said(folder: Path, call: Call) -> None:
    text = own_card().replace("[files]", "[files]\nmask_values = [0, [1, 255]]")
    (folder / "card.toml").write_text(text)
    code, out, _ = call("data", "check", folder / "card.toml", "--data-root", folder)
    assert code == 0
    assert "Merged classes: polyp = 1 + 255. Masks of predict have the first value of each.\n" in out


@pytest.mark.parametrize("group", [None, "{group}"])
def test_a_card_without_groups_is_told_that_each_case_is_a_patient(group: str | None, folder: Path, call: Call) -> None:
    (folder / "card.toml").write_text(("" if group is None else f'group = "{group}"\n') + own_card())
    code, out, _ = call("data", "check", folder / "card.toml", "--data-root", folder)
    assert code == 0
    assert ("No group on the card: each case counts as a patient of its own. " in out) == (group is None)


def test_a_16_bit_image_can_be_an_array_as_the_error_says(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 4096, (5, 40, 50), dtype=np.uint16)
    for number, pixels in enumerate(levels):
        (tmp_path / "images").mkdir(exist_ok=True)
        np.savez(tmp_path / f"images/{number}.npz", image=pixels, label=(pixels > 2000).astype(np.uint8))
    files = {"roots": ["."], "images": "images/{id}", "image_suffixes": [".npz"], "intensity_range": (0, 4095)}
    files["mask_values"] = (0, 1)
    benchmark = card(5).model_copy(update={"files": Files.model_validate(files)})
    assert check(benchmark, tmp_path).errors == 0
    for case, _ in find_source(benchmark, tmp_path, False).decoded():
        assert np.array_equal(case.image[..., 0], np.rint(levels[int(case.id)] * (255 / 4095)))

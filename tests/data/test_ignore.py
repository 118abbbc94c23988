"""A card's `ignore`: read right in every format, stored, counted, refused where it has two meanings, never scored."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import Call
from PIL import Image

from ssl_bench.cards import Benchmark, Request, Volumes, load_benchmark
from ssl_bench.cards.card import parse_card
from ssl_bench.cards.measurement import Measurement
from ssl_bench.data import cache, dataset
from ssl_bench.data.arrays import read_array_mask
from ssl_bench.data.cache import prepare
from ssl_bench.data.check import check
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.pictures import read_mask
from ssl_bench.data.sources import find_source
from ssl_bench.data.stream import open_stream
from ssl_bench.data.volumes import list_stacks, read_case
from ssl_bench.errors import UserError
from ssl_bench.method import find_method, load_methods
from ssl_bench.ops import IGNORED
from ssl_bench.scoring.inference import class_map
from ssl_bench.scoring.scorer import Prediction, Scorer
from ssl_bench.store import RunFolder, Store
from ssl_bench.training.job import trained_method
from ssl_bench.training.plan import plan_runs

CPU = torch.device("cpu")
TEMPLATE = """
name = "mine"
title = "Mine"
classes = ["background", "disc", "square"]
cases = {cases}
labeled = ["3"]
metrics = ["dsc", "jaccard", "95hd"]
source = "s"
license = "l"
citation = "c"
{more}

[splits.random]
test = 2
"""
FILES = """
[files]
roots = ["."]
images = "images/{id}"
masks = "masks/{id}"
"""
VOLUMES = """
[[volumes]]
roots = ["."]
images = "images/{id}.nii.gz"
masks = "masks/{id}.nii.gz"
"""
load_methods()


def files(**fields: Any) -> Any:
    return load_benchmark("kvasir").files.model_copy(update=fields)  # type: ignore[union-attr]


def truth(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Class numbers with an ignored border: 2 pixels wide, and one block."""
    mask = np.full(shape, IGNORED, np.uint8)
    inner = tuple(slice(2, -2) for _ in shape)
    mask[inner] = 0
    mask[tuple(slice(3, 3 + side // 3) for side in shape)] = 1
    mask[tuple(slice(4 + side // 3, -3) for side in shape)] = 2
    mask[tuple(slice(5 + number % 3, 8 + number % 3) for _ in shape)] = IGNORED
    return mask


def write(
    root: Path, values: tuple[int, ...], ignore: int, *, dimensions: int, cases: int = 7, slices: bool = False
) -> Path:
    """Write a data set whose class c has the value values[c]; returns its card."""
    table = np.zeros(256, np.uint8)
    table[: len(values)], table[IGNORED] = values, ignore
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number in range(cases):
        rng = np.random.default_rng(number)
        if dimensions == 2:
            mask = truth(number, (33 + number % 3, 40))
            image = (rng.integers(0, 60, (*mask.shape, 3)) + 60 * (mask % 254)[..., None]).clip(0, 255)
            Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"c{number}.png")
            Image.fromarray(table[mask]).save(root / "masks" / f"c{number}.png")
        else:
            mask = truth(number, (18, 20 + number % 3, 19))
            image = rng.normal(0, 20, mask.shape) + 60.0 * (mask % 254)
            for part, array in (("images", image.astype(np.float32)), ("masks", table[mask])):
                nib.save(nib.Nifti1Image(array, np.eye(4)), root / part / f"c{number}.nii.gz")
    layout = FILES if dimensions == 2 else VOLUMES
    kind = f"dimensions = {dimensions}\n" + ("slices = true\n" if slices else "")
    more = f"{kind}{layout}mask_values = {list(values)}\nignore = {ignore}"
    (root / "card.toml").write_text(TEMPLATE.format(cases=cases, more=more))
    return root / "card.toml"


def encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


# ------------------------------------------------------------------------------------------------------------ reading


def test_a_grey_level_is_ignored() -> None:
    levels = np.array([[0, 40, 80], [255, 0, 255]], np.uint8)
    mask, _ = read_mask(Path("m.png"), encoded(Image.fromarray(levels)), files(mask_values=(0, 80, 40), ignore=255))
    assert mask.tolist() == [[0, 2, 1], [IGNORED, 0, IGNORED]]


def test_a_palette_index_is_ignored() -> None:
    image = Image.fromarray(np.array([[0, 3], [1, 1]], np.uint8), mode="P")
    image.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9, 224, 224, 192])
    mask, palette = read_mask(Path("m.png"), encoded(image), files(mask_values=(0, 1), ignore=3))
    assert mask.tolist() == [[0, IGNORED], [1, 1]]
    assert palette[3] == "#e0e0c0"


def test_a_colour_is_ignored() -> None:
    pixels = np.array([[[0, 0, 0], [255, 0, 0]], [[255, 255, 255], [0, 0, 0]]], np.uint8)
    wanted = files(mask_colors=("#000000", "#ff0000"), ignore="#ffffff")
    assert read_mask(Path("m.png"), encoded(Image.fromarray(pixels)), wanted)[0].tolist() == [[0, 1], [IGNORED, 0]]


@pytest.mark.parametrize("suffix", [".nii.gz", ".h5"])
@pytest.mark.parametrize("ignore", [-1, 9, 255])
def test_a_voxels_value_is_ignored(suffix: str, ignore: int, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 1, ignore], np.int16), (4, 5, 6))
    image = np.random.default_rng(2).normal(size=labels.shape).astype(np.float32)
    paths = [tmp_path / f"{part}{suffix}" for part in ("image", "mask")]
    if suffix == ".h5":
        paths = paths[:1] * 2
        with h5py.File(paths[0], "w") as file:
            file["image"], file["label"] = image, labels
    else:
        for path, array in zip(paths, (image, labels), strict=True):
            nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1])), path)
    names = {"images": f"{{id}}{suffix}", "masks": f"{{id}}_mask{suffix}"}
    layout = parse_card(Volumes, {"roots": ["."], "ignore": ignore, **names}, "layout")
    found = read_case(CaseFiles("a", *paths), layout, 2).mask
    stored = labels if suffix == ".h5" else labels[::-1, ::-1]
    assert found is not None
    assert np.array_equal(found, np.where(stored == ignore, IGNORED, stored))


def test_a_value_in_files_of_slices_is_ignored(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 1, 9], np.uint8), (3, 5, 4))  # z, y, x
    for place, plane in enumerate(labels):
        with h5py.File(tmp_path / f"a_{place}.h5", "w") as file:
            file["image"], file["label"] = plane.astype(np.float32), plane
    names = {"images": "{id}.h5", "slice_files": "{id}_{slice}.h5", "axes": "zyx"}
    layout = parse_card(Volumes, {"roots": ["."], "ignore": 9, **names}, "layout")
    (case,) = list_stacks(tmp_path, str(layout.slice_files))
    assert np.array_equal(read_case(case, layout, 2).mask, np.where(labels == 9, IGNORED, labels).T)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [255, 7])
def test_without_ignore_or_with_another_value_it_stays_an_error(level: int) -> None:
    content = encoded(Image.fromarray(np.array([[0, 1], [level, 0]], np.uint8)))
    with pytest.raises(UserError, match=rf"^m\.png: expected mask values 0, 1, found also {level}$"):
        read_mask(Path("m.png"), content, files(mask_values=(0, 1)))
    with pytest.raises(UserError, match=rf"expected mask values 0, 1 or 9 \(ignored\), found also {level}$"):
        read_mask(Path("m.png"), content, files(mask_values=(0, 1), ignore=9))


def test_a_mask_without_known_pixels_is_refused(tmp_path: Path) -> None:
    card = write(tmp_path, (0, 1, 2), 9, dimensions=2)
    Image.fromarray(np.full((33, 40), 9, np.uint8)).save(tmp_path / "masks" / "c0.png")
    report = check(load_benchmark(str(card)), tmp_path)
    (finding,) = [one for one in report.findings if one.level == "error"]
    assert "c0.png: expected pixels with a known class, found the ignored value 9 alone" in finding.text


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("mask_values = [0, 1, 2]\nignore = 2", "ignore must be no class's value, found 2"),
        ('mask_values = [0, 1, 2]\nignore = "#ffffff"', "ignore must be a number, as mask_values"),
        ('mask_colors = ["#000000", "#0000ff", "#ff0000"]\nignore = 255', "ignore must be a colour, as mask_colors"),
        ('mask_colors = ["#000000", "#0000ff", "#ff0000"]\nignore = "#FF0000"', "ignore must be no class's value"),
        ('mask_values = [0, 1, 2]\nignore = "white"', "expected a number or a colour"),
        ("mask_values = [0, 1, 2]\nignore = true", "ignore"),
        ("ignore = 255", "ignore needs mask_values or mask_colors"),
    ],
)
def test_errors_of_a_card(layout: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text(TEMPLATE.format(cases=3, more=FILES + layout))
    with pytest.raises(UserError, match=message):
        load_benchmark(str(tmp_path / "card.toml"))


def test_a_class_of_volumes_is_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text(TEMPLATE.format(cases=3, more=f"dimensions = 3\n{VOLUMES}ignore = 2"))
    with pytest.raises(UserError, match="ignore must be no class's value, found 2"):
        load_benchmark(str(tmp_path / "card.toml"))


# ------------------------------------------------------------------------------------------------------------ storing


@pytest.mark.parametrize("classes", [2, 3, 4, 255])
def test_bit_planes_hold_every_class_and_ignored_pixels(classes: int) -> None:
    rng = np.random.default_rng(classes)
    mask = np.where(rng.random((9, 8, 7)) < 0.3, IGNORED, rng.integers(0, classes, (9, 8, 7))).astype(np.uint8)
    planes = cache._to_planes(mask, (classes - 1).bit_length(), ignores=True)
    restored = dataset._from_planes(planes, ignores=True)
    assert restored.dtype == np.uint8
    assert np.array_equal(restored, mask)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_cache_gives_back_ignored_pixels(dimensions: int, tmp_path: Path) -> None:
    card = load_benchmark(str(write(tmp_path, (0, 3, 7), 200, dimensions=dimensions)))
    prepared = prepare(card, tmp_path, 24 if dimensions == 2 else None)
    shapes = {c: ((33 + c % 3, 40) if dimensions == 2 else (18, 20 + c % 3, 19)) for c in range(7)}
    assert prepared.ignores
    assert prepared.label_values == (0, 3, 7)
    for number, mask in enumerate(prepared.truths(prepared.ids)):
        assert np.array_equal(mask, truth(number, shapes[number]))
    if dimensions == 2:
        small = prepared.arrays(prepared.ids)[1]
        whole = [Image.fromarray(truth(c, shapes[c])).resize((24, 24), Image.Resampling.NEAREST) for c in range(7)]
        assert np.array_equal(small, np.stack([np.asarray(one) for one in whole]))


def test_ignore_is_part_of_the_fingerprint_and_absent_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, (0, 1, 2), 9, dimensions=2)
    with_it = find_source(load_benchmark(str(path)), tmp_path, False)
    path.write_text(path.read_text().replace("ignore = 9\n", ""))
    without = find_source(load_benchmark(str(path)), tmp_path, False)
    assert (with_it.reading, without.reading) == ("mask (0, 1, 2) ignore 9", "mask (0, 1, 2)")
    assert with_it.state() != without.state()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_check_counts_ignored_pixels_and_looks_at_the_others(dimensions: int, tmp_path: Path, call: Call) -> None:
    path = write(tmp_path, (0, 1, 2), 9, dimensions=dimensions)
    card = load_benchmark(str(path))
    masks = list(prepare(card, tmp_path, 24 if dimensions == 2 else None).truths([f"c{n}" for n in range(7)]))
    share = sum((mask == IGNORED).sum() for mask in masks) / sum(mask.size for mask in masks)
    assert check(card, tmp_path).ignored == pytest.approx(share)
    code, out, _ = call("data", "check", path, "--data-root", tmp_path)
    assert code == 0
    assert f"{share:.2%} of the pixels in masks are ignored" in out
    if dimensions == 2:
        for name, level in (("c1", 0), ("c2", 1)):
            pixels = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png"))
            Image.fromarray(np.where(pixels == 9, 9, level).astype(np.uint8)).save(tmp_path / f"masks/{name}.png")
        found = {(one.kind, one.text) for one in check(card, tmp_path).findings}
        assert {("empty mask", "c1"), ("full mask", "c2")} <= found


# ------------------------------------------------------------------------------------------------- training and scores


def planned(card: Path, method: str = "ucmt", **changes: Any) -> Any:
    (job,) = plan_runs(
        Request(load_benchmark(str(card)), (method,), "3", "tiny", changes, (1,)), CPU, card.parent,
        allow_partial=False, advance=None,
    )  # fmt: skip
    return job


@pytest.mark.parametrize("dimensions", [2, 3])
def test_labels_of_a_batch_keep_ignored_pixels(dimensions: int, tmp_path: Path) -> None:
    job = planned(write(tmp_path, (0, 1, 2), 9, dimensions=dimensions))
    stream = open_stream(job.dataset, job.splits, job.spec.protocol, 1, CPU, unlabeled=True)
    seen = {int(value) for iteration in range(6) for value in stream.batch(iteration).labels.unique()}
    assert seen == {0, 1, 2, IGNORED}


def test_a_method_that_does_not_handle_them_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_method("supervised"), "handles_ignored", False)
    card = write(tmp_path, (0, 1, 2), 9, dimensions=2)
    with pytest.raises(UserError, match="--methods: supervised does not support masks with ignored pixels"):
        planned(card, "supervised")


def overlap(prediction: np.ndarray, mask: np.ndarray, number: int) -> tuple[float, float]:
    """DSC and Jaccard over the known pixels in a row."""
    known = mask != IGNORED
    mine, real = prediction[known] == number, mask[known] == number
    both, either = (mine & real).sum(), (mine | real).sum()
    return (2 * both / (mine.sum() + real.sum()), both / either) if either else (1.0, 1.0)


@pytest.mark.parametrize(
    ("method", "dimensions", "slices"),
    [("ucmt", 2, False), ("ucmt", 3, False), ("ucmt-cutmix", 2, False), ("mt", 3, True)],
)
def test_a_run_is_scored_on_known_pixels(
    method: str, dimensions: int, slices: bool, tmp_path: Path, call: Call
) -> None:
    card = write(tmp_path / "data", (0, 1, 2), 9, dimensions=dimensions, slices=slices)
    words = ("--methods", method, "--dataset", card, "--data-root", card.parent, "--protocol", "tiny")
    code, _, err = call("run", *words, "--labeled", "3", "--seeds", "1", "--set", "select=train-loss")
    assert code == 0, err
    (run,) = [one for one in Store(tmp_path / "results").runs() if one.status == "finished"]
    job = planned(card, method, select="train-loss")
    assert job.spec.hash == run.path.name
    network = trained_method(RunFolder(run.path), job.spec, job.method, job.hyper, CPU)
    scorer = Scorer(job.dataset, job.splits.test, job.spec, job.measurement, CPU)
    cases, compared = run.headline.cases, 0
    for one in scorer.predictions({network.predictor_name: network.predictor}):
        mask = truth(int(one.case[1:]), one.mask.shape)
        for number, name in ((1, "disc"), (2, "square")):
            (row,) = cases[
                (cases["network"] == one.network) & (cases["case"] == one.case) & (cases["class"] == name)
            ].to_dict("records")
            assert (row["dsc"], row["jaccard"]) == pytest.approx(overlap(one.mask, mask, number))
            compared += 1
    assert compared == 4
    assert any((one.truth == IGNORED).any() for one in run.examples)


@pytest.mark.parametrize("shape", [(20, 24), (12, 14, 10)])
def test_a_border_of_ignored_pixels_scores_as_the_cropped_masks(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    prediction = rng.integers(0, 3, shape).astype(np.uint8)
    mask = np.full(shape, IGNORED, np.uint8)
    inner = tuple(slice(3, -2) for _ in shape)
    mask[inner] = rng.integers(0, 3, mask[inner].shape)
    scorer: Any = Scorer.__new__(Scorer)
    scorer.spec = SimpleNamespace(classes=("background", "disc", "square"))
    scorer.measurement, scorer.spacings = Measurement(metrics=("dsc", "jaccard", "95hd", "asd")), {}
    whole = scorer.rows(Prediction("net", "a", mask, prediction))
    cropped = scorer.rows(Prediction("net", "a", mask[inner], prediction[inner]))
    assert whole == cropped
    for number, row in enumerate(whole, start=1):
        assert row[3:5] == pytest.approx(overlap(prediction, mask, number))
    with pytest.raises(UserError, match=r"^a: expected a pixel with a known class to score"):
        scorer.rows(Prediction("net", "a", np.full_like(mask, IGNORED), prediction))


def test_predicted_masks_are_written_as_they_are(tmp_path: Path) -> None:
    job = planned(write(tmp_path, (0, 1, 2), 9, dimensions=2), "supervised")
    assert job.spec.label_values == (0, 1, 2)
    assert class_map(torch.eye(3)[:, :, None], job.spec.protocol).max() == 2


def test_benchmarks_of_the_package_ignore_nothing() -> None:
    assert not any(load_benchmark(name).ignores for name in ("isic", "kvasir", "cvc", "la", "demo", "demo3d"))
    assert isinstance(load_benchmark("demo"), Benchmark)


# ------------------------------------------------------------------------------------- beside merged classes and arrays


def test_values_of_a_merged_class_are_not_ignored_and_the_others_are(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2, 3], [9, 9, 3, 0]], np.uint8))
    content = io.BytesIO()
    image.save(content, "PNG")
    numbers, _ = read_mask(tmp_path / "m.png", content.getvalue(), files(mask_values=(0, (1, 3), 2), ignore=9))
    assert (numbers == [[0, 1, 2, 1], [IGNORED, IGNORED, 1, 0]]).all()
    text = TEMPLATE.format(cases=3, more="") + FILES + "mask_values = [0, [1, 3], 2]\nignore = 3\n"
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(UserError, match="ignore must be no class's value, found 3"):
        load_benchmark(str(tmp_path / "card.toml"))
    united = text.replace("ignore = 3", "ignore = 9\nmasks_united = true")
    (tmp_path / "card.toml").write_text(united)
    with pytest.raises(UserError, match="ignore needs one mask for each image; masks_united has several"):
        load_benchmark(str(tmp_path / "card.toml"))


def test_arrays_of_slices_can_ignore(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.savez(content, image=np.zeros((2, 3), np.uint8), label=np.array([[0, 1, 4], [4, 0, 0]], np.int64))
    layout = files(mask_values=(0, 1), ignore=4, masks=None, image_suffixes=(".npz",))
    numbers = read_array_mask(tmp_path / "a.npz", content.getvalue(), layout)
    assert (numbers == [[0, 1, IGNORED], [IGNORED, 0, 0]]).all()


# -------------------------------------------------------------------------------------- nothing known when resized


@pytest.mark.parametrize("slices", [False, True])
def test_a_case_without_known_pixels_at_the_size_of_its_score_is_found_before_training(
    slices: bool, tmp_path: Path, call: Call
) -> None:
    card = write(tmp_path, (0, 1, 2), 9, dimensions=3 if slices else 2, slices=slices)
    path = tmp_path / ("masks/c3.nii.gz" if slices else "masks/c3.png")
    mask = np.full((40, 40, 3) if slices else (40, 40), 9, np.uint8)
    mask[0, 0] = 1  # nearest sampling to half the size takes odd rows and columns
    if slices:
        nib.save(nib.Nifti1Image(np.random.default_rng(0).random(mask.shape), np.eye(4)), tmp_path / "images/c3.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), path)
    else:
        Image.fromarray(mask).save(path)
        Image.fromarray(mask).save(tmp_path / "images/c3.png")
    (tmp_path / "split.csv").write_text("id,part\nc3,test\n" + "".join(f"c{n},train\n" for n in (0, 1, 2, 4)))
    words = ("run", "--methods", "supervised", "--dataset", card, "--data-root", tmp_path, "--protocol", "tiny",
             "--labeled", "3", "--iterations", "2", "--set", f"split={tmp_path / 'split.csv'}",
             "--allow-partial")  # fmt: skip
    code, _, err = call(*words, "--set", "score_size=20")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{path}: expected a pixel with a known class at score_size = 20" in err
    assert "score_size=original" in err
    assert not list((tmp_path / "results").rglob("run.json"))
    code, _, err = call(*words, "--set", "score_size=original")
    assert code == 0, err
    (run,) = Store(tmp_path / "results").runs()
    code, _, err = call("score", run.path, "--dataset", card, "--data-root", tmp_path, "--set", "score_size=20")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{path}: expected a pixel with a known class" in err
